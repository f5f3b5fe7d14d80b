package runtimectrl

import (
	"context"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// fixed is a controller for a fact that does not change while the machine runs: it writes it once.
type fixed[S resource.Spec] struct {
	name, id string
	read     func() (S, error)
}

// Name implements [controller.Controller].
func (c fixed[S]) Name() string { return c.name }

// Inputs implements [controller.Controller].
func (c fixed[S]) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (c fixed[S]) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[S]()}
}

// Run implements [controller.Controller].
func (c fixed[S]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	spec, err := c.read()
	if err != nil {
		return err
	}
	return state.Put(ctx, rt, c.id, spec)
}

func versionController(v runtime.Version) controller.Controller {
	return fixed[runtime.Version]{"runtime.VersionController", runtime.VersionID, func() (runtime.Version, error) { return v, nil }}
}

func bootIDController(r proc.Reader) controller.Controller {
	return fixed[runtime.BootID]{"runtime.BootIDController", runtime.BootIDID, func() (runtime.BootID, error) {
		id, err := r.BootID()
		return runtime.BootID{Value: id}, err
	}}
}

func kernelCmdlineController(r proc.Reader) controller.Controller {
	return fixed[runtime.KernelCmdline]{"runtime.KernelCmdlineController", runtime.KernelCmdlineID, func() (runtime.KernelCmdline, error) {
		text, err := r.CmdlineText()
		return runtime.KernelCmdline{Text: text}, err
	}}
}
