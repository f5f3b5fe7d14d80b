package schema

import (
	"slices"
	"sort"

	"go.yaml.in/yaml/v3"
)

// Mode is where a machine runs; it decides which rules hold for its config.
type Mode string

// The modes.
const (
	Container Mode = "container" // a laboratory node: no kernel or disks of its own
	Cloud     Mode = "cloud"
	Metal     Mode = "metal"
)

// Role is what a machine is in its cluster: the root document's machine.type, with "init" read as ControlPlane and
// "join" as Worker.
type Role string

// The roles. The zero value means that the config has no root document.
const (
	ControlPlane Role = "controlplane"
	Worker       Role = "worker"
)

// Document is the value of one document: a pointer to a kind's struct.
type Document interface {
	// DocumentKind returns the kind, such as "BondConfig".
	DocumentKind() string
}

// NamedDocument is a document of which a config may have several, told apart by name.
type NamedDocument interface {
	Document
	// DocumentName returns the value of the key name.
	DocumentName() string
}

// Kind declares a kind of documents.
type Kind struct {
	// Name is the value of the key kind.
	Name string
	// Aliases are other values of kind that are accepted: names under which the published JSON schema has it.
	Aliases []string
	// Subject is the section of the reference under which the kind is described, such as "network".
	Subject string
	// New returns an empty document.
	New func() Document
	// ControlPlaneOnly is set if a worker's config cannot have it.
	ControlPlaneOnly bool
}

// Named reports whether documents of the kind have a name.
func (k Kind) Named() bool {
	_, ok := k.New().(NamedDocument)
	return ok
}

// Entry is one document of a config.
type Entry struct {
	// Value is never nil.
	Value Document
	// Node is the document node that it was read from; nil if it was built in memory.
	Node *yaml.Node
	// File is the input's name; it may be empty.
	File string
	// From is the path in the root document of which this document is the conversion; empty for the user's own.
	From string
}

// Title names the document in messages: kind and name.
func (e Entry) Title() string { return Title(e.Value) }

// Title names d in messages: its kind and name.
func Title(d Document) string {
	if n, ok := d.(NamedDocument); ok && n.DocumentName() != "" {
		return d.DocumentKind() + " " + n.DocumentName()
	}
	return d.DocumentKind()
}

// Set is the documents of one config in their order.
type Set []Entry

// Find returns the first document of type T, or the zero T and false.
func Find[T Document](s Set) (T, bool) {
	for _, e := range s {
		if d, ok := e.Value.(T); ok {
			return d, true
		}
	}
	var zero T
	return zero, false
}

// All returns the documents of type T in their order.
func All[T Document](s Set) []T {
	var out []T
	for _, e := range s {
		if d, ok := e.Value.(T); ok {
			out = append(out, d)
		}
	}
	return out
}

// Each calls f with each document of type T and a reporter for it.
func Each[T Document](c *Check, f func(T, *Reporter)) {
	for _, e := range c.Set {
		if d, ok := e.Value.(T); ok {
			f(d, c.Reporter(e))
		}
	}
}

// Check is what a rule over several documents works on.
type Check struct {
	Set    Set
	Mode   Mode // empty: no rules of a mode
	Role   Role
	Report *Report
}

// Reporter returns a reporter for e.
func (c *Check) Reporter(e Entry) *Reporter {
	if e.From != "" {
		r := NewReporter(c.Report, e.File, "", e.Node)
		r.path = e.From
		return r
	}
	return NewReporter(c.Report, e.File, e.Title(), content(e.Node))
}

// Registry is the kinds that a config may have, by name.
type Registry struct {
	kinds map[string]Kind
	names []string
}

// NewRegistry returns a registry of kinds. Two of the same name are a mistake in the program: it panics.
func NewRegistry(kinds ...[]Kind) *Registry {
	r := &Registry{kinds: map[string]Kind{}}
	for _, k := range slices.Concat(kinds...) {
		for _, name := range append([]string{k.Name}, k.Aliases...) {
			if _, twice := r.kinds[name]; twice {
				panic("schema: two kinds are named " + name)
			}
			r.kinds[name] = k
		}
		r.names = append(r.names, k.Name)
	}
	sort.Strings(r.names)
	return r
}

// Kind returns the kind of the given name or alias.
func (r *Registry) Kind(name string) (Kind, bool) {
	k, ok := r.kinds[name]
	return k, ok
}

// Names returns the names of all kinds, sorted, without aliases.
func (r *Registry) Names() []string { return slices.Clone(r.names) }
