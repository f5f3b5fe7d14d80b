package node

import (
	"context"
	"errors"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/clock"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// gates are what services wait for that is not a service: conditions which follow from resources.
type gates struct {
	network, time, api, trustd, ephemeral *supervise.Gate
}

func newGates() *gates {
	return &gates{
		network:   supervise.NewGate("network"),
		time:      supervise.NewGate("time in sync"),
		api:       supervise.NewGate("certificates of the API"),
		trustd:    supervise.NewGate("certificates of trustd"),
		ephemeral: supervise.NewGate("EPHEMERAL"),
	}
}

// gatesController opens and closes the gates.
type gatesController struct{ gates *gates }

func (gatesController) Name() string { return "runtime.ServiceGatesController" }

func (gatesController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.Status]().Named(network.StatusID),
		controller.Weak[clock.TimeStatus]().Named(clock.TimeStatusID),
		controller.Weak[secrets.API]().Named(secrets.APIID),
		controller.Weak[secrets.Trustd]().Named(secrets.TrustdID),
	}
}

func (gatesController) Outputs() []controller.Output { return nil }

func (c gatesController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		return errors.Join(
			set(ctx, rt, c.gates.network, network.StatusID, func(s network.Status) bool {
				return s.AddressReady && s.HostnameReady && s.EtcFilesReady
			}),
			set(ctx, rt, c.gates.time, clock.TimeStatusID, func(s clock.TimeStatus) bool { return s.Synced }),
			set(ctx, rt, c.gates.api, secrets.APIID, func(secrets.API) bool { return true }),
			set(ctx, rt, c.gates.trustd, secrets.TrustdID, func(secrets.Trustd) bool { return true }),
		)
	})
}

// set opens the gate if the resource is there and open says so.
func set[S resource.Spec](ctx context.Context, st state.Reader, gate *supervise.Gate, id string, open func(S) bool) error {
	r, err := state.Get[S](ctx, st, id)
	if errors.Is(err, state.NotFound) {
		gate.Set(false)
		return nil
	}
	if err != nil {
		return err
	}
	gate.Set(open(r.Spec()))
	return nil
}

// services is what a controller needs of the supervisor to have a service.
type services interface {
	Load(...supervise.Service) error
	Start(ids ...string) error
	Unload(ctx context.Context, ids ...string) error
	Status(id string) (supervise.Status, error)
}

// trustdController has trustd run on control-plane machines and on no others.
type trustdController struct {
	services services
	service  supervise.Service
}

func (trustdController) Name() string { return "runtime.TrustdServiceController" }

func (trustdController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID)}
}

func (trustdController) Outputs() []controller.Output { return nil }

func (c trustdController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		wanted := false
		r, err := state.Get[machineconfig.Type](ctx, rt, machineconfig.TypeID)
		switch {
		case err == nil:
			t := r.Spec().Type
			wanted = t == machineconfig.TypeControlPlane || t == machineconfig.TypeInit
		case !errors.Is(err, state.NotFound):
			return err
		}
		_, err = c.services.Status(c.service.ID)
		loaded := err == nil
		switch {
		case wanted && !loaded:
			if err := c.services.Load(c.service); err != nil {
				return err
			}
			return c.services.Start(c.service.ID)
		case !wanted && loaded:
			return c.services.Unload(ctx, c.service.ID)
		}
		return nil
	})
}
