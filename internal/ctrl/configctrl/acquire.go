package configctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/netconf"
	"talos.internal/internal/volume"
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
// It asks the sources in order until one has a complete config: the file in the state directory, then those of the platform. Each
// config that it finds on the way replaces the one before, and is in force while the next source is asked. A partial config in the
// file ends the search: it was applied by a person who will send the rest. So does a config that is wrong; then the machine stays in
// maintenance and says why, in an event, a runtime.Diagnostic and the log, because a config which only looks like the one that was
// meant is worse than none.
//
// A source may take its time, as one on a server does that is not there yet. After a while the machine is in maintenance meanwhile;
// a config that a person applies ends the search.
//
// service.AcquireConfigStatus exists while the active config is complete, runtime.MaintenanceServiceRequest while it is not.
type AcquireController struct {
	Store   *Store
	Sources []Source // after the file
	// Volumes says that the state directory is a volume, which has to be mounted first.
	Volumes bool
	Mode    schema.Mode
	Publish func(event proto.Message, actorID string)

	done  bool // kept over restarts: the sources are asked once
	stuck bool // the search ended at a volume that could not be used

	mu      sync.Mutex
	over    bool     // the search is
	problem *problem // what is wrong with a source: what ended the search, or what it waits for
}

// Source is a place where a config may be.
type Source struct {
	Name string
	// Read returns the config, empty if there is none. It may try again for as long as ctx lasts; what keeps it, it tells.
	Read func(ctx context.Context, tell func(error)) (string, error)

	trusted bool // the config was checked before it came there
	final   bool // after a partial config the search ends
}

// Times of the search.
const (
	// patience is how long the search may take before the machine is in maintenance meanwhile.
	patience = 20 * time.Second
	// volumeWait is how long the volume of the state directory may be unknown. Disks are there within seconds.
	volumeWait = 90 * time.Second
)

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

// search asks sources in order, and calls begin with each config that it finds; begin returns false if that is not wanted any more.
// It returns what was wrong with the source that ended the search.
func search(ctx context.Context, sources []Source, mode schema.Mode, tell func(*problem), begin func(text, from string) (bool, error)) *problem {
	for _, s := range sources {
		found, err := s.Read(ctx, func(err error) { tell(&problem{source: s.Name, err: err}) })
		if err != nil {
			return &problem{source: s.Name, err: err}
		}
		if strings.TrimSpace(found) == "" {
			continue
		}
		c, err := effective.Parse(found)
		if err != nil {
			return &problem{source: s.Name, err: err}
		}
		complete := c.Root() != nil
		// Rules may become stricter with a new version. A machine that ran must not end up in maintenance for that.
		if complete && !s.trusted {
			if err := c.Check(mode).Err(); err != nil {
				return &problem{source: s.Name, err: err, invalid: true}
			}
		}
		wanted, err := begin(found, s.Name)
		if err != nil {
			return &problem{source: s.Name, err: err}
		}
		if !wanted || complete || s.final {
			return nil
		}
	}
	return nil
}

// Name implements [controller.Controller].
func (*AcquireController) Name() string { return "config.AcquireController" }

// Inputs implements [controller.Controller].
func (c *AcquireController) Inputs() []controller.Input {
	inputs := []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Active)}
	if c.Volumes {
		inputs = append(inputs, volume.Inputs(volume.State)...)
	}
	return inputs
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	for _, d := range []time.Duration{patience, volumeWait} {
		defer time.AfterFunc(d, rt.Wake).Stop()
	}
	var searching sync.WaitGroup
	defer searching.Wait()
	defer cancel()
	begun := false
	var searched time.Time // when the search began: before that the file may have the config, and strangers are kept out
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		if c.stuck && c.done {
			where, _, err := volume.Look(ctx, rt, volume.State)
			if err != nil {
				return err
			}
			if where == volume.Mounted { // it can be used after all
				c.again()
				begun = false
			}
		}
		if !begun && !c.done {
			where, why, err := c.volume(ctx, rt, time.Since(began))
			if err != nil {
				return err
			}
			if where != volume.Unknown {
				begun, searched, c.stuck = true, time.Now(), where == volume.Failed
				time.AfterFunc(patience, rt.Wake)
				sources := c.sources(where, why)
				searching.Go(func() {
					c.look(ctx, sources, log)
					rt.Wake()
				})
			}
		}
		c.mu.Lock()
		c.done = c.done || c.over
		c.mu.Unlock()
		return c.report(ctx, rt, log, begun && time.Since(searched) >= patience)
	})
}

// again forgets how the search ended.
func (c *AcquireController) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done, c.over, c.stuck, c.problem = false, false, false, nil
}

// volume says whether the state directory can be read, the given time after the start. A volume that failed may still come right, as
// what is done for it is tried again. When its time is over, one that nothing is known of counts as failed.
func (c *AcquireController) volume(ctx context.Context, rt controller.Runtime, after time.Duration) (volume.Where, string, error) {
	if !c.Volumes {
		return volume.Mounted, "", nil
	}
	where, why, err := volume.Look(ctx, rt, volume.State)
	switch {
	case err != nil:
	case where == volume.Failed && after < patience:
		where = volume.Unknown
	case where == volume.Unknown && after >= volumeWait:
		if why != "" {
			why = ": " + why
		}
		where, why = volume.Failed, fmt.Sprintf("the volume is not ready after %v%s", volumeWait, why)
	}
	return where, why, err
}

// sources returns the sources in their order.
func (c *AcquireController) sources(where volume.Where, why string) []Source {
	file := Source{
		Name: c.Store.path(), trusted: true, final: true,
		Read: func(context.Context, func(error)) (string, error) {
			switch where {
			case volume.Missing:
				return "", nil
			case volume.Failed:
				// The config may be in it. With another one the machine would become another.
				return "", fmt.Errorf("the volume STATE cannot be used: %s", why)
			}
			return c.Store.load()
		},
	}
	return append([]Source{file}, c.Sources...)
}

// look asks the sources, unless the machine has a config already.
func (c *AcquireController) look(ctx context.Context, sources []Source, log *slog.Logger) {
	last, _ := c.Store.Active(ctx)
	var wrong *problem
	if last == "" {
		// A person's config ends the search, also while a source is waited for.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c.Store.overtaken(cancel)
		told := map[string]bool{}
		wrong = search(ctx, sources, c.Mode, func(p *problem) {
			c.mu.Lock()
			c.problem = p
			c.mu.Unlock()
			if why := netconf.Reason(p); !told[why] {
				told[why] = true
				log.Warn("waiting for the machine config", "error", p)
			}
		}, func(text, from string) (bool, error) {
			wanted, err := c.Store.begin(ctx, text, last)
			if wanted && err == nil {
				last = text
				log.Info("machine config acquired", "source", from)
			}
			return wanted, err
		})
		if ctx.Err() != nil {
			wrong = nil
		}
	}
	if ctx.Err() != nil {
		return // the controller ends, and looks again when it is back
	}
	if wrong != nil {
		log.Error("machine config cannot be used", "error", wrong)
		if c.Publish != nil {
			c.Publish(wrong.event(), "")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem, c.over = wrong, true
}

// report says in the state whether the machine has what it needs.
func (c *AcquireController) report(ctx context.Context, rt controller.Runtime, log *slog.Logger, late bool) error {
	cfg, err := effective.Get(ctx, rt)
	if err != nil {
		return err
	}
	c.mu.Lock()
	wrong := c.problem
	c.mu.Unlock()
	if (cfg == nil || cfg.Root() == nil) && !c.done && !late {
		return nil // a source may have it in a moment
	}
	rt.TrackOutputs()
	if cfg != nil && cfg.Root() != nil {
		err = signal[service.AcquireConfigStatus](ctx, rt, AcquiredID)
	} else {
		if _, getErr := state.Get[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID); errors.Is(getErr, state.NotFound) {
			log.Info("the machine has no complete config: it waits for one in maintenance mode")
		}
		err = signal[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
		if err == nil && wrong != nil {
			_, err = state.Modify(ctx, rt, DiagnosticID, func(_ *resource.Metadata, d *runtime.Diagnostic) error {
				*d = wrong.diagnostic()
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
