package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/internal/partition"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// VolumeManagerController finds volumes, and makes those that are not there and should be.
type VolumeManagerController struct {
	Kernel Kernel
	// State remembers how STATE is opened.
	State *diskkey.Memory
	// Keys has the secrets of encrypted volumes; nil means that there are none.
	Keys *diskkey.Keeper
	// Measure measures into a register of the TPM. Nil means that there is none.
	Measure func(register int, data []byte) error
	// Default says that volumes that the config does not speak of are encrypted by the TPM.
	Default bool

	seals    bool  // the TPM can keep keys
	request  int64 // of discovery, that was made last
	opened   map[string]opened
	refused  map[string]refusal
	measured bool
	recovery map[string]string // recovery keys that were made since the start
}

// Name implements [controller.Controller].
func (c *VolumeManagerController) Name() string { return "block.VolumeManagerController" }

// Inputs implements [controller.Controller].
func (c *VolumeManagerController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[block.DiscoveredVolume](), controller.Weak[block.DiscoveredVolumesStatus](), controller.Weak[block.DiscoveryRefreshStatus](),
		controller.Weak[block.Disk](), controller.Weak[block.SystemDisk](), controller.Strong[block.VolumeConfig](), controller.DestroyReady[block.VolumeStatus](), controller.DestroyReady[block.RecoveryKey](),
		controller.Weak[secrets.EncryptionSalt](),
	}
}

// requestID is the id of the controller's DiscoveryRefreshRequest.
const requestID = block.DiscoveryRefreshRequestID

// Outputs implements [controller.Controller].
func (c *VolumeManagerController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[block.VolumeStatus](), controller.Exclusive[block.RecoveryKey](), controller.Shared[block.DiscoveryRefreshRequest]()}
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
		w.Encryption = byDefault(w.id, w.VolumeConfig, f)
		s, a := decide(w.id, w.VolumeConfig, f, before)
		if a.verb != nothing && f.fresh {
			if err := c.put(ctx, rt, w.id, s); err != nil {
				return err
			}
			log.Info("a volume needs work", "volume", w.id, "action", a.verb, "device", a.device, "size", pretty(a.size))
			begun := time.Now()
			if err := c.do(ctx, w, a, f, log); err != nil {
				if _, refused := c.refused[w.id]; !refused { // keys that do not open it do not do so at once either
					failed = errors.Join(failed, err)
				}
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
		if w.id == install.LabelState && s.Phase == block.PhaseReady && s.EncryptionProvider == block.EncryptionNone {
			c.measure(diskkey.Identity("", nil), log)
		}
		f.status[w.id], f.measured = s, c.measured
		if err := c.put(ctx, rt, w.id, s); err != nil {
			return err
		}
		if changed {
			f.fresh, f.ready = false, false // the rest is done when that was looked at
		}
	}
	for id, key := range c.recovery {
		if err := controller.Put(ctx, rt, id, block.RecoveryKey{Key: key}); err != nil {
			return err
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
	return errors.Join(failed, rt.CleanupOutputs(ctx), c.close(ctx, rt, log))
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
	return f, c.cryptFacts(ctx, rt, &f)
}

func readTable(k Kernel, disk string) (t *gpt.Table, err error) {
	d, err := k.Open(disk, Read)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return gpt.Read(d, d.Size(), d.SectorSize())
}

func (c *VolumeManagerController) do(ctx context.Context, w wanted, a action, f facts, log *slog.Logger) error {
	switch a.verb {
	case create:
		spec := w.Provisioning.PartitionSpec
		kind, err := gpt.ParseGUID(spec.TypeUUID)
		if err != nil {
			return err
		}
		return onDisk(c.Kernel, a.device, func(d Device) error { return partition.Create(ctx, d, spec.Label, kind, a.size) })
	case format:
		found, ok, err := probe(c.Kernel, a.device)
		if err != nil {
			return fmt.Errorf("format %s: %w", a.device, err)
		}
		if ok {
			return fmt.Errorf("format %s: it has %s meanwhile, which is not overwritten", a.device, found)
		}
		if err := clearUnfinished(c.Kernel, a.device); err != nil {
			return fmt.Errorf("format %s: %w", a.device, err)
		}
		spec := w.Provisioning.FilesystemSpec
		spec.Label = label(w.id)
		return c.Kernel.Format(ctx, a.device, spec, a.size)
	case grow:
		return onDisk(c.Kernel, a.device, func(d Device) error { return partition.Grow(d, a.number, a.size) })
	case encrypt, unlock, resync:
		return c.crypt(ctx, w, a, f, log)
	case nothing:
	}
	return nil
}

// onDisk opens a disk whose partitions may be in use, and changes them while nobody else does.
func onDisk(k Kernel, disk string, change func(Device) error) error {
	return install.Exclusive(func() (err error) {
		d, err := k.Open(disk, Share)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		if err := change(d); err != nil {
			return fmt.Errorf("disk %s: %w", disk, err)
		}
		return nil
	})
}
