package controller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/controller/graph"
	"talos.internal/resource"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

type (
	A = controllertest.ASpec
	B = controllertest.BSpec
)

// fake is a controller made of parts.
type fake struct {
	name    string
	inputs  []controller.Input
	outputs []controller.Output
	run     func(ctx context.Context, rt controller.Runtime, log *slog.Logger) error
}

func (f fake) Name() string                 { return f.name }
func (f fake) Inputs() []controller.Input   { return f.inputs }
func (f fake) Outputs() []controller.Output { return f.outputs }
func (f fake) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return f.run(ctx, rt, log)
}

// counter returns a controller with these inputs and how often it was woken.
func counter(inputs ...controller.Input) (controller.Controller, *int) {
	n := new(int)
	return fake{name: "counter", inputs: inputs, outputs: []controller.Output{controller.Shared[B]()},
		run: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			return controller.Loop(ctx, rt, func(context.Context) error { *n++; return nil })
		}}, n
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestRegisterRefuses(t *testing.T) {
	none := func(context.Context, controller.Runtime, *slog.Logger) error { return nil }
	exclusive, shared := controller.Exclusive[A](), controller.Shared[A]()
	for _, tt := range []struct {
		name          string
		first, second fake
		want          string // empty: accepted
	}{
		{"no name", fake{name: "a"}, fake{}, "no name"},
		{"duplicate name", fake{name: "a"}, fake{name: "a"}, "of this name already"},
		{"two exclusive", fake{name: "a", outputs: []controller.Output{exclusive}}, fake{name: "b", outputs: []controller.Output{exclusive}}, "exclusive here and exclusive in controller a"},
		{"shared after exclusive", fake{name: "a", outputs: []controller.Output{exclusive}}, fake{name: "b", outputs: []controller.Output{shared}}, "shared here and exclusive in controller a"},
		{"exclusive after shared", fake{name: "a", outputs: []controller.Output{shared}}, fake{name: "b", outputs: []controller.Output{exclusive}}, "exclusive here and shared in controller a"},
		{"exclusive in any namespace", fake{name: "a", outputs: []controller.Output{exclusive.In("")}}, fake{name: "b", outputs: []controller.Output{exclusive}}, "exclusive"},
		{"two shared", fake{name: "a", outputs: []controller.Output{shared}}, fake{name: "b", outputs: []controller.Output{shared}}, ""},
		{"other namespace", fake{name: "a", outputs: []controller.Output{exclusive}}, fake{name: "b", outputs: []controller.Output{exclusive.In("other")}}, ""},
		{"output twice", fake{name: "a"}, fake{name: "b", outputs: []controller.Output{shared, shared}}, "declared twice"},
		{"output without type", fake{name: "a"}, fake{name: "b", outputs: []controller.Output{{}}}, "not valid"},
		{"input twice", fake{name: "a"}, fake{name: "b", inputs: []controller.Input{controller.Weak[A](), controller.Strong[A]()}}, "declared twice"},
		{"input without type", fake{name: "a"}, fake{name: "b", inputs: []controller.Input{{}}}, "type is empty"},
		{"a cycle is fine", fake{name: "a", inputs: []controller.Input{controller.Weak[A](), controller.DestroyReady[A]()}, outputs: []controller.Output{exclusive}}, fake{name: "b"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := controller.New(memstate.New(memstate.Options{}), quiet(), controller.Options{})
			tt.first.run, tt.second.run = none, none
			if err := s.Register(tt.first); err != nil {
				t.Fatal(err)
			}
			err := s.Register(tt.second)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Register = %v; want %q", err, tt.want)
			}
			if want := 1; err != nil && len(s.Status()) != want {
				t.Errorf("after a refused Register there are %d controllers; want %d", len(s.Status()), want)
			}
		})
	}
}

func TestControllerIsWokenByItsInputs(t *testing.T) {
	selected := controller.Weak[A]()
	selected.Query = resource.Query{ID: regexp.MustCompile("^x")}
	for _, tt := range []struct {
		name  string
		input controller.Input
		woken bool // by the creation of the resource "a" of type A
	}{
		{"strong", controller.Strong[A](), true},
		{"weak", controller.Weak[A](), true},
		{"named", controller.Weak[A]().Named("a"), true},
		{"named otherwise", controller.Weak[A]().Named("b"), false},
		{"other namespace", controller.Weak[A]().In("other"), false},
		{"other type", controller.Weak[B](), false},
		{"not selected", selected, false},
		{"destroy-ready", controller.DestroyReady[A](), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, n := counter(tt.input)
			controllertest.Run(t, func(h *controllertest.Harness) {
				if *n != 1 {
					t.Fatalf("woken %d times at the start; want once", *n)
				}
				controllertest.Create(h, "a", A{})
				h.Settle()
				if got := *n == 2; got != tt.woken {
					t.Errorf("woken %d times; want woken again: %v", *n, tt.woken)
				}
			}, c)
		})
	}
}

func TestChangesDuringWorkAreOneWakeUp(t *testing.T) {
	n := 0
	c := fake{name: "slow", inputs: []controller.Input{controller.Weak[A]()},
		run: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			return controller.Loop(ctx, rt, func(context.Context) error {
				if n++; n == 1 {
					time.Sleep(time.Second)
				}
				return nil
			})
		}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		for i := range 10 {
			controllertest.Create(h, fmt.Sprint(i), A{})
		}
		h.Advance(2 * time.Second)
		if n != 2 {
			t.Errorf("woken %d times; want 2", n)
		}
	}, c)
}

func TestDestroyReadyWakesTheOwnerOnly(t *testing.T) {
	c, n := counter(controller.DestroyReady[B]())
	controllertest.Run(t, func(h *controllertest.Harness) {
		for i, owner := range []string{"counter", "other"} {
			id := fmt.Sprint(i)
			controllertest.Create(h, id, B{}, state.As(owner))
			if err := state.AddFinalizer(t.Context(), h.State, resource.RefOf[B](id), "f"); err != nil {
				t.Fatal(err)
			}
			if _, err := state.Teardown[B](t.Context(), h.State, id, state.As(owner)); err != nil {
				t.Fatal(err)
			}
		}
		h.Settle()
		if *n != 1 {
			t.Fatalf("woken %d times before the finalizers went; want 1", *n)
		}
		for i, want := range []int{2, 2} {
			if err := state.RemoveFinalizer(t.Context(), h.State, resource.RefOf[B](fmt.Sprint(i)), "f"); err != nil {
				t.Fatal(err)
			}
			h.Settle()
			if *n != want {
				t.Errorf("after the finalizer of %d went: woken %d times; want %d", i, *n, want)
			}
		}
	}, c)
}

func TestControllerReachesOnlyWhatItDeclared(t *testing.T) {
	c := fake{
		name:    "c",
		inputs:  []controller.Input{controller.Strong[A](), controller.Weak[A]().In("weak"), controller.Weak[A]().In("named").Named("x")},
		outputs: []controller.Output{controller.Shared[B]()},
	}
	c.run = func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
		<-rt.Changes()
		a := func(ns string) resource.Ref {
			return resource.Ref{Namespace: ns, Type: resource.KindOf[A]().Type, ID: "x"}
		}
		list := func(ns string) error { _, err := state.List[A](ctx, rt, state.In(ns)); return err }
		get := func(ref resource.Ref) error { _, err := rt.Get(ctx, ref); return err }
		create := func(ns, owner string) error {
			_, err := state.Create(ctx, rt, "n", A{}, state.In(ns), state.As(owner))
			return err
		}
		edit := func(id string, owner string) error {
			_, err := state.Update(ctx, rt, id, func(md *resource.Metadata, spec *B) error { spec.N++; return nil }, state.As(owner))
			return err
		}
		steal := func(change func(*resource.Metadata, *A)) error {
			r, err := state.Get[A](ctx, rt, "x")
			if err != nil {
				return err
			}
			md, spec := r.Metadata(), r.Spec()
			change(&md, &spec)
			_, err = rt.Update(ctx, r.With(md, spec), state.UpdateOptions{Owner: md.Owner()})
			return err
		}
		for _, tt := range []struct {
			name string
			err  error
			want error
		}{
			{"get input", get(a("test")), nil},
			{"get weak input", get(a("weak")), nil},
			{"get named input", get(a("named")), nil},
			{"get another id of a named input", get(resource.Ref{Namespace: "named", Type: resource.KindOf[A]().Type, ID: "y"}), state.Denied},
			{"list of a named input", list("named"), state.Denied},
			{"list input", list("test"), nil},
			{"get undeclared", get(a("secret")), state.Denied},
			{"list undeclared", list("secret"), state.Denied},
			{"create input", create("test", ""), state.Denied},
			{"get output", get(resource.RefOf[B]("own")), nil},
			{"update own output", edit("own", ""), nil},
			{"update output of another", edit("foreign", ""), state.OwnerConflict},
			{"update output as another", edit("foreign", "other"), state.Denied},
			{"destroy output of another", state.Destroy[B](ctx, rt, "foreign"), state.OwnerConflict},
			{"destroy as another", state.Destroy[B](ctx, rt, "foreign", state.As("other")), state.Denied},
			{"teardown input", func() error { _, err := state.Teardown[A](ctx, rt, "x"); return err }(), state.Denied},
			{"own finalizer on strong input", state.AddFinalizer(ctx, rt, a("test"), "c"), nil},
			{"another finalizer on strong input", state.AddFinalizer(ctx, rt, a("test"), "d"), state.Denied},
			{"finalizer on weak input", state.AddFinalizer(ctx, rt, a("weak"), "c"), state.Denied},
			{"own finalizer on output of another, no input", state.AddFinalizer(ctx, rt, resource.RefOf[B]("foreign"), "c"), state.Denied},
			{"spec of an input", steal(func(_ *resource.Metadata, s *A) { s.N++ }), state.Denied},
			{"label of an input", steal(func(md *resource.Metadata, _ *A) { md.SetLabel("k", "v") }), state.Denied},
			{"own finalizer away", state.RemoveFinalizer(ctx, rt, a("test"), "c"), nil},
		} {
			if tt.want == nil && tt.err != nil || tt.want != nil && !errors.Is(tt.err, tt.want) {
				t.Errorf("%s = %v; want %v", tt.name, tt.err, tt.want)
			}
		}
		return nil
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		for _, ns := range []string{"test", "weak", "named", "secret"} {
			controllertest.Create(h, "x", A{}, state.In(ns), state.As("owner"))
		}
		controllertest.Create(h, "own", B{}, state.As("c"))
		controllertest.Create(h, "foreign", B{}, state.As("other"))
		if err := h.Scheduler.Register(c); err != nil { // also: a controller may come late
			t.Fatal(err)
		}
		h.Settle()
	})
}

func TestWhatAControllerCreatesIsItsOwn(t *testing.T) {
	c := fake{name: "maker", outputs: []controller.Output{controller.Exclusive[B]()},
		run: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			return controller.Loop(ctx, rt, func(ctx context.Context) error {
				_, err := state.Modify(ctx, rt, "b", func(_ *resource.Metadata, b *B) error { b.N = 1; return nil })
				return err
			})
		}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		if got := controllertest.Want(h, "b", B{N: 1}).Metadata().Owner(); got != "maker" {
			t.Errorf("owner = %q; want maker", got)
		}
	}, c)
}

func TestFailuresAreRetriedWithGrowingPauses(t *testing.T) {
	var runs []time.Time
	boom := errors.New("boom")
	fails := fake{name: "fails", run: func(context.Context, controller.Runtime, *slog.Logger) error {
		runs = append(runs, time.Now())
		if len(runs)%2 == 0 {
			panic("panics too")
		}
		return boom
	}}
	other, wakes := counter(controller.Weak[A]())
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(10 * time.Minute)
		for i := 1; i < len(runs); i++ {
			base := min(500*time.Millisecond<<(i-1), time.Minute)
			if got := runs[i].Sub(runs[i-1]); got < base*3/4 || got > base*5/4 {
				t.Errorf("pause %d = %v; want %v, more or less by a quarter", i, got, base)
			}
		}
		if len(runs) < 12 {
			t.Errorf("%d runs in ten minutes; want pauses of at most a minute", len(runs))
		}
		status := h.Scheduler.Status()
		if i := slices.IndexFunc(status, func(s controller.Status) bool { return s.Name == "fails" }); status[i].Err == nil || status[i].Running || status[i].Restarts != len(runs)-1 {
			t.Errorf("Status = %+v; want the failure and %d restarts", status[i], len(runs)-1)
		}
		controllertest.Create(h, "a", A{})
		h.Settle()
		if *wakes != 2 {
			t.Errorf("the other controller was woken %d times; want 2, undisturbed", *wakes)
		}
	}, fails, other)
}

func TestPanicIsLoggedWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := controller.New(memstate.New(memstate.Options{}), slog.New(slog.NewTextHandler(&out, nil)), controller.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.Register(fake{name: "p", run: func(context.Context, controller.Runtime, *slog.Logger) error { return explode() }}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, want := range []string{"controller=p", "panic: ouch", "controller_test.explode"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, out.String())
			}
		}
	})
}

func explode() error { panic("ouch") }

func TestSuccessResetsThePause(t *testing.T) {
	var runs []time.Time
	c := fake{name: "flaky", run: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
		runs = append(runs, time.Now())
		if len(runs) == 6 {
			rt.ResetBackoff()
		}
		return errors.New("boom")
	}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(time.Minute)
		if got := runs[6].Sub(runs[5]); got > 625*time.Millisecond {
			t.Errorf("the pause after a success = %v; want the first one again", got)
		}
		if got := runs[5].Sub(runs[4]); got < 6*time.Second {
			t.Errorf("the pause before it = %v; want a long one", got)
		}
	}, c)
}

func TestNilEndsAControllerForGood(t *testing.T) {
	n := 0
	c := fake{name: "once", inputs: []controller.Input{controller.Weak[A]()}, run: func(context.Context, controller.Runtime, *slog.Logger) error { n++; return nil }}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "a", A{})
		h.Advance(time.Hour)
		if n != 1 {
			t.Errorf("it ran %d times; want once", n)
		}
	}, c)
}

func TestStopNamesWhoDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := controller.New(memstate.New(memstate.Options{}), quiet(), controller.Options{StopTimeout: 3 * time.Second})
		release := make(chan struct{})
		stuck := func(context.Context, controller.Runtime, *slog.Logger) error { <-release; return nil }
		good := func(ctx context.Context, _ controller.Runtime, _ *slog.Logger) error { <-ctx.Done(); return nil }
		late := func(ctx context.Context, _ controller.Runtime, _ *slog.Logger) error {
			<-ctx.Done()
			time.Sleep(2 * time.Second)
			return nil
		}
		for name, run := range map[string]func(context.Context, controller.Runtime, *slog.Logger) error{"a": good, "b": stuck, "c": late, "d": stuck} {
			if err := s.Register(fake{name: name, run: run}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		began := time.Now()
		cancel()
		err := <-done
		if err == nil || !strings.HasSuffix(err.Error(), "still running after 3s: b, d") {
			t.Errorf("Run = %v; want it to name b and d", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Run took %v to stop; want 3s", took)
		}
		close(release)
		if err := s.Register(fake{name: "e", run: good}); err == nil {
			t.Error("Register after the end = nil; want an error")
		}
		if err := s.Run(t.Context()); err == nil {
			t.Error("a second Run = nil; want an error")
		}
	})
}

func TestInputsCanChangeAtRunTime(t *testing.T) {
	n := 0
	var inputs chan []controller.Input
	c := fake{name: "dyn", run: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
		inputs = make(chan []controller.Input) // here, because it has to belong to the bubble
		for {
			select {
			case <-ctx.Done():
				return nil
			case in := <-inputs:
				if err := rt.UpdateInputs(in); err != nil {
					t.Errorf("UpdateInputs = %v", err)
				}
				if rt.UpdateInputs([]controller.Input{{}}) == nil {
					t.Error("UpdateInputs with one that is not valid = nil; want an error")
				}
			case <-rt.Changes():
				n++
			}
		}
	}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		step := func(what string, want int) {
			t.Helper()
			h.Settle()
			if n != want {
				t.Errorf("%s: woken %d times; want %d", what, n, want)
			}
		}
		step("start", 1)
		controllertest.Create(h, "1", A{})
		step("a change of no input", 1)
		inputs <- []controller.Input{controller.Weak[A]()}
		step("new inputs", 2)
		controllertest.Create(h, "2", A{})
		step("a change of the new input", 3)
		if edges := h.Scheduler.Graph(); len(edges) != 1 || edges[0].ResourceType != resource.KindOf[A]().Type {
			t.Errorf("Graph = %v; want the new input", edges)
		}
		inputs <- []controller.Input{controller.Weak[B]()}
		step("other inputs", 4)
		controllertest.Create(h, "3", A{})
		step("a change of the old input", 4)
	}, c)
}

func TestOutputsThatWereNotTouchedAreRemoved(t *testing.T) {
	c := fake{name: "c", inputs: []controller.Input{controller.Weak[A](), controller.DestroyReady[B]()}, outputs: []controller.Output{controller.Shared[B]()}}
	c.run = func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
		if err := rt.CleanupOutputs(ctx); !errors.Is(err, state.Invalid) {
			t.Errorf("CleanupOutputs without TrackOutputs = %v; want Invalid", err)
		}
		return controller.Loop(ctx, rt, func(ctx context.Context) error {
			rt.TrackOutputs()
			as, err := state.List[A](ctx, rt)
			if err != nil {
				return err
			}
			for _, a := range as {
				if _, err := state.Modify(ctx, rt, a.Metadata().ID(), func(_ *resource.Metadata, b *B) error {
					b.Text = a.Spec().Text
					return nil
				}); err != nil {
					return err
				}
			}
			return rt.CleanupOutputs(ctx)
		})
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		for _, id := range []string{"keep", "drop", "needed"} {
			controllertest.Create(h, id, A{Text: id})
			controllertest.Want(h, id, B{Text: id})
		}
		controllertest.Create(h, "foreign", B{}, state.As("other"))
		if err := state.AddFinalizer(t.Context(), h.State, resource.RefOf[B]("needed"), "f"); err != nil {
			t.Fatal(err)
		}
		h.Remove(resource.RefOf[A]("drop"))
		h.Remove(resource.RefOf[A]("needed"))
		controllertest.WantGone[B](h, "drop")
		controllertest.WantThat(h, "needed", "be torn down", func(r *resource.Typed[B]) bool { return r.Metadata().Phase() == resource.TearingDown })
		if err := state.RemoveFinalizer(t.Context(), h.State, resource.RefOf[B]("needed"), "f"); err != nil {
			t.Fatal(err)
		}
		controllertest.WantGone[B](h, "needed")
		if v := controllertest.Want(h, "keep", B{Text: "keep"}).Metadata().Version(); v != 1 {
			t.Errorf("the output that was right is at version %v; want it left alone", v)
		}
		controllertest.Want(h, "foreign", B{})
		if s := h.Scheduler.Status()[0]; s.Restarts > 0 || s.Err != nil {
			t.Errorf("Status = %+v; want no failure because of what belongs to another", s)
		}
	}, c)
}

func TestBrokenWatchWakesEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A history of one event is overtaken by two writes in a row.
		st := memstate.New(memstate.Options{History: 1})
		c, n := counter(controller.Weak[A]().Named("last"))
		s := controller.New(st, quiet(), controller.Options{})
		if err := s.Register(c); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		for i := range 100 {
			if _, err := state.Create(ctx, st, fmt.Sprint(i), A{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := state.Create(ctx, st, "last", A{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if *n < 2 {
			t.Errorf("woken %d times; want to be woken by what was, or may have been, missed", *n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestGraphHasEveryInputAndOutput(t *testing.T) {
	s := controller.New(memstate.New(memstate.Options{}), quiet(), controller.Options{})
	for _, c := range []fake{
		{name: "b", inputs: []controller.Input{controller.Strong[A](), controller.DestroyReady[B]()}, outputs: []controller.Output{controller.Exclusive[B]()}},
		{name: "a", inputs: []controller.Input{controller.Weak[B]().Named("x")}, outputs: []controller.Output{controller.Shared[A]().In("")}},
	} {
		if err := s.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	as, bs := resource.KindOf[A]().Type, resource.KindOf[B]().Type
	want := []graph.Edge{
		{Controller: "a", Type: graph.OutputShared, ResourceType: as},
		{Controller: "a", Type: graph.InputWeak, Namespace: "test", ResourceType: bs, ID: "x"},
		{Controller: "b", Type: graph.OutputExclusive, Namespace: "test", ResourceType: bs},
		{Controller: "b", Type: graph.InputStrong, Namespace: "test", ResourceType: as},
		{Controller: "b", Type: graph.InputDestroyReady, Namespace: "test", ResourceType: bs},
	}
	if d := cmp.Diff(want, s.Graph()); d != "" {
		t.Errorf("Graph (-want +got):\n%s", d)
	}
}
