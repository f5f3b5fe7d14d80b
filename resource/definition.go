package resource

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Definition is what a type says about itself.
type Definition struct {
	// Type is the full name: a plural in camel case, a dot and a domain ("Members.cluster.talos.dev").
	Type string
	// Namespace is where resources of the type are, unless said otherwise.
	Namespace string
	// Aliases are short names in addition to those that follow from the type.
	Aliases []string
	// Columns are what a table shows of the spec, in order.
	Columns []Column
	// Sensitive types are shown to administrators only.
	Sensitive bool
}

// Column is one column of a table: its heading and a JSONPath into the spec, such as "{.hostname}".
type Column struct {
	Name     string
	JSONPath string
}

// ID returns the name of the definition as a resource: the type in lower case.
func (d Definition) ID() string { return strings.ToLower(d.Type) }

// DisplayType returns the singular of the type without its domain ("Member").
func (d Definition) DisplayType() string {
	plural, _, _ := strings.Cut(d.Type, ".")
	for _, end := range [...]struct{ plural, singular string }{
		{"ies", "y"}, {"sses", "ss"}, {"uses", "us"}, {"shes", "sh"}, {"s", ""},
	} {
		if stem, ok := strings.CutSuffix(plural, end.plural); ok && stem != "" {
			return stem + end.singular
		}
	}
	return plural
}

// AllAliases returns every short name of the type in lower case, sorted, without repetitions: those
// that were given, the plural, the plural with each prefix of the domain, the singular, and the
// capitals if there are at least two, also with an s unless they end with one.
// (Reference: contract.md, section 3.1.)
func (d Definition) AllAliases() []string {
	plural, domain, _ := strings.Cut(d.Type, ".")
	lower := strings.ToLower(plural)
	names := append(slices.Clone(d.Aliases), lower, strings.ToLower(d.DisplayType()))
	prefix := lower
	for part := range strings.SplitSeq(strings.ToLower(domain), ".") {
		if prefix += "." + part; part != "" && prefix != d.ID() {
			names = append(names, prefix)
		}
	}
	var capitals strings.Builder
	for _, r := range plural {
		if unicode.IsUpper(r) {
			capitals.WriteRune(unicode.ToLower(r))
		}
	}
	if short := capitals.String(); len(short) > 1 {
		names = append(names, short)
		if !strings.HasSuffix(short, "s") {
			names = append(names, short+"s")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (d Definition) clone() Definition {
	d.Aliases, d.Columns = slices.Clone(d.Aliases), slices.Clone(d.Columns)
	return d
}

// Type is a definition together with what was compiled from the Go type of its spec.
// It is immutable and safe for concurrent use.
type Type struct {
	def    Definition
	copier copier   // nil if an assignment is a copy
	wire   *message // nil if the spec has no protobuf form
	err    error
	decode func(*Type, Metadata, func(reflect.Value) error) (Resource, error)
}

var compiled sync.Map // reflect.Type of a spec to *Type

// TypeOf returns the compiled type of S, always the same one. See [Type.Err] for mistakes in S.
func TypeOf[S Spec]() *Type {
	key := reflect.TypeFor[S]()
	if t, ok := compiled.Load(key); ok {
		return t.(*Type)
	}
	var zero S
	t := &Type{decode: decodeAs[S]}
	if key.Kind() != reflect.Struct {
		t.err = fmt.Errorf("resource type of spec %v: want a struct", key)
	} else {
		t.def = zero.ResourceDefinition().clone()
		t.compile(key)
	}
	actual, _ := compiled.LoadOrStore(key, t)
	return actual.(*Type)
}

func (t *Type) compile(spec reflect.Type) {
	var err error
	if err = (Kind{Namespace: t.def.Namespace, Type: t.def.Type}).Validate(); err == nil {
		if t.copier, err = copierOf(spec); err == nil {
			t.wire, err = messageOf(spec)
		}
	}
	if err != nil {
		t.err = fmt.Errorf("resource type %s of spec %v: %w", t.def.Type, spec, err)
	}
}

// Err returns what is wrong with the declaration: a definition without a type or namespace, a field
// that cannot be copied or encoded, a proto number that is used twice. A [Registry] and a store
// refuse such a type.
func (t *Type) Err() error { return t.err }

// Definition returns what the type says about itself. The result is the caller's.
func (t *Type) Definition() Definition { return t.def.clone() }

// Name returns the full name of the type.
func (t *Type) Name() string { return t.def.Type }

// Kind returns the type in its default namespace.
func (t *Type) Kind() Kind { return Kind{Namespace: t.def.Namespace, Type: t.def.Type} }

// HasProto reports whether the spec has a protobuf form.
func (t *Type) HasProto() bool { return t.wire != nil }

func (t *Type) detach(v reflect.Value) {
	if t.copier != nil {
		t.copier(v)
	}
}

// Decode returns the resource with metadata md and the spec that was sent: as protobuf if the type
// has that form and proto is not empty, otherwise as YAML. With both empty the spec is the zero one.
// Fields that the type does not know are ignored in either form: a newer peer may send them.
func (t *Type) Decode(md Metadata, proto, yamlText []byte) (Resource, error) {
	return t.decode(t, md, func(v reflect.Value) error {
		if t.wire != nil && len(proto) > 0 {
			return t.wire.parse(v, proto, 0)
		}
		return yaml.Unmarshal(yamlText, v.Addr().Interface())
	})
}

func decodeAs[S Spec](t *Type, md Metadata, fill func(reflect.Value) error) (Resource, error) {
	if t.err != nil {
		return nil, t.err
	}
	b := &box[S]{typ: t}
	if err := fill(reflect.ValueOf(&b.spec).Elem()); err != nil {
		return nil, fmt.Errorf("decode spec of %v: %w", md.ref, err)
	}
	md.ref.Type = t.def.Type
	return &Typed[S]{md: md, box: b}, nil
}

// RefOf returns the identity of the resource with this spec and id in its default namespace.
func RefOf[S Spec](id string) Ref { return TypeOf[S]().Kind().Ref(id) }

// KindOf returns the kind of resources with this spec in their default namespace.
func KindOf[S Spec]() Kind { return TypeOf[S]().Kind() }

// Registry finds types by name. It is immutable and safe for concurrent use; a nil one is empty.
type Registry struct {
	types map[string]*Type
}

// NewRegistry returns a registry of types. It returns an error if one has a mistake, or if two of
// them have the same name.
func NewRegistry(types ...*Type) (*Registry, error) {
	r := &Registry{types: make(map[string]*Type, len(types))}
	for _, t := range types {
		if err := t.Err(); err != nil {
			return nil, err
		}
		if old, ok := r.types[t.Name()]; ok && old != t {
			return nil, fmt.Errorf("resource type %s is declared twice", t.Name())
		}
		r.types[t.Name()] = t
	}
	return r, nil
}

// Lookup returns the type with this full name, nil if there is none.
func (r *Registry) Lookup(name string) *Type {
	if r == nil {
		return nil
	}
	return r.types[name]
}

// All returns the types in order of their names.
func (r *Registry) All() []*Type {
	if r == nil {
		return nil
	}
	all := make([]*Type, 0, len(r.types))
	for _, t := range r.types {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *Type) int { return strings.Compare(a.Name(), b.Name()) })
	return all
}

// Decode returns a [Typed] resource if the type in md is known, a [Raw] one otherwise.
func (r *Registry) Decode(md Metadata, proto, yamlText []byte) (Resource, error) {
	if t := r.Lookup(md.Type()); t != nil {
		return t.Decode(md, proto, yamlText)
	}
	return NewRaw(md, proto, yamlText), nil
}
