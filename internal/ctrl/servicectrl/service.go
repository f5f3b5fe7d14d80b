// Package servicectrl shows in the state, and in the events of the machine, how its services do.
//
// It only mirrors the supervisor: what runs is decided by the controllers whose subject a service is. The composition of the node
// imports this package.
package servicectrl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/machinepb"
	"talos.internal/controller"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/service"
	"talos.internal/state"
)

const (
	// eventBuffer is how many events may wait for the controller. A boot of all services makes about a hundred.
	eventBuffer = 256
	// lookEvery bounds how long a service is shown that was unloaded while it did not run, of which no event tells.
	lookEvery = 30 * time.Second
)

// Supervisor is the part of *supervise.Supervisor that is looked at.
type Supervisor interface {
	Subscribe(buffer int) ([]supervise.Status, *supervise.Subscription)
	List() []supervise.Status
}

// Deps is what the controllers need from outside of the state.
type Deps struct {
	Supervisor Supervisor
	// Publish sends an event of the machine; nil drops it.
	Publish func(event proto.Message, actorID string)
}

// Controllers returns the controllers of services.
func Controllers(deps Deps) []controller.Controller {
	return []controller.Controller{&ServiceController{Supervisor: deps.Supervisor, Publish: deps.Publish}}
}

// ServiceController keeps a service.Service for each service that runs or should, and publishes each change of one.
//
// When it was too slow for the supervisor it begins anew, with what it missed as far as the supervisor's history has it.
type ServiceController struct {
	Supervisor Supervisor
	Publish    func(event proto.Message, actorID string)

	published uint64 // sequence number of the last event that was published
}

// Name implements [controller.Controller].
func (*ServiceController) Name() string { return "v1alpha1.ServiceController" }

// Inputs implements [controller.Controller].
func (*ServiceController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (*ServiceController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[service.Service]()}
}

// Run implements [controller.Controller].
func (c *ServiceController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	for {
		err := c.follow(ctx, rt)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, supervise.ErrSlow):
			log.Warn("events of services came faster than they were handled, looking anew")
		default:
			return err
		}
	}
}

// follow mirrors until the subscription or ctx ends.
func (c *ServiceController) follow(ctx context.Context, rt controller.Runtime) error {
	statuses, sub := c.Supervisor.Subscribe(eventBuffer)
	defer sub.Close()
	var missed []supervise.Event
	for _, s := range statuses {
		missed = append(missed, s.Events...)
	}
	slices.SortFunc(missed, func(a, b supervise.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, e := range missed {
		c.publish(e)
	}
	for {
		if err := c.mirror(ctx, rt); err != nil {
			return err
		}
		rt.ResetBackoff()
		e, err := next(ctx, sub)
		switch {
		case err == nil:
			c.publish(e)
		case !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
			return err
		}
	}
}

func next(ctx context.Context, sub *supervise.Subscription) (supervise.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	return sub.Next(ctx)
}

// publish sends e, unless it was sent before.
func (c *ServiceController) publish(e supervise.Event) {
	if e.Seq <= c.published {
		return
	}
	c.published = e.Seq
	if c.Publish != nil {
		c.Publish(eventOf(e), "")
	}
}

// mirror makes the resources what the supervisor says now. It does not go by single events, so it need not have seen them all.
func (c *ServiceController) mirror(ctx context.Context, rt controller.Runtime) error {
	rt.TrackOutputs()
	for _, s := range c.Supervisor.List() {
		spec, ok := specOf(s)
		if !ok {
			continue
		}
		if _, err := state.Modify(ctx, rt, s.ID, func(_ *resource.Metadata, out *service.Service) error {
			*out = spec
			return nil
		}); err != nil {
			return fmt.Errorf("show service %s: %w", s.ID, err)
		}
	}
	return rt.CleanupOutputs(ctx)
}

// specOf returns what the state says about a service, and false for one that does not run and is not meant to. One that failed is
// meant to.
func specOf(s supervise.Status) (service.Service, bool) {
	switch s.State {
	case supervise.Initialized, supervise.Finished, supervise.Skipped:
		return service.Service{}, false
	case supervise.Running:
		return service.Service{Running: true, Healthy: s.Health.Healthy && !s.Health.Unknown, HealthUnknown: s.Health.Unknown}, true
	default:
		return service.Service{HealthUnknown: true}, true
	}
}

// eventOf returns e as the API has it.
func eventOf(e supervise.Event) *machinepb.ServiceStateEvent {
	health := &machinepb.ServiceHealth{Unknown: e.Health.Unknown, Healthy: e.Health.Healthy, LastMessage: e.Health.Message}
	if !e.Health.Change.IsZero() {
		health.LastChange = timestamppb.New(e.Health.Change)
	}
	return &machinepb.ServiceStateEvent{Service: e.Service, Action: actionOf(e.State), Message: e.Message, Health: health}
}

func actionOf(s supervise.State) machinepb.ServiceStateEvent_Action {
	switch s {
	case supervise.Preparing:
		return machinepb.ServiceStateEvent_PREPARING
	case supervise.Waiting:
		return machinepb.ServiceStateEvent_WAITING
	case supervise.Starting:
		return machinepb.ServiceStateEvent_STARTING
	case supervise.Running:
		return machinepb.ServiceStateEvent_RUNNING
	case supervise.Stopping:
		return machinepb.ServiceStateEvent_STOPPING
	case supervise.Finished:
		return machinepb.ServiceStateEvent_FINISHED
	case supervise.Failed:
		return machinepb.ServiceStateEvent_FAILED
	case supervise.Skipped:
		return machinepb.ServiceStateEvent_SKIPPED
	default:
		return machinepb.ServiceStateEvent_INITIALIZED
	}
}
