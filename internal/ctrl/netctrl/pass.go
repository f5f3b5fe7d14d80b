package netctrl

import (
	"context"
	"net/netip"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// calm is how long the kernel's changes are collected after one that was told at once. A flood of them, as when a routing
// daemon or a CNI starts, costs a pass each time, not one for each change.
const calm = 100 * time.Millisecond

// watching returns the watch of a pass for changes of the kernel.
func watching(k Kernel, what rtnl.Change) func(context.Context, func()) error {
	return func(ctx context.Context, changed func()) error {
		return k.Watch(ctx, what, func(rtnl.Change) error {
			changed()
			select {
			case <-ctx.Done():
			case <-time.After(calm):
			}
			return nil
		})
	}
}

// wish puts a wish of a layer.
func wish[S resource.Spec](ctx context.Context, rt controller.Runtime, l network.ConfigLayer, id string, spec S) error {
	return controller.Put(ctx, rt, network.LayeredID(l, id), spec, state.In(network.ConfigNamespace))
}

// wishes is the shared output of wishes of a kind.
func wishes[S resource.Spec]() controller.Output {
	return controller.Shared[S]().In(network.ConfigNamespace)
}

func familyOf(a netip.Addr) network.Family {
	switch {
	case a.Is4():
		return network.FamilyInet4
	case a.Is6():
		return network.FamilyInet6
	}
	return network.FamilyUnspec
}
