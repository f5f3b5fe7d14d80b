package node

import (
	"context"
	"maps"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/ctrl/kernelctrl"
	"talos.internal/internal/sys/uevent"
)

// ofKernel are the controllers of what the config says about the kernel, as far as it is this machine's.
func (n *node) ofKernel() []controller.Controller {
	deps := kernelctrl.Deps{NoParams: n.facts.Mode.Check(boot.CanKernelParams), NoModules: n.facts.Mode.Check(boot.CanKernelModules)}
	if n.machine != nil {
		params := boot.KernelParams()
		for _, key := range slices.Sorted(maps.Keys(params)) {
			deps.Defaults = append(deps.Defaults, kernelctrl.Param{Key: key, Value: params[key]})
		}
		deps.Load, deps.Builtin, deps.Watch = n.machine.drivers.Module, n.machine.drivers.Builtin, watchModules
	}
	return kernelctrl.Controllers(deps)
}

// watchModules calls changed for each message about a module of the kernel, until ctx ends.
func watchModules(ctx context.Context, changed func()) error {
	return uevent.Watch(ctx, "module", func(string) { changed() })
}
