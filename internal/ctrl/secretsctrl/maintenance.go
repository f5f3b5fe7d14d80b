package secretsctrl

import (
	"context"
	"log/slog"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// MaintenanceRootController makes the authority by which the node's API proves itself as long as there is no config. It is in memory
// only, and made anew if the clock turns out to be so wrong that it would not be valid.
type MaintenanceRootController struct{}

// Name implements [controller.Controller].
func (*MaintenanceRootController) Name() string { return "secrets.MaintenanceRootController" }

// Inputs implements [controller.Controller].
func (*MaintenanceRootController) Inputs() []controller.Input {
	return []controller.Input{
		timeInput(),
		controller.DestroyReady[secrets.MaintenanceRoot](),
	}
}

// Outputs implements [controller.Controller].
func (*MaintenanceRootController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.MaintenanceRoot]()}
}

// Run implements [controller.Controller].
func (c *MaintenanceRootController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return loop(ctx, rt, log, func(ctx context.Context) (outcome, error) {
		now := time.Now()
		have, ok, err := state.Find[secrets.MaintenanceRoot](ctx, rt, secrets.MaintenanceRootID)
		if err != nil {
			return outcome{}, err
		}
		if ok {
			if ca, err := secret.ParseAuthority(have.CA.Crt, have.CA.Key); err == nil && ca.CheckTime(now) == nil {
				return outcome{}, nil
			}
		}
		ca, err := secret.NewAuthority(secret.OS, now)
		if err != nil {
			return outcome{}, err
		}
		return outcome{}, state.Put(ctx, rt, secrets.MaintenanceRootID, secrets.MaintenanceRoot{CA: encodePair(ca.Pair())})
	})
}
