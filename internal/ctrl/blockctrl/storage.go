package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"talos.internal/api/storagepb"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/internal/partition"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/state"
)

// Storage changes what is on disks, for the API.
//
// A device that a volume is on, that another device is made of, or that is mounted or in use otherwise is refused: the error wraps
// blockdev.ErrBusy and says by what. The first two are asked away by skip_volume_check and skip_secondary_check; what the kernel says is not.
type Storage struct {
	Kernel Kernel
	State  state.ReadWriter
}

// wipeRequestID is the id of the DiscoveryRefreshRequest that is made after a wipe: the kernel does not tell of what is written.
const wipeRequestID = "wipe"

// wipeTarget is a device that is to be wiped.
type wipeTarget struct {
	*storagepb.BlockDeviceWipeDescriptor
	disk      blockdev.Disk
	partition *blockdev.Partition
}

// Wipe makes devices, disks or partitions, empty: by overwriting what is recognised (FAST) or all (ZEROES). All are checked before the first
// is changed.
func (s *Storage) Wipe(ctx context.Context, devices []*storagepb.BlockDeviceWipeDescriptor) error {
	disks, err := s.Kernel.List()
	if err != nil {
		return err
	}
	volumes, err := state.List[block.VolumeStatus](ctx, s.State)
	if err != nil {
		return err
	}
	var used []usage
	for _, v := range volumes {
		used = append(used, usage{v.Metadata().ID(), v.Spec()})
	}
	var targets []wipeTarget
	for _, d := range devices {
		t, err := checkWipe(d, disks, used)
		if err != nil {
			return fmt.Errorf("wipe %s: %w", d.GetDevice(), err)
		}
		targets = append(targets, t)
	}
	for _, t := range targets {
		if err := s.wipe(ctx, t); err != nil {
			return errors.Join(fmt.Errorf("wipe %s: %w", t.GetDevice(), err), s.refresh(ctx))
		}
	}
	return s.refresh(ctx)
}

func (s *Storage) refresh(ctx context.Context) error {
	_, err := state.Modify(ctx, s.State, wipeRequestID, func(_ *resource.Metadata, r *block.DiscoveryRefreshRequest) error {
		r.Request++
		return nil
	})
	return err
}

// usage is a volume and where it is.
type usage struct {
	id string
	block.VolumeStatus
}

func checkWipe(d *storagepb.BlockDeviceWipeDescriptor, disks []blockdev.Disk, used []usage) (wipeTarget, error) {
	name := strings.TrimPrefix(d.GetDevice(), "/dev/")
	t := wipeTarget{BlockDeviceWipeDescriptor: d}
	for _, disk := range disks {
		if disk.Name == name {
			t.disk = disk
		}
		for _, p := range disk.Partitions {
			if p.Name == name {
				t.disk, t.partition = disk, &p
			}
		}
	}
	switch {
	case t.disk.Name == "":
		return t, fmt.Errorf("there is no such disk or partition: %w", fs.ErrNotExist)
	case t.partition == nil && d.GetDropPartition():
		return t, fmt.Errorf("it is a disk, and no partition to drop: %w", fs.ErrInvalid)
	}
	if !d.GetSkipVolumeCheck() {
		path := devPath(name)
		for _, u := range used {
			if u.Phase == block.PhaseMissing || u.Location != path && (t.partition != nil || u.ParentLocation != path) {
				continue
			}
			if u.Phase == block.PhaseFailed && u.PreFailPhase != block.PhaseReady {
				continue // it failed because of what is there: to wipe that is the remedy
			}
			return t, fmt.Errorf("the volume %s is on it: %w", u.id, blockdev.ErrBusy)
		}
	}
	if !d.GetSkipSecondaryCheck() {
		for _, disk := range disks {
			if slices.Contains(disk.Below, name) {
				return t, fmt.Errorf("%s is made of it: %w", disk.Name, blockdev.ErrBusy)
			}
		}
	}
	return t, nil
}

func (t wipeTarget) name() string {
	if t.partition != nil {
		return t.partition.Name
	}
	return t.disk.Name
}

func (s *Storage) wipe(ctx context.Context, t wipeTarget) error {
	if err := s.overwrite(ctx, t); err != nil {
		return err
	}
	if t.partition == nil || !t.GetDropPartition() {
		return nil
	}
	return onDisk(s.Kernel, t.disk.Name, func(d Device) error { return partition.Drop(d, t.partition.Number) })
}

func (s *Storage) overwrite(ctx context.Context, t wipeTarget) (err error) {
	d, err := s.Kernel.Open(t.name(), Claim)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	ranges := []gpt.Range{{Offset: 0, Size: d.Size()}}
	if t.GetMethod() == storagepb.BlockDeviceWipeDescriptor_FAST && d.Size() > 2*partition.Edge {
		ranges = []gpt.Range{{Offset: 0, Size: partition.Edge}, {Offset: d.Size() - partition.Edge, Size: partition.Edge}}
	}
	plan := install.Plan{Disk: t.name()}
	for _, r := range ranges {
		plan.Steps = append(plan.Steps, install.Step{Do: install.OpZero, What: "what is there", Offset: r.Offset, Size: r.Size})
	}
	plan.Steps = append(plan.Steps, install.Step{Do: install.OpFlush, What: "it is empty"})
	if err := install.Execute(ctx, plan, &install.Recorder{Target: d}, install.Assets{}, nil); err != nil {
		return err
	}
	if t.partition == nil && len(t.disk.Partitions) > 0 {
		for _, p := range t.disk.Partitions {
			if err := d.RemovePartition(p.Number); err != nil {
				return err
			}
		}
	}
	return nil
}

// RemoveLogicalVolume says that there is no LVM.
func (s *Storage) RemoveLogicalVolume(context.Context, string, string) error { return lacks("LVM") }

// RemoveVolumeGroup says that there is no LVM.
func (s *Storage) RemoveVolumeGroup(context.Context, string) error { return lacks("LVM") }

// RemovePhysicalVolume says that there is no LVM.
func (s *Storage) RemovePhysicalVolume(context.Context, string) error { return lacks("LVM") }

// DestroyArray says that there is no software RAID.
func (s *Storage) DestroyArray(context.Context, string) error { return lacks("software RAID") }

func lacks(what string) error {
	return fmt.Errorf("this version has no %s: %w", what, errors.ErrUnsupported)
}
