package state

import (
	"context"
	"errors"
	"strings"

	"talos.internal/resource"
	"talos.internal/resource/meta"
)

// Verb is what a caller wants to do.
type Verb string

const (
	VerbGet      Verb = "get"
	VerbList     Verb = "list"
	VerbWatch    Verb = "watch"
	VerbCreate   Verb = "create"
	VerbUpdate   Verb = "update"
	VerbTeardown Verb = "teardown"
	VerbDestroy  Verb = "destroy"
)

// IsRead reports whether the verb leaves everything as it is.
func (v Verb) IsRead() bool { return v == VerbGet || v == VerbList || v == VerbWatch }

// Access is one call that a [Policy] decides on.
type Access struct {
	Verb Verb
	Ref  resource.Ref // the id is empty for a list and for the watch of a kind
}

// Policy returns nil to allow an access, and otherwise the error that the caller gets.
type Policy func(ctx context.Context, a Access) error

// Guard returns st behind a policy, which is asked before every call. A watch is asked for once, when
// it begins.
func Guard(st State, allow Policy) State { return guarded{st, allow} }

type guarded struct {
	st    State
	allow Policy
}

func (g guarded) Get(ctx context.Context, ref resource.Ref) (resource.Resource, error) {
	if err := g.allow(ctx, Access{VerbGet, ref}); err != nil {
		return nil, err
	}
	return g.st.Get(ctx, ref)
}

func (g guarded) List(ctx context.Context, kind resource.Kind, q resource.Query) ([]resource.Resource, error) {
	if err := g.allow(ctx, Access{VerbList, kind.Ref("")}); err != nil {
		return nil, err
	}
	return g.st.List(ctx, kind, q)
}

func (g guarded) Create(ctx context.Context, r resource.Resource, opts CreateOptions) (resource.Resource, error) {
	if err := g.allow(ctx, Access{VerbCreate, r.Metadata().Ref()}); err != nil {
		return nil, err
	}
	return g.st.Create(ctx, r, opts)
}

func (g guarded) Update(ctx context.Context, r resource.Resource, opts UpdateOptions) (resource.Resource, error) {
	if err := g.allow(ctx, Access{VerbUpdate, r.Metadata().Ref()}); err != nil {
		return nil, err
	}
	return g.st.Update(ctx, r, opts)
}

func (g guarded) Teardown(ctx context.Context, ref resource.Ref, opts TeardownOptions) (bool, error) {
	if err := g.allow(ctx, Access{VerbTeardown, ref}); err != nil {
		return false, err
	}
	return g.st.Teardown(ctx, ref, opts)
}

func (g guarded) Destroy(ctx context.Context, ref resource.Ref, opts DestroyOptions) error {
	if err := g.allow(ctx, Access{VerbDestroy, ref}); err != nil {
		return err
	}
	return g.st.Destroy(ctx, ref, opts)
}

func (g guarded) Watch(ctx context.Context, ref resource.Ref, opts WatchOptions) (Watcher, error) {
	if err := g.allow(ctx, Access{VerbWatch, ref}); err != nil {
		return nil, err
	}
	return g.st.Watch(ctx, ref, opts)
}

func (g guarded) WatchKind(ctx context.Context, kind resource.Kind, opts WatchOptions) (Watcher, error) {
	if err := g.allow(ctx, Access{VerbWatch, kind.Ref("")}); err != nil {
		return nil, err
	}
	return g.st.WatchKind(ctx, kind, opts)
}

// APIPolicy is what the API of a machine allows to everyone: reading, where the namespace exists and
// the type has a definition (both are resources in st; otherwise NotFound), and no writing at all
// (Denied). Who may read sensitive types is for the server, which knows the caller's role, to decide
// with [Definition]. (Reference: contract.md, section 1.1.)
func APIPolicy(st Reader) Policy {
	return func(ctx context.Context, a Access) error {
		if !a.Verb.IsRead() {
			return &Error{Kind: Denied, Op: string(a.Verb), Ref: a.Ref, Detail: "resources are read-only through the API"}
		}
		_, err := Get[meta.NamespaceSpec](ctx, st, a.Ref.Namespace)
		if errors.Is(err, NotFound) {
			return &Error{Kind: NotFound, Op: string(a.Verb), Ref: a.Ref, Detail: "there is no such namespace"}
		}
		if err == nil {
			_, err = Definition(ctx, st, a.Ref.Type)
		}
		if errors.Is(err, NotFound) {
			return &Error{Kind: NotFound, Op: string(a.Verb), Ref: a.Ref, Detail: "the resource type is not registered"}
		}
		return err
	}
}

// Definition returns the definition of the type with this full name, or a NotFound error.
func Definition(ctx context.Context, st Reader, typeName string) (meta.DefinitionSpec, error) {
	d, err := Get[meta.DefinitionSpec](ctx, st, strings.ToLower(typeName))
	if err != nil {
		return meta.DefinitionSpec{}, err
	}
	spec := d.Spec()
	if spec.Type != typeName {
		return meta.DefinitionSpec{}, &Error{Kind: NotFound, Op: "get definition of " + typeName, Ref: d.Metadata().Ref(), Detail: "it defines " + spec.Type}
	}
	return spec, nil
}

// RegisterNamespace makes a namespace known, or changes its description.
func RegisterNamespace(ctx context.Context, st ReadWriter, name, description string) error {
	_, err := Modify(ctx, st, name, func(_ *resource.Metadata, spec *meta.NamespaceSpec) error {
		spec.Description = description
		return nil
	})
	return err
}

// RegisterTypes makes the definitions of types known. It returns the error of the first type that is
// declared wrongly, before anything was written.
func RegisterTypes(ctx context.Context, st ReadWriter, types ...*resource.Type) error {
	if _, err := resource.NewRegistry(types...); err != nil {
		return &Error{Kind: Invalid, Op: "register types", Detail: err.Error()}
	}
	for _, t := range types {
		def := meta.NewDefinition(t.Definition())
		_, err := Modify(ctx, st, def.Metadata().ID(), func(_ *resource.Metadata, spec *meta.DefinitionSpec) error {
			*spec = def.Spec()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
