package blockctrl

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/internal/superblock"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/state"
)

// VolumeManagerController finds volumes, and makes those that are not there and should be.
type VolumeManagerController struct {
	Kernel Kernel

	request int64 // of discovery, that was made last
}

// Name implements [controller.Controller].
func (c *VolumeManagerController) Name() string { return "block.VolumeManagerController" }

// Inputs implements [controller.Controller].
func (c *VolumeManagerController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[block.DiscoveredVolume](), controller.Weak[block.DiscoveredVolumesStatus](), controller.Weak[block.DiscoveryRefreshStatus](),
		controller.Weak[block.Disk](), controller.Weak[block.SystemDisk](), controller.Strong[block.VolumeConfig](), controller.DestroyReady[block.VolumeStatus](),
	}
}

// requestID is the id of the controller's DiscoveryRefreshRequest.
const requestID = block.DiscoveryRefreshRequestID

// Outputs implements [controller.Controller].
func (c *VolumeManagerController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[block.VolumeStatus](), controller.Shared[block.DiscoveryRefreshRequest]()}
}

// Run implements [controller.Controller].
func (c *VolumeManagerController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error { return c.once(ctx, rt, log) })
}

type wanted struct {
	id string
	block.VolumeConfig
}

func (c *VolumeManagerController) once(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	f, err := c.facts(ctx, rt)
	if err != nil {
		return err
	}
	configs, err := state.List[block.VolumeConfig](ctx, rt)
	if err != nil {
		return err
	}
	var list []wanted
	for _, r := range configs {
		if r.Metadata().Phase() == resource.Running {
			list = append(list, wanted{r.Metadata().ID(), r.Spec()})
		}
	}
	slices.SortStableFunc(list, func(a, b wanted) int { return int(a.Provisioning.Wave - b.Provisioning.Wave) })
	rt.TrackOutputs()
	var failed error
	changed := false
	for _, w := range list {
		before, _, err := state.Find[block.VolumeStatus](ctx, rt, w.id)
		if err != nil {
			return err
		}
		s, a := decide(w.id, w.VolumeConfig, f, before)
		if a.verb != nothing && f.fresh {
			if err := c.put(ctx, rt, w.id, s); err != nil {
				return err
			}
			log.Info("a volume needs work", "volume", w.id, "action", a.verb, "device", a.device, "size", pretty(a.size))
			begun := time.Now()
			if err := c.do(ctx, w, a, f); err != nil {
				failed = errors.Join(failed, err)
				if a.verb != grow {
					s, _ = fail(s, before, "%v", err)
				}
			} else {
				changed = true
				log.Info("a volume was worked on", "volume", w.id, "action", a.verb, "device", a.device, "took", time.Since(begun).Round(time.Millisecond))
			}
		}
		if s.Location != "" && (s.Phase == block.PhaseReady || s.Phase == block.PhaseLocated) {
			f.taken[strings.TrimPrefix(s.Location, "/dev/")] = w.id
		}
		// Space is for volumes of earlier waves first, for as long as they are not found.
		if s.Phase == block.PhaseWaiting && isMade(w.VolumeConfig) {
			f.pending[w.Provisioning.Wave] = w.id
		}
		if s.Phase == block.PhaseFailed && s.ErrorMessage != before.ErrorMessage {
			log.Warn("a volume cannot be used", "volume", w.id, "reason", s.ErrorMessage)
		}
		f.status[w.id] = s
		if err := c.put(ctx, rt, w.id, s); err != nil {
			return err
		}
		if changed {
			f.fresh, f.ready = false, false // the rest is done when that was looked at
		}
	}
	if changed || c.request > 0 {
		if changed {
			c.request++
		}
		if err := controller.Put(ctx, rt, requestID, block.DiscoveryRefreshRequest{Request: c.request}); err != nil {
			return err
		}
	}
	if changed {
		return failed // nothing is taken away on the grounds of facts that are old
	}
	return errors.Join(failed, rt.CleanupOutputs(ctx))
}

func (c *VolumeManagerController) put(ctx context.Context, rt controller.Runtime, id string, s block.VolumeStatus) error {
	return controller.Put(ctx, rt, id, s)
}

func (c *VolumeManagerController) facts(ctx context.Context, rt controller.Runtime) (facts, error) {
	f := facts{disks: map[string]block.Disk{}, tables: map[string]*gpt.Table{}, taken: map[string]string{}, status: map[string]block.VolumeStatus{}, pending: map[int64]string{}}
	status, _, err := state.Find[block.DiscoveredVolumesStatus](ctx, rt, block.DiscoveredVolumesStatusID)
	if err != nil {
		return f, err
	}
	done, _, err := state.Find[block.DiscoveryRefreshStatus](ctx, rt, requestID)
	if err != nil {
		return f, err
	}
	// After a change of ours nothing is done until everything was looked at again.
	f.fresh = done.Request >= c.request
	f.ready = status.Ready && f.fresh
	system, _, err := state.Find[block.SystemDisk](ctx, rt, block.SystemDiskID)
	if err != nil {
		return f, err
	}
	f.system = system.DiskID
	disks, err := controller.Running[block.Disk](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, d := range disks {
		f.disks[d.Metadata().ID()] = d.Spec()
	}
	volumes, err := controller.Running[block.DiscoveredVolume](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, v := range volumes {
		id, spec := v.Metadata().ID(), v.Spec()
		f.volumes = append(f.volumes, found{id, spec})
		if spec.Type == typeDisk && spec.Name == "gpt" {
			// A table that cannot be read now has no free space; the reason comes up when somebody wants some.
			if t, err := readTable(c.Kernel, id); err == nil {
				f.tables[id] = t
			}
		}
	}
	return f, nil
}

func readTable(k Kernel, disk string) (t *gpt.Table, err error) {
	d, err := k.Open(disk, Read)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return gpt.Read(d, d.Size(), d.SectorSize())
}

func (c *VolumeManagerController) do(ctx context.Context, w wanted, a action, f facts) error {
	switch a.verb {
	case create:
		return createPartition(ctx, c.Kernel, a.device, w.Provisioning.PartitionSpec, a.size)
	case format:
		found, ok, err := probe(c.Kernel, a.device)
		if err != nil {
			return fmt.Errorf("format %s: %w", a.device, err)
		}
		if ok {
			return fmt.Errorf("format %s: it has %s meanwhile, which is not overwritten", a.device, found)
		}
		return c.Kernel.Format(ctx, a.device, w.Provisioning.FilesystemSpec.Type, label(w.id), a.size)
	case grow:
		return growPartition(c.Kernel, a.device, a.number, a.size)
	case nothing:
	}
	return nil
}

// edge is what is made zero at both ends of a new partition, so that what was in that space once is not found in it.
const edge = 1 << 20

// createPartition makes a partition in free space of a disk, with a table if it has nothing at all. What is there is looked at again before
// the first write.
func createPartition(ctx context.Context, k Kernel, disk string, spec block.PartitionSpec, size int64) (err error) {
	d, err := k.Open(disk, Share)
	if err != nil {
		return fmt.Errorf("make partition %s on %s: %w", spec.Label, disk, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	kind, err := gpt.ParseGUID(spec.TypeUUID)
	if err != nil {
		return err
	}
	t, err := tableFor(d)
	if err != nil {
		return fmt.Errorf("make partition %s on %s: %w", spec.Label, disk, err)
	}
	if p, ok := t.Find(spec.Label); ok {
		return fmt.Errorf("make partition %s on %s: partition %d has that label", spec.Label, disk, p.Number)
	}
	p, err := t.Add(spec.Label, kind, randomGUID(), size/gpt.Align*gpt.Align)
	if err != nil {
		return err
	}
	r := &install.Recorder{Target: d}
	zeros := make([]byte, min(edge, p.Size))
	for _, at := range []int64{p.Offset, p.End() - int64(len(zeros))} {
		if _, err := r.WriteAt(zeros, at); err != nil {
			return fmt.Errorf("make partition %s on %s: %w", spec.Label, disk, err)
		}
	}
	if err := r.Sync(); err != nil {
		return fmt.Errorf("make partition %s on %s: %w", spec.Label, disk, err)
	}
	if err := writeTable(r, t); err != nil {
		return fmt.Errorf("make partition %s on %s: %w", spec.Label, disk, err)
	}
	if len(t.Partitions) == 1 {
		return d.Reread(ctx)
	}
	return d.AddPartition(p.Number, p.Offset, p.Size)
}

// tableFor returns the table of a disk, or a new one if nothing is recognised on it.
func tableFor(d Device) (*gpt.Table, error) {
	found, ok, err := superblock.Probe(d, d.Size(), d.SectorSize())
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return gpt.New(randomGUID(), d.Size(), d.SectorSize())
	case found.Table == nil:
		return nil, fmt.Errorf("it has %s, which is not overwritten", found)
	}
	return found.Table, nil
}

func writeTable(r *install.Recorder, t *gpt.Table) error {
	for _, w := range t.Encode() {
		if w.Flush {
			if err := r.Sync(); err != nil {
				return err
			}
		}
		if _, err := r.WriteAt(w.Data, w.Offset); err != nil {
			return fmt.Errorf("write the %s: %w", w.What, err)
		}
	}
	return r.Sync()
}

func randomGUID() gpt.GUID {
	var g gpt.GUID
	_, _ = rand.Read(g[:]) // never fails (crypto/rand)
	g[6] = g[6]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}

// growPartition lets a partition, which may be mounted, have size bytes.
func growPartition(k Kernel, disk string, number int, size int64) (err error) {
	d, err := k.Open(disk, Share)
	if err != nil {
		return fmt.Errorf("grow partition %d of %s: %w", number, disk, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	t, err := gpt.Read(d, d.Size(), d.SectorSize())
	if err != nil {
		return fmt.Errorf("grow partition %d of %s: %w", number, disk, err)
	}
	if err := t.Resize(number, size); err != nil {
		return fmt.Errorf("grow partition of %s: %w", disk, err)
	}
	if err := writeTable(&install.Recorder{Target: d}, t); err != nil {
		return fmt.Errorf("grow partition %d of %s: %w", number, disk, err)
	}
	i := slices.IndexFunc(t.Partitions, func(p gpt.Partition) bool { return p.Number == number })
	return d.ResizePartition(number, t.Partitions[i].Offset, t.Partitions[i].Size)
}
