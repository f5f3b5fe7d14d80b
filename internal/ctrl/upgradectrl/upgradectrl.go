// Package upgradectrl has the health gate of upgrades.
//
// A system that is on trial has to prove itself in time: its API answers, all services are healthy, and if it is a node of Kubernetes, kubelet
// says that it is ready; on the control plane etcd's member is in sync and the API server answers, too. If the upgrade was forced, the API
// answering is enough. Then it is made permanent. When the time is
// over, the reason is kept in META, the system from before is made the one that is started, and the machine restarts. A system that
// does not come so far that this package runs is not started a second time by the boot loader: see docs/arch/upgrade.md.
//
// Whatever the state is, runtime.UpgradeStatus says what came of the last upgrade.
package upgradectrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/controller"
	"talos.internal/internal/install"
	"talos.internal/internal/upgrade"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// DefaultLimit is how long a system on trial has to prove itself.
const DefaultLimit = 5 * time.Minute

const (
	// steady is how long everything has to be well: a service that falls over and over is well in between.
	steady = 5 * time.Second
	// between two looks at what does not tell by itself.
	between = 2 * time.Second
	// askLimit is how long one question may take.
	askLimit = 5 * time.Second

	// apidID is the service that answers for the API.
	apidID = "apid"
)

// Engine changes the version of the machine. *upgrade.Engine implements it.
type Engine interface {
	Look(ctx context.Context) (r upgrade.Record, running install.Slot, onTrial, ok bool, err error)
	Confirm(ctx context.Context, r upgrade.Record) (upgrade.Record, error)
	Return(ctx context.Context, r upgrade.Record, reason string) (upgrade.Record, error)
}

// Deps is what the gate needs from outside of the state. All fields but Limit and Settled are needed.
type Deps struct {
	Engine Engine
	// Limit is how long a system on trial has, from the start of the controllers; zero is DefaultLimit.
	Limit time.Duration
	// Etcd returns nil if this node's member of etcd is in sync with the others, and APIServer if the one on this node answers.
	Etcd, APIServer func(ctx context.Context) error
	// Settled ends what an upgrade holds in the cluster; nil is nothing.
	Settled func(ctx context.Context, r upgrade.Record)
	// Reboot restarts the machine.
	Reboot func(reason string)
	// Publish sends an event of the machine.
	Publish func(event proto.Message, actorID string)
}

// Controllers returns the controllers of upgrades.
func Controllers(d Deps) []controller.Controller {
	if d.Limit <= 0 {
		d.Limit = DefaultLimit
	}
	return []controller.Controller{&UpgradeController{Deps: d}}
}

// UpgradeController is the health gate.
type UpgradeController struct {
	Deps

	began  time.Time
	looked bool
	seen   string // the record in META when it was looked at last
	record upgrade.Record
	slot   install.Slot
	trial  bool
	any    bool      // there is a record
	since  time.Time // all is well
	lacked string    // what it lacked at last
	told   string
	ended  bool // the machine restarts
}

// Name implements [controller.Controller].
func (*UpgradeController) Name() string { return "runtime.UpgradeController" }

// Inputs implements [controller.Controller].
func (*UpgradeController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.MetaKey]().Named(upgrade.Key.String()),
		controller.Weak[runtime.MachineStatus]().Named(runtime.MachineStatusID),
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.Weak[service.Service]().Named(apidID),
	}
}

// Outputs implements [controller.Controller].
func (*UpgradeController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.UpgradeStatus]()}
}

// Run implements [controller.Controller].
func (c *UpgradeController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.began.IsZero() {
		c.began = time.Now() // a restart of the controller gives no more time
	}
	again := time.AfterFunc(time.Hour, rt.Wake)
	again.Stop()
	defer again.Stop()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		wait, err := c.once(ctx, rt, log)
		if err == nil && wait > 0 {
			again.Reset(wait)
		}
		return err
	})
}

func (c *UpgradeController) deadline() time.Time { return c.began.Add(c.Limit) }

// once returns when it wants to be called again, if nothing changes before; zero is never.
func (c *UpgradeController) once(ctx context.Context, rt controller.Runtime, log *slog.Logger) (time.Duration, error) {
	if c.ended {
		return 0, nil
	}
	meta, _, err := state.Find[runtime.MetaKey](ctx, rt, upgrade.Key.String())
	if err != nil {
		return 0, err
	}
	if !c.looked || meta.Value != c.seen {
		if err := c.look(ctx, meta.Value, log); err != nil {
			return 0, err
		}
	}
	if !c.any {
		return 0, nil
	}
	if !c.trial {
		return 0, c.say(ctx, rt, "")
	}
	unmet, err := c.unmet(ctx, rt)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	switch {
	case unmet == "" && c.since.IsZero():
		c.since = now
	case unmet != "":
		c.since, c.lacked = time.Time{}, unmet
	}
	switch {
	case unmet == "" && now.Sub(c.since) >= steady:
		return 0, c.confirm(ctx, rt, log)
	case !now.Before(c.deadline()):
		return 0, c.giveUp(ctx, rt, unmet, log)
	}
	waits := unmet
	if waits == "" {
		waits = "all is well; it has to stay so for a moment"
	}
	if waits != c.told {
		c.told = waits
		log.Info("this version is on trial", "version", c.record.ToVersion, "until", c.deadline().UTC().Format(time.RFC3339), "waits for", waits)
	}
	return min(between, max(time.Until(c.deadline()), time.Millisecond)), c.say(ctx, rt, waits)
}

// look reads the record anew.
func (c *UpgradeController) look(ctx context.Context, value string, log *slog.Logger) error {
	r, slot, trial, ok, err := c.Engine.Look(ctx)
	if errors.Is(err, install.ErrNotInstalled) {
		c.looked, c.seen = true, value // it was not started from a disk
		return nil
	}
	if err != nil {
		return err
	}
	first := !c.looked
	c.looked, c.seen, c.record, c.slot, c.trial, c.any = true, value, r, slot, trial, ok
	switch {
	case !ok:
	case trial && first:
		log.Warn("this version of the system is on trial", "version", r.ToVersion, "from", r.FromVersion, "limit", c.Limit)
	case first && r.Phase == runtime.UpgradeFailed && slot == r.From && !r.Refused:
		log.Error("the last upgrade has failed; this is the system from before", "version", r.FromVersion, "failed", r.ToVersion, "reason", r.Reason)
		c.event(r.Reason)
		c.settled(ctx)
	}
	return nil
}

func (c *UpgradeController) settled(ctx context.Context) {
	if c.Settled != nil {
		c.Settled(ctx, c.record)
	}
}

// event tells those who follow the call. An empty reason is success.
func (c *UpgradeController) event(reason string) {
	e := &machinepb.SequenceEvent{Sequence: "upgrade", Action: machinepb.SequenceEvent_STOP}
	if reason != "" {
		e.Error = &commonpb.Error{Code: commonpb.Code_FATAL, Message: reason}
	}
	c.Publish(e, c.record.ID)
}

func (c *UpgradeController) say(ctx context.Context, rt controller.Runtime, waits string) error {
	r := c.record
	s := runtime.UpgradeStatus{
		Phase: r.Phase, Running: string(c.slot), From: r.FromVersion, To: r.ToVersion, Image: r.Image, Reason: r.Reason, Started: r.Started, ID: r.ID,
	}
	if c.trial {
		s.Phase, s.Reason, s.Deadline = runtime.UpgradeTrial, waits, c.deadline()
	}
	return controller.Put(ctx, rt, runtime.UpgradeStatusID, s)
}

func (c *UpgradeController) confirm(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	r, err := c.Engine.Confirm(ctx, c.record)
	if err != nil {
		return fmt.Errorf("make this version permanent: %w", err)
	}
	c.record, c.trial = r, false
	log.Warn("this version has proved itself, and is permanent", "version", r.ToVersion, "after", time.Since(c.began).Round(time.Second))
	c.event("")
	c.settled(ctx)
	return c.say(ctx, rt, "")
}

// giveUp has the system from before started again. If not even that can be written, the restart alone does it: the boot loader tries once.
func (c *UpgradeController) giveUp(ctx context.Context, rt controller.Runtime, unmet string, log *slog.Logger) error {
	if unmet == "" {
		unmet = "all is well, but has not been for long enough; before: " + c.lacked
	}
	reason := fmt.Sprintf("it did not prove itself within %s: %s", c.Limit, unmet)
	r, err := c.Engine.Return(ctx, c.record, reason)
	if err != nil {
		log.Error("the reason for going back could not be kept", "error", err)
	}
	c.record, c.trial, c.ended = r, false, true
	log.Error("this version goes back to the one from before", "version", r.ToVersion, "back to", r.FromVersion, "reason", reason)
	c.event(reason)
	if err := c.say(ctx, rt, ""); err != nil {
		log.Warn("the status of the upgrade could not be shown", "error", err)
	}
	c.Reboot("version " + r.ToVersion + " goes back to " + r.FromVersion + ": " + reason)
	return nil
}

// unmet says what the machine lacks of being healthy; empty if nothing.
func (c *UpgradeController) unmet(ctx context.Context, rt controller.Runtime) (string, error) {
	apid, _, err := state.Find[service.Service](ctx, rt, apidID)
	if err != nil {
		return "", err
	}
	if !apid.Running || !apid.Healthy {
		return "the API does not answer yet", nil
	}
	if c.record.Force {
		return "", nil
	}
	status, there, err := state.Find[runtime.MachineStatus](ctx, rt, runtime.MachineStatusID)
	if err != nil {
		return "", err
	}
	if !there {
		return "the machine does not say how it is", nil
	}
	kind, _, err := state.Find[machineconfig.Type](ctx, rt, machineconfig.TypeID)
	if err != nil {
		return "", err
	}
	if why := judge(status); why != "" {
		return why, nil
	}
	if kind.Type != machineconfig.TypeControlPlane && kind.Type != machineconfig.TypeInit {
		return "", nil
	}
	for _, ask := range []struct {
		what string
		f    func(context.Context) error
	}{{"etcd's member is not in sync", c.Etcd}, {"the API server does not answer", c.APIServer}} {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		err := ask.f(ctx)
		cancel()
		if err != nil {
			return ask.what + ": " + err.Error(), nil
		}
	}
	return "", nil
}

// ignored are conditions that say nothing of a version: without a time server that answers no version would have the time.
var ignored = []string{"time"}

// judge says what a machine's status lacks.
func judge(s runtime.MachineStatus) string {
	var why []string
	if s.Stage != runtime.StageRunning {
		why = append(why, fmt.Sprintf("the stage is %s", s.Stage))
	}
	for _, u := range s.Status.UnmetConditions {
		if !slices.Contains(ignored, u.Name) {
			why = append(why, u.Name+": "+u.Reason)
		}
	}
	return strings.Join(why, "; ")
}
