package secretsctrl

import (
	"context"
	"log/slog"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/clock"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// recheck is the longest time between two looks at the clock. A timer alone would not do: the machine's clock can be set, and timers
// stand still while a virtual machine is suspended.
const recheck = 10 * time.Minute

// outcome is what came of one round of a controller.
type outcome struct {
	// next is when something is due; zero means that nothing is.
	next time.Time
	// waiting is what the controller waits for; empty if it has done its work.
	waiting string
}

// loop runs rounds whenever an input changes or something is due, and says what the controller waits for whenever that is something
// else.
func loop(ctx context.Context, rt controller.Runtime, log *slog.Logger, round func(context.Context) (outcome, error)) error {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	waiting := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-timer.C:
		}
		out, err := round(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rt.ResetBackoff()
		if out.waiting != waiting {
			if waiting = out.waiting; waiting != "" {
				log.Info("waiting for " + waiting)
			}
		}
		sleep := recheck
		if !out.next.IsZero() {
			sleep = min(sleep, max(time.Until(out.next), time.Second))
		}
		timer.Reset(sleep)
	}
}

// remove takes away what the controller has of a kind.
func remove[S resource.Spec](ctx context.Context, rt controller.Runtime) error {
	rt.TrackOutputs()
	return rt.CleanupOutputs(ctx, resource.KindOf[S]())
}

// gateInputs are the inputs of gates with the network.
func gateInputs() []controller.Input {
	return []controller.Input{timeInput(), controller.Weak[network.Status]().Named(network.StatusID)}
}

// timeInput is the input of gates without the network.
func timeInput() controller.Input {
	return controller.Weak[clock.TimeStatus]().Named(clock.TimeStatusID)
}

// waitsForClock is what gates says last.
const waitsForClock = "the clock to be set"

// gates returns what must come before a certificate is issued, and is not there; empty if all is.
func gates(ctx context.Context, rt controller.Runtime, withNetwork bool) (waiting string, err error) {
	if withNetwork {
		s, _, err := state.Find[network.Status](ctx, rt, network.StatusID)
		switch {
		case err != nil:
			return "", err
		case !s.AddressReady:
			return "an address of the network", nil
		case !s.HostnameReady:
			return "the host name", nil
		}
	}
	s, _, err := state.Find[clock.TimeStatus](ctx, rt, clock.TimeStatusID)
	switch {
	case err != nil:
		return "", err
	case !s.Synced:
		return waitsForClock, nil
	}
	return "", nil
}

// typeInput is the input of machineType.
func typeInput() controller.Input {
	return controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID)
}

// machineType returns the machine's part in the cluster: unknown if there is no config yet, or one that does not say it.
func machineType(ctx context.Context, rt controller.Runtime) (machineconfig.MachineType, error) {
	t, _, err := state.Find[machineconfig.Type](ctx, rt, machineconfig.TypeID)
	return t.Type, err
}

func isControlPlane(t machineconfig.MachineType) bool {
	return t == machineconfig.TypeControlPlane || t == machineconfig.TypeInit
}

// configInput is the input of a controller that reads the machine config.
func configInput() controller.Input {
	return controller.Weak[machineconfig.Config]().Named(machineconfig.Active)
}

// fromConfig is a controller that keeps one resource, which follows from the machine config alone.
type fromConfig[Out resource.Spec] struct {
	name, id string
	shared   bool
	// derive returns nil if the config has nothing for the resource.
	derive func(c *effective.Config) (*Out, error)
}

// Name implements [controller.Controller].
func (f fromConfig[Out]) Name() string { return f.name }

// Inputs implements [controller.Controller].
func (f fromConfig[Out]) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.DestroyReady[Out]()}
}

// Outputs implements [controller.Controller].
func (f fromConfig[Out]) Outputs() []controller.Output {
	if f.shared {
		return []controller.Output{controller.Shared[Out]()}
	}
	return []controller.Output{controller.Exclusive[Out]()}
}

// Run implements [controller.Controller].
func (f fromConfig[Out]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		var out *Out
		if c != nil {
			if out, err = f.derive(c); err != nil {
				return err
			}
		}
		if out == nil {
			return remove[Out](ctx, rt)
		}
		return state.Put(ctx, rt, f.id, *out)
	})
}
