package controller

import (
	"context"
	"errors"
	"slices"
	"sync"

	"talos.internal/resource"
	"talos.internal/state"
)

// runtime implements [Runtime] for one runner.
type runtime struct {
	r *runner

	mu      sync.Mutex
	touched map[resource.Ref]bool // nil while nothing is noted
}

func (rt *runtime) Owner() string            { return rt.r.name }
func (rt *runtime) Changes() <-chan struct{} { return rt.r.changes }
func (rt *runtime) Wake()                    { rt.r.wake() }
func (rt *runtime) ResetBackoff()            { rt.r.backoff.reset() }

func (rt *runtime) UpdateInputs(inputs []Input) error { return rt.r.s.updateInputs(rt.r, inputs) }

func denied(verb state.Verb, ref resource.Ref, detail string) error {
	return &state.Error{Kind: state.Denied, Op: string(verb), Ref: ref, Detail: detail}
}

// mayRead returns an error unless ref, or its whole kind if the id is empty, is an input or an output.
func (rt *runtime) mayRead(verb state.Verb, ref resource.Ref) error {
	if rt.isOutput(ref.Kind()) {
		return nil
	}
	for _, in := range rt.r.currentInputs() {
		if in.Kind == ref.Kind() && (in.ID == "" || in.ID == ref.ID) {
			return nil
		}
	}
	return denied(verb, ref, "controller "+rt.r.name+" declares no such input or output")
}

func (rt *runtime) isOutput(kind resource.Kind) bool {
	return slices.ContainsFunc(rt.r.outputs, func(o Output) bool { return o.covers(kind) })
}

// mayWrite returns an error unless ref is an output and owner is nobody or the controller.
func (rt *runtime) mayWrite(verb state.Verb, ref resource.Ref, owner string) error {
	if !rt.isOutput(ref.Kind()) {
		return denied(verb, ref, "controller "+rt.r.name+" declares no such output")
	}
	if owner != "" && owner != rt.r.name {
		return denied(verb, ref, "controller "+rt.r.name+" cannot write as "+owner)
	}
	return nil
}

func (rt *runtime) Get(ctx context.Context, ref resource.Ref) (resource.Resource, error) {
	if err := rt.mayRead(state.VerbGet, ref); err != nil {
		return nil, err
	}
	return rt.r.s.st.Get(ctx, ref)
}

func (rt *runtime) List(ctx context.Context, kind resource.Kind, q resource.Query) ([]resource.Resource, error) {
	if err := rt.mayRead(state.VerbList, kind.Ref("")); err != nil {
		return nil, err
	}
	return rt.r.s.st.List(ctx, kind, q)
}

func (rt *runtime) Create(ctx context.Context, r resource.Resource, opts state.CreateOptions) (resource.Resource, error) {
	ref := r.Metadata().Ref()
	if err := rt.mayWrite(state.VerbCreate, ref, opts.Owner); err != nil {
		return nil, err
	}
	opts.Owner = rt.r.name
	kept, err := rt.r.s.st.Create(ctx, r, opts)
	if err == nil {
		rt.Touch(ref)
	}
	return kept, err
}

func (rt *runtime) Update(ctx context.Context, r resource.Resource, opts state.UpdateOptions) (resource.Resource, error) {
	ref := r.Metadata().Ref()
	if rt.isOutput(ref.Kind()) && (opts.Owner == "" || opts.Owner == rt.r.name) {
		own := opts
		own.Owner = rt.r.name
		kept, err := rt.r.s.st.Update(ctx, r, own)
		if err == nil {
			rt.Touch(ref)
		}
		// What nobody owns may be an input that only gets a finalizer.
		if opts.Owner != "" || !errors.Is(err, state.OwnerConflict) || rt.mayFinalize(ctx, r) != nil {
			return kept, err
		}
		return rt.r.s.st.Update(ctx, r, opts)
	}
	if err := rt.mayFinalize(ctx, r); err != nil {
		return nil, err
	}
	return rt.r.s.st.Update(ctx, r, opts)
}

// mayFinalize returns an error unless r is a strong input and differs from what is there only in
// the finalizer of this controller.
func (rt *runtime) mayFinalize(ctx context.Context, r resource.Resource) error {
	md := r.Metadata()
	strong := slices.ContainsFunc(rt.r.currentInputs(), func(in Input) bool {
		return in.Mode == InputStrong && in.Kind == md.Kind() && (in.ID == "" || in.ID == md.ID())
	})
	if !strong {
		return denied(state.VerbUpdate, md.Ref(), "controller "+rt.r.name+" declares no such output, nor a strong input for its finalizer")
	}
	now, err := rt.r.s.st.Get(ctx, md.Ref())
	if err != nil {
		return err
	}
	was := now.Metadata()
	if was.Version() != md.Version() {
		return &state.Error{Kind: state.Conflict, Reason: state.VersionConflict, Op: string(state.VerbUpdate), Ref: md.Ref(), Detail: "it is at version " + was.Version().String()}
	}
	was.RemoveFinalizer(rt.r.name)
	md.RemoveFinalizer(rt.r.name)
	if !was.SameIntent(md) || !now.SpecEqual(r) {
		return denied(state.VerbUpdate, md.Ref(), "controller "+rt.r.name+" may change nothing of an input but its own finalizer")
	}
	return nil
}

func (rt *runtime) Teardown(ctx context.Context, ref resource.Ref, opts state.TeardownOptions) (bool, error) {
	if err := rt.mayWrite(state.VerbTeardown, ref, opts.Owner); err != nil {
		return false, err
	}
	opts.Owner = rt.r.name
	return rt.r.s.st.Teardown(ctx, ref, opts)
}

func (rt *runtime) Destroy(ctx context.Context, ref resource.Ref, opts state.DestroyOptions) error {
	if err := rt.mayWrite(state.VerbDestroy, ref, opts.Owner); err != nil {
		return err
	}
	opts.Owner = rt.r.name
	return rt.r.s.st.Destroy(ctx, ref, opts)
}

func (rt *runtime) Touch(ref resource.Ref) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.touched != nil {
		rt.touched[ref] = true
	}
}

func (rt *runtime) TrackOutputs() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.touched = make(map[resource.Ref]bool)
}

func (rt *runtime) CleanupOutputs(ctx context.Context, kinds ...resource.Kind) error {
	rt.mu.Lock()
	touched := rt.touched
	rt.touched = nil
	rt.mu.Unlock()
	if touched == nil {
		return &state.Error{Kind: state.Invalid, Op: "clean up outputs", Detail: "TrackOutputs was not called before"}
	}
	if len(kinds) == 0 {
		for _, o := range rt.r.outputs {
			if o.Namespace != "" {
				kinds = append(kinds, resource.Kind{Namespace: o.Namespace, Type: o.Type})
			}
		}
	}
	var errs []error
	for _, kind := range kinds {
		list, err := rt.List(ctx, kind, resource.Query{})
		if err != nil {
			errs = append(errs, err)
		}
		for _, r := range list {
			if md := r.Metadata(); md.Owner() == rt.r.name && !touched[md.Ref()] {
				if _, err := remove(ctx, rt, md.Ref()); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// remove tears an output down and destroys it if nobody needs it, and reports whether it is gone.
func remove(ctx context.Context, rt Runtime, ref resource.Ref) (gone bool, err error) {
	ready, err := rt.Teardown(ctx, ref, state.TeardownOptions{})
	if err == nil && ready {
		err = rt.Destroy(ctx, ref, state.DestroyOptions{})
	}
	if errors.Is(err, state.NotFound) {
		return true, nil
	}
	return ready && err == nil, err
}
