package linkctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/state"
)

// step is one change of the kernel.
type step struct {
	id   string // of the wish that it is for
	text string // for people: what is done
	do   func(Kernel) error
}

// kept are the wishes of one kind: those that are to be, and those that are to be no more, whose work is undone.
type kept[S any] struct {
	want, gone []S
}

// applier is a controller that makes the kernel as the wishes of one kind say.
type applier[S interface {
	resource.Spec
	ID() string
}] struct {
	name   string
	kernel Kernel
	watch  rtnl.Change
	// plan returns the steps that can be done now; after them it may see more. It changes nothing.
	plan func(kept[S]) ([]step, error)
	// done is told of each step that succeeded; may be nil.
	done func(step)
}

// rounds bounds how often a plan is made anew after its steps: a link on a link on a link takes a few.
const rounds = 12

// Name implements [controller.Controller].
func (a *applier[S]) Name() string { return a.name }

// Inputs implements [controller.Controller].
func (a *applier[S]) Inputs() []controller.Input { return []controller.Input{controller.Strong[S]()} }

// Outputs implements [controller.Controller].
func (a *applier[S]) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (a *applier[S]) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Watched(ctx, rt, watching(a.kernel, a.watch), func(ctx context.Context) error { return a.reconcile(ctx, rt, log) })
}

func (a *applier[S]) reconcile(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	list, err := state.List[S](ctx, rt)
	if err != nil {
		return err
	}
	var k kept[S]
	for _, r := range list {
		md := r.Metadata()
		if md.Phase() == resource.TearingDown {
			if slices.Contains(md.Finalizers(), a.name) {
				k.gone = append(k.gone, r.Spec())
			}
			continue
		}
		// Before the first step: what is done is never forgotten.
		if err := state.AddFinalizer(ctx, rt, md.Ref(), a.name); err != nil {
			if errors.Is(err, state.PhaseConflict) || errors.Is(err, state.NotFound) {
				continue // it goes just now, which wakes again
			}
			return err
		}
		k.want = append(k.want, r.Spec())
	}
	failed, err := a.apply(ctx, k, log)
	if err != nil {
		return err
	}
	for _, s := range k.gone {
		if failed[s.ID()] == nil {
			if err := state.RemoveFinalizer(ctx, rt, state.RefOf[S](s.ID()), a.name); err != nil {
				return err
			}
		}
	}
	return errors.Join(slices.Collect(maps.Values(failed))...)
}

// apply plans and does until there is nothing to do, and returns what went wrong, by wish. One that fails does not keep the others.
func (a *applier[S]) apply(ctx context.Context, k kept[S], log *slog.Logger) (map[string]error, error) {
	failed := map[string]error{}
	for range rounds {
		steps, err := a.plan(k)
		if err != nil {
			return nil, err
		}
		n := 0
		for _, s := range steps {
			if failed[s.id] != nil {
				continue
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			n++
			if err := s.do(a.kernel); err != nil {
				failed[s.id] = fmt.Errorf("%s: %w", s.text, err)
				continue
			}
			log.Info(s.text)
			if a.done != nil {
				a.done(s)
			}
		}
		if n == 0 {
			return failed, nil
		}
	}
	return failed, nil
}

// calm is how long the kernel's changes are collected after one that was told at once, so that a flood of them, as when a CNI starts, costs
// a plan now and then and not one for each.
const calm = 100 * time.Millisecond

// watching returns the watch of a controller for changes of the kernel.
func watching(k Kernel, what rtnl.Change) func(context.Context, func()) error {
	return func(ctx context.Context, changed func()) error {
		return k.Watch(ctx, what, func(rtnl.Change) error {
			changed()
			select {
			case <-ctx.Done():
			case <-time.After(calm):
			}
			return nil
		})
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
