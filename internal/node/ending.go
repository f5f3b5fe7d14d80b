package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"talos.internal/api/machinepb"
	"talos.internal/internal/boot"
	"talos.internal/internal/install"
	"talos.internal/internal/server"
	"talos.internal/internal/sys/process"
	"talos.internal/internal/volume"
	"talos.internal/resource/block"
	"talos.internal/state"
)

// Times of the end of a machine.
const (
	// machineGrace is for the services and pods of a machine, which nobody kills from outside.
	machineGrace = time.Minute
	// wipeLimit is for one disk. Partitions are discarded, not overwritten, where the disk can do that.
	wipeLimit = 2 * time.Minute
)

// causeOf is what a signal to PID 1 of a machine asks for. Ctrl-Alt-Del is SIGINT.
func (n *node) causeOf(s os.Signal) server.Cause {
	if n.machine == nil {
		return server.Cause{}
	}
	if s == syscall.SIGPWR {
		return server.Cause{Action: server.Shutdown}
	}
	return server.Cause{Action: server.Reboot}
}

// endMachine adds to an ending what only a machine has.
func (n *node) endMachine(ctx context.Context, c server.Cause, e *ending) {
	e.cause.Grace = machineGrace
	off := process.PowerOff
	if n.machine.halts() {
		off = process.Halt
	}
	switch c.Action {
	case server.Shutdown:
		e.cause.How = off
	case server.Reset:
		if !c.Reset.GetReboot() {
			e.cause.How = off
		}
		disk, err := n.systemDisk(ctx)
		if err != nil {
			n.log.Warn("the system's disk is not known", "error", err)
		}
		e.cause.Wipe = wipes(c.Reset, disk)
	}
}

// systemDisk is the path of the disk that the system is installed on, empty if it is on none.
func (n *node) systemDisk(ctx context.Context) (string, error) {
	d, err := state.Lookup[block.SystemDisk](ctx, n.state, block.SystemDiskID)
	if err != nil || d == nil {
		return "", err
	}
	return d.DevPath, nil
}

// wipes decides what a reset wipes: of the system's disk the partitions that it names, or all that have something of this
// machine if it names none; and the user's disks that it names. The root that the machine runs from stays: without it nothing
// could tell how the reset went, and the machine starts from it into maintenance.
func wipes(r *machinepb.ResetRequest, disk string) []boot.Step {
	var steps []boot.Step
	add := func(disk string, labels []string) {
		what := "wipe " + disk
		if len(labels) > 0 {
			what = "wipe " + strings.Join(labels, ", ") + " of " + disk
		}
		steps = append(steps, boot.Step{
			Name: what, Limit: wipeLimit, MayFail: "what is on it is still there",
			Do: boot.Call{What: fmt.Sprintf("install.Wipe %s %q", disk, labels), Func: func(ctx context.Context) error {
				return install.Wipe(ctx, disk, labels)
			}},
		})
	}
	if r.GetMode() != machinepb.ResetRequest_USER_DISKS && disk != "" {
		labels := []string{volume.Ephemeral, "META", volume.State}
		if named := r.GetSystemPartitionsToWipe(); len(named) > 0 {
			labels = nil
			for _, p := range named {
				if p.GetWipe() {
					labels = append(labels, p.GetLabel())
				}
			}
			slices.Sort(labels)
			labels = slices.Compact(labels)
		}
		// One by one: a partition that was never made does not keep the others.
		for _, l := range labels {
			add(disk, []string{l})
		}
	}
	if r.GetMode() != machinepb.ResetRequest_SYSTEM_DISK {
		for _, d := range r.GetUserDisksToWipe() {
			add(d, nil)
		}
	}
	return steps
}
