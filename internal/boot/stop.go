package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/process"
)

// CauseKind is why a node ends.
type CauseKind string

// The kinds.
const (
	Terminated CauseKind = "terminated" // a signal to PID 1: the container runtime stops the container
	Shutdown   CauseKind = "shutdown"
	Reboot     CauseKind = "reboot"
	Reset      CauseKind = "reset"
)

// Cause is why a node ends, and how.
type Cause struct {
	Kind CauseKind
	// Grace is the time for all of it but First and Last; zero means DefaultStopTime. Docker kills after 30 s.
	Grace time.Duration
	// WipeState and WipeEphemeral are what a reset of a container removes.
	WipeState, WipeEphemeral bool
	// Wipe are the steps of a reset of a machine. They come when nothing is mounted any more, have their own limits, and that
	// they fail is never a reason to stay.
	Wipe []Step
	// How is how a machine ends; empty means as its kind says: by power off, or by a restart.
	How process.End
	// First are steps of the caller that need the services, such as leaving etcd. They have their own limits and come before
	// everything else. That they fail is never a reason to stay.
	First []Step
	// Last are steps of the caller when nothing runs any more and everything is still mounted, such as writing logs. They have their own
	// limits, and that they fail is never a reason to stay.
	Last []Step
}

// DefaultStopTime fits into the 30 s after which a container runtime kills, with some to spare.
const DefaultStopTime = 25 * time.Second

// minStopTime is the least that is planned with: below it not even what is quick would be done.
const minStopTime = 2 * time.Second

// StopPlan returns the steps that end the node. None of them may keep it from ending: each may fail and has a limit, and
// together they take the grace time at most; to wipe EPHEMERAL may take as long again. The last is an [End]; what it says is for the caller of [Run] to do.
//
// f are the facts from before the boot: what was mounted then is the container runtime's to take off. The error wraps
// [ErrLacks] if the mode cannot end in this way.
func StopPlan(f Facts, c Cause) ([]Step, error) {
	end := End{}
	switch c.Kind {
	case Terminated:
	case Shutdown, Reboot, Reset:
		need := map[CauseKind]Capability{Shutdown: CanShutdown, Reboot: CanReboot, Reset: CanReset}[c.Kind]
		if err := f.Mode.Check(need); err != nil {
			return nil, fmt.Errorf("plan the stop: %w", err)
		}
	default:
		return nil, fmt.Errorf("plan the stop: %q is no cause: %w", c.Kind, syscall.EINVAL)
	}
	switch f.Mode {
	case Container:
	case Metal:
		end.How = c.How
		if end.How == "" {
			end.How = map[CauseKind]process.End{Shutdown: process.PowerOff, Reboot: process.Restart, Reset: process.Restart, Terminated: process.Restart}[c.Kind]
		}
	default:
		return nil, fmt.Errorf("plan the stop: mode %s: %w", f.Mode, errors.ErrUnsupported)
	}
	total := c.Grace
	if total == 0 {
		total = DefaultStopTime
	}
	total = max(total, minStopTime)
	share := func(percent time.Duration) time.Duration { return (total * percent / 100).Round(time.Millisecond) }

	var steps []Step
	add := func(name, lost string, limit time.Duration, do Action) {
		steps = append(steps, Step{Name: name, Do: do, MayFail: lost, Limit: limit})
	}
	own := func(list []Step) {
		for _, s := range list {
			if s.MayFail == "" {
				s.MayFail = "the node ends without it"
			}
			steps = append(steps, s)
		}
	}
	own(c.First)
	add("let no service start any more", "services may come back", share(4), DenyServices{})
	add("stop the services in their order", "those that are left are killed", share(56), StopServices{})
	if f.PID1 {
		add("ask what is left to end: pods, and what services left", "it is killed", share(12), SignalAll{syscall.SIGTERM})
		add("kill what is left", "it may keep file systems busy", share(8), SignalAll{syscall.SIGKILL})
	}
	own(c.Last)
	if f.Mode == Metal {
		add("write to the disks what is not there yet", "the last writes may be lost", share(4), Sync{})
		add("take off the volumes, the last first", "file systems are repaired by their journals at the next start", share(6), Unmount{
			Below: []string{"/opt", "/var", "/system/imagecache", "/system/state"},
		})
		add("close the encrypted volumes", "their partitions count as in use and are not wiped", share(2), CloseVolumes{})
		own(c.Wipe)
		add("close what is still mounted", "file systems are repaired by their journals at the next start", share(4), CloseDisks{})
		add("write to the disks what is still not there", "the last writes may be lost", share(4), Sync{})
		return append(steps, Step{Name: "end: " + string(c.Kind), Do: end}), nil
	}
	var keep []string
	for _, m := range f.Mounts {
		keep = append(keep, m.Point)
	}
	slices.Sort(keep)
	keep = slices.Compact(keep)
	// /var itself stays until it is wiped: below it may be a root file system that is closed.
	add("take off what pods and services mounted, the last first", "data of pods' volumes may be lost", share(6), Unmount{
		Below: []string{"/var"}, Keep: append(slices.Clone(keep), "/var"),
	})
	if c.Kind == Reset && c.WipeState {
		add("wipe STATE", "the config and the identity of the node are still there", share(4), Wipe{"/system/state"})
	}
	if c.Kind == Reset && c.WipeEphemeral {
		wipe := share(100) // images can be many files; who resets waits for it
		add("wipe EPHEMERAL", "data of the node are still there", wipe, Wipe{"/var"})
	}
	add("take off the mounts of this start, the last first", "they end with the container", share(4), Unmount{
		Below: []string{"/etc", "/tmp", "/run", "/opt", "/var", "/system"}, Keep: keep,
	})
	add("write to the disks what is not there yet", "the last writes may be lost", share(6), SyncPoints{"/system/state", "/var"})
	return append(steps, Step{Name: "end: " + string(c.Kind), Do: end}), nil
}

// DenyServices lets no service start any more.
type DenyServices struct{}

// String returns what it does.
func (DenyServices) String() string { return "deny starts of services" }

func (DenyServices) run(_ context.Context, h *Host, _ func(string)) error {
	if h.Services != nil {
		h.Services.DenyStarts()
	}
	return nil
}

// StopServices stops all services within the limit of its step.
type StopServices struct{}

// String returns what it does.
func (StopServices) String() string { return "stop services" }

func (StopServices) run(ctx context.Context, h *Host, _ func(string)) error {
	if h.Services == nil {
		return nil
	}
	// The services are given a little less, to have the time for the report about those that did not stop.
	if d, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.Add(-time.Until(d)/20))
		defer cancel()
	}
	return h.Services.StopAll(ctx)
}

// SignalAll sends a signal to all processes, and waits until there are none. It is for PID 1 alone: for another process,
// all are those of the machine.
type SignalAll struct{ Signal syscall.Signal }

// String returns what it does.
func (s SignalAll) String() string { return fmt.Sprintf("send %v to all processes", s.Signal) }

func (s SignalAll) run(ctx context.Context, h *Host, _ func(string)) error {
	if err := h.Machine.SignalAll(s.Signal); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := h.Processes.Others()
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d processes are left after %v: %s: %w", len(left), s.Signal, some(left), context.Cause(ctx))
		}
	}
}

// some lists the first of many.
func some(list []string) string {
	const most = 10
	if len(list) > most {
		return strings.Join(list[:most], ", ") + ", …"
	}
	return strings.Join(list, ", ")
}

// Unmount takes off all mounts at the directories and in them, the last first, but those at the points of Keep. What is
// busy, or is on a server that may not answer, is detached.
type Unmount struct {
	Below []string
	Keep  []string
}

// String returns the directories.
func (u Unmount) String() string {
	return "unmount below " + strings.Join(u.Below, " ") + " what was not there before"
}

// remote are the types of file systems whose server can keep an unmount waiting.
var remote = map[string]bool{"nfs": true, "nfs4": true, "cifs": true, "smb3": true, "ceph": true, "fuse": true, "9p": true}

func (u Unmount) run(ctx context.Context, h *Host, say func(string)) error {
	var errs []error
	for _, dir := range u.Below {
		table, err := h.Mounts.Table()
		if err != nil {
			return err
		}
		for _, point := range mount.Below(table, dir) {
			if ctx.Err() != nil {
				return errors.Join(append(errs, fmt.Errorf("unmount %s: %w", point, context.Cause(ctx)))...)
			}
			if slices.Contains(u.Keep, point) {
				continue
			}
			var how mount.UnmountFlags
			m, _ := mount.Top(table, point)
			if kind, _, _ := strings.Cut(m.Type, "."); remote[kind] {
				how = mount.Force | mount.Detach
			}
			err := h.Mounts.Unmount(point, how)
			// To detach it would take what is kept below it along.
			kept := slices.ContainsFunc(u.Keep, func(k string) bool { return strings.HasPrefix(k, point+"/") })
			if errors.Is(err, mount.ErrBusy) && !kept {
				say(point + " is busy and detached")
				err = h.Mounts.Unmount(point, mount.Detach)
			}
			// A shared mount takes its copies along; then there is none at the point any more.
			if err != nil && !errors.Is(err, syscall.EINVAL) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Wipe removes all that is in a directory, but not what is mounted in it.
type Wipe struct{ Path string }

// String returns the directory.
func (w Wipe) String() string { return "remove all that is in " + w.Path }

func (w Wipe) run(_ context.Context, h *Host, _ func(string)) error {
	table, err := h.Mounts.Table()
	if err != nil {
		return err
	}
	var keep []string
	for _, point := range mount.Below(table, w.Path) {
		if point != w.Path {
			keep = append(keep, point)
		}
	}
	if err := h.Files.Empty(w.Path, keep); err != nil {
		return err
	}
	if len(keep) > 0 {
		return fmt.Errorf("what is mounted there is not wiped: %s", some(keep))
	}
	return nil
}

// Sync writes what file systems hold back to the disks.
type Sync struct{}

// String returns what it does.
func (Sync) String() string { return "sync" }

func (Sync) run(_ context.Context, h *Host, _ func(string)) error {
	h.Machine.Sync()
	return nil
}

// SyncPoints writes what the file systems at these points hold back to the disks, and no other: those of a container's host are
// none of its business, and can be many.
type SyncPoints []string

// String names them.
func (s SyncPoints) String() string { return "sync " + strings.Join(s, " ") }

func (s SyncPoints) run(ctx context.Context, h *Host, _ func(string)) error {
	var errs []error
	for _, p := range s {
		if ctx.Err() != nil {
			return errors.Join(append(errs, fmt.Errorf("sync %s: %w", p, context.Cause(ctx)))...)
		}
		errs = append(errs, h.Files.SyncAt(p))
	}
	return errors.Join(errs...)
}

// VolumeDevice is what the names of the mapped devices of encrypted volumes begin with.
const VolumeDevice = "luks2-"

// CloseVolumes takes away the mapped devices of encrypted volumes. One that is in use stays.
type CloseVolumes struct{}

// String says so.
func (CloseVolumes) String() string { return "take away the mapped devices " + VolumeDevice + "*" }

func (CloseVolumes) run(_ context.Context, h *Host, say func(string)) error {
	closed, err := h.Devices.Unmap(VolumeDevice)
	if len(closed) > 0 {
		say("closed " + strings.Join(closed, " "))
	}
	return err
}

// CloseDisks makes every file system on a disk read-only that is still mounted, since somebody keeps it busy. One that is so
// needs no repair.
type CloseDisks struct{}

// String says so.
func (CloseDisks) String() string { return "make what is mounted from disks read-only" }

func (CloseDisks) run(ctx context.Context, h *Host, say func(string)) error {
	table, err := h.Mounts.Table()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range table {
		if !strings.HasPrefix(m.Source, "/dev/") || m.HasOption("ro") || m.HasSuperOption("ro") {
			continue
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, fmt.Errorf("close %s: %w", m.Point, context.Cause(ctx)))...)
		}
		say(m.Point + " is still mounted")
		errs = append(errs, h.Mounts.Mount(mount.Call{Target: m.Point, Flags: mount.Remount | mount.ReadOnly}))
	}
	return errors.Join(errs...)
}

// End is the end. With How empty it does nothing: PID 1 has to return from main, which is the end of a container.
// Otherwise it does not return.
type End struct{ How process.End }

// String returns how.
func (e End) String() string {
	if e.How == "" {
		return "PID 1 exits"
	}
	return string(e.How)
}

func (e End) run(_ context.Context, h *Host, _ func(string)) error {
	if e.How == "" {
		return nil
	}
	return h.Machine.Reboot(e.How)
}
