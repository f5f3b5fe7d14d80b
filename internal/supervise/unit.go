package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

// unit is a loaded service with what is under way for it. Its fields are guarded by the lock of the supervisor, except
// for those that never change.
type unit struct {
	Service
	s          *Supervisor
	rules      rules
	conditions []Condition // After and Conditions

	m       model
	health  Health
	history []Event
	runs    int
	stops   int // how often it has come to rest after an order to stop
	stopped chan struct{}

	// Of the activity under way.
	cancel context.CancelFunc
	kill   chan struct{}
	ended  func() // ends the health checks of this run

	order      int // counts the times that graceTimer was set: one of before may be waiting for the lock
	graceTimer *time.Timer
}

func newUnit(s *Supervisor, svc Service) *unit {
	u := &unit{Service: svc, s: s, stopped: make(chan struct{})}
	for _, id := range svc.After {
		u.conditions = append(u.conditions, s.Up(id))
	}
	u.conditions = append(u.conditions, svc.Conditions...)
	u.rules = rules{
		restart:  svc.Restart,
		backoff:  svc.Backoff.orDefault(),
		prepares: svc.Prepare != nil,
	}
	return u
}

// up is what services after this one wait for: it runs and is not known to be unhealthy, or needs not run. A service
// with a check counts only once that has been good.
func (u *unit) up() bool {
	switch u.m.State {
	case Running:
		return u.Health == nil || u.health.Healthy
	case Skipped:
		return true
	}
	return u.m.State == Finished && u.m.Success
}

func (u *unit) status() Status {
	last := u.history[len(u.history)-1]
	return Status{
		ID: u.ID, State: u.m.State, Message: last.Message, Since: last.Time, Health: u.health, Up: u.up(),
		Failures: u.m.Failures, Runs: u.runs, Allow: u.Allow, Events: append([]Event(nil), u.history...),
	}
}

// apply takes an input and carries out what follows. The lock is held.
func (u *unit) apply(in input) {
	stopping := u.m.State == Stopping
	var effects []effect
	u.m, effects = u.rules.step(u.m, in)
	if in.kind == sawEnd && stopping {
		u.stops++
		close(u.stopped)
		u.stopped = make(chan struct{})
	}
	for _, e := range effects {
		u.carryOut(e)
	}
	u.s.wake()
}

func (u *unit) carryOut(e effect) {
	switch e.kind {
	case doTell:
		u.tell(e.state, e.message)
	case doBegin:
		u.begin(e.activity, e.delay)
	case doCancel:
		u.cancel()
	case doArm:
		u.arm(e.delay)
	case doKill:
		close(u.kill)
	}
}

func (u *unit) tell(state State, message string) {
	if state != Running && !u.health.Unknown {
		u.health = Health{Unknown: true, Change: time.Now()}
	}
	if state != Running && u.ended != nil {
		u.ended()
		u.ended = nil
	}
	u.s.record(u, state, message)
	if state == Running && u.Health != nil && u.ended == nil {
		ctx, cancel := context.WithCancel(context.Background())
		u.ended = cancel
		go u.Health.loop(ctx, func(err error) { u.observe(ctx, err) })
	}
}

func (u *unit) observe(ctx context.Context, err error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if ctx.Err() != nil {
		return // the run has ended
	}
	health, changed := u.health.observe(err, time.Now())
	u.health = health
	if changed {
		u.s.record(u, u.m.State, health.Message)
		u.s.wake()
	}
}

func (u *unit) arm(grace time.Duration) {
	u.order++
	order := u.order
	if u.graceTimer != nil {
		u.graceTimer.Stop()
	}
	u.graceTimer = time.AfterFunc(grace, func() {
		u.s.mu.Lock()
		defer u.s.mu.Unlock()
		if u.order == order {
			u.apply(input{kind: sawGraceEnd, grace: grace})
		}
	})
}

// begin starts an activity. Its end is told by sawEnd, in any case.
func (u *unit) begin(a activity, delay time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	kill := make(chan struct{})
	u.cancel, u.kill = cancel, kill
	if a == running {
		u.runs++
	}
	go func() {
		began := time.Now()
		// Told in a deferred function: a runner that ends its goroutine must not leave the service as if it ran.
		err := errEndedGoroutine
		defer func() {
			cancel()
			u.s.mu.Lock()
			defer u.s.mu.Unlock()
			u.apply(input{kind: sawEnd, err: err, ran: time.Since(began)})
		}()
		err = u.do(ctx, a, delay, kill)
	}()
}

func (u *unit) do(ctx context.Context, a activity, delay time.Duration, kill <-chan struct{}) error {
	switch a {
	case pausing:
		return sleep(ctx, delay)
	case waiting:
		return waitAll(ctx, u.conditions, u.rules.needs, func(left string) { u.see(ctx, input{kind: sawNeeds, message: left}) })
	case preparing:
		return guard(nil, func() error { return u.Prepare(ctx) })
	}
	log := u.s.logs.Open(u.ID)
	defer log.Close() // a log that does not take the end of a line is no reason to fail
	var over gate
	defer over.shut()
	return guard(log, func() error {
		return u.Runner.Run(ctx, Env{
			Log:  gatedWriter{&over, log},
			Kill: kill,
			Started: func(message string) {
				over.pass(func() { u.see(ctx, input{kind: sawStarted, message: message}) })
			},
		})
	})
}

// see applies an input that an activity gives while it is under way.
func (u *unit) see(ctx context.Context, in input) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if ctx.Err() == nil {
		u.apply(in)
	}
}

// gate lets nothing through once it is shut: what a runner has left behind must not speak for the next run.
type gate struct {
	mu   sync.RWMutex
	over bool
}

func (g *gate) pass(f func()) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.over {
		f()
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
}

type gatedWriter struct {
	g *gate
	w io.Writer
}

// Write implements io.Writer. What comes after the end of the run is thrown away.
func (w gatedWriter) Write(p []byte) (n int, err error) {
	n = len(p)
	w.g.pass(func() { n, err = w.w.Write(p) })
	return n, err
}

var errEndedGoroutine = errors.New("the goroutine was ended from within")

// guard calls f and turns a panic into an error: a service must not take the supervisor with it. The stack goes to log,
// which may be nil.
func guard(log io.Writer, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			if log != nil {
				fmt.Fprintf(log, "panic: %v\n%s", r, debug.Stack())
			}
		}
	}()
	return f()
}
