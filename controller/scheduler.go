package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"talos.internal/controller/graph"
	"talos.internal/resource"
	"talos.internal/state"
)

// Options are for [New]. The zero value is what a machine uses.
type Options struct {
	// MinBackoff is the first pause after a failure; zero means 500 ms. Each further one doubles it,
	// up to MaxBackoff; zero means one minute. Each pause is longer or shorter by up to a quarter, at
	// random, so that controllers which failed together do not return together.
	MinBackoff, MaxBackoff time.Duration
	// StopTimeout is how long controllers have to stop; zero means ten seconds.
	StopTimeout time.Duration
}

// Scheduler runs controllers. It is safe for concurrent use.
type Scheduler struct {
	st   state.State
	log  *slog.Logger
	opts Options

	mu      sync.Mutex
	runners map[string]*runner
	watches map[resource.Kind]*kindWatch
	live    *liveRun // nil unless Run runs
	ended   bool
	wg      sync.WaitGroup // goroutines of watches
}

// liveRun is what a scheduler can do while it runs. Both are called with the scheduler's lock.
type liveRun struct {
	start     func(*runner)
	subscribe func(*runner, resource.Kind)
}

// New returns a scheduler without controllers, on st. Each controller logs to log, with its name as
// the attribute "controller".
func New(st state.State, log *slog.Logger, opts Options) *Scheduler {
	opts.MinBackoff = cmp.Or(opts.MinBackoff, 500*time.Millisecond)
	opts.MaxBackoff = cmp.Or(opts.MaxBackoff, time.Minute)
	opts.StopTimeout = cmp.Or(opts.StopTimeout, 10*time.Second)
	return &Scheduler{st: st, log: log, opts: opts, runners: make(map[string]*runner), watches: make(map[resource.Kind]*kindWatch)}
}

// Register adds a controller, and starts it if the scheduler runs already. It returns an error, and
// adds nothing, for a name that is empty or taken, inputs or outputs that are not valid, and an output
// that is exclusive here or with another controller while both declare it. Cycles are allowed (a
// controller may well read what it writes); the graph shows them.
func (s *Scheduler) Register(c Controller) error {
	r := &runner{
		s: s, c: c, name: c.Name(), outputs: slices.Clone(c.Outputs()),
		changes: make(chan struct{}, 1),
		backoff: backoff{min: s.opts.MinBackoff, max: s.opts.MaxBackoff},
		done:    make(chan struct{}),
	}
	r.log = s.log.With("controller", r.name)
	inputs := slices.Clone(c.Inputs())
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(s.checkName(r.name), validateInputs(inputs), s.checkOutputs(r))
	if err == nil && s.ended {
		err = errors.New("the scheduler has stopped")
	}
	if err != nil {
		return fmt.Errorf("register controller %q: %w", r.name, err)
	}
	r.setInputs(inputs)
	s.runners[r.name] = r
	if s.live != nil {
		s.live.start(r)
	}
	return nil
}

func (s *Scheduler) checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case s.runners[name] != nil:
		return errors.New("there is one of this name already")
	}
	return nil
}

func (s *Scheduler) checkOutputs(r *runner) error {
	var errs []error
	for i, o := range r.outputs {
		if o.Type == "" || o.Mode > OutputShared {
			errs = append(errs, fmt.Errorf("output %+v is not valid", o))
		}
		for _, p := range r.outputs[:i] {
			if o.overlaps(p) {
				errs = append(errs, fmt.Errorf("output %s is declared twice", o.Type))
			}
		}
		for _, other := range s.runners {
			for _, p := range other.outputs {
				if o.overlaps(p) && (o.Mode == OutputExclusive || p.Mode == OutputExclusive) {
					errs = append(errs, fmt.Errorf("output %s is %v here and %v in controller %s", o.Type, o.Mode, p.Mode, other.name))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// String returns "exclusive" or "shared".
func (m OutputMode) String() string {
	if m == OutputExclusive {
		return "exclusive"
	}
	return "shared"
}

// Run runs the controllers until ctx ends, and waits for them to stop. The error names those that
// have not stopped in time; they are left to themselves. Run may be called once.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.live != nil || s.ended {
		s.mu.Unlock()
		return errors.New("run controllers: the scheduler was run before")
	}
	s.live = &liveRun{
		start:     func(r *runner) { s.start(ctx, r) },
		subscribe: func(r *runner, k resource.Kind) { s.subscribe(ctx, r, k) },
	}
	for _, name := range s.names() {
		s.live.start(s.runners[name])
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.ended, s.live = true, nil
	names := s.names()
	s.mu.Unlock()
	deadline := time.NewTimer(s.opts.StopTimeout)
	defer deadline.Stop()
	var stuck []string
	expired := false
	for _, name := range names {
		r := s.runners[name] // no longer changes
		if !expired {
			select {
			case <-r.done:
				continue
			case <-deadline.C:
				expired = true
			}
		}
		select {
		case <-r.done:
		default:
			stuck = append(stuck, name)
		}
	}
	s.wg.Wait()
	if len(stuck) > 0 {
		return fmt.Errorf("stop controllers: still running after %v: %s", s.opts.StopTimeout, strings.Join(stuck, ", "))
	}
	return nil
}

// names returns the names of all controllers in order. s.mu is held.
func (s *Scheduler) names() []string {
	names := make([]string, 0, len(s.runners))
	for name := range s.runners {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// start subscribes r to its inputs and runs it. s.mu is held.
func (s *Scheduler) start(ctx context.Context, r *runner) {
	for _, in := range r.currentInputs() {
		s.subscribe(ctx, r, in.Kind)
	}
	go r.loop(ctx)
}

// updateInputs replaces the inputs of r while it runs.
func (s *Scheduler) updateInputs(r *runner, inputs []Input) error {
	if err := validateInputs(inputs); err != nil {
		return fmt.Errorf("update inputs of controller %q: %w", r.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := r.currentInputs()
	r.setInputs(slices.Clone(inputs))
	if s.live != nil {
		for _, in := range inputs {
			s.live.subscribe(r, in.Kind)
		}
	}
	for _, in := range before {
		if !slices.ContainsFunc(inputs, func(n Input) bool { return n.Kind == in.Kind }) {
			s.unsubscribe(r, in.Kind)
		}
	}
	// Whatever happened to the new inputs before they were watched.
	r.wake()
	return nil
}

// Graph returns what depends on what now, in order. It is what the InspectService serves.
func (s *Scheduler) Graph() []graph.Edge {
	s.mu.Lock()
	defer s.mu.Unlock()
	var edges []graph.Edge
	for _, name := range s.names() {
		r := s.runners[name]
		for _, o := range r.outputs {
			typ := graph.OutputExclusive
			if o.Mode == OutputShared {
				typ = graph.OutputShared
			}
			edges = append(edges, graph.Edge{Controller: name, Type: typ, Namespace: o.Namespace, ResourceType: o.Type})
		}
		for _, in := range r.currentInputs() {
			typ := graph.InputStrong
			switch in.Mode {
			case InputWeak:
				typ = graph.InputWeak
			case InputDestroyReady:
				typ = graph.InputDestroyReady
			}
			edges = append(edges, graph.Edge{Controller: name, Type: typ, Namespace: in.Kind.Namespace, ResourceType: in.Kind.Type, ID: in.ID})
		}
	}
	graph.Sort(edges)
	return edges
}

// Status is how a controller is doing.
type Status struct {
	Name string
	// Running is false before the start, between a failure and the restart, and after the end.
	Running  bool
	Restarts int
	// Err is the last failure, nil if there was none, or if all went well since.
	Err error
}

// Status returns how each controller is doing, in the order of their names.
func (s *Scheduler) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.runners))
	for _, name := range s.names() {
		all = append(all, s.runners[name].status())
	}
	return all
}
