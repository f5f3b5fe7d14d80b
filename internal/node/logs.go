package node

import (
	"context"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/ctrl/logctrl"
)

// logDir is where logs are kept, on EPHEMERAL.
const logDir = "/var/log"

// keepLimit is how long the logs may take to be written for the last time.
const keepLimit = 2 * time.Second

// ofLogs are the controllers that send and keep logs.
func (n *node) ofLogs() []controller.Controller {
	deps := logctrl.Deps{Logs: n.logs, Keeper: n.kept, NoKernel: n.facts.Mode.Check(boot.CanKernelLog)}
	if n.machine != nil {
		deps.Cmdline, deps.Volumes = n.machine.cmdline, true
	}
	return logctrl.Controllers(deps)
}

// keepLogs are the steps that keep what the logs say about the end.
func (n *node) keepLogs() []boot.Step {
	return []boot.Step{{
		Name: "keep the logs", Limit: keepLimit, MayFail: "what was said in the last seconds is lost",
		Do: boot.Call{What: "write the logs to " + logDir, Func: func(context.Context) error { return n.kept.Close() }},
	}}
}
