package netctrl

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// pass is a controller that computes all its outputs anew whenever an input changes. What a pass does not put is removed.
type pass struct {
	name    string
	inputs  []controller.Input
	outputs []controller.Output // each with a namespace
	// once puts all outputs.
	once func(ctx context.Context, rt controller.Runtime, log *slog.Logger) error
	// watch tells of changes outside the state, if there are such, until ctx ends or it fails.
	watch func(ctx context.Context, changed func()) error
}

// Name implements [controller.Controller].
func (p *pass) Name() string { return p.name }

// Inputs implements [controller.Controller]. They are the declared ones, and the own outputs when nobody needs them any more.
func (p *pass) Inputs() []controller.Input {
	out := slices.Clone(p.inputs)
	for _, o := range p.outputs {
		out = append(out, controller.Input{Kind: resource.Kind{Namespace: o.Namespace, Type: o.Type}, Mode: controller.InputDestroyReady})
	}
	return out
}

// Outputs implements [controller.Controller].
func (p *pass) Outputs() []controller.Output { return p.outputs }

// Run implements [controller.Controller].
func (p *pass) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	reconcile := func(ctx context.Context) error {
		rt.TrackOutputs()
		if err := p.once(ctx, rt, log); err != nil {
			return err
		}
		return rt.CleanupOutputs(ctx)
	}
	if p.watch == nil {
		return controller.Loop(ctx, rt, reconcile)
	}
	parent := ctx
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(p.watch(ctx, rt.Wake)) // without a watch the loop would miss changes: it ends, too
	}()
	err := controller.Loop(ctx, rt, reconcile)
	cancel(nil)
	<-done
	if err == nil && parent.Err() == nil {
		err = context.Cause(ctx)
	}
	return err
}

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

// put makes an output what it should be. One that is still being torn down, and needed by someone, is left: the pass
// comes again when it is not.
func put[S resource.Spec](ctx context.Context, rt controller.Runtime, id string, spec S, opts ...state.Option) error {
	set := func() error {
		_, err := state.Modify(ctx, rt, id, func(_ *resource.Metadata, s *S) error {
			*s = spec
			return nil
		}, opts...)
		return err
	}
	err := set()
	if !errors.Is(err, state.PhaseConflict) {
		return err
	}
	switch err := rt.Destroy(ctx, state.RefOf[S](id, opts...), state.DestroyOptions{}); {
	case errors.Is(err, state.FinalizersConflict):
		return nil
	case err != nil && !errors.Is(err, state.NotFound):
		return err
	}
	return set()
}

// wish puts a wish of a layer.
func wish[S resource.Spec](ctx context.Context, rt controller.Runtime, l network.ConfigLayer, id string, spec S) error {
	return put(ctx, rt, network.LayeredID(l, id), spec, state.In(network.ConfigNamespace))
}

// wishes is the shared output of wishes of a kind.
func wishes[S resource.Spec]() controller.Output {
	return controller.Shared[S]().In(network.ConfigNamespace)
}

// machineConfig is the input for effective.Get.
func machineConfig() controller.Input {
	return controller.Weak[machineconfig.Config]().Named(machineconfig.Active)
}

// find returns the spec of a resource, and whether it is there and to stay.
func find[S resource.Spec](ctx context.Context, rt controller.Runtime, id string) (spec S, ok bool, err error) {
	r, err := state.Get[S](ctx, rt, id)
	if errors.Is(err, state.NotFound) || err == nil && r.Metadata().Phase() != resource.Running {
		return spec, false, nil
	}
	if err != nil {
		return spec, false, err
	}
	return r.Spec(), true, nil
}

// running returns the resources of a kind that are not being torn down.
func running[S resource.Spec](ctx context.Context, rt controller.Runtime, opts ...state.Option) ([]*resource.Typed[S], error) {
	list, err := state.List[S](ctx, rt, opts...)
	if err != nil {
		return nil, err
	}
	out := list[:0:0]
	for _, r := range list {
		if r.Metadata().Phase() == resource.Running {
			out = append(out, r)
		}
	}
	return out, nil
}

// fromConfig is a pass that writes what the machine config says. c is nil as long as there is none.
func fromConfig(name string, outputs []controller.Output, once func(ctx context.Context, rt controller.Runtime, c *effective.Config) error, more ...controller.Input) controller.Controller {
	return &pass{
		name: name, inputs: append([]controller.Input{machineConfig()}, more...), outputs: outputs,
		once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			c, err := effective.Get(ctx, rt)
			if err != nil {
				return err
			}
			return once(ctx, rt, c)
		},
	}
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
