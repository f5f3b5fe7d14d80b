package vitals

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Times of a run.
const (
	// Limit is how long a machine, or Kubernetes, may take for its answers.
	Limit = 3500 * time.Millisecond
	// interval is between two questions.
	interval = time.Second
)

// Machines asks machines.
type Machines interface {
	// Observe asks a machine what q says, and its status. An answer that is not there at the end of ctx is an error in its place.
	Observe(ctx context.Context, n Node, q Question) Observation
}

// Kubernetes asks the API of Kubernetes.
type Kubernetes interface {
	// Observe asks what q says. An answer that is not there at the end of ctx is an error in its place.
	Observe(ctx context.Context, q Question) KubeObservation
}

// Options say what is checked.
type Options struct {
	Nodes    []Node // at least one of the control plane
	Machines Machines
	// Kubernetes makes the access to Kubernetes. It is called until it works. Nil leaves out the checks that need it.
	Kubernetes func(ctx context.Context) (Kubernetes, error)
	// Skip are names of checks that do not apply, with the reason.
	Skip map[string]string
}

// State is how far a check is.
type State string

// The states.
const (
	Waiting State = "waiting"
	Passed  State = "passed"
	Skipped State = "skipped"
)

// Event tells of a change.
type Event struct {
	// Check is the name of the check; "" if the event is about a machine.
	Check string
	// Node is the machine that has stopped answering, or answers again, in which case Text is "".
	Node  string
	State State // of the check
	Text  string
}

// Error is the end of a run before all checks have passed.
type Error struct {
	Left  []Event // the checks that did not pass, with what they last saw
	Mute  []Event // the machines that do not answer
	cause error
}

// Error is a line for each machine that does not answer, and for each reason.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the cluster is not healthy (%v):", e.cause)
	for _, m := range e.Mute {
		fmt.Fprintf(&b, "\n  %s does not answer: %s", m.Node, m.Text)
	}
	// Several checks often wait for the same: that is said once.
	said := map[string]bool{}
	for i, l := range e.Left {
		if said[l.Text] {
			continue
		}
		said[l.Text] = true
		names := []string{l.Check}
		for _, other := range e.Left[i+1:] {
			if other.Text == l.Text {
				names = append(names, other.Check)
			}
		}
		fmt.Fprintf(&b, "\n  waiting for %s: %s", strings.Join(names, ", "), l.Text)
	}
	return b.String()
}

// Unwrap returns why the run ended.
func (e *Error) Unwrap() error { return e.cause }

// Run checks a cluster until all checks have passed or ctx ends. say hears of each change; it is called by one goroutine.
func Run(ctx context.Context, o Options, say func(Event)) error {
	r := &run{o: o, say: say, facts: Facts{Nodes: o.Nodes, Machines: map[string]Observation{}}, mute: map[string]string{}, told: map[string]string{}}
	if len(r.facts.controlPlane()) == 0 {
		return errors.New("check health: none of the machines is known to be of the control plane")
	}
	for _, c := range checks {
		if o.Kubernetes != nil || c.needs&askKubernetes == 0 {
			r.pending = append(r.pending, c)
		}
	}
	return r.run(ctx)
}

type run struct {
	o       Options
	say     func(Event)
	facts   Facts
	pending []check
	mute    map[string]string // reasons, by machine
	told    map[string]string // what was last said of a check
	needs   atomic.Uint64     // what the pending checks need
}

func (r *run) run(parent context.Context) error {
	r.plan()
	if len(r.pending) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(parent)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	updates := make(chan func())
	send := func(update func()) {
		select {
		case updates <- update:
		case <-ctx.Done():
		}
	}
	for _, n := range r.o.Nodes {
		asking.Go(func() { r.watchMachine(ctx, n, send) })
	}
	if r.o.Kubernetes != nil {
		asking.Go(func() { r.watchKubernetes(ctx, send) })
	}
	for {
		select {
		case <-ctx.Done():
			return r.end(context.Cause(parent))
		case update := <-updates:
			update()
			if r.judge(); len(r.pending) == 0 {
				return nil
			}
		}
	}
}

// plan says which checks do not apply, and what there is to be asked.
func (r *run) plan() {
	left := r.pending
	r.pending = nil
	for _, c := range left {
		if why, ok := r.o.Skip[c.name]; ok {
			r.say(Event{Check: c.name, State: Skipped, Text: why})
			continue
		}
		r.pending = append(r.pending, c)
	}
	r.count()
}

func (r *run) count() {
	var q Question
	for _, c := range r.pending {
		q |= c.needs
	}
	r.needs.Store(uint64(q))
}

// judge decides the checks that have not passed, in their order.
func (r *run) judge() {
	left := r.pending
	r.pending = nil
	for _, c := range left {
		err := c.judge(&r.facts)
		why, skip := errors.AsType[skipped](err)
		switch {
		case err == nil:
			r.say(Event{Check: c.name, State: Passed})
		case skip:
			r.say(Event{Check: c.name, State: Skipped, Text: string(why)})
		default:
			r.pending = append(r.pending, c)
			if text := err.Error(); text != r.told[c.name] {
				r.told[c.name] = text
				r.say(Event{Check: c.name, State: Waiting, Text: text})
			}
		}
	}
	r.count()
}

// heard notes whether a machine answers.
func (r *run) heard(n Node, err error) {
	text := ""
	if err != nil && unreachable(err) {
		text = explain(err)
		if !strings.Contains(text, "?") { // nobody has said yet what to look at
			text += "; is the machine up, and its network? One that is gone for good has to be taken out of the cluster: talosctl members remove " + n.name()
		}
	}
	old, was := r.mute[n.String()]
	switch {
	case text == "" && was:
		delete(r.mute, n.String())
	case text != "" && text != old:
		r.mute[n.String()] = text
		if was {
			return // in other words
		}
	default:
		return
	}
	r.say(Event{Node: n.String(), State: Waiting, Text: text})
}

// unreachable reports whether nobody answered.
func unreachable(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
}

func (r *run) end(cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		cause = errors.New("the time to wait is over")
	}
	e := &Error{cause: cause}
	for _, n := range r.o.Nodes {
		if text, ok := r.mute[n.String()]; ok {
			e.Mute = append(e.Mute, Event{Node: n.String(), State: Waiting, Text: text})
		}
	}
	for _, c := range r.pending {
		text, ok := r.told[c.name]
		if !ok {
			text = "no answer yet"
		}
		e.Left = append(e.Left, Event{Check: c.name, State: Waiting, Text: text})
	}
	return e
}

// question is what is still to be asked.
func (r *run) question() Question { return Question(r.needs.Load()) }

func (r *run) watchMachine(ctx context.Context, n Node, send func(func())) {
	for ctx.Err() == nil {
		q := r.question() &^ askKubernetes
		if !n.ControlPlane {
			q &^= AskEtcd
		}
		within, cancel := context.WithTimeout(ctx, Limit)
		o := r.o.Machines.Observe(within, n, q)
		cancel()
		if ctx.Err() != nil {
			return
		}
		send(func() {
			r.facts.Machines[n.Target] = o
			r.heard(n, o.Status.Err)
		})
		pause(ctx)
	}
}

func (r *run) watchKubernetes(ctx context.Context, send func(func())) {
	var access Kubernetes
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, Limit)
		var o KubeObservation
		var err error
		if access == nil {
			access, err = r.o.Kubernetes(within)
		}
		if err != nil {
			access = nil
			err = fmt.Errorf("no access to Kubernetes yet: %w", err)
			o = KubeObservation{Nodes: Answer[[]KubeNode]{Err: err}, Pods: Answer[[]Pod]{Err: err}, Proxy: Answer[Workload]{Err: err}, DNS: Answer[Workload]{Err: err}}
		} else {
			o = access.Observe(within, r.question()&askKubernetes)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		send(func() { r.facts.Kubernetes = o })
		pause(ctx)
	}
}

// pause waits between two questions.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(interval):
	}
}
