package server

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/api/storagepb"
	"talos.internal/resource/block"
	"talos.internal/state"
)

func (d *Deps) disks() (Disks, error) {
	if err := d.Capabilities.Capable(CapabilityDisks); err != nil {
		return nil, incapable(err)
	}
	if d.Disks == nil {
		return nil, d.lacks("", "disks of its own")
	}
	return d.Disks, nil
}

// diskService is storage.StorageService.
type diskService struct {
	storagepb.UnsafeStorageServiceServer
	d *Deps
}

// Disks implements storagepb.StorageServiceServer.
func (s *diskService) Disks(ctx context.Context, _ *emptypb.Empty) (*storagepb.DisksResponse, error) {
	list, err := state.List[block.Disk](ctx, s.d.State)
	if err != nil {
		return nil, err
	}
	system := ""
	if d, err := state.Get[block.SystemDisk](ctx, s.d.State, block.SystemDiskID); err == nil {
		system = d.Spec().DiskID
	}
	out := &storagepb.Disks{}
	for _, r := range list {
		d := r.Spec()
		out.Disks = append(out.Disks, &storagepb.Disk{
			Size: d.Size, Model: d.Model, DeviceName: d.DevPath, Name: r.Metadata().ID(), Serial: d.Serial, Modalias: d.Modalias,
			Uuid: d.UUID, Wwid: d.WWID, Type: diskType(d), BusPath: d.BusPath, SystemDisk: system != "" && r.Metadata().ID() == system,
			Subsystem: d.SubSystem, Readonly: d.Readonly,
		})
	}
	return &storagepb.DisksResponse{Messages: []*storagepb.Disks{out}}, nil
}

func diskType(d block.Disk) storagepb.Disk_DiskType {
	switch {
	case d.CDROM:
		return storagepb.Disk_CD
	case d.Transport == "nvme":
		return storagepb.Disk_NVME
	case d.Transport == "mmc" || strings.HasPrefix(d.DevPath, "/dev/mmcblk"):
		return storagepb.Disk_SD
	case d.Rotational:
		return storagepb.Disk_HDD
	}
	return storagepb.Disk_SSD
}

// BlockDeviceWipe implements storagepb.StorageServiceServer.
func (s *diskService) BlockDeviceWipe(ctx context.Context, in *storagepb.BlockDeviceWipeRequest) (*storagepb.BlockDeviceWipeResponse, error) {
	disks, err := s.d.disks()
	if err != nil {
		return nil, err
	}
	if len(in.GetDevices()) == 0 {
		return nil, invalid("there is no device to wipe")
	}
	for _, d := range in.GetDevices() {
		if d.GetDevice() == "" {
			return nil, invalid("a device to wipe has no name")
		}
		if _, ok := storagepb.BlockDeviceWipeDescriptor_Method_name[int32(d.GetMethod())]; !ok {
			return nil, invalid("there is no method %d of wiping a device", d.GetMethod())
		}
	}
	if err := disks.Wipe(ctx, in.GetDevices()); err != nil {
		return nil, err
	}
	return &storagepb.BlockDeviceWipeResponse{Messages: []*storagepb.BlockDeviceWipe{{}}}, nil
}

// lvmService is machine.LVMService.
type lvmService struct {
	machinepb.UnsafeLVMServiceServer
	d *Deps
}

// remove does one removal of things that need names.
func remove(d *Deps, do func(Disks) error, names ...string) (*emptypb.Empty, error) {
	disks, err := d.disks()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if n == "" {
			return nil, invalid("what is to be removed has no name")
		}
	}
	if err := do(disks); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// LogicalVolumeRemove implements machinepb.LVMServiceServer.
func (s *lvmService) LogicalVolumeRemove(ctx context.Context, in *machinepb.LVMServiceLogicalVolumeRemoveRequest) (*emptypb.Empty, error) {
	return remove(s.d, func(d Disks) error { return d.RemoveLogicalVolume(ctx, in.GetVolumeGroup(), in.GetLogicalVolume()) },
		in.GetVolumeGroup(), in.GetLogicalVolume())
}

// VolumeGroupRemove implements machinepb.LVMServiceServer.
func (s *lvmService) VolumeGroupRemove(ctx context.Context, in *machinepb.LVMServiceVolumeGroupRemoveRequest) (*emptypb.Empty, error) {
	return remove(s.d, func(d Disks) error { return d.RemoveVolumeGroup(ctx, in.GetVolumeGroup()) }, in.GetVolumeGroup())
}

// PhysicalVolumeRemove implements machinepb.LVMServiceServer.
func (s *lvmService) PhysicalVolumeRemove(ctx context.Context, in *machinepb.LVMServicePhysicalVolumeRemoveRequest) (*emptypb.Empty, error) {
	return remove(s.d, func(d Disks) error { return d.RemovePhysicalVolume(ctx, in.GetDevice()) }, in.GetDevice())
}

// mdService is machine.MDService.
type mdService struct {
	machinepb.UnsafeMDServiceServer
	d *Deps
}

// Destroy implements machinepb.MDServiceServer.
func (s *mdService) Destroy(ctx context.Context, in *machinepb.MDDestroyRequest) (*emptypb.Empty, error) {
	return remove(s.d, func(d Disks) error { return d.DestroyArray(ctx, in.GetDevice()) }, in.GetDevice())
}
