package state

import (
	"context"
	"errors"
	"fmt"

	"talos.internal/resource"
)

// Condition is something to wait for.
type Condition struct {
	// Want completes "wait for X to …" for people: "exist", "be in phase tearingDown".
	Want string
	// Met reports whether it has come about; r is nil while there is no such resource. An error ends the wait.
	Met func(r resource.Resource) (bool, error)
}

// ToExist is met by a resource that is there.
func ToExist() Condition {
	return Condition{"exist", func(r resource.Resource) (bool, error) { return r != nil, nil }}
}

// ToBeGone is met when there is no such resource.
func ToBeGone() Condition {
	return Condition{"be gone", func(r resource.Resource) (bool, error) { return r == nil, nil }}
}

// ToBeIn is met by a resource in phase p.
func ToBeIn(p resource.Phase) Condition {
	return Condition{"be in phase " + p.String(), func(r resource.Resource) (bool, error) {
		return r != nil && r.Metadata().Phase() == p, nil
	}}
}

// ToHaveNoFinalizers is met by a resource that nobody needs, and by one that is gone.
func ToHaveNoFinalizers() Condition {
	return Condition{"have no finalizers", func(r resource.Resource) (bool, error) {
		return r == nil || !r.Metadata().HasFinalizers(), nil
	}}
}

// To is met by a resource with a spec of type S for which met returns true.
func To[S resource.Spec](want string, met func(spec S) bool) Condition {
	return Condition{want, func(r resource.Resource) (bool, error) {
		if r == nil {
			return false, nil
		}
		t, err := Typed[S](r)
		if err != nil {
			return false, err
		}
		return met(t.Spec()), nil
	}}
}

// WaitFor waits until what is at ref meets c, and returns it, nil if it is gone.
//
// Give ctx a deadline. When it ends, the error says what was waited for and what was last there, and
// wraps the cause. A watch that is cut off is begun anew.
func WaitFor(ctx context.Context, st State, ref resource.Ref, c Condition) (resource.Resource, error) {
	last := "nothing yet"
	for {
		r, err := waitOnce(ctx, st, ref, c, &last)
		if err == nil {
			return r, nil
		}
		if errors.Is(err, HistoryLost) && ctx.Err() == nil {
			continue
		}
		return nil, fmt.Errorf("wait for %v to %s, last saw %s: %w", ref, c.Want, last, err)
	}
}

func waitOnce(ctx context.Context, st State, ref resource.Ref, c Condition, last *string) (resource.Resource, error) {
	w, err := st.Watch(ctx, ref, WatchOptions{})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			r := e.Resource
			switch e.Type {
			case Created, Updated:
				*last = r.Metadata().String()
			case Destroyed:
				*last, r = "that there is none", nil
			default:
				continue
			}
			if met, err := c.Met(r); met || err != nil {
				return r, err
			}
		}
	}
}

// TeardownAndDestroy tears a resource down, waits until nobody needs it, and destroys it. One that
// is gone, or goes meanwhile, is NotFound only if it was not there at the beginning.
func TeardownAndDestroy(ctx context.Context, st State, ref resource.Ref, owner string) error {
	ready, err := st.Teardown(ctx, ref, TeardownOptions{Owner: owner})
	if err != nil {
		return err
	}
	if !ready {
		if _, err := WaitFor(ctx, st, ref, ToHaveNoFinalizers()); err != nil {
			return err
		}
	}
	err = st.Destroy(ctx, ref, DestroyOptions{Owner: owner})
	if errors.Is(err, NotFound) {
		return nil
	}
	return err
}
