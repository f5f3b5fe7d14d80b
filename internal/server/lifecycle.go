package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/internal/buildinfo"
)

// Version implements machinepb.MachineServiceServer.
func (m *machineService) Version(context.Context, *emptypb.Empty) (*machinepb.VersionResponse, error) {
	b := buildinfo.Read()
	return &machinepb.VersionResponse{Messages: []*machinepb.Version{{
		Version:  &machinepb.VersionInfo{Tag: b.Tag, Sha: b.SHA, Built: b.Built, GoVersion: b.GoVersion, Os: b.OS, Arch: b.Arch},
		Platform: &machinepb.PlatformInfo{Name: m.d.Platform, Mode: m.d.PlatformMode},
		Features: &machinepb.FeaturesInfo{Rbac: true}, // it cannot be switched off
	}}}, nil
}

// newActor returns the id of a call by which its events are found: a random UUID (RFC 9562, version 4).
func newActor() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// request asks for an action, if the mode has it, and returns the actor's id.
func (m *machineService) request(ctx context.Context, c Cause) (string, error) {
	if err := m.d.Capabilities.Capable(string(c.Action)); err != nil {
		return "", incapable(err)
	}
	c.Actor = newActor()
	if err := m.d.Lifecycle.Request(ctx, c); err != nil {
		return "", err
	}
	m.d.Logger.Info("the API asked for an end", "action", string(c.Action), "actor", c.Actor)
	return c.Actor, nil
}

// Reboot implements machinepb.MachineServiceServer.
func (m *machineService) Reboot(ctx context.Context, in *machinepb.RebootRequest) (*machinepb.RebootResponse, error) {
	if _, ok := machinepb.RebootRequest_Mode_name[int32(in.GetMode())]; !ok {
		return nil, invalid("there is no mode %d of a reboot", in.GetMode())
	}
	actor, err := m.request(ctx, Cause{Action: Reboot, Reboot: in})
	if err != nil {
		return nil, err
	}
	return &machinepb.RebootResponse{Messages: []*machinepb.Reboot{{ActorId: actor}}}, nil
}

// Shutdown implements machinepb.MachineServiceServer.
func (m *machineService) Shutdown(ctx context.Context, in *machinepb.ShutdownRequest) (*machinepb.ShutdownResponse, error) {
	actor, err := m.request(ctx, Cause{Action: Shutdown, Shutdown: in})
	if err != nil {
		return nil, err
	}
	return &machinepb.ShutdownResponse{Messages: []*machinepb.Shutdown{{ActorId: actor}}}, nil
}

// Reset implements machinepb.MachineServiceServer.
func (m *machineService) Reset(ctx context.Context, in *machinepb.ResetRequest) (*machinepb.ResetResponse, error) {
	if err := checkReset(in); err != nil {
		return nil, err
	}
	actor, err := m.request(ctx, Cause{Action: Reset, Reset: in})
	if err != nil {
		return nil, err
	}
	return &machinepb.ResetResponse{Messages: []*machinepb.Reset{{ActorId: actor}}}, nil
}

// checkReset refuses requests that contradict themselves: a reset cannot be taken back.
func checkReset(in *machinepb.ResetRequest) error {
	if _, ok := machinepb.ResetRequest_WipeMode_name[int32(in.GetMode())]; !ok {
		return invalid("there is no mode %d of a reset", in.GetMode())
	}
	if len(in.GetSystemPartitionsToWipe()) > 0 && in.GetMode() == machinepb.ResetRequest_USER_DISKS {
		return invalid("a reset of user disks alone cannot wipe system partitions")
	}
	if len(in.GetUserDisksToWipe()) > 0 && in.GetMode() == machinepb.ResetRequest_SYSTEM_DISK {
		return invalid("a reset of the system disk alone cannot wipe user disks")
	}
	if in.GetMode() == machinepb.ResetRequest_USER_DISKS && len(in.GetUserDisksToWipe()) == 0 {
		return invalid("a reset of user disks must name them")
	}
	if slices.ContainsFunc(in.GetSystemPartitionsToWipe(), func(p *machinepb.ResetPartitionSpec) bool { return p.GetLabel() == "" }) {
		return invalid("a system partition to wipe has no label")
	}
	if slices.Contains(in.GetUserDisksToWipe(), "") {
		return invalid("a user disk to wipe has no name")
	}
	return nil
}

// Upgrade implements machinepb.MachineServiceServer.
func (m *machineService) Upgrade(ctx context.Context, in *machinepb.UpgradeRequest) (*machinepb.UpgradeResponse, error) {
	if err := m.d.Capabilities.Capable(string(Upgrade)); err != nil {
		return nil, incapable(err)
	}
	if in.GetImage() == "" {
		return nil, invalid("an upgrade must name the image of an installer")
	}
	actor, err := m.request(ctx, Cause{Action: Upgrade, Upgrade: in})
	if err != nil {
		return nil, err
	}
	return &machinepb.UpgradeResponse{Messages: []*machinepb.Upgrade{{Ack: "Upgrade request received", ActorId: actor}}}, nil
}

// Rollback implements machinepb.MachineServiceServer.
func (m *machineService) Rollback(ctx context.Context, _ *machinepb.RollbackRequest) (*machinepb.RollbackResponse, error) {
	if _, err := m.request(ctx, Cause{Action: Rollback}); err != nil {
		return nil, err
	}
	return &machinepb.RollbackResponse{Messages: []*machinepb.Rollback{{}}}, nil
}

func (m *machineService) meta(key uint32) (Meta, uint8, error) {
	if m.d.Meta == nil {
		return nil, 0, m.d.lacks(CapabilityMeta, "META partition")
	}
	if err := m.d.Capabilities.Capable(CapabilityMeta); err != nil {
		return nil, 0, incapable(err)
	}
	if key > math.MaxUint8 {
		return nil, 0, invalid("META has keys up to 255; %d is none", key)
	}
	return m.d.Meta, uint8(key), nil
}

// MetaWrite implements machinepb.MachineServiceServer.
func (m *machineService) MetaWrite(ctx context.Context, in *machinepb.MetaWriteRequest) (*machinepb.MetaWriteResponse, error) {
	meta, key, err := m.meta(in.GetKey())
	if err != nil {
		return nil, err
	}
	if err := meta.Write(ctx, key, in.GetValue()); err != nil {
		return nil, err
	}
	return &machinepb.MetaWriteResponse{Messages: []*machinepb.MetaWrite{{}}}, nil
}

// MetaDelete implements machinepb.MachineServiceServer.
func (m *machineService) MetaDelete(ctx context.Context, in *machinepb.MetaDeleteRequest) (*machinepb.MetaDeleteResponse, error) {
	meta, key, err := m.meta(in.GetKey())
	if err != nil {
		return nil, err
	}
	if err := meta.Delete(ctx, key); err != nil {
		return nil, err
	}
	return &machinepb.MetaDeleteResponse{Messages: []*machinepb.MetaDelete{{}}}, nil
}

// lifecycleService is machine.LifecycleService.
type lifecycleService struct {
	machinepb.UnsafeLifecycleServiceServer
	d *Deps
}

func (l *lifecycleService) installer(capability string) (Installer, error) {
	if err := l.d.Capabilities.Capable(capability); err != nil {
		return nil, incapable(err)
	}
	if l.d.Installer == nil {
		return nil, l.d.lacks("", "installer")
	}
	return l.d.Installer, nil
}

// Install implements machinepb.LifecycleServiceServer.
func (l *lifecycleService) Install(in *machinepb.LifecycleServiceInstallRequest, stream grpc.ServerStreamingServer[machinepb.LifecycleServiceInstallResponse]) error {
	i, err := l.installer(CapabilityInstall)
	if err != nil {
		return err
	}
	p, err := instance(in.GetContainerd())
	if err != nil {
		return err
	}
	if in.GetSource().GetImageName() == "" || in.GetDestination().GetDisk() == "" {
		return invalid("an installation must name the image of an installer and a disk")
	}
	send := func(p *machinepb.LifecycleServiceInstallProgress) error {
		return stream.Send(&machinepb.LifecycleServiceInstallResponse{Progress: p})
	}
	code, err := i.Install(stream.Context(), p, in.GetSource().GetImageName(), in.GetDestination().GetDisk(), said(send))
	return exit(send, code, err)
}

// Upgrade implements machinepb.LifecycleServiceServer.
func (l *lifecycleService) Upgrade(in *machinepb.LifecycleServiceUpgradeRequest, stream grpc.ServerStreamingServer[machinepb.LifecycleServiceUpgradeResponse]) error {
	i, err := l.installer(string(Upgrade))
	if err != nil {
		return err
	}
	p, err := instance(in.GetContainerd())
	if err != nil {
		return err
	}
	if in.GetSource().GetImageName() == "" {
		return invalid("an upgrade must name the image of an installer")
	}
	send := func(p *machinepb.LifecycleServiceInstallProgress) error {
		return stream.Send(&machinepb.LifecycleServiceUpgradeResponse{Progress: p})
	}
	code, err := i.Upgrade(stream.Context(), p, in.GetSource().GetImageName(), said(send))
	return exit(send, code, err)
}

func said(send func(*machinepb.LifecycleServiceInstallProgress) error) func(string) error {
	return func(line string) error {
		return send(&machinepb.LifecycleServiceInstallProgress{Response: &machinepb.LifecycleServiceInstallProgress_Message{Message: utf8(line)}})
	}
}

func exit(send func(*machinepb.LifecycleServiceInstallProgress) error, code int32, err error) error {
	if err != nil {
		return err
	}
	return send(&machinepb.LifecycleServiceInstallProgress{Response: &machinepb.LifecycleServiceInstallProgress_ExitCode{ExitCode: code}})
}
