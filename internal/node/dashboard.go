package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"talos.internal/internal/boot"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/child"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/vt"
)

// The dashboard has a terminal of its own, so that the kernel's messages do not run through it.
const (
	dashboardID       = "dashboard"
	dashboardTerminal = 2
	kernelTerminal    = 1
	// TerminalVariable names the terminal of the dashboard to it.
	TerminalVariable = "DASHBOARD_TERMINAL"
)

// wantsDashboard says whether the command line leaves the screen to the dashboard.
func wantsDashboard(params []proc.Param) bool {
	wanted := true
	for _, p := range params {
		if p.Key == "talos.dashboard.disabled" {
			off, err := strconv.ParseBool(p.Value)
			wanted = err != nil || !off
		}
	}
	return wanted
}

// dashboard shows how the machine does on its screen. A machine without a screen skips it.
func (n *node) dashboard() supervise.Service {
	adj := -400
	return supervise.Service{
		ID: dashboardID,
		Runner: child.Runner{Launcher: n.processes, Spec: child.Spec{
			Path: program, Name: dashboardID,
			Env:          []string{"TERM=linux", "GODEBUG=madvdontneed=1", TerminalVariable + "=" + vt.Device("", dashboardTerminal)},
			User:         &child.User{UID: apidUser, GID: apidUser}, // the one who may connect to machined
			Capabilities: []string{},
			OOMScoreAdj:  &adj,
			Nice:         10,
			Cgroup:       boot.GroupDashboard,
		}},
		After:      []string{"machined"},
		Conditions: []supervise.Condition{startThrough{n.gates.api}},
		Prepare: func(context.Context) error {
			shown, err := vt.Shown("")
			if err != nil {
				return err
			}
			if !shown {
				return supervise.Skip("the machine has no screen")
			}
			err = vt.Give("", dashboardTerminal, apidUser)
			if errors.Is(err, fs.ErrNotExist) {
				return supervise.Skip("the machine has no terminals")
			}
			if err != nil {
				return fmt.Errorf("prepare the screen: %w", err)
			}
			// Else they are written over it: the console is the terminal that is shown.
			if err := vt.KernelMessages("", kernelTerminal); err != nil {
				return err
			}
			return vt.Show("", dashboardTerminal)
		},
		Allow: supervise.MayStart | supervise.MayStop | supervise.MayRestart,
	}
}

// dashboardWait is how long the dashboard leaves the processor to the start of the machine, which may hang.
const dashboardWait = 20 * time.Second

// startThrough holds when the API can be served, and at the latest after dashboardWait.
type startThrough struct{ api supervise.Condition }

// String implements supervise.Condition.
func (startThrough) String() string { return "the start to be through" }

// Wait implements supervise.Condition.
func (c startThrough) Wait(ctx context.Context) error {
	enough, cancel := context.WithTimeout(ctx, dashboardWait)
	defer cancel()
	if err := c.api.Wait(enough); err != nil && enough.Err() == nil {
		return err
	}
	return ctx.Err()
}
