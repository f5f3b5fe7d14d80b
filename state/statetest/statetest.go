// Package statetest is the specification of [state.State] as a suite of tests. Every store passes it,
// and so does every path to a store, such as the API.
//
// The name of each test states a rule. To run them all against a store:
//
//	func TestStore(t *testing.T) {
//		statetest.Run(t, func(t *testing.T, history int) state.State { … })
//	}
//
// The tests with random operations print their seed; -statetest.seed repeats one.
package statetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"talos.internal/resource"
	"talos.internal/state"
)

var seedFlag = flag.Uint64("statetest.seed", 0, "seed of the random operations, 0 for a new one each time")

// Make returns an empty store that keeps history events of each kind, 0 for its default. It is
// removed when t ends. Over a wire, the types of [Types] are to be known at both ends.
type Make func(t *testing.T, history int) state.State

// patience ends a test that hangs; no rule depends on it.
const patience = time.Minute

// WidgetSpec is the type that the suite works with.
type WidgetSpec struct {
	Text  string            `yaml:"text" proto:"1"`
	Parts []string          `yaml:"parts" proto:"2"`
	Props map[string]string `yaml:"props" proto:"3"`
	Count int64             `yaml:"count" proto:"4"`
}

// ResourceDefinition implements [resource.Spec].
func (WidgetSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{Type: "Widgets.test.talos.dev", Namespace: "test"}
}

// GadgetSpec is another type, which has no protobuf form.
type GadgetSpec struct {
	Text string `yaml:"text"`
}

// ResourceDefinition implements [resource.Spec].
func (GadgetSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{Type: "Gadgets.test.talos.dev", Namespace: "test"}
}

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{resource.TypeOf[WidgetSpec](), resource.TypeOf[GadgetSpec]()}
}

var widgets = resource.KindOf[WidgetSpec]()

// Run runs every test of the suite.
func Run(t *testing.T, newStore Make) {
	for _, group := range []struct {
		name  string
		tests []rule
	}{
		{"create", createRules}, {"read", readRules}, {"update", updateRules}, {"teardown", teardownRules}, {"query", queryRules},
		{"typed", typedRules}, {"watch", watchRules}, {"watch one", watchOneRules}, {"slow watcher", slowRules}, {"interleavings", modelRules},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.tests {
				t.Run(r.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					s := &session{T: t, ctx: ctx, State: newStore(t, r.history)}
					r.test(s)
				})
			}
		})
	}
}

type rule struct {
	name    string
	history int
	test    func(*session)
}

// session is one test with its store. Its methods fail the test instead of returning errors.
type session struct {
	*testing.T
	state.State
	ctx context.Context
}

func widget(id, text string) *resource.Typed[WidgetSpec] {
	return resource.New(id, WidgetSpec{Text: text})
}

func (s *session) create(r resource.Resource, owner string) resource.Resource {
	s.Helper()
	got, err := s.Create(s.ctx, r, state.CreateOptions{Owner: owner})
	if err != nil {
		s.Fatalf("Create(%v) = %v; want it created", r.Metadata().Ref(), err)
	}
	return got
}

func (s *session) update(r resource.Resource, opts state.UpdateOptions) resource.Resource {
	s.Helper()
	got, err := s.Update(s.ctx, r, opts)
	if err != nil {
		s.Fatalf("Update(%v) = %v; want it updated", r.Metadata().Ref(), err)
	}
	return got
}

func (s *session) get(id string) resource.Resource {
	s.Helper()
	r, err := s.Get(s.ctx, widgets.Ref(id))
	if err != nil {
		s.Fatalf("Get(%s) = %v; want it", id, err)
	}
	return r
}

func (s *session) destroy(id string) {
	s.Helper()
	if err := s.Destroy(s.ctx, widgets.Ref(id), state.DestroyOptions{}); err != nil {
		s.Fatalf("Destroy(%s) = %v; want it destroyed", id, err)
	}
}

// edit updates the widget id by change, without an owner, in any phase.
func (s *session) edit(id string, change func(*resource.Metadata, *WidgetSpec)) resource.Resource {
	s.Helper()
	r := s.get(id).(*resource.Typed[WidgetSpec])
	md, spec := r.Metadata(), r.Spec()
	change(&md, &spec)
	return s.update(r.With(md, spec), state.UpdateOptions{Owner: md.Owner(), Expect: state.ExpectAny})
}

func (s *session) setText(id, text string) {
	s.Helper()
	s.edit(id, func(_ *resource.Metadata, spec *WidgetSpec) { spec.Text = text })
}

// wantErr fails the test unless err is all of want, and does not name the operation and the subject.
func (s *session) wantErr(what string, err error, want ...error) {
	s.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			s.Errorf("%s = %v; want %v", what, err, want)
			return
		}
	}
}

// show returns a resource on one line, for comparisons.
func show(r resource.Resource) string {
	if r == nil {
		return "nil"
	}
	md := r.Metadata()
	s := fmt.Sprintf("%s v%v", md.ID(), md.Version())
	if md.Phase() != resource.Running {
		s += " " + md.Phase().String()
	}
	if t, ok := r.(*resource.Typed[WidgetSpec]); ok {
		s += " " + t.Spec().Text
	}
	return s
}

// stream reads a watch event by event.
type stream struct {
	s       *session
	w       state.Watcher
	pending []state.Event
}

func (s *session) watchKind(opts state.WatchOptions) *stream {
	s.Helper()
	w, err := s.WatchKind(s.ctx, widgets, opts)
	if err != nil {
		s.Fatalf("WatchKind(%+v) = %v; want a watcher", opts, err)
	}
	s.Cleanup(w.Close)
	return &stream{s: s, w: w}
}

func (s *session) watchOne(id string, opts state.WatchOptions) *stream {
	s.Helper()
	w, err := s.Watch(s.ctx, widgets.Ref(id), opts)
	if err != nil {
		s.Fatalf("Watch(%s, %+v) = %v; want a watcher", id, opts, err)
	}
	s.Cleanup(w.Close)
	return &stream{s: s, w: w}
}

func (st *stream) next() (state.Event, error) {
	if len(st.pending) == 0 {
		events, err := st.w.Next(st.s.ctx)
		if err != nil {
			return state.Event{}, err
		}
		if len(events) == 0 {
			return state.Event{}, errors.New("watcher.Next returned neither an event nor an error")
		}
		st.pending = append(st.pending, events...)
	}
	e := st.pending[0]
	st.pending = st.pending[1:]
	return e, nil
}

// expect fails the test unless the next events are these, as "type id version text", and returns the last.
func (st *stream) expect(want ...string) (last state.Event) {
	st.s.Helper()
	for i, w := range want {
		e, err := st.next()
		if err != nil {
			st.s.Fatalf("event %d = %v; want %s", i, err, w)
		}
		got := e.Type.String()
		if e.Resource != nil {
			got += " " + show(e.Resource)
		}
		if e.Old != nil {
			got += " was " + show(e.Old)
		}
		if got != w {
			st.s.Fatalf("event %d = %q; want %q", i, got, w)
		}
		last = e
	}
	return last
}
