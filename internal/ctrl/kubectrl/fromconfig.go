package kubectrl

import (
	"context"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// fromConfig is a controller that keeps one resource, which follows from the config of a control-plane node alone.
type fromConfig[Out resource.Spec] struct {
	name, id string
	// in is the namespace of the resource; empty is that of its type.
	in string
	// derive returns nil if the config has nothing for the resource.
	derive func(c *effective.Config) *Out
}

// Name implements [controller.Controller].
func (f fromConfig[Out]) Name() string { return f.name }

func (f fromConfig[Out]) namespace() string {
	if f.in != "" {
		return f.in
	}
	return resource.KindOf[Out]().Namespace
}

// Inputs implements [controller.Controller].
func (f fromConfig[Out]) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.DestroyReady[Out]().In(f.namespace()),
	}
}

// Outputs implements [controller.Controller].
func (f fromConfig[Out]) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[Out]().In(f.namespace())}
}

// Run implements [controller.Controller].
func (f fromConfig[Out]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		var out *Out
		if c != nil && onControlPlane(c) {
			out = f.derive(c)
		}
		if out == nil {
			return remove(ctx, rt)
		}
		return state.Put(ctx, rt, f.id, *out, state.In(f.namespace()))
	})
}
