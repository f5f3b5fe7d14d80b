package configctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// Ids of what the controller writes.
const (
	AcquiredID   = "acquired"       // service.AcquireConfigStatus
	DiagnosticID = "machine-config" // runtime.Diagnostic
)

// AcquireController looks for the machine config when the machine starts, and says whether it has one.
//
// It asks the sources in order until one has a complete config: the file in the state directory, then the platform. Each config that
// it finds on the way replaces the one before. A partial config in the file ends the search: it was applied by a person who will
// send the rest. So does a config that is wrong; then the machine stays in maintenance and says why, in an event, a
// runtime.Diagnostic and the log, because a config which only looks like the one that was meant is worse than none.
//
// service.AcquireConfigStatus exists while the active config is complete, runtime.MaintenanceServiceRequest while it is not.
type AcquireController struct {
	Store    *Store
	Userdata string
	Mode     schema.Mode
	Publish  func(event proto.Message, actorID string)

	looked  bool     // kept over restarts: the sources are asked once
	problem *problem // what was wrong with a source
}

// problem is why a source's config is not used.
type problem struct {
	source string
	err    error
	// invalid: it can be read, and breaks rules
	invalid bool
}

func (p *problem) Error() string { return fmt.Sprintf("machine config from %s: %v", p.source, p.err) }

func (p *problem) event() proto.Message {
	if p.invalid {
		return &machinepb.ConfigValidationErrorEvent{Error: p.Error()}
	}
	return &machinepb.ConfigLoadErrorEvent{Error: p.Error()}
}

// diagnostic returns what a person should know about p.
func (p *problem) diagnostic() runtime.Diagnostic {
	d := runtime.Diagnostic{Message: "the machine config from " + p.source + " cannot be used, apply a correct one"}
	report := schema.AsInvalid(p.err)
	for _, q := range report {
		d.Details = append(d.Details, q.String())
	}
	if len(report) == 0 {
		d.Details = strings.Split(p.err.Error(), "\n")
	}
	return d
}

// source is a place where a config may be.
type source struct {
	name string
	read func() (string, error) // empty: it has none
	// trusted: the config was checked before it came there
	trusted bool
	// final: after a partial config the search ends
	final bool
}

// search asks sources in order. It returns the config of the last one that had any, empty if none had, and what was wrong with the
// source that ended the search.
func search(sources []source, mode schema.Mode) (text, from string, wrong *problem) {
	for _, s := range sources {
		found, err := s.read()
		if err != nil {
			return text, from, &problem{source: s.name, err: err}
		}
		if strings.TrimSpace(found) == "" {
			continue
		}
		c, err := effective.Parse(found)
		if err != nil {
			return text, from, &problem{source: s.name, err: err}
		}
		complete := c.Root() != nil
		// Rules may become stricter with a new version. A machine that ran must not end up in maintenance for that.
		if complete && !s.trusted {
			if err := c.Check(mode).Err(); err != nil {
				return text, from, &problem{source: s.name, err: err, invalid: true}
			}
		}
		text, from = found, s.name
		if complete || s.final {
			break
		}
	}
	return text, from, nil
}

// Name implements [controller.Controller].
func (*AcquireController) Name() string { return "config.AcquireController" }

// Inputs implements [controller.Controller].
func (*AcquireController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Active)}
}

// Outputs implements [controller.Controller].
func (*AcquireController) Outputs() []controller.Output {
	return []controller.Output{
		controller.Exclusive[service.AcquireConfigStatus](),
		controller.Exclusive[runtime.MaintenanceServiceRequest](),
		controller.Shared[runtime.Diagnostic](),
	}
}

// Run implements [controller.Controller].
func (c *AcquireController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		if !c.looked {
			if err := c.look(ctx, log); err != nil {
				return err
			}
		}
		return c.report(ctx, rt, log)
	})
}

// look asks the sources, unless the machine has a config already.
func (c *AcquireController) look(ctx context.Context, log *slog.Logger) error {
	if _, ok := c.Store.Active(ctx); ok {
		c.looked = true
		return nil
	}
	text, from, wrong := search([]source{
		{name: c.Store.path(), read: c.Store.load, trusted: true, final: true},
		{name: "the platform", read: func() (string, error) { return decodeUserdata(c.Userdata) }},
	}, c.Mode)
	if text != "" {
		if err := c.Store.begin(ctx, text); err != nil {
			return err
		}
		log.Info("machine config acquired", "source", from)
	}
	if wrong != nil {
		log.Error("machine config cannot be used", "error", wrong)
		if c.Publish != nil {
			c.Publish(wrong.event(), "")
		}
	}
	c.problem, c.looked = wrong, true
	return nil
}

// report says in the state whether the machine has what it needs.
func (c *AcquireController) report(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	cfg, err := effective.Get(ctx, rt)
	if err != nil {
		return err
	}
	rt.TrackOutputs()
	if cfg != nil && cfg.Root() != nil {
		err = signal[service.AcquireConfigStatus](ctx, rt, AcquiredID)
	} else {
		if _, getErr := state.Get[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID); errors.Is(getErr, state.NotFound) {
			log.Info("the machine has no complete config: it waits for one in maintenance mode")
		}
		err = signal[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
		if err == nil && c.problem != nil {
			_, err = state.Modify(ctx, rt, DiagnosticID, func(_ *resource.Metadata, d *runtime.Diagnostic) error {
				*d = c.problem.diagnostic()
				return nil
			})
		}
	}
	if err != nil {
		return err
	}
	return rt.CleanupOutputs(ctx)
}

// signal makes the resource without contents that is called id.
func signal[S resource.Spec](ctx context.Context, rt controller.Runtime, id string) error {
	_, err := state.Modify(ctx, rt, id, func(*resource.Metadata, *S) error { return nil })
	return err
}
