package statetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"talos.internal/resource"
	"talos.internal/state"
)

// model is what a store is, as simply as it can be said: a map, and one rule for each write.
type model struct {
	items map[string]modelItem
}

type modelItem struct {
	version    uint64
	owner      string
	text       string
	tearing    bool
	finalizers []string
}

// op is one write. token makes what it writes unique.
type op struct {
	verb    state.Verb
	id      string
	owner   string
	token   string
	version uint64 // for updates: the version that is replaced
	finals  []string
	expect  state.ExpectedPhase
}

func (o op) String() string {
	return fmt.Sprintf("%s %s by %q over %d with finalizers %q expecting %d", o.verb, o.id, o.owner, o.version, o.finals, o.expect)
}

// apply returns the error that the store has to return, nil for success, after which the model has changed.
func (m *model) apply(o op) error {
	it, there := m.items[o.id]
	if o.verb == state.VerbCreate {
		if there {
			return state.Exists
		}
		m.items[o.id] = modelItem{version: 1, owner: o.owner, text: o.token, finalizers: o.finals}
		return nil
	}
	switch {
	case !there:
		return state.NotFound
	case it.owner != o.owner:
		return state.OwnerConflict
	}
	switch o.verb {
	case state.VerbUpdate:
		phase := resource.Running
		if it.tearing {
			phase = resource.TearingDown
		}
		late := it.tearing && slices.ContainsFunc(o.finals, func(f string) bool { return !slices.Contains(it.finalizers, f) })
		switch {
		case it.version != o.version:
			return state.VersionConflict
		case !o.expect.Allows(phase), late:
			return state.PhaseConflict
		}
		it.text, it.finalizers = o.token, o.finals
		it.version++
	case state.VerbTeardown:
		if it.tearing {
			return nil
		}
		it.tearing = true
		it.version++
	case state.VerbDestroy:
		if len(it.finalizers) > 0 {
			return state.FinalizersConflict
		}
		delete(m.items, o.id)
		return nil
	}
	m.items[o.id] = it
	return nil
}

func (m *model) clone() *model {
	c := &model{items: map[string]modelItem{}}
	for id, it := range m.items {
		c.items[id] = it
	}
	return c
}

func (m *model) equal(o *model) bool { return m.String() == o.String() }

// String returns one line per item, in order.
func (m *model) String() string {
	s := ""
	for _, id := range slices.Sorted(func(yield func(string) bool) {
		for id := range m.items {
			if !yield(id) {
				return
			}
		}
	}) {
		s += fmt.Sprintf("%s %+v\n", id, m.items[id])
	}
	return s
}

// observe returns what the model would be if it were what the store is.
func (s *session) observe(list []resource.Resource) *model {
	m := &model{items: map[string]modelItem{}}
	for _, r := range list {
		md := r.Metadata()
		it := modelItem{version: uint64(md.Version()), owner: md.Owner(), text: r.(*resource.Typed[WidgetSpec]).Spec().Text,
			tearing: md.Phase() == resource.TearingDown, finalizers: md.Finalizers()}
		m.items[md.ID()] = it
	}
	return m
}

// random returns an operation that has a fair chance to succeed, given what is thought to be there.
func random(rnd *rand.Rand, known *model, token string) op {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	o := op{id: pick("a", "b", "c"), owner: "", token: token}
	it := known.items[o.id]
	o.owner, o.version = it.owner, it.version
	if rnd.IntN(10) == 0 {
		o.owner = pick("", "me", "you")
	}
	if rnd.IntN(10) == 0 {
		o.version += uint64(rnd.IntN(3)) - 1
	}
	o.expect = state.ExpectedPhase(rnd.IntN(3))
	o.finals = slices.Clone(it.finalizers)
	switch rnd.IntN(4) {
	case 0:
		o.finals = append(o.finals, token)
	case 1:
		o.finals = nil
	}
	verbs := []state.Verb{state.VerbCreate, state.VerbUpdate, state.VerbUpdate, state.VerbUpdate, state.VerbTeardown, state.VerbDestroy}
	o.verb = verbs[rnd.IntN(len(verbs))]
	if o.verb == state.VerbCreate {
		o.owner = pick("", "me")
	}
	return o
}

// do performs o on the store. The phase and labels of an update are those of what is replaced.
func (s *session) do(o op, tearing bool) error {
	ref := widgets.Ref(o.id)
	md := resource.NewMetadata(ref)
	md.SetFinalizers(o.finals)
	md.SetVersion(resource.Version(o.version))
	if tearing {
		md.SetPhase(resource.TearingDown)
	}
	r := widget(o.id, o.token)
	var err error
	switch o.verb {
	case state.VerbCreate:
		md.SetPhase(resource.Running)
		_, err = s.Create(s.ctx, r.WithMetadata(md), state.CreateOptions{Owner: o.owner})
	case state.VerbUpdate:
		_, err = s.Update(s.ctx, r.WithMetadata(md), state.UpdateOptions{Owner: o.owner, Expect: o.expect})
	case state.VerbTeardown:
		_, err = s.Teardown(s.ctx, ref, state.TeardownOptions{Owner: o.owner})
	case state.VerbDestroy:
		err = s.Destroy(s.ctx, ref, state.DestroyOptions{Owner: o.owner})
	}
	return err
}

func (s *session) seed() uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	s.Logf("repeat with -statetest.seed=%d", seed)
	return seed
}

var modelRules = []rule{
	{name: "one writer does exactly what the model does", test: func(s *session) {
		rnd := rand.New(rand.NewPCG(s.seed(), 0))
		m := &model{items: map[string]modelItem{}}
		for i := range 600 {
			o := random(rnd, m, fmt.Sprint(i))
			tearing := m.items[o.id].tearing
			want := m.apply(o)
			got := s.do(o, tearing)
			if (got == nil) != (want == nil) || want != nil && !errors.Is(got, want) {
				s.Fatalf("step %d: %v = %v; want %v", i, o, got, want)
			}
		}
		list, err := s.List(s.ctx, widgets, resource.Query{})
		if err != nil {
			s.Fatal(err)
		}
		if got := s.observe(list); !got.equal(m) {
			s.Errorf("the store holds\n%vwant\n%v", got, m)
		}
	}},
	{name: "many writers leave what some order of their successes leaves, and a watch tells that order", test: func(s *session) {
		const writers, each = 4, 100
		seed := s.seed()
		w := s.watchKind(state.WatchOptions{Bootstrap: true})
		w.expect("bootstrapped")
		var wg sync.WaitGroup
		var successes atomic.Int64
		for n := range writers {
			rnd := rand.New(rand.NewPCG(seed, uint64(n)+1))
			wg.Go(func() {
				for i := range each {
					list, err := s.List(s.ctx, widgets, resource.Query{})
					if err != nil {
						s.Errorf("List = %v", err)
						return
					}
					known := s.observe(list)
					o := random(rnd, known, fmt.Sprintf("%d.%d", n, i))
					switch err := s.do(o, known.items[o.id].tearing); state.KindOf(err) {
					case 0:
						if err != nil {
							s.Errorf("%v = %v; want success or an error of a kind", o, err)
						}
						if o.verb != state.VerbTeardown { // a second teardown succeeds without an event
							successes.Add(1)
						}
					case state.NotFound, state.Exists, state.Conflict:
					default:
						s.Errorf("%v = %v; want NotFound, Exists or Conflict", o, err)
					}
				}
			})
		}
		wg.Wait()
		s.create(widget("the end", ""), "")

		// Replay what the watch tells on the model: every event has to be a legal step.
		m := &model{items: map[string]modelItem{}}
		told := int64(0)
		for {
			e, err := w.next()
			if err != nil {
				s.Fatal(err)
			}
			md := e.Resource.Metadata()
			if md.ID() == "the end" {
				break
			}
			before := m.clone()
			o := op{verb: state.VerbCreate, id: md.ID(), owner: md.Owner(), token: e.Resource.(*resource.Typed[WidgetSpec]).Spec().Text,
				version: uint64(md.Version()) - 1, finals: md.Finalizers(), expect: state.ExpectAny}
			switch {
			case e.Type == state.Destroyed:
				o.verb = state.VerbDestroy
			case e.Type == state.Updated && e.Old.Metadata().Phase() != md.Phase():
				o.verb = state.VerbTeardown
			case e.Type == state.Updated:
				o.verb = state.VerbUpdate
			}
			if err := m.apply(o); err != nil {
				s.Fatalf("the watch tells of %v, which the model refuses: %v, holding\n%v", o, err, before)
			}
			after := s.observe([]resource.Resource{e.Resource}).items[md.ID()]
			if it, there := m.items[md.ID()]; there && fmt.Sprintf("%+v", it) != fmt.Sprintf("%+v", after) {
				s.Fatalf("after %v the watch tells of %+v; want %+v", o, after, it)
			}
			if o.verb != state.VerbTeardown {
				told++
			}
		}
		if told != successes.Load() {
			s.Errorf("the watch told of %d writes; want the %d that succeeded", told, successes.Load())
		}
		s.destroy("the end")
		list, err := s.List(s.ctx, widgets, resource.Query{})
		if err != nil {
			s.Fatal(err)
		}
		if got := s.observe(list); !got.equal(m) {
			s.Errorf("the store holds\n%vwant\n%v", got, m)
		}
	}},
}
