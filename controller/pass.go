package controller

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"talos.internal/resource"
	"talos.internal/state"
)

// Pass is a controller that computes all its outputs anew whenever an input changes. What a pass does not put is removed.
type Pass struct {
	// ControllerName is the name of the controller. Required.
	ControllerName string
	// From is what it reads and what wakes it.
	From []Input
	// To is what it writes, each with a namespace. An output that is torn down wakes it when nobody needs it any more.
	To []Output
	// Once puts all outputs, by [Put] or state.Modify. Required.
	Once func(ctx context.Context, rt Runtime, log *slog.Logger) error
	// Watch tells of changes outside the state by calling changed, until ctx ends or it fails; nil if there are no such changes.
	Watch func(ctx context.Context, changed func()) error
}

// Name implements [Controller].
func (p Pass) Name() string { return p.ControllerName }

// Inputs implements [Controller].
func (p Pass) Inputs() []Input {
	out := slices.Clone(p.From)
	for _, o := range p.To {
		out = append(out, Input{Kind: resource.Kind{Namespace: o.Namespace, Type: o.Type}, Mode: InputDestroyReady})
	}
	return out
}

// Outputs implements [Controller].
func (p Pass) Outputs() []Output { return p.To }

// Run implements [Controller].
func (p Pass) Run(ctx context.Context, rt Runtime, log *slog.Logger) error {
	return Watched(ctx, rt, p.Watch, func(ctx context.Context) error {
		rt.TrackOutputs()
		if err := p.Once(ctx, rt, log); err != nil {
			return err
		}
		return rt.CleanupOutputs(ctx)
	})
}

// Watched is [Loop] for a controller that is woken by changes outside the state, too: watch calls its argument at each of them,
// until its context ends or it fails, which ends the loop with that error. A nil watch tells of nothing.
func Watched(ctx context.Context, rt Runtime, watch func(ctx context.Context, changed func()) error, reconcile func(context.Context) error) error {
	if watch == nil {
		return Loop(ctx, rt, reconcile)
	}
	parent := ctx
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(watch(ctx, rt.Wake)) // without a watch the loop would miss changes: it ends, too
	}()
	err := Loop(ctx, rt, reconcile)
	cancel(nil)
	<-done
	if err == nil && parent.Err() == nil {
		err = context.Cause(ctx)
	}
	return err
}

// Retried is [Loop] for a controller that depends on somebody who may be away for a while. try returns that as away: it is called again after
// pause, and say hears of it once for each reason. err is as in Loop.
func Retried(ctx context.Context, rt Runtime, pause time.Duration, say func(away error), try func(ctx context.Context) (away, err error)) error {
	timer := time.AfterFunc(pause, rt.Wake)
	defer timer.Stop()
	last := ""
	return Loop(ctx, rt, func(ctx context.Context) error {
		timer.Stop()
		away, err := try(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if away == nil {
			last = ""
			return nil
		}
		if text := away.Error(); text != last {
			last = text
			say(away)
		}
		timer.Reset(pause)
		return nil
	})
}

// Put makes an output what it should be. One that is still being torn down, and needed by someone, is left as it is: a controller
// with a destroy-ready input for it comes again when it is not.
func Put[S resource.Spec](ctx context.Context, rt Runtime, id string, spec S, opts ...state.Option) error {
	err := state.Put(ctx, rt, id, spec, opts...)
	if !errors.Is(err, state.PhaseConflict) {
		return err
	}
	switch err := rt.Destroy(ctx, state.RefOf[S](id, opts...), state.DestroyOptions{}); {
	case errors.Is(err, state.FinalizersConflict):
		return nil
	case err != nil && !errors.Is(err, state.NotFound):
		return err
	}
	return state.Put(ctx, rt, id, spec, opts...)
}

// Running returns the resources of a kind that are not being torn down, in the order of their ids.
func Running[S resource.Spec](ctx context.Context, rt Runtime, opts ...state.Option) ([]*resource.Typed[S], error) {
	list, err := state.List[S](ctx, rt, opts...)
	if err != nil {
		return nil, err
	}
	out := list[:0:0]
	for _, r := range list {
		if r.Metadata().Phase() == resource.Running {
			out = append(out, r)
		}
	}
	return out, nil
}
