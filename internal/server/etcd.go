package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/config/schema"
	"talos.internal/internal/effective"
	"talos.internal/internal/server/hostinfo"
)

// etcd returns the node's etcd, or why there is none.
func (m *machineService) etcd(ctx context.Context) (Etcd, error) {
	if err := m.d.controlPlane(ctx, "etcd runs"); err != nil {
		return nil, err
	}
	if m.d.Etcd == nil {
		return nil, m.d.lacks("", "etcd")
	}
	return m.d.Etcd, nil
}

// controlPlane returns an error unless this is a control plane node; what completes "… on control plane nodes alone".
func (d *Deps) controlPlane(ctx context.Context, what string) error {
	c, err := effective.Get(ctx, d.State)
	if err != nil {
		return err
	}
	if c == nil {
		return status.Errorf(codes.FailedPrecondition, "%s on control plane nodes alone, and this machine has no config yet", what)
	}
	if role := c.Role(); role != schema.ControlPlane {
		return status.Errorf(codes.FailedPrecondition, "%s on control plane nodes alone; this one is a %s", what, role)
	}
	return nil
}

// chunked reads the bytes of a stream of messages.
type chunked struct {
	next func() ([]byte, error) // io.EOF at the end
	rest []byte
}

// Read implements io.Reader.
func (c *chunked) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		b, err := c.next()
		if err != nil {
			return 0, err
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// endOfFile turns the end of a log into the end of a call.
func endOfFile(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Bootstrap implements machinepb.MachineServiceServer.
func (m *machineService) Bootstrap(ctx context.Context, in *machinepb.BootstrapRequest) (*machinepb.BootstrapResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	if in.GetRecoverSkipHashCheck() && !in.GetRecoverEtcd() {
		return nil, invalid("recover_skip_hash_check is for a recovery; set recover_etcd, too")
	}
	if err := e.Bootstrap(ctx, in.GetRecoverEtcd(), in.GetRecoverSkipHashCheck()); err != nil {
		return nil, err
	}
	return &machinepb.BootstrapResponse{Messages: []*machinepb.Bootstrap{{}}}, nil
}

// EtcdRecover implements machinepb.MachineServiceServer.
func (m *machineService) EtcdRecover(stream grpc.ClientStreamingServer[commonpb.Data, machinepb.EtcdRecoverResponse]) error {
	e, err := m.etcd(stream.Context())
	if err != nil {
		return err
	}
	r := &chunked{next: func() ([]byte, error) {
		d, err := stream.Recv()
		return d.GetBytes(), err
	}}
	if err := e.Recover(stream.Context(), r); err != nil {
		return err
	}
	return stream.SendAndClose(&machinepb.EtcdRecoverResponse{Messages: []*machinepb.EtcdRecover{{}}})
}

// EtcdSnapshot implements machinepb.MachineServiceServer.
func (m *machineService) EtcdSnapshot(_ *machinepb.EtcdSnapshotRequest, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	e, err := m.etcd(stream.Context())
	if err != nil {
		return err
	}
	return e.Snapshot(stream.Context(), hostinfo.Chunks{Stream: stream})
}

// EtcdMemberList implements machinepb.MachineServiceServer.
func (m *machineService) EtcdMemberList(ctx context.Context, in *machinepb.EtcdMemberListRequest) (*machinepb.EtcdMemberListResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	members, err := e.Members(ctx, in.GetQueryLocal())
	if err != nil {
		return nil, err
	}
	out := &machinepb.EtcdMembers{Members: members}
	for _, member := range members {
		out.LegacyMembers = append(out.LegacyMembers, member.GetHostname())
	}
	return &machinepb.EtcdMemberListResponse{Messages: []*machinepb.EtcdMembers{out}}, nil
}

// EtcdRemoveMemberByID implements machinepb.MachineServiceServer.
func (m *machineService) EtcdRemoveMemberByID(ctx context.Context, in *machinepb.EtcdRemoveMemberByIDRequest) (*machinepb.EtcdRemoveMemberByIDResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	if in.GetMemberId() == 0 {
		return nil, invalid("the member to remove has no id; see the list of members")
	}
	if err := e.RemoveMember(ctx, in.GetMemberId()); err != nil {
		return nil, err
	}
	return &machinepb.EtcdRemoveMemberByIDResponse{Messages: []*machinepb.EtcdRemoveMemberByID{{}}}, nil
}

// EtcdLeaveCluster implements machinepb.MachineServiceServer.
func (m *machineService) EtcdLeaveCluster(ctx context.Context, _ *machinepb.EtcdLeaveClusterRequest) (*machinepb.EtcdLeaveClusterResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.Leave(ctx); err != nil {
		return nil, err
	}
	return &machinepb.EtcdLeaveClusterResponse{Messages: []*machinepb.EtcdLeaveCluster{{}}}, nil
}

// EtcdForfeitLeadership implements machinepb.MachineServiceServer.
func (m *machineService) EtcdForfeitLeadership(ctx context.Context, _ *machinepb.EtcdForfeitLeadershipRequest) (*machinepb.EtcdForfeitLeadershipResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	leader, err := e.ForfeitLeadership(ctx)
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdForfeitLeadershipResponse{Messages: []*machinepb.EtcdForfeitLeadership{{Member: leader}}}, nil
}

// EtcdAlarmList implements machinepb.MachineServiceServer.
func (m *machineService) EtcdAlarmList(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdAlarmListResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	alarms, err := e.Alarms(ctx)
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdAlarmListResponse{Messages: []*machinepb.EtcdAlarm{{MemberAlarms: alarms}}}, nil
}

// EtcdAlarmDisarm implements machinepb.MachineServiceServer.
func (m *machineService) EtcdAlarmDisarm(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdAlarmDisarmResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	alarms, err := e.DisarmAlarms(ctx)
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdAlarmDisarmResponse{Messages: []*machinepb.EtcdAlarmDisarm{{MemberAlarms: alarms}}}, nil
}

// EtcdDefragment implements machinepb.MachineServiceServer.
func (m *machineService) EtcdDefragment(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdDefragmentResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.Defragment(ctx); err != nil {
		return nil, err
	}
	return &machinepb.EtcdDefragmentResponse{Messages: []*machinepb.EtcdDefragment{{}}}, nil
}

// EtcdStatus implements machinepb.MachineServiceServer.
func (m *machineService) EtcdStatus(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdStatusResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	s, err := e.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdStatusResponse{Messages: []*machinepb.EtcdStatus{{MemberStatus: s}}}, nil
}

// EtcdDowngradeValidate implements machinepb.MachineServiceServer.
func (m *machineService) EtcdDowngradeValidate(ctx context.Context, in *machinepb.EtcdDowngradeValidateRequest) (*machinepb.EtcdDowngradeValidateResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	c, err := e.DowngradeValidate(ctx, in.GetVersion())
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdDowngradeValidateResponse{Messages: []*machinepb.EtcdDowngradeValidate{{ClusterDowngrade: c}}}, nil
}

// EtcdDowngradeEnable implements machinepb.MachineServiceServer.
func (m *machineService) EtcdDowngradeEnable(ctx context.Context, in *machinepb.EtcdDowngradeEnableRequest) (*machinepb.EtcdDowngradeEnableResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	c, err := e.DowngradeEnable(ctx, in.GetVersion())
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdDowngradeEnableResponse{Messages: []*machinepb.EtcdDowngradeEnable{{ClusterDowngrade: c}}}, nil
}

// EtcdDowngradeCancel implements machinepb.MachineServiceServer.
func (m *machineService) EtcdDowngradeCancel(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdDowngradeCancelResponse, error) {
	e, err := m.etcd(ctx)
	if err != nil {
		return nil, err
	}
	c, err := e.DowngradeCancel(ctx)
	if err != nil {
		return nil, err
	}
	return &machinepb.EtcdDowngradeCancelResponse{Messages: []*machinepb.EtcdDowngradeCancel{{ClusterDowngrade: c}}}, nil
}
