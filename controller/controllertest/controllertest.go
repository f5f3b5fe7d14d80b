// Package controllertest runs controllers on a state in memory, in virtual time (testing/synctest):
// a back-off of a minute takes no time, and "nothing happens any more" is a fact, not a guess.
//
//	controllertest.Run(t, func(h *controllertest.Harness) {
//		controllertest.Create(h, "in", InSpec{…})
//		controllertest.Want(h, "out", OutSpec{…})
//	}, NewController())
//
// A wait that fails prints what it waited for, what was there last, and how the controllers are doing.
package controllertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// Patience is how long the functions that wait do so, in virtual time.
const Patience = 10 * time.Minute

// Harness is one test with its controllers, which run until the test function returns. Its functions
// are for the goroutine of the test.
type Harness struct {
	T         *testing.T
	State     state.State // unrestricted: the test may be anyone
	Scheduler *controller.Scheduler
}

// Run calls test while controllers run. It fails t if a controller cannot be registered or does not
// stop, or if goroutines are left behind.
func Run(t *testing.T, test func(h *Harness), controllers ...controller.Controller) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &Harness{T: t, State: memstate.New(memstate.Options{})}
		log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
		h.Scheduler = controller.New(h.State, log, controller.Options{})
		for _, c := range controllers {
			if err := h.Scheduler.Register(c); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Scheduler.Run(ctx) }()
		defer func() { // also when test ends by t.FailNow
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		h.Settle()
		test(h)
	})
}

// Settle returns when nothing happens any more until time passes.
func (h *Harness) Settle() { synctest.Wait() }

// Advance lets d pass, and settles.
func (h *Harness) Advance(d time.Duration) {
	time.Sleep(d)
	h.Settle()
}

// Create creates a resource, and fails the test if it cannot. Options: state.In, state.As.
func Create[S resource.Spec](h *Harness, id string, spec S, opts ...state.Option) *resource.Typed[S] {
	h.T.Helper()
	r, err := state.Create(h.T.Context(), h.State, id, spec, opts...)
	if err != nil {
		h.T.Fatal(err)
	}
	return r
}

// Modify creates or changes a resource, and fails the test if it cannot. Options as for state.Modify.
func Modify[S resource.Spec](h *Harness, id string, change func(spec *S), opts ...state.Option) *resource.Typed[S] {
	h.T.Helper()
	r, err := state.Modify(h.T.Context(), h.State, id, func(_ *resource.Metadata, spec *S) error {
		change(spec)
		return nil
	}, opts...)
	if err != nil {
		h.T.Fatal(err)
	}
	return r
}

// Remove tears a resource down in the name of its owner, waits until nobody needs it, and destroys it.
// It fails the test if somebody never lets go.
func (h *Harness) Remove(ref resource.Ref) {
	h.T.Helper()
	if err := h.remove(ref); err != nil {
		h.T.Fatal(err)
	}
}

func (h *Harness) remove(ref resource.Ref) error {
	ctx, cancel := context.WithTimeout(h.T.Context(), Patience)
	defer cancel()
	r, err := h.State.Get(ctx, ref)
	if err == nil {
		err = state.TeardownAndDestroy(ctx, h.State, ref, r.Metadata().Owner())
	}
	return h.explain(err)
}

// Want waits until the resource id has a spec equal to want, and returns it. Options: state.In.
func Want[S resource.Spec](h *Harness, id string, want S, opts ...state.Option) *resource.Typed[S] {
	h.T.Helper()
	r, err := wait(h, id, "have the spec that is wanted", func(r *resource.Typed[S]) string {
		if r.SpecEqual(resource.New(id, want)) {
			return ""
		}
		return "spec (-want +got):\n" + cmp.Diff(yamlOf(resource.New(id, want)), yamlOf(r))
	}, opts)
	if err != nil {
		h.T.Fatal(err)
	}
	return r
}

// WantThat waits until the resource id meets a condition, of which what is a description, and
// returns it. Options: state.In.
func WantThat[S resource.Spec](h *Harness, id, what string, met func(r *resource.Typed[S]) bool, opts ...state.Option) *resource.Typed[S] {
	h.T.Helper()
	r, err := wait(h, id, what, func(r *resource.Typed[S]) string {
		if met(r) {
			return ""
		}
		return "what is there does not"
	}, opts)
	if err != nil {
		h.T.Fatal(err)
	}
	return r
}

// wait waits until complain returns nothing about the resource.
func wait[S resource.Spec](h *Harness, id, what string, complain func(*resource.Typed[S]) string, opts []state.Option) (*resource.Typed[S], error) {
	ctx, cancel := context.WithTimeout(h.T.Context(), Patience)
	defer cancel()
	ref := state.RefOf[S](id, opts...)
	last := "there was none"
	r, err := state.WaitFor(ctx, h.State, ref, state.Condition{Want: what, Met: func(r resource.Resource) (bool, error) {
		if r == nil {
			last = "there was none"
			return false, nil
		}
		t, err := state.Typed[S](r)
		if err != nil {
			return false, err
		}
		complaint := complain(t)
		last = complaint + "\n" + describe(t)
		return complaint == "", nil
	}})
	if err != nil {
		return nil, h.explain(fmt.Errorf("%w\nlast seen: %s", err, last))
	}
	return r.(*resource.Typed[S]), nil
}

// WantGone waits until there is no resource id. Options: state.In.
func WantGone[S resource.Spec](h *Harness, id string, opts ...state.Option) {
	h.T.Helper()
	if err := gone[S](h, id, opts); err != nil {
		h.T.Fatal(err)
	}
}

func gone[S resource.Spec](h *Harness, id string, opts []state.Option) error {
	ctx, cancel := context.WithTimeout(h.T.Context(), Patience)
	defer cancel()
	_, err := state.WaitFor(ctx, h.State, state.RefOf[S](id, opts...), state.ToBeGone())
	return h.explain(err)
}

// WantNever settles and fails the test if there is a resource id then. Options: state.In.
func WantNever[S resource.Spec](h *Harness, id string, opts ...state.Option) {
	h.T.Helper()
	if err := never[S](h, id, opts); err != nil {
		h.T.Fatal(err)
	}
}

func never[S resource.Spec](h *Harness, id string, opts []state.Option) error {
	h.Settle()
	r, err := state.Get[S](h.T.Context(), h.State, id, opts...)
	switch {
	case errors.Is(err, state.NotFound):
		return nil
	case err != nil:
		return err
	}
	return h.explain(fmt.Errorf("there is %s; want none", describe(r)))
}

// explain adds how the controllers are doing to err, if there is one.
func (h *Harness) explain(err error) error {
	if err == nil {
		return nil
	}
	var b strings.Builder
	for _, s := range h.Scheduler.Status() {
		fmt.Fprintf(&b, "\ncontroller %s: running %v, restarts %d", s.Name, s.Running, s.Restarts)
		if s.Err != nil {
			fmt.Fprintf(&b, ", last failure: %v", s.Err)
		}
	}
	return fmt.Errorf("%w%s", err, b.String())
}

func describe(r resource.Resource) string { return r.Metadata().String() + "\n" + yamlOf(r) }

func yamlOf(r resource.Resource) string {
	b, err := r.SpecYAML()
	if err != nil {
		return err.Error()
	}
	return string(b)
}
