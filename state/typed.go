package state

import (
	"context"
	"errors"

	"talos.internal/resource"
)

// Option changes where the typed functions of this package look, and as whom they write.
type Option func(*options)

type options struct {
	namespace string
	owner     string
	expect    ExpectedPhase
	query     resource.Query
}

// In names a namespace other than the default one of the type.
func In(namespace string) Option { return func(o *options) { o.namespace = namespace } }

// As names the owner that writes. A controller's runtime does that by itself.
func As(owner string) Option { return func(o *options) { o.owner = owner } }

// Expecting says in which phase the resource has to be for an update; without it that is running.
func Expecting(p ExpectedPhase) Option { return func(o *options) { o.expect = p } }

// Where selects what is listed.
func Where(q resource.Query) Option { return func(o *options) { o.query = q } }

func gather[S resource.Spec](opts []Option) (options, resource.Kind) {
	var o options
	for _, f := range opts {
		f(&o)
	}
	kind := resource.KindOf[S]()
	if o.namespace != "" {
		kind.Namespace = o.namespace
	}
	return o, kind
}

// RefOf returns the identity that the functions below give to the resource of type S that is called
// id. Options: [In].
func RefOf[S resource.Spec](id string, opts ...Option) resource.Ref {
	_, kind := gather[S](opts)
	return kind.Ref(id)
}

// Typed returns r with its spec as S: as it is, or decoded if it came over a wire undecoded.
// A spec that is another Go type is an Invalid error.
func Typed[S resource.Spec](r resource.Resource) (*resource.Typed[S], error) {
	if t, ok := r.(*resource.Typed[S]); ok {
		return t, nil
	}
	md := r.Metadata()
	invalid := func(detail string) error {
		return &Error{Kind: Invalid, Op: "read spec", Ref: md.Ref(), Detail: detail}
	}
	want := resource.TypeOf[S]()
	if r.Type() != nil || md.Type() != want.Name() {
		return nil, invalid("it is not a " + want.Name())
	}
	proto, perr := r.SpecProto()
	text, yerr := r.SpecYAML()
	if err := errors.Join(perr, yerr); err != nil {
		return nil, invalid(err.Error())
	}
	decoded, err := want.Decode(md, proto, text)
	if err != nil {
		return nil, invalid(err.Error())
	}
	return decoded.(*resource.Typed[S]), nil
}

// Get returns the resource of type S that is called id. Options: [In].
func Get[S resource.Spec](ctx context.Context, st Reader, id string, opts ...Option) (*resource.Typed[S], error) {
	_, kind := gather[S](opts)
	r, err := st.Get(ctx, kind.Ref(id))
	if err != nil {
		return nil, err
	}
	return Typed[S](r)
}

// List returns the resources of type S in the order of their ids. Options: [In], [Where].
func List[S resource.Spec](ctx context.Context, st Reader, opts ...Option) ([]*resource.Typed[S], error) {
	o, kind := gather[S](opts)
	found, err := st.List(ctx, kind, o.query)
	if err != nil {
		return nil, err
	}
	typed := make([]*resource.Typed[S], len(found))
	for i, r := range found {
		if typed[i], err = Typed[S](r); err != nil {
			return nil, err
		}
	}
	return typed, nil
}

// Find returns the spec of the resource of type S that is called id, and whether it is there to stay: one that is being torn down
// counts as gone. Without it the spec is the zero one. Options: [In].
func Find[S resource.Spec](ctx context.Context, st Reader, id string, opts ...Option) (spec S, there bool, err error) {
	r, err := Get[S](ctx, st, id, opts...)
	switch {
	case errors.Is(err, NotFound):
		return spec, false, nil
	case err != nil:
		return spec, false, err
	case r.Metadata().Phase() == resource.TearingDown:
		return spec, false, nil
	}
	return r.Spec(), true, nil
}

// Lookup is [Find] for whoever keeps the answer: nil is a resource that is not there to stay.
func Lookup[S resource.Spec](ctx context.Context, st Reader, id string, opts ...Option) (*S, error) {
	spec, there, err := Find[S](ctx, st, id, opts...)
	if err != nil || !there {
		return nil, err
	}
	return &spec, nil
}

// Put makes the spec of the resource of type S that is called id what spec is; it is [Modify] for whoever makes all of it.
func Put[S resource.Spec](ctx context.Context, st ReadWriter, id string, spec S, opts ...Option) error {
	_, err := Modify(ctx, st, id, func(_ *resource.Metadata, have *S) error {
		*have = spec
		return nil
	}, opts...)
	return err
}

// Create creates the resource of type S that is called id. Options: [In], [As].
func Create[S resource.Spec](ctx context.Context, st Writer, id string, spec S, opts ...Option) (*resource.Typed[S], error) {
	o, kind := gather[S](opts)
	r, err := st.Create(ctx, resource.NewIn(kind.Namespace, id, spec), CreateOptions{Owner: o.owner})
	if err != nil {
		return nil, err
	}
	return Typed[S](r)
}

// Identity is a store in the hands of one owner, such as a controller: it writes as that owner
// without being told, and wants to know of resources that [Modify] found to be as they should.
type Identity interface {
	Owner() string
	Touch(ref resource.Ref)
}

// Modify makes the resource of type S that is called id what change makes of it, and returns it as it
// is kept. If there is none, change is given a zero spec and what it makes is created. If change
// leaves everything as it was, nothing is written and no one is woken.
//
// change may be called more than once, each time with what was there last, because a conflict of
// versions is tried again until ctx ends; an error of change ends Modify and is returned as it is.
// Options: [In], [As], [Expecting]. Errors are those of the store but VersionConflict.
func Modify[S resource.Spec](ctx context.Context, st ReadWriter, id string, change func(md *resource.Metadata, spec *S) error, opts ...Option) (*resource.Typed[S], error) {
	return modify(ctx, st, id, change, true, opts)
}

// Update is [Modify] for a resource that has to exist already; otherwise the error is NotFound.
func Update[S resource.Spec](ctx context.Context, st ReadWriter, id string, change func(md *resource.Metadata, spec *S) error, opts ...Option) (*resource.Typed[S], error) {
	return modify(ctx, st, id, change, false, opts)
}

func modify[S resource.Spec](ctx context.Context, st ReadWriter, id string, change func(*resource.Metadata, *S) error, create bool, opts []Option) (*resource.Typed[S], error) {
	o, kind := gather[S](opts)
	identity, _ := st.(Identity)
	if o.owner == "" && identity != nil {
		o.owner = identity.Owner()
	}
	ref := kind.Ref(id)
	var refusal error // of change, whatever kind of error it is
	careful := func(md *resource.Metadata, spec *S) error {
		refusal = change(md, spec)
		return refusal
	}
	for {
		r, err := st.Get(ctx, ref)
		switch {
		case err == nil:
			r, err = modifyExisting(ctx, st, r, careful, o)
		case create && errors.Is(err, NotFound):
			var spec S
			md := resource.NewMetadata(ref)
			if err := careful(&md, &spec); err != nil {
				return nil, err
			}
			md.SetRef(ref)
			r, err = st.Create(ctx, resource.NewIn(kind.Namespace, id, spec).WithMetadata(md), CreateOptions{Owner: o.owner})
		}
		switch {
		case refusal != nil:
			return nil, refusal
		case err == nil:
			return Typed[S](r)
		case errors.Is(err, VersionConflict), create && (errors.Is(err, NotFound) || errors.Is(err, Exists)):
			if ctx.Err() != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

func modifyExisting[S resource.Spec](ctx context.Context, st ReadWriter, r resource.Resource, change func(*resource.Metadata, *S) error, o options) (resource.Resource, error) {
	old, err := Typed[S](r)
	if err != nil {
		return nil, err
	}
	md, spec := old.Metadata(), old.Spec()
	if err := change(&md, &spec); err != nil {
		return nil, err
	}
	was := old.Metadata()
	// Whatever change does to them, these are those of what it was given.
	md.SetRef(was.Ref())
	md.SetVersion(was.Version())
	md.SetTimes(was.Created(), was.Updated())
	next := old.With(md, spec)
	if md.SameIntent(was) && next.SpecEqual(old) && was.Owner() == o.owner && o.expect.Allows(was.Phase()) {
		if identity, ok := st.(Identity); ok {
			identity.Touch(md.Ref())
		}
		return old, nil
	}
	return st.Update(ctx, next, UpdateOptions{Owner: o.owner, Expect: o.expect})
}

// Teardown begins the end of the resource of type S that is called id, and reports whether it is
// ready to be destroyed. Options: [In], [As].
func Teardown[S resource.Spec](ctx context.Context, st Writer, id string, opts ...Option) (ready bool, err error) {
	o, kind := gather[S](opts)
	return st.Teardown(ctx, kind.Ref(id), TeardownOptions{Owner: o.owner})
}

// Destroy removes the resource of type S that is called id. Options: [In], [As].
func Destroy[S resource.Spec](ctx context.Context, st Writer, id string, opts ...Option) error {
	o, kind := gather[S](opts)
	return st.Destroy(ctx, kind.Ref(id), DestroyOptions{Owner: o.owner})
}

// AddFinalizer says that each of names still needs the resource. One that is there already is left
// as it is. The error is Conflict with PhaseConflict if the resource is being torn down.
//
// Finalizers are for others than the owner: the resource is updated in its owner's name.
func AddFinalizer(ctx context.Context, st ReadWriter, ref resource.Ref, names ...string) error {
	return editFinalizers(ctx, st, ref, ExpectRunning, func(md *resource.Metadata) (changed bool) {
		for _, n := range names {
			changed = md.AddFinalizer(n) || changed
		}
		return changed
	})
}

// RemoveFinalizer says that none of names needs the resource any more. One that is not there, or a
// resource that is gone, is no error.
func RemoveFinalizer(ctx context.Context, st ReadWriter, ref resource.Ref, names ...string) error {
	err := editFinalizers(ctx, st, ref, ExpectAny, func(md *resource.Metadata) (changed bool) {
		for _, n := range names {
			changed = md.RemoveFinalizer(n) || changed
		}
		return changed
	})
	if errors.Is(err, NotFound) {
		return nil
	}
	return err
}

func editFinalizers(ctx context.Context, st ReadWriter, ref resource.Ref, expect ExpectedPhase, edit func(*resource.Metadata) bool) error {
	for {
		r, err := st.Get(ctx, ref)
		if err != nil {
			return err
		}
		md := r.Metadata()
		if !edit(&md) {
			return nil
		}
		_, err = st.Update(ctx, r.WithMetadata(md), UpdateOptions{Owner: md.Owner(), Expect: expect})
		if !errors.Is(err, VersionConflict) || ctx.Err() != nil {
			return err
		}
	}
}
