// Package controller runs controllers: named loops that read some resources and write others, woken
// by changes, until the machine stops.
//
// A [Controller] declares its inputs and outputs and is given a [Runtime], which holds it to them:
// what it did not declare it can neither read nor write, and what it writes belongs to it. Everything
// that happens on a node between boot and shutdown is such a controller; they meet only in the state.
//
// Inputs are strong (the controller may hold a finalizer on them), weak (it only looks), or
// destroy-ready (it is told when one of its outputs that it tore down is needed by nobody).
// Outputs are exclusive, of one controller alone, or shared, where each owns what it created.
//
// The [Scheduler] wakes a controller whenever an input changes; changes that come while it works are
// one wake-up. It restarts one that fails or panics, with an exponential back-off, and leaves the
// others alone. A controller therefore makes the world as it should be from what is there now, and
// never counts on having seen each change. [Loop] is the loop of most controllers, [Transform] is a
// controller for the most common case, one output for each input.
//
// What depends on what is data, see package graph. Package controllertest runs controllers in
// virtual time. Above this package are only internal/ctrl and the binary that composes them.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"talos.internal/resource"
	"talos.internal/state"
)

// Controller is one loop. Name, Inputs and Outputs are called once, when it is registered.
type Controller interface {
	// Name is unique, and is the owner of what the controller creates.
	Name() string
	// Inputs are what it may read and what wakes it. Run may change them.
	Inputs() []Input
	// Outputs are what it may write, and read.
	Outputs() []Output
	// Run works until ctx ends. It is called again, with a wake-up pending, after an error or a
	// panic; nil before ctx ends says that its work is done for good. What it starts it also stops:
	// a panic in a goroutine of its own is not caught.
	Run(ctx context.Context, rt Runtime, log *slog.Logger) error
}

// InputMode is what a controller does with an input.
type InputMode uint8

const (
	// InputStrong wakes on any change, and allows to put the controller's finalizer on the resource.
	InputStrong InputMode = iota
	// InputWeak wakes on any change.
	InputWeak
	// InputDestroyReady wakes when a resource of the controller is torn down and has no finalizers.
	InputDestroyReady
)

// Input is a kind of resources that a controller reads.
type Input struct {
	Kind resource.Kind
	// ID is the only resource that counts; empty means all of the kind.
	ID   string
	Mode InputMode
	// Query limits what wakes to resources that it selects before or after a change; the zero Query
	// selects all. Reading is not limited.
	Query resource.Query
}

// Strong returns the input of all resources with spec S in their default namespace.
func Strong[S resource.Spec]() Input { return Input{Kind: resource.KindOf[S](), Mode: InputStrong} }

// Weak is [Strong] for a weak input.
func Weak[S resource.Spec]() Input { return Input{Kind: resource.KindOf[S](), Mode: InputWeak} }

// DestroyReady is [Strong] for a destroy-ready input.
func DestroyReady[S resource.Spec]() Input {
	return Input{Kind: resource.KindOf[S](), Mode: InputDestroyReady}
}

// In returns the input in another namespace.
func (i Input) In(namespace string) Input {
	i.Kind.Namespace = namespace
	return i
}

// Named returns the input of one resource.
func (i Input) Named(id string) Input {
	i.ID = id
	return i
}

// wokenBy reports whether e is a reason to wake a controller with this input.
func (i Input) wokenBy(e state.Event, owner string) bool {
	if e.Resource == nil {
		return false
	}
	md := e.Resource.Metadata()
	if i.ID != "" && i.ID != md.ID() {
		return false
	}
	if i.Mode == InputDestroyReady {
		return e.Type != state.Destroyed && md.Owner() == owner && md.DestroyReady()
	}
	return i.Query.IsZero() || i.Query.Match(md) || e.Old != nil && i.Query.Match(e.Old.Metadata())
}

// OutputMode says who else may write to an output.
type OutputMode uint8

const (
	// OutputExclusive is for one controller.
	OutputExclusive OutputMode = iota
	// OutputShared is for all that declare it shared; each may change only what it created.
	OutputShared
)

// Output is a kind of resources that a controller writes.
type Output struct {
	Type string
	// Namespace limits the output to one namespace; empty means that it may be any.
	Namespace string
	Mode      OutputMode
}

// Exclusive returns the exclusive output of resources with spec S in their default namespace.
func Exclusive[S resource.Spec]() Output {
	k := resource.KindOf[S]()
	return Output{Type: k.Type, Namespace: k.Namespace, Mode: OutputExclusive}
}

// Shared is [Exclusive] for a shared output.
func Shared[S resource.Spec]() Output {
	o := Exclusive[S]()
	o.Mode = OutputShared
	return o
}

// In returns the output in another namespace, or in any if namespace is empty.
func (o Output) In(namespace string) Output {
	o.Namespace = namespace
	return o
}

func (o Output) covers(k resource.Kind) bool {
	return o.Type == k.Type && (o.Namespace == "" || o.Namespace == k.Namespace)
}

func (o Output) overlaps(p Output) bool {
	return o.Type == p.Type && (o.Namespace == "" || p.Namespace == "" || o.Namespace == p.Namespace)
}

// Runtime is the world of one controller. As a state.ReadWriter it reads declared inputs and outputs
// and writes outputs, as the controller; anything else is a Denied error. It also puts and removes
// the controller's finalizer, which is its name, on strong inputs (state.AddFinalizer and
// RemoveFinalizer). So the typed functions of package state work on it: state.Modify[S](ctx, rt, …).
//
// It is for the goroutines of one Run, and safe for concurrent use by them.
type Runtime interface {
	state.ReadWriter
	state.Identity
	// Changes receives when an input has changed since it last did, and once at the start of Run.
	Changes() <-chan struct{}
	// Wake makes Changes receive, for a controller that learns of changes outside the state.
	Wake()
	// UpdateInputs replaces the inputs, and wakes. After an error they are as before. A restarted
	// controller keeps them.
	UpdateInputs(inputs []Input) error
	// ResetBackoff says that all went well: the next failure is the first again. [Loop] does it.
	ResetBackoff()
	// TrackOutputs begins to note what the controller writes, and what state.Modify leaves as it
	// is because it is right.
	TrackOutputs()
	// CleanupOutputs removes each output of the controller, of these kinds, that was not noted since
	// TrackOutputs, and ends the noting. Without kinds it goes through all outputs that are declared
	// with a namespace. What has finalizers is only torn down: a destroy-ready input wakes the
	// controller to try again.
	CleanupOutputs(ctx context.Context, kinds ...resource.Kind) error
}

// Loop calls reconcile for each wake-up until ctx ends, which is no error, or reconcile fails.
// A call that succeeds resets the back-off.
func Loop(ctx context.Context, rt Runtime, reconcile func(context.Context) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		}
		if err := reconcile(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rt.ResetBackoff()
	}
}

func validateInputs(inputs []Input) error {
	var errs []error
	seen := make(map[string]bool, len(inputs))
	for _, in := range inputs {
		if err := in.Kind.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("input %v: %w", in.Kind, err))
		}
		if err := in.Query.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("input %v: %w", in.Kind, err))
		}
		if in.Mode > InputDestroyReady {
			errs = append(errs, fmt.Errorf("input %v: mode %d is unknown", in.Kind, in.Mode))
		}
		key := fmt.Sprint(in.Kind.Ref(in.ID), in.Mode == InputDestroyReady)
		if seen[key] {
			errs = append(errs, fmt.Errorf("input %v is declared twice", in.Kind.Ref(in.ID)))
		}
		seen[key] = true
	}
	return errors.Join(errs...)
}
