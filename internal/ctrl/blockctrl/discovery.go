package blockctrl

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/gpt"
	"talos.internal/internal/superblock"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

const (
	typeDisk      = "disk"
	typePartition = "partition"
)

// DevicesController tells of block devices as the kernel does, and how often it has told of each.
type DevicesController struct {
	Kernel Kernel
	Watch  func(ctx context.Context, changed func(device string)) error

	mu    sync.Mutex
	count map[string]int64
	lost  int64
}

// Name implements [controller.Controller].
func (c *DevicesController) Name() string { return "block.DevicesController" }

// Inputs implements [controller.Controller].
func (c *DevicesController) Inputs() []controller.Input {
	return []controller.Input{controller.DestroyReady[block.Device]()}
}

// Outputs implements [controller.Controller].
func (c *DevicesController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[block.Device]()}
}

// Run implements [controller.Controller].
func (c *DevicesController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	watch := func(ctx context.Context, changed func()) error {
		return c.Watch(ctx, func(device string) {
			c.note(device)
			changed()
		})
	}
	if c.Watch == nil {
		watch = nil
	}
	return controller.Watched(ctx, rt, watch, func(ctx context.Context) error {
		disks, err := c.Kernel.List()
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		for _, d := range disks {
			if err := c.put(ctx, rt, d.Name, block.Device{Type: typeDisk, Major: int64(d.Major), Minor: int64(d.Minor), DevicePath: d.SysPath, Secondaries: d.Below}); err != nil {
				return err
			}
			for _, p := range d.Partitions {
				spec := block.Device{Type: typePartition, Major: int64(p.Major), Minor: int64(p.Minor), PartitionName: p.Name, PartitionNumber: int64(p.Number), DevicePath: p.SysPath, Parent: d.Name}
				if err := c.put(ctx, rt, p.Name, spec); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

func (c *DevicesController) note(device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[string]int64{}
	}
	if device == "" {
		c.lost++
		return
	}
	c.count[device]++
}

func (c *DevicesController) put(ctx context.Context, rt controller.Runtime, name string, spec block.Device) error {
	c.mu.Lock()
	spec.Generation = 1 + c.count[name] + c.lost
	c.mu.Unlock()
	return controller.Put(ctx, rt, name, spec)
}

// disksController tells of whole disks.
func disksController(k Kernel) controller.Controller {
	return controller.Pass{
		ControllerName: "block.DisksController",
		From:           []controller.Input{controller.Weak[block.Device]()},
		To:             []controller.Output{controller.Exclusive[block.Disk]()},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			disks, err := k.List()
			if err != nil {
				return err
			}
			for _, d := range disks {
				if err := controller.Put(ctx, rt, d.Name, diskOf(d)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func diskOf(d blockdev.Disk) block.Disk {
	return block.Disk{
		DevPath: devPath(d.Name), Size: uint64(d.Size), PrettySize: pretty(d.Size), IOSize: uint64(d.IOSize), SectorSize: uint64(d.SectorSize), Readonly: d.ReadOnly,
		CDROM: d.CDROM, Model: d.Model, FirmwareVersion: d.Firmware, Serial: d.Serial, Modalias: d.Modalias, WWID: d.WWID, UUID: d.UUID, BusPath: d.BusPath,
		SubSystem: blockdev.Subsystem, Transport: d.Transport, Rotational: d.Rotational, SecondaryDisks: d.Below,
	}
}

// pretty prints a size as talosctl shows it: "10 GB" (decimal, as disks are sold).
func pretty(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %cB", value, units[unit])
	}
	return fmt.Sprintf("%.0f %cB", value, units[unit])
}

// DiscoveryController says what is on each disk and partition. It looks at a device when the kernel tells of it, and at all of them when
// it is asked to, and says when it has looked at all that were there at the start.
type DiscoveryController struct {
	Kernel Kernel
	// Settle is how long disks may take to appear if nobody tells that all are there.
	Settle time.Duration

	begun    time.Time
	seen     map[string]look
	wasReady bool
}

// look is what was found on a device, and when.
type look struct {
	device  block.Device
	request int64
	size    int64
	found   superblock.Found
	ok      bool
}

// Name implements [controller.Controller].
func (c *DiscoveryController) Name() string { return "block.DiscoveryController" }

// Inputs implements [controller.Controller].
func (c *DiscoveryController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[block.Device](), controller.Weak[block.DiscoveryRefreshRequest](), controller.Weak[runtime.DevicesStatus](),
		controller.DestroyReady[block.DiscoveredVolume](),
	}
}

// Outputs implements [controller.Controller].
func (c *DiscoveryController) Outputs() []controller.Output {
	return []controller.Output{
		controller.Exclusive[block.DiscoveredVolume](), controller.Exclusive[block.DiscoveryRefreshStatus](), controller.Exclusive[block.DiscoveredVolumesStatus](),
	}
}

// Run implements [controller.Controller].
func (c *DiscoveryController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.begun.IsZero() {
		c.begun = time.Now()
	}
	if c.seen == nil {
		c.seen = map[string]look{}
	}
	timer := time.AfterFunc(c.Settle, rt.Wake)
	defer timer.Stop()
	return controller.Loop(ctx, rt, func(ctx context.Context) error { return c.once(ctx, rt, log) })
}

func (c *DiscoveryController) once(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	devices, err := controller.Running[block.Device](ctx, rt)
	if err != nil {
		return err
	}
	requests, err := controller.Running[block.DiscoveryRefreshRequest](ctx, rt)
	if err != nil {
		return err
	}
	request := int64(0)
	for _, r := range requests {
		request += r.Spec().Request // each only grows, and so does the sum
	}
	disks, err := c.Kernel.List()
	if err != nil {
		return err
	}
	there := map[string]block.Device{}
	for _, d := range devices {
		there[d.Metadata().ID()] = d.Spec()
	}
	rt.TrackOutputs()
	now := map[string]look{}
	complete := true // DevicesController has told of all that the kernel has
	for _, d := range disks {
		device, ok := there[d.Name]
		if !ok {
			complete = false
			continue
		}
		disk := c.look(d.Name, device, request, d.Size, log)
		now[d.Name] = disk
		base := block.DiscoveredVolume{DevPath: devPath(d.Name), Type: typeDisk, DevicePath: d.SysPath, SectorSize: uint64(d.SectorSize), IOSize: uint64(d.IOSize)}
		if err := controller.Put(ctx, rt, d.Name, discovered(base, disk, d.Size)); err != nil {
			return err
		}
		for _, p := range d.Partitions {
			device, ok := there[p.Name]
			if !ok {
				complete = false
				continue
			}
			part := c.look(p.Name, device, request, p.Size, log)
			now[p.Name] = part
			spec := base
			spec.DevPath, spec.Type, spec.DevicePath, spec.Parent, spec.ParentDevPath = devPath(p.Name), typePartition, p.SysPath, d.Name, base.DevPath
			spec.Offset, spec.PartitionIndex = uint64(p.Offset), uint64(p.Number)
			if entry, ok := tableEntry(disk.found.Table, p); ok {
				spec.PartitionLabel, spec.PartitionUUID, spec.PartitionType = entry.Label, entry.GUID.String(), entry.Type.String()
			}
			if err := controller.Put(ctx, rt, p.Name, discovered(spec, part, p.Size)); err != nil {
				return err
			}
		}
	}
	c.seen = now
	ready, err := c.ready(ctx, rt)
	if err != nil {
		return err
	}
	c.wasReady = c.wasReady || ready && complete
	for _, r := range requests {
		if !complete {
			break // a look that leaves out a new partition is no answer: it comes when that is known
		}
		if err := controller.Put(ctx, rt, r.Metadata().ID(), block.DiscoveryRefreshStatus{Request: r.Spec().Request}); err != nil {
			return err
		}
	}
	if err := controller.Put(ctx, rt, block.DiscoveredVolumesStatusID, block.DiscoveredVolumesStatus{Ready: c.wasReady}); err != nil {
		return err
	}
	return rt.CleanupOutputs(ctx)
}

// ready reports whether all disks that were there at the start had the time to appear.
func (c *DiscoveryController) ready(ctx context.Context, rt controller.Runtime) (bool, error) {
	list, err := state.List[runtime.DevicesStatus](ctx, rt)
	if err != nil {
		return false, err
	}
	for _, r := range list {
		if r.Spec().Ready {
			return true, nil
		}
	}
	return time.Since(c.begun) >= c.Settle, nil
}

// look returns what is on a device: what was found before if nothing was told of it since.
func (c *DiscoveryController) look(name string, device block.Device, request, size int64, log *slog.Logger) look {
	l, ok := c.seen[name]
	if ok && l.device.Generation == device.Generation && l.device.DevicePath == device.DevicePath && l.request == request && l.size == size {
		return l
	}
	l = look{device: device, request: request, size: size}
	found, ok, err := probe(c.Kernel, name)
	if err != nil {
		// A drive without a medium, and a disk that dies, say so here. It is there, with nothing recognised on it; whoever wants to
		// write to it looks again, and fails then.
		log.Warn("cannot read a device", "device", name, "error", err)
		found = superblock.Found{Name: unreadable}
		ok = true
	}
	l.found, l.ok = found, ok
	return l
}

// unreadable is the name of what is on a device that cannot be read: not nothing, so that it is not taken for empty.
const unreadable = "unreadable"

// tableEntry returns the entry of a partition that the kernel knows, if the table has it at the same place.
func tableEntry(t *gpt.Table, p blockdev.Partition) (gpt.Partition, bool) {
	if t == nil {
		return gpt.Partition{}, false
	}
	i := slices.IndexFunc(t.Partitions, func(e gpt.Partition) bool { return e.Number == p.Number && e.Offset == p.Offset })
	if i < 0 {
		return gpt.Partition{}, false
	}
	return t.Partitions[i], true
}

func discovered(v block.DiscoveredVolume, l look, size int64) block.DiscoveredVolume {
	v.Size, v.PrettySize = uint64(size), pretty(size)
	if l.ok {
		v.Name, v.UUID, v.Label, v.BlockSize, v.FilesystemBlockSize, v.ProbedSize = l.found.Name, l.found.UUID, l.found.Label, l.found.Sector, l.found.BlockSize, l.found.Size
	}
	return v
}

// systemDiskController says which disk the system is installed on: the one with META and EFI, and if several have them the one that the
// system was started from.
func systemDiskController(rootGUID string) controller.Controller {
	return controller.Pass{
		ControllerName: "block.SystemDiskController",
		From:           []controller.Input{controller.Weak[block.DiscoveredVolume]()},
		To:             []controller.Output{controller.Exclusive[block.SystemDisk]()},
		Once: func(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
			volumes, err := controller.Running[block.DiscoveredVolume](ctx, rt)
			if err != nil {
				return err
			}
			var specs []block.DiscoveredVolume
			for _, v := range volumes {
				specs = append(specs, v.Spec())
			}
			disk, others := systemDisk(specs, rootGUID)
			if disk == "" {
				return nil
			}
			if len(others) > 0 {
				log.Warn("several disks have a system", "taken", disk, "others", others)
			}
			return controller.Put(ctx, rt, block.SystemDiskID, block.SystemDisk{DiskID: disk, DevPath: devPath(disk)})
		},
	}
}

func systemDisk(volumes []block.DiscoveredVolume, rootGUID string) (disk string, others []string) {
	labels := map[string]map[string]bool{}
	booted := ""
	for _, v := range volumes {
		if v.Parent == "" {
			continue
		}
		if labels[v.Parent] == nil {
			labels[v.Parent] = map[string]bool{}
		}
		labels[v.Parent][v.PartitionLabel] = true
		if rootGUID != "" && v.PartitionUUID == rootGUID {
			booted = v.Parent
		}
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		switch l := labels[name]; {
		case !l["META"] || !l["EFI"]:
		case disk == "":
			disk = name
		case name == booted:
			disk, others = name, append(others, disk)
		default:
			others = append(others, name)
		}
	}
	return disk, others
}
