package controller_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/resource"
	"talos.internal/state"
)

// upper makes a B with the text of each A in capitals, unless it is "bad" or "none".
func upper(finalize func(*resource.Typed[A]) error) controller.Transform[A, B] {
	return controller.Transform[A, B]{
		ControllerName: "upper",
		Wanted:         func(in *resource.Typed[A]) bool { return in.Spec().Text != "none" },
		Reconcile: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[A], md *resource.Metadata, out *B) error {
			if in.Spec().Text == "bad" {
				return errors.New("bad text")
			}
			out.Text = strings.ToUpper(in.Spec().Text)
			md.SetLabel("from", in.Metadata().ID())
			return nil
		},
		Finalize: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[A]) error {
			return finalize(in)
		},
	}
}

func nothing(*resource.Typed[A]) error { return nil }

func TestTransformKeepsOneOutputPerInput(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "a", A{Text: "x"})
		r := controllertest.Want(h, "a", B{Text: "X"})
		if v, _ := r.Metadata().Labels().Get("from"); v != "a" || r.Metadata().Owner() != "upper" {
			t.Errorf("output = %v; want label and owner", r)
		}
		controllertest.Modify(h, "a", func(a *A) { a.Text = "y" })
		controllertest.Want(h, "a", B{Text: "Y"})
		controllertest.Modify(h, "a", func(a *A) { a.N = 1 })
		h.Settle()
		if v := controllertest.Want(h, "a", B{Text: "Y"}).Metadata().Version(); v != 2 {
			t.Errorf("version = %v; want 2: a change that changes no output writes none", v)
		}
	}, upper(nothing))
}

func TestTransformHoldsTheInputUntilTheOutputIsGone(t *testing.T) {
	var finalized []string
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "a", A{Text: "x"})
		controllertest.Want(h, "a", B{Text: "X"})
		in, out := resource.RefOf[A]("a"), resource.RefOf[B]("a")
		if err := state.AddFinalizer(t.Context(), h.State, out, "user"); err != nil {
			t.Fatal(err)
		}
		ready, err := state.Teardown[A](t.Context(), h.State, "a")
		if ready || err != nil {
			t.Fatalf("Teardown = %v, %v; want it held", ready, err)
		}
		controllertest.WantThat(h, "a", "be torn down", func(r *resource.Typed[B]) bool { return r.Metadata().Phase() == resource.TearingDown })
		h.Settle()
		if got, err := h.State.Get(t.Context(), in); err != nil || !got.Metadata().HasFinalizer("upper") || len(finalized) > 0 {
			t.Fatalf("while the output is needed: input %v, %v, finalized %v; want it held", got, err, finalized)
		}
		if err := state.RemoveFinalizer(t.Context(), h.State, out, "user"); err != nil {
			t.Fatal(err)
		}
		controllertest.WantGone[B](h, "a")
		h.Remove(in)
		if len(finalized) != 1 || finalized[0] != "a" {
			t.Errorf("finalized %v; want a once", finalized)
		}
	}, upper(func(in *resource.Typed[A]) error { finalized = append(finalized, in.Metadata().ID()); return nil }))
}

func TestTransformTriesFinalizeAgain(t *testing.T) {
	n := 0
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "a", A{Text: "x"})
		controllertest.Want(h, "a", B{Text: "X"})
		h.Remove(resource.RefOf[A]("a"))
		if n != 3 {
			t.Errorf("Finalize was called %d times; want 3", n)
		}
	}, upper(func(*resource.Typed[A]) error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		return nil
	}))
}

func TestTransformOfOneBadInputSparesTheOthers(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "1", A{Text: "bad"})
		controllertest.Create(h, "2", A{Text: "x"})
		controllertest.Want(h, "2", B{Text: "X"})
		controllertest.WantNever[B](h, "1")
		if s := h.Scheduler.Status()[0]; s.Err == nil || !strings.Contains(s.Err.Error(), "1: bad text") {
			t.Errorf("Status = %+v; want an error that names the input", s)
		}
		controllertest.Modify(h, "1", func(a *A) { a.Text = "y" })
		controllertest.Want(h, "1", B{Text: "Y"})
	}, upper(nothing))
}

func TestTransformRemovesWhatIsNotWanted(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "a", A{Text: "x"})
		controllertest.Want(h, "a", B{Text: "X"})
		controllertest.Modify(h, "a", func(a *A) { a.Text = "none" })
		controllertest.WantGone[B](h, "a")
		controllertest.WantThat(h, "a", "be let go", func(r *resource.Typed[A]) bool { return !r.Metadata().HasFinalizers() })
		controllertest.Modify(h, "a", func(a *A) { a.Text = "again" })
		controllertest.Want(h, "a", B{Text: "AGAIN"})
	}, upper(nothing))
}

func TestTransformWaitsForTheOldOutputBeforeTheNew(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "a", A{Text: "x"})
		controllertest.Want(h, "a", B{Text: "X"})
		out := resource.RefOf[B]("a")
		if err := state.AddFinalizer(t.Context(), h.State, out, "user"); err != nil {
			t.Fatal(err)
		}
		controllertest.Modify(h, "a", func(a *A) { a.Text = "none" })
		h.Settle()
		controllertest.Modify(h, "a", func(a *A) { a.Text = "new" })
		h.Settle()
		controllertest.Want(h, "a", B{Text: "X"})
		if err := state.RemoveFinalizer(t.Context(), h.State, out, "user"); err != nil {
			t.Fatal(err)
		}
		if v := controllertest.Want(h, "a", B{Text: "NEW"}).Metadata().Version(); v != 1 {
			t.Errorf("version = %v; want a new resource", v)
		}
	}, upper(nothing))
}

func TestTransformWithIDsOfItsOwn(t *testing.T) {
	c := upper(nothing)
	c.ID = func(in *resource.Typed[A]) string { return in.Spec().Text }
	c.To = "elsewhere"
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "1", A{Text: "x"})
		controllertest.Want(h, "x", B{Text: "X"}, state.In("elsewhere"))
		controllertest.Create(h, "2", A{Text: "x"})
		h.Settle()
		if s := h.Scheduler.Status()[0]; s.Err == nil || !strings.Contains(s.Err.Error(), `inputs 1 and 2 both have output "x"`) {
			t.Errorf("Status = %+v; want an error that names both inputs", s)
		}
		controllertest.Modify(h, "2", func(a *A) { a.Text = "y" })
		controllertest.Want(h, "y", B{Text: "Y"}, state.In("elsewhere"))
		controllertest.Modify(h, "1", func(a *A) { a.Text = "z" })
		controllertest.Want(h, "z", B{Text: "Z"}, state.In("elsewhere"))
		controllertest.WantGone[B](h, "x", state.In("elsewhere"))
	}, c)
}

func TestTransformNeedsReconcile(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		if s := h.Scheduler.Status()[0]; s.Err == nil {
			t.Error("no failure; want one")
		}
	}, controller.Transform[A, B]{ControllerName: "x"})
}
