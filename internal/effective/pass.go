package effective

import (
	"context"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/resource/machineconfig"
)

// Input is the input that a controller declares for [Get].
func Input() controller.Input {
	return controller.Weak[machineconfig.Config]().Named(machineconfig.Active)
}

// Pass is a controller that writes what the machine config says. c is nil as long as there is none. more are what it reads besides.
func Pass(name string, to []controller.Output, once func(ctx context.Context, rt controller.Runtime, c *Config) error, more ...controller.Input) controller.Controller {
	return controller.Pass{
		ControllerName: name, From: append([]controller.Input{Input()}, more...), To: to,
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			c, err := Get(ctx, rt)
			if err != nil {
				return err
			}
			return once(ctx, rt, c)
		},
	}
}
