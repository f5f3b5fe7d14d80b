package controllertest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/state"
)

type copier struct{ err error }

func (copier) Name() string               { return "copier" }
func (copier) Inputs() []controller.Input { return []controller.Input{controller.Strong[ASpec]()} }
func (copier) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[BSpec]()}
}
func (c copier) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		as, err := state.List[ASpec](ctx, rt)
		if err != nil || c.err != nil {
			return errors.Join(err, c.err)
		}
		for _, a := range as {
			if err := state.AddFinalizer(ctx, rt, a.Metadata().Ref(), rt.Owner()); err != nil {
				return err
			}
			if _, err := state.Modify(ctx, rt, a.Metadata().ID(), func(_ *resource.Metadata, b *BSpec) error { b.N = a.Spec().N; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestTheHarnessCanFail makes each wait fail, and looks at what it says.
func TestTheHarnessCanFail(t *testing.T) {
	Run(t, func(h *Harness) {
		Create(h, "a", ASpec{N: 1})
		Want(h, "a", BSpec{N: 1})
		never2 := func(r *resource.Typed[BSpec]) string { return "n is not 2" }
		_, wrong := wait(h, "a", "be two", never2, nil)
		_, absent := wait(h, "b", "be two", never2, nil)
		began := time.Now()
		for _, tt := range []struct {
			name string
			err  error
			want []string
		}{
			{"wrong spec", wrong, []string{"wait for Bs.test.talos.dev(test/a) to be two", "n is not 2", `"n": 1`, "version 1", "controller copier: running true"}},
			{"no resource", absent, []string{"wait for Bs.test.talos.dev(test/b) to be two", "there was none"}},
			{"gone", gone[BSpec](h, "a", nil), []string{"to be gone", "version 1 phase running"}},
			{"never", never[BSpec](h, "a", nil), []string{"want none", `"n": 1`}},
			{"remove", h.remove(resource.RefOf[ASpec]("a")), []string{"to have no finalizers", "finalizers [copier]"}},
		} {
			for _, want := range tt.want {
				if tt.err == nil || !strings.Contains(tt.err.Error(), want) {
					t.Errorf("%s: %v; want %q in it", tt.name, tt.err, want)
				}
			}
		}
		if took := time.Since(began); took < 2*Patience {
			t.Errorf("the waits took %v of virtual time; want them to be patient", took)
		}
	}, copier{})
}

func TestTheHarnessTellsOfFailedControllers(t *testing.T) {
	Run(t, func(h *Harness) {
		if err := gone[ASpec](h, "none", nil); err != nil {
			t.Errorf("gone of what never was = %v", err)
		}
		_, err := wait(h, "b", "exist", func(*resource.Typed[BSpec]) string { return "" }, nil)
		if err == nil || !strings.Contains(err.Error(), "last failure: broken") {
			t.Errorf("wait = %v; want the failure of the controller in it", err)
		}
	}, copier{errors.New("broken")})
}
