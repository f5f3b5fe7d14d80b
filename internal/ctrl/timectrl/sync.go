package timectrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/netconf"
	"talos.internal/resource"
	"talos.internal/resource/clock"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

const (
	// stepFrom is the offset from which the clock is set at once. Slewing it away would take a quarter of an hour.
	stepFrom = 400 * time.Millisecond
	// retry is the pause after no server had an answer. It is short: nearly all of the machine waits for the first one.
	retry = 3 * time.Second
	// minPoll and maxPoll are the pauses after an answer; they double from one to the other, as those of other clients do.
	minPoll, maxPoll = 32 * time.Second, 1024 * time.Second
)

// SyncController keeps the clock right.
//
// Servers are asked in their order; the first answer counts. A clock that is far off is set at once, which begins an epoch: who made
// things that depend on the time makes them anew. Otherwise its speed is changed. After the config's boot timeout the time counts as
// right even if no server has answered, because the user said so.
type SyncController struct {
	Clock Clock
	Query Query

	synced bool // kept over restarts
	epoch  int64
	begun  time.Time // when the first server was asked
}

// Name implements [controller.Controller].
func (*SyncController) Name() string { return "time.SyncController" }

// Inputs implements [controller.Controller].
func (*SyncController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.Weak[network.TimeServerStatus]().Named(network.TimeServerStatusID),
	}
}

// Outputs implements [controller.Controller].
func (*SyncController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[clock.TimeStatus]()}
}

// settings are what the config and the network say about setting the clock.
type settings struct {
	off         bool
	bootTimeout time.Duration // 0: wait as long as it takes
	servers     []string
	problem     string // why the servers cannot be asked
}

// decide returns the settings; cfg and servers may be nil.
func decide(cfg *effective.Config, servers *network.TimeServerStatus, settable bool) settings {
	s := settings{off: !settable}
	if cfg != nil {
		if doc, ok := schema.Find[*netdoc.TimeSyncConfig](cfg.Set); ok {
			s.off = s.off || !doc.EnabledOrDefault()
			s.bootTimeout = doc.BootTimeout.Duration
		}
	}
	if s.off || servers == nil {
		return s
	}
	// To ask such a server in the plain way would be less than the user asked for.
	if servers.UseNTS {
		s.problem = "time servers have to be asked with NTS, which this version cannot do"
		return s
	}
	for _, name := range servers.Servers {
		if strings.HasPrefix(name, "/dev/") {
			s.problem = "the time has to be taken from " + name + ", which this version cannot do"
			continue
		}
		s.servers = append(s.servers, name)
	}
	return s
}

// Run implements [controller.Controller].
func (c *SyncController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.begun.IsZero() {
		c.begun = time.Now()
	}
	var last settings
	unset := "" // why it is not set, as was said
	poll := minPoll
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var due bool
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-timer.C:
			due = true
		}
		s, err := c.settings(ctx, rt)
		if err != nil {
			return err
		}
		if s.problem != "" && s.problem != last.problem {
			log.Error(s.problem)
		}
		due = due || strings.Join(s.servers, " ") != strings.Join(last.servers, " ")
		last = s
		if err := c.report(ctx, rt, s); err != nil { // asking takes its time
			return err
		}
		if s.off || len(s.servers) == 0 {
			poll = minPoll
		} else if due {
			if err := c.sync(ctx, s.servers, log); err != nil {
				if why := netconf.Reason(err); why != unset {
					unset = why
					log.Warn("the clock is not set", "error", err)
				}
				poll = minPoll
				timer.Reset(retry)
			} else {
				unset = ""
				timer.Reset(poll)
				poll = min(2*poll, maxPoll)
			}
		}
		late := s.bootTimeout - time.Since(c.begun)
		if s.bootTimeout > 0 && late > 0 && !c.synced && len(s.servers) == 0 {
			timer.Reset(late)
		}
		if err := c.report(ctx, rt, s); err != nil {
			return err
		}
		rt.ResetBackoff()
	}
}

func (c *SyncController) settings(ctx context.Context, rt controller.Runtime) (settings, error) {
	cfg, err := effective.Get(ctx, rt)
	if err != nil {
		return settings{}, err
	}
	r, err := state.Get[network.TimeServerStatus](ctx, rt, network.TimeServerStatusID)
	if errors.Is(err, state.NotFound) {
		return decide(cfg, nil, c.Clock != nil), nil
	}
	if err != nil {
		return settings{}, err
	}
	return decide(cfg, new(r.Spec()), c.Clock != nil), nil
}

// sync asks servers until one answers, and sets the clock.
func (c *SyncController) sync(ctx context.Context, servers []string, log *slog.Logger) error {
	var errs []error
	for _, server := range servers {
		offset, err := c.Query(ctx, server)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		set, how := c.Clock.Slew, "slewed"
		if offset.Abs() >= stepFrom {
			set, how = c.Clock.Step, "stepped"
		}
		if err := set(offset); err != nil {
			return fmt.Errorf("set the clock by %v: %w", offset, err)
		}
		if offset.Abs() >= stepFrom {
			c.epoch++
		}
		level := slog.LevelDebug
		if !c.synced || offset.Abs() >= stepFrom {
			level = slog.LevelInfo
		}
		log.Log(ctx, level, "the clock was "+how, "offset", offset, "server", server)
		c.synced = true
		return nil
	}
	return errors.Join(errs...)
}

func (c *SyncController) report(ctx context.Context, rt controller.Runtime, s settings) error {
	late := s.bootTimeout > 0 && time.Since(c.begun) >= s.bootTimeout
	_, err := state.Modify(ctx, rt, clock.TimeStatusID, func(_ *resource.Metadata, out *clock.TimeStatus) error {
		*out = clock.TimeStatus{Synced: s.off || c.synced || late, Epoch: c.epoch, SyncDisabled: s.off}
		return nil
	})
	return err
}
