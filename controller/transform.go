package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"talos.internal/resource"
	"talos.internal/state"
)

// Transform is a controller that keeps one output for each input. An input that goes is held by a
// finalizer until its output is gone.
//
// One input that fails does not keep the others from being done; the error names all that failed, and
// after the back-off all are tried again.
type Transform[In, Out resource.Spec] struct {
	// ControllerName is the name of the controller. Required.
	ControllerName string
	// From and To are the namespaces of inputs and outputs; empty means that of their types.
	From, To string
	// Shared makes the output shared.
	Shared bool
	// ID returns the id of the output for in; nil means that of in. It depends on in alone, and no
	// two inputs may have the same.
	ID func(in *resource.Typed[In]) string
	// Wanted reports whether in has an output at all; nil means always.
	Wanted func(in *resource.Typed[In]) bool
	// Reconcile makes out, which is what is there or zero, as it should be for in. If it leaves out
	// and md as they are nothing is written. Required.
	Reconcile func(ctx context.Context, rt Runtime, log *slog.Logger, in *resource.Typed[In], md *resource.Metadata, out *Out) error
	// Finalize undoes what Reconcile did outside the state. It is called after the output is gone and
	// before in may go, again if it fails, and also for inputs that have no output any more; may be nil.
	Finalize func(ctx context.Context, rt Runtime, log *slog.Logger, in *resource.Typed[In]) error
	// ExtraInputs are what Reconcile reads besides, any change of which is a reason to do all again.
	ExtraInputs []Input
}

var _ Controller = Transform[resource.Spec, resource.Spec]{}

func (t Transform[In, Out]) input() Input {
	if t.From == "" {
		return Strong[In]()
	}
	return Strong[In]().In(t.From)
}

func (t Transform[In, Out]) outputKind() resource.Kind {
	k := resource.KindOf[Out]()
	if t.To != "" {
		k.Namespace = t.To
	}
	return k
}

// Name implements [Controller].
func (t Transform[In, Out]) Name() string { return t.ControllerName }

// Inputs implements [Controller].
func (t Transform[In, Out]) Inputs() []Input {
	k := t.outputKind()
	return append([]Input{t.input(), {Kind: k, Mode: InputDestroyReady}}, t.ExtraInputs...)
}

// Outputs implements [Controller].
func (t Transform[In, Out]) Outputs() []Output {
	k := t.outputKind()
	o := Output{Type: k.Type, Namespace: k.Namespace}
	if t.Shared {
		o.Mode = OutputShared
	}
	return []Output{o}
}

// Run implements [Controller].
func (t Transform[In, Out]) Run(ctx context.Context, rt Runtime, log *slog.Logger) error {
	if t.Reconcile == nil {
		return errors.New("transform: Reconcile is not set")
	}
	return Loop(ctx, rt, func(ctx context.Context) error { return t.reconcile(ctx, rt, log) })
}

func (t Transform[In, Out]) id(in *resource.Typed[In]) string {
	if t.ID == nil {
		return in.Metadata().ID()
	}
	return t.ID(in)
}

func (t Transform[In, Out]) reconcile(ctx context.Context, rt Runtime, log *slog.Logger) error {
	ins, err := state.List[In](ctx, rt, state.In(t.input().Kind.Namespace))
	if err != nil {
		return err
	}
	var errs []error
	wanted := make(map[string]*resource.Typed[In], len(ins)) // by the id of the output
	known := make(map[string]bool, len(ins))
	var going []*resource.Typed[In]
	for _, in := range ins {
		id := t.id(in)
		known[id] = true
		if in.Metadata().Phase() != resource.Running || t.Wanted != nil && !t.Wanted(in) {
			going = append(going, in)
		} else if first := wanted[id]; first != nil {
			errs = append(errs, fmt.Errorf("inputs %s and %s both have output %q", first.Metadata().ID(), in.Metadata().ID(), id))
		} else {
			wanted[id] = in
		}
	}
	remaining, stray, err := t.removeOthers(ctx, rt, wanted, known)
	errs = append(errs, err)
	for _, in := range ins {
		if id := t.id(in); wanted[id] == in && !remaining[id] {
			if err := t.one(ctx, rt, log, in, id); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", in.Metadata().ID(), err))
			}
		}
	}
	for _, in := range going {
		if remaining[t.id(in)] || stray || !in.Metadata().HasFinalizer(rt.Owner()) {
			continue
		}
		if err := t.release(ctx, rt, log, in); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", in.Metadata().ID(), err))
		}
	}
	return errors.Join(errs...)
}

// removeOthers removes the outputs that no input wants any more, and those that were torn down and
// have to go before they can come again. It returns what remains because somebody needs it, and
// whether any of that comes from an input that cannot be told.
func (t Transform[In, Out]) removeOthers(ctx context.Context, rt Runtime, wanted map[string]*resource.Typed[In], known map[string]bool) (remaining map[string]bool, stray bool, err error) {
	outs, err := rt.List(ctx, t.outputKind(), resource.Query{})
	if err != nil {
		return nil, true, err
	}
	remaining = make(map[string]bool)
	var errs []error
	for _, out := range outs {
		md := out.Metadata()
		if md.Owner() != rt.Owner() || wanted[md.ID()] != nil && md.Phase() == resource.Running {
			continue
		}
		gone, err := remove(ctx, rt, md.Ref())
		if err != nil {
			errs = append(errs, err)
		}
		if !gone {
			remaining[md.ID()] = true
			stray = stray || !known[md.ID()]
		}
	}
	return remaining, stray, errors.Join(errs...)
}

// one makes the output of one input.
func (t Transform[In, Out]) one(ctx context.Context, rt Runtime, log *slog.Logger, in *resource.Typed[In], id string) error {
	err := state.AddFinalizer(ctx, rt, in.Metadata().Ref(), rt.Owner())
	if errors.Is(err, state.PhaseConflict) || errors.Is(err, state.NotFound) {
		return nil // it has begun to go since it was listed, which wakes this controller again
	}
	if err != nil {
		return err
	}
	_, err = state.Modify(ctx, rt, id, func(md *resource.Metadata, out *Out) error {
		return t.Reconcile(ctx, rt, log, in, md, out)
	}, state.In(t.outputKind().Namespace))
	return err
}

// release lets an input go whose output is gone.
func (t Transform[In, Out]) release(ctx context.Context, rt Runtime, log *slog.Logger, in *resource.Typed[In]) error {
	if t.Finalize != nil {
		if err := t.Finalize(ctx, rt, log, in); err != nil {
			return err
		}
	}
	return state.RemoveFinalizer(ctx, rt, in.Metadata().Ref(), rt.Owner())
}
