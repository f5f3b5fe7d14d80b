package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"talos.internal/controller"
	"talos.internal/internal/sys/mount"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/state"
)

// mountRequestController puts together what all who want a volume ask for, once the volume is ready.
func mountRequestController() controller.Controller {
	return controller.Pass{
		ControllerName: "block.MountRequestController",
		From:           []controller.Input{controller.Weak[block.VolumeMountRequest](), controller.Weak[block.VolumeStatus]()},
		To:             []controller.Output{controller.Exclusive[block.MountRequest]()},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			wishes, err := controller.Running[block.VolumeMountRequest](ctx, rt)
			if err != nil {
				return err
			}
			merged := map[string]*block.MountRequest{}
			for _, w := range wishes {
				mergeMount(merged, w.Metadata().ID(), w.Spec())
			}
			for id, m := range merged {
				status, there, err := state.Find[block.VolumeStatus](ctx, rt, id)
				if err != nil {
					return err
				}
				// A volume that failed after it was ready stays mounted: what still works there goes on.
				if !there || status.Phase != block.PhaseReady && (status.Phase != block.PhaseFailed || status.PreFailPhase != block.PhaseReady) {
					continue
				}
				m.ParentID = status.MountSpec.ParentID
				if err := controller.Put(ctx, rt, id, *m); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// mergeMount adds a wish to those for the same volume: who wants less may get more, but for what protects.
func mergeMount(merged map[string]*block.MountRequest, id string, w block.VolumeMountRequest) {
	m, ok := merged[w.VolumeID]
	if !ok {
		m = &block.MountRequest{VolumeID: w.VolumeID, ReadOnly: w.ReadOnly, Detached: w.Detached, DisableAccessTime: w.DisableAccessTime, Secure: w.Secure, NoExec: w.NoExec}
		merged[w.VolumeID] = m
	}
	m.ReadOnly = m.ReadOnly && w.ReadOnly
	m.Detached = m.Detached && w.Detached
	m.DisableAccessTime = m.DisableAccessTime && w.DisableAccessTime
	m.Secure = m.Secure || w.Secure
	m.NoExec = m.NoExec || w.NoExec
	m.Requesters, m.RequesterIDs = append(m.Requesters, w.Requester), append(m.RequesterIDs, id)
}

// MountController mounts volumes, those in others after them, and takes them off when nobody needs them.
type MountController struct {
	Kernel Kernel
	Mounts mount.Verbs

	grown map[string]uint64 // size that the file system of a volume was given
}

// Name implements [controller.Controller].
func (c *MountController) Name() string { return "block.MountController" }

// Inputs implements [controller.Controller].
func (c *MountController) Inputs() []controller.Input {
	return []controller.Input{controller.Strong[block.MountRequest](), controller.Strong[block.VolumeStatus](), controller.DestroyReady[block.MountStatus]()}
}

// Outputs implements [controller.Controller].
func (c *MountController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[block.MountStatus]()}
}

// Run implements [controller.Controller].
func (c *MountController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.grown == nil {
		c.grown = map[string]uint64{}
	}
	return controller.Loop(ctx, rt, func(ctx context.Context) error { return c.once(ctx, rt, log) })
}

func (c *MountController) once(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	requests, err := state.List[block.MountRequest](ctx, rt)
	if err != nil {
		return err
	}
	// Volumes before those that are in them.
	slices.SortStableFunc(requests, func(a, b *resource.Typed[block.MountRequest]) int {
		return len(a.Spec().ParentID) - len(b.Spec().ParentID)
	})
	var failed error
	for _, r := range slices.Backward(requests) {
		if r.Metadata().Phase() == resource.TearingDown {
			failed = errors.Join(failed, c.takeOff(ctx, rt, r, requests, log))
		}
	}
	for _, r := range requests {
		if r.Metadata().Phase() == resource.Running {
			if err := c.putOn(ctx, rt, r, log); err != nil {
				failed = errors.Join(failed, fmt.Errorf("mount volume %s: %w", r.Metadata().ID(), err))
			}
		}
	}
	return failed
}

func (c *MountController) putOn(ctx context.Context, rt controller.Runtime, r *resource.Typed[block.MountRequest], log *slog.Logger) error {
	id, request := r.Metadata().ID(), r.Spec()
	status, there, err := state.Find[block.VolumeStatus](ctx, rt, id)
	if err != nil || !there {
		return err
	}
	if request.ParentID != "" {
		if _, mounted, err := state.Find[block.MountStatus](ctx, rt, request.ParentID); err != nil || !mounted {
			return err
		}
	}
	before, mounted, err := state.Find[block.MountStatus](ctx, rt, id)
	if err != nil {
		return err
	}
	for _, ref := range []resource.Ref{state.RefOf[block.MountRequest](id), state.RefOf[block.VolumeStatus](id)} {
		if err := state.AddFinalizer(ctx, rt, ref, c.Name()); err != nil {
			if errors.Is(err, state.PhaseConflict) {
				return nil // it is on its way out: not mounted any more
			}
			return err
		}
	}
	if !mounted {
		if err := c.mount(id, request, status); err != nil {
			return err
		}
		log.Info("a volume is mounted", "volume", id, "source", status.MountLocation, "target", status.MountSpec.TargetPath)
	}
	if status.Phase == block.PhaseReady && status.Size != c.grown[id] && !request.ReadOnly && !strings.HasPrefix(id, prefixExisting) && status.MountSpec.TargetPath != "" {
		if err := c.Kernel.Grow(status.MountSpec.TargetPath, status.Filesystem, int64(status.Size)); err != nil {
			log.Warn("a file system does not grow", "volume", id, "error", err)
		}
		c.grown[id] = status.Size
	}
	now := block.MountStatus{
		Request: request, Source: status.MountLocation, Target: status.MountSpec.TargetPath, Filesystem: status.Filesystem, EncryptionProvider: status.EncryptionProvider,
		ReadOnly: request.ReadOnly, ProjectQuotaSupport: status.MountSpec.ProjectQuotaSupport && status.Filesystem == block.FilesystemXFS,
	}
	if mounted { // what it was mounted with stays until it is mounted anew
		now.Source, now.ReadOnly, now.ProjectQuotaSupport, now.Filesystem = before.Source, before.ReadOnly, before.ProjectQuotaSupport, before.Filesystem
	}
	return controller.Put(ctx, rt, id, now)
}

// call returns what is mounted for a volume.
func call(request block.MountRequest, s block.VolumeStatus) mount.Call {
	flags := mount.Flags(0)
	for _, f := range []struct {
		on bool
		mount.Flags
	}{
		{request.ReadOnly, mount.ReadOnly}, {request.Secure, mount.NoSuid | mount.NoDev}, {request.NoExec, mount.NoExec}, {request.DisableAccessTime, mount.NoAtime},
	} {
		if f.on {
			flags |= f.Flags
		}
	}
	data := ""
	if s.MountSpec.ProjectQuotaSupport && s.Filesystem == block.FilesystemXFS {
		data = "prjquota"
	}
	return mount.Call{Source: s.MountLocation, Target: s.MountSpec.TargetPath, Type: s.Filesystem.String(), Flags: flags, Data: data}
}

func (c *MountController) mount(id string, request block.MountRequest, s block.VolumeStatus) error {
	if s.Filesystem == block.FilesystemSwap {
		return c.Kernel.SwapOn(strings.TrimPrefix(s.MountLocation, "/dev/"))
	}
	target := s.MountSpec.TargetPath
	if target == "" {
		return fmt.Errorf("volume %s has no mount point", id)
	}
	mode := s.MountSpec.FileMode
	if mode == 0 {
		mode = 0o755
	}
	if err := c.Mounts.MakePoint(target, false, mode); err != nil {
		return err
	}
	table, err := c.Mounts.Table()
	if err != nil {
		return err
	}
	// A controller that was started again finds its own mounts. Something else at the point, such as the tmpfs of the boot, is covered.
	m := call(request, s)
	if top, ok := mount.Top(table, target); ok && top.Source == m.Source && top.Type == m.Type {
		return nil
	}
	if s.Type == block.VolumeDirectory {
		if m.Flags == 0 {
			return nil
		}
		return mount.BindTo(c.Mounts, target, target, m.Flags)
	}
	return c.Mounts.Mount(m)
}

// takeOff ends a mount when who uses it has let go, and when what is in it is off.
func (c *MountController) takeOff(ctx context.Context, rt controller.Runtime, r *resource.Typed[block.MountRequest], all []*resource.Typed[block.MountRequest], log *slog.Logger) error {
	id := r.Metadata().ID()
	release := func() error {
		delete(c.grown, id)
		return errors.Join(
			state.RemoveFinalizer(ctx, rt, state.RefOf[block.VolumeStatus](id), c.Name()),
			state.RemoveFinalizer(ctx, rt, state.RefOf[block.MountRequest](id), c.Name()),
		)
	}
	m, err := state.Get[block.MountStatus](ctx, rt, id)
	if errors.Is(err, state.NotFound) {
		return release()
	}
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Spec().ParentID != id {
			continue
		}
		if _, err := state.Get[block.MountStatus](ctx, rt, other.Metadata().ID()); err == nil {
			return nil // its end wakes this controller
		}
	}
	ready, err := state.Teardown[block.MountStatus](ctx, rt, id)
	if err != nil || !ready {
		return err
	}
	spec := m.Spec()
	if err := c.unmount(spec); err != nil {
		return fmt.Errorf("unmount volume %s: %w", id, err)
	}
	log.Info("a volume is unmounted", "volume", id, "target", spec.Target)
	if err := state.Destroy[block.MountStatus](ctx, rt, id); err != nil {
		return err
	}
	return release()
}

func (c *MountController) unmount(m block.MountStatus) error {
	if m.Filesystem == block.FilesystemSwap {
		return c.Kernel.SwapOff(strings.TrimPrefix(m.Source, "/dev/"))
	}
	table, err := c.Mounts.Table()
	if err != nil {
		return err
	}
	if top, ok := mount.Top(table, m.Target); !ok || m.Source != "" && top.Source != m.Source && m.Source != m.Target {
		return nil // it is off already
	}
	return c.Mounts.Unmount(m.Target, 0)
}

// MountStatusController tells each who asked for a volume that it is mounted, and keeps it so for as long as he needs it.
type MountStatusController struct{}

// Name implements [controller.Controller].
func (*MountStatusController) Name() string { return "block.MountStatusController" }

// Inputs implements [controller.Controller].
func (*MountStatusController) Inputs() []controller.Input {
	return []controller.Input{controller.Strong[block.MountStatus](), controller.Weak[block.VolumeMountRequest](), controller.DestroyReady[block.VolumeMountStatus]()}
}

// Outputs implements [controller.Controller].
func (*MountStatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[block.VolumeMountStatus]()}
}

// Run implements [controller.Controller].
func (c *MountStatusController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error { return c.once(ctx, rt) })
}

func (c *MountStatusController) once(ctx context.Context, rt controller.Runtime) error {
	wishes, err := controller.Running[block.VolumeMountRequest](ctx, rt)
	if err != nil {
		return err
	}
	rt.TrackOutputs()
	for _, w := range wishes {
		request := w.Spec()
		m, mounted, err := state.Find[block.MountStatus](ctx, rt, request.VolumeID)
		if err != nil {
			return err
		}
		if !mounted {
			continue
		}
		if err := state.AddFinalizer(ctx, rt, state.RefOf[block.MountStatus](request.VolumeID), c.Name()); err != nil {
			if errors.Is(err, state.PhaseConflict) || errors.Is(err, state.NotFound) {
				continue
			}
			return err
		}
		if err := controller.Put(ctx, rt, w.Metadata().ID(), block.VolumeMountStatus{
			VolumeID: request.VolumeID, Requester: request.Requester, Target: m.Target, ReadOnly: m.ReadOnly, Detached: m.Detached,
			DisableAccessTime: m.Request.DisableAccessTime, Secure: m.Request.Secure, NoExec: m.Request.NoExec,
		}); err != nil {
			return err
		}
	}
	if err := rt.CleanupOutputs(ctx); err != nil {
		return err
	}
	left, err := state.List[block.VolumeMountStatus](ctx, rt)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, s := range left {
		used[s.Spec().VolumeID] = true
	}
	mounts, err := state.List[block.MountStatus](ctx, rt)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if id := m.Metadata().ID(); !used[id] {
			if err := state.RemoveFinalizer(ctx, rt, state.RefOf[block.MountStatus](id), c.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
