package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Supervisor runs services. Its methods are safe for concurrent use. Use [New].
type Supervisor struct {
	logs Logs

	mu      sync.Mutex
	units   map[string]*unit
	seq     uint64
	subs    map[*Subscription]bool
	changed chan struct{} // closed and replaced at each change
	denied  bool          // no more starts
}

// New returns a supervisor without services. logs takes what they say; nil throws it away.
func New(logs Logs) *Supervisor {
	if logs == nil {
		logs = noLogs{}
	}
	return &Supervisor{logs: logs, units: map[string]*unit{}, subs: map[*Subscription]bool{}, changed: make(chan struct{})}
}

type noLogs struct{}

func (noLogs) Open(string) io.WriteCloser { return discard{} }
func (noLogs) Tail(string, int) []string  { return nil }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// Load adds services; it starts none of them. It adds all or, with an error, none: ErrInvalid for a description that
// cannot be used and for a cycle, which the error spells out, ErrExists, ErrShutdown.
func (s *Supervisor) Load(services ...Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denied {
		return fmt.Errorf("load services: %w", ErrShutdown)
	}
	after := s.after()
	for i := range services {
		svc := &services[i]
		if err := svc.check(); err != nil {
			return fmt.Errorf("load service %q: %w", svc.ID, err)
		}
		if _, ok := after[svc.ID]; ok {
			return fmt.Errorf("load service %s: %w", svc.ID, ErrExists)
		}
		after[svc.ID] = svc.After
	}
	if _, err := order(after); err != nil {
		return fmt.Errorf("load services: %w", err)
	}
	for _, svc := range services {
		u := newUnit(s, svc)
		u.rules.needs = describe(svc)
		u.health = Health{Unknown: true, Change: time.Now()}
		s.units[svc.ID] = u
		s.record(u, Initialized, "Loaded")
	}
	s.wake()
	return nil
}

func (s *Service) check() error {
	switch {
	case s.ID == "" || strings.ContainsFunc(s.ID, unicode.IsSpace):
		return fmt.Errorf("%w: the id is empty or has white space", ErrInvalid)
	case s.Runner == nil:
		return fmt.Errorf("%w: it has no runner", ErrInvalid)
	case s.Health != nil && s.Health.Probe == nil:
		return fmt.Errorf("%w: its health check has no probe", ErrInvalid)
	case s.Restart > Once:
		return fmt.Errorf("%w: unknown restart policy %v", ErrInvalid, s.Restart)
	case s.Grace < 0 || s.Backoff.First < 0 || s.Backoff.Max < 0 || s.Backoff.Stable < 0:
		return fmt.Errorf("%w: a time is negative", ErrInvalid)
	}
	return nil
}

// describe names all that a service waits for.
func describe(svc Service) string {
	var names []string
	for _, id := range svc.After {
		names = append(names, upText(id))
	}
	for _, c := range svc.Conditions {
		names = append(names, c.String())
	}
	return strings.Join(names, "; ")
}

// after returns who comes after whom. The lock is held.
func (s *Supervisor) after() map[string][]string {
	after := make(map[string][]string, len(s.units))
	for id, u := range s.units {
		after[id] = u.After
	}
	return after
}

// find returns the named units, or ErrNotFound. The lock is held.
func (s *Supervisor) find(op string, ids []string) ([]*unit, error) {
	units := make([]*unit, len(ids))
	for i, id := range ids {
		u, ok := s.units[id]
		if !ok {
			return nil, fmt.Errorf("%s service %s: %w", op, id, ErrNotFound)
		}
		units[i] = u
	}
	return units, nil
}

// Start orders services to run, and returns at once; [Supervisor.WaitUp] waits for them. One that runs or is about to
// stays as it is, one that stops is started after that. Services that they come after are not started for it: what is
// missing is seen in the status. The errors are ErrNotFound and ErrShutdown; then none was started.
func (s *Supervisor) Start(ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	units, err := s.find("start", ids)
	if err != nil {
		return err
	}
	return s.start(units)
}

func (s *Supervisor) start(units []*unit) error {
	if s.denied {
		return fmt.Errorf("start services: %w", ErrShutdown)
	}
	for _, u := range units {
		u.apply(input{kind: orderStart})
	}
	return nil
}

// StartAll orders all services to run, each after those that it comes after.
func (s *Supervisor) StartAll() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, err := order(s.after())
	if err != nil {
		return err
	}
	units, err := s.find("start", ids)
	if err != nil {
		return err
	}
	return s.start(units)
}

// Unload stops services, and those that come after them, and forgets the named ones. It returns ErrBusy if one did
// not stop, or ErrNotFound; then none is forgotten.
func (s *Supervisor) Unload(ctx context.Context, ids ...string) error {
	if err := s.Stop(ctx, ids...); err != nil {
		return fmt.Errorf("unload: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	units, err := s.find("unload", ids)
	if err != nil {
		return err
	}
	for _, u := range units {
		if u.m.Activity != resting {
			return fmt.Errorf("unload service %s: it was started again: %w", u.ID, ErrBusy)
		}
	}
	for _, id := range ids {
		delete(s.units, id)
	}
	s.wake()
	return nil
}

// Status returns what is known of a service, or ErrNotFound.
func (s *Supervisor) Status(id string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	units, err := s.find("get", []string{id})
	if err != nil {
		return Status{}, err
	}
	return units[0].status(), nil
}

// List returns the status of every service, by id.
func (s *Supervisor) List() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list()
}

func (s *Supervisor) list() []Status {
	all := make([]Status, 0, len(s.units))
	for _, id := range slices.Sorted(maps.Keys(s.units)) {
		all = append(all, s.units[id].status())
	}
	return all
}

// Subscribe returns the status of every service and a subscription to all events from then on. It holds up to buffer events
// (at least 1) for its owner; when there are more, the subscription ends with [ErrSlow]. The owner calls Close.
func (s *Supervisor) Subscribe(buffer int) ([]Status, *Subscription) {
	sub := &Subscription{events: make(chan Event, max(buffer, 1))}
	sub.drop = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cutOff(sub, context.Canceled)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs[sub] = true
	return s.list(), sub
}

func (s *Supervisor) cutOff(sub *Subscription, err error) {
	if s.subs[sub] {
		delete(s.subs, sub)
		sub.end(err)
	}
}

// record makes an event of u. The lock is held.
func (s *Supervisor) record(u *unit, state State, message string) {
	s.seq++
	e := Event{Seq: s.seq, Service: u.ID, State: state, Message: message, Health: u.health, Time: time.Now()}
	if len(u.history) == historyLen {
		u.history = append(u.history[:0], u.history[1:]...)
	}
	u.history = append(u.history, e)
	for sub := range s.subs {
		if !sub.offer(e) {
			s.cutOff(sub, ErrSlow)
		}
	}
}

// wake lets those look who wait for a change. The lock is held.
func (s *Supervisor) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for done, which is called with the lock held, to return true.
func (s *Supervisor) until(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitUp waits until the services are up, all at one time. A service that is not loaded is waited for. When ctx ends
// first, the error wraps ctx's and says of each that was not up what was last seen.
func (s *Supervisor) WaitUp(ctx context.Context, ids ...string) error {
	var left []string
	err := s.until(ctx, func() bool {
		left = left[:0]
		for _, id := range ids {
			u, ok := s.units[id]
			switch {
			case !ok:
				left = append(left, upText(id)+" (not loaded)")
			case !u.up():
				last := u.history[len(u.history)-1]
				left = append(left, fmt.Sprintf("%s (%v: %s)", upText(id), last.State, last.Message))
			}
		}
		return len(left) == 0
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", strings.Join(left, "; "), err)
	}
	return nil
}

type serviceUp struct {
	s  *Supervisor
	id string
}

// Up returns the condition that a service is up: it is Running and, if it has a check, healthy; or Skipped; or it is one
// that is not always restarted and has ended well.
func (s *Supervisor) Up(id string) Condition { return serviceUp{s, id} }

func upText(id string) string { return "service " + id + " to be up" }

// String implements [Condition].
func (c serviceUp) String() string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.units[c.id] == nil {
		return upText(c.id) + " (not loaded)"
	}
	return upText(c.id)
}

// Wait implements [Condition].
func (c serviceUp) Wait(ctx context.Context) error {
	return c.s.until(ctx, func() bool {
		u := c.s.units[c.id]
		return u != nil && u.up()
	})
}

// DenyStarts makes Load, Start and Restart return ErrShutdown from now on, for good. What runs keeps running, and is
// restarted when it ends.
func (s *Supervisor) DenyStarts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = true
}

var errStopTime = errors.New("the time to stop is over")
