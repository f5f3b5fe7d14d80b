package configctrl

import (
	"context"
	"log/slog"

	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/volume"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// PersistenceController brings the persistent config into its file where [Store] could not: at the start, and as often as the disk
// fails. With volumes it does so when the volume of the state directory is mounted: what was written before that is hidden by it.
type PersistenceController struct {
	Store   *Store
	Volumes bool

	mounted bool
}

// Name implements [controller.Controller].
func (*PersistenceController) Name() string { return "config.PersistenceController" }

// Inputs implements [controller.Controller].
func (c *PersistenceController) Inputs() []controller.Input {
	inputs := []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Persistent)}
	if c.Volumes {
		inputs = append(inputs, volume.Inputs(volume.State)...)
	}
	return inputs
}

// Outputs implements [controller.Controller].
func (*PersistenceController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *PersistenceController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		if c.Volumes {
			where, _, err := volume.Look(ctx, rt, volume.State)
			if err != nil || where != volume.Mounted {
				c.mounted = false
				return err
			}
			if !c.mounted {
				c.Store.forget()
				c.mounted = true
			}
		}
		return c.Store.flush(ctx)
	})
}

// MachineTypeController says what the machine is in its cluster.
type MachineTypeController struct{}

// Name implements [controller.Controller].
func (MachineTypeController) Name() string { return "config.MachineTypeController" }

// Inputs implements [controller.Controller].
func (MachineTypeController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Active)}
}

// Outputs implements [controller.Controller].
func (MachineTypeController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[machineconfig.Type]()}
}

// Run implements [controller.Controller].
func (MachineTypeController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		cfg, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if t := typeOf(cfg); t != machineconfig.TypeUnknown {
			if _, err := state.Modify(ctx, rt, machineconfig.TypeID, func(_ *resource.Metadata, out *machineconfig.Type) error {
				out.Type = t
				return nil
			}); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// typeOf returns the type of a machine with the config, unknown without one that says it.
func typeOf(cfg *effective.Config) machineconfig.MachineType {
	if cfg == nil {
		return machineconfig.TypeUnknown
	}
	switch cfg.Role() {
	case schema.ControlPlane:
		return machineconfig.TypeControlPlane
	case schema.Worker:
		return machineconfig.TypeWorker
	default:
		return machineconfig.TypeUnknown
	}
}
