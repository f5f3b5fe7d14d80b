package resource

import (
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// Resource is metadata and a spec, both immutable. [Typed], [Raw] and nothing else implement it.
type Resource interface {
	// Metadata returns the metadata. Changing the copy does not change the resource.
	Metadata() Metadata
	// WithMetadata returns a resource with the same spec, which both then share, and other metadata.
	WithMetadata(Metadata) Resource
	// Type returns the compiled type, nil if the spec was never decoded.
	Type() *Type
	// SpecProto returns the spec as protobuf. It is empty if the contract has no message for the
	// type, or if every field of the message has its default.
	SpecProto() ([]byte, error)
	// SpecYAML returns the spec as a YAML document.
	SpecYAML() ([]byte, error)
	// SpecEqual reports whether both specs say the same. Empty and absent lists and maps are the
	// same; a decoded spec and an undecoded one never are.
	SpecEqual(Resource) bool

	// sealed keeps implementations that could change under the store's feet out.
	sealed()
}

// Equal reports whether a and b have equal metadata and equal specs.
func Equal(a, b Resource) bool { return a.Metadata().Equal(b.Metadata()) && a.SpecEqual(b) }

// Spec is what a resource type adds to [Metadata]: a struct which declares its type.
//
// The method is called once, on a zero value, with a value receiver. A spec may have a method
// Clone() S, which is then used to copy it; otherwise it is copied by its structure, which has to be
// made of exported fields, or of types that are known to be immutable (times, IP addresses), that
// have no exported way in (unexported fields without references) or that have a method Clone.
type Spec interface {
	ResourceDefinition() Definition
}

// Typed is a resource whose spec is a Go struct. It is immutable and safe for concurrent use.
type Typed[S Spec] struct {
	md  Metadata
	box *box[S]
}

// box is shared by all versions of metadata around one spec. Nothing writes to it after it was made.
type box[S Spec] struct {
	typ  *Type
	spec S
}

// New returns a resource in the default namespace of its type, with a copy of spec.
func New[S Spec](id string, spec S) *Typed[S] {
	t := TypeOf[S]()
	return newTyped(t, NewMetadata(t.Kind().Ref(id)), spec)
}

// NewIn is [New] in a namespace of choice.
func NewIn[S Spec](namespace, id string, spec S) *Typed[S] {
	t := TypeOf[S]()
	return newTyped(t, NewMetadata(Ref{Namespace: namespace, Type: t.def.Type, ID: id}), spec)
}

func newTyped[S Spec](t *Type, md Metadata, spec S) *Typed[S] {
	md.ref.Type = t.def.Type
	b := &box[S]{typ: t, spec: spec}
	t.detach(reflect.ValueOf(&b.spec).Elem())
	return &Typed[S]{md: md, box: b}
}

// Metadata implements [Resource].
func (r *Typed[S]) Metadata() Metadata { return r.md }

// Spec returns a copy of the spec, which is the caller's. For a spec without slices, maps and
// pointers the copy is an assignment.
func (r *Typed[S]) Spec() S {
	spec := r.box.spec
	if r.box.typ.copier != nil {
		r.box.typ.detach(reflect.ValueOf(&spec).Elem())
	}
	return spec
}

// With returns a resource with metadata md, except for its type, and a copy of spec.
func (r *Typed[S]) With(md Metadata, spec S) *Typed[S] { return newTyped(r.box.typ, md, spec) }

// WithMetadata implements [Resource]. The type in md is ignored.
func (r *Typed[S]) WithMetadata(md Metadata) Resource {
	md.ref.Type = r.box.typ.def.Type
	return &Typed[S]{md: md, box: r.box}
}

// Type implements [Resource].
func (r *Typed[S]) Type() *Type { return r.box.typ }

// SpecProto implements [Resource].
func (r *Typed[S]) SpecProto() ([]byte, error) {
	return r.box.typ.encodeProto(reflect.ValueOf(&r.box.spec).Elem())
}

// SpecYAML implements [Resource].
func (r *Typed[S]) SpecYAML() ([]byte, error) {
	// A copy: a MarshalYAML method of the spec is foreign code and must not reach the shared one.
	b, err := yaml.Marshal(r.Spec())
	if err != nil {
		return nil, fmt.Errorf("encode spec of %v as YAML: %w", r.md.ref, err)
	}
	return b, nil
}

// SpecEqual implements [Resource].
func (r *Typed[S]) SpecEqual(o Resource) bool {
	t, ok := o.(*Typed[S])
	if !ok {
		return false
	}
	return r.box == t.box || equal(reflect.ValueOf(&r.box.spec).Elem(), reflect.ValueOf(&t.box.spec).Elem())
}

// String returns one line about the metadata. The spec, which may be secret, does not get into logs.
func (r *Typed[S]) String() string { return r.md.String() }

func (r *Typed[S]) sealed() {}

// Raw is a resource whose spec is kept as it came over a wire, because nobody here knows its type.
// It is immutable.
type Raw struct {
	md    Metadata
	proto string
	yaml  string
}

// NewRaw returns a resource with copies of both forms of its spec, of which either may be empty.
func NewRaw(md Metadata, proto, yaml []byte) *Raw {
	return &Raw{md: md, proto: string(proto), yaml: string(yaml)}
}

// Tombstone returns a resource without a spec, which stands for one that does not exist.
func Tombstone(ref Ref) *Raw { return &Raw{md: NewMetadata(ref)} }

// Metadata implements [Resource].
func (r *Raw) Metadata() Metadata { return r.md }

// WithMetadata implements [Resource].
func (r *Raw) WithMetadata(md Metadata) Resource { return &Raw{md: md, proto: r.proto, yaml: r.yaml} }

// Type implements [Resource] and returns nil.
func (r *Raw) Type() *Type { return nil }

// SpecProto implements [Resource].
func (r *Raw) SpecProto() ([]byte, error) { return []byte(r.proto), nil }

// SpecYAML implements [Resource].
func (r *Raw) SpecYAML() ([]byte, error) { return []byte(r.yaml), nil }

// SpecEqual implements [Resource].
func (r *Raw) SpecEqual(o Resource) bool {
	t, ok := o.(*Raw)
	return ok && r.proto == t.proto && r.yaml == t.yaml
}

// String returns one line about the metadata.
func (r *Raw) String() string { return r.md.String() }

func (r *Raw) sealed() {}
