// Package patch changes configs by patches: strategic merge patches, which are partial documents, and JSON patches
// (RFC 6902), which are lists of operations.
//
// Patches work on the YAML trees, guided by the types of the documents ([schema.Type]), so that comments and the order
// of keys survive wherever a patch does not reach. The rules of a strategic merge:
//
//   - A document is merged into the one with the same kind and name; one that the config lacks is added.
//   - Mappings merge key by key. A scalar replaces; an empty string and the number 0 change nothing, unless they stand
//     in a free mapping.
//   - Lists are added to, except those whose type says that they are replaced or merged by key.
//   - "$patch: delete" in a mapping removes it: a whole document, a key, or the item of a list whose first key is the
//     same.
//
// A patch or a part of it that finds nothing to remove is an error, [ErrNoMatch]: a misspelt name must not pass for
// success. Nothing is changed when there is an error.
package patch

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
)

// ErrNoMatch is the error of a patch that has nothing to act on.
var ErrNoMatch = errors.New("the patch matches nothing")

// directive is the key of a mapping that holds an instruction instead of data.
const directive = "$patch"

// RootKind is the name of the kind of the root document, which has no key kind.
const RootKind = "v1alpha1"

// Patch is one patch. It is immutable.
type Patch struct {
	name  string
	merge []*yaml.Node // documents; of a strategic merge patch
	ops   []operation  // of a JSON patch
}

// Types gives the plan of a kind's documents by the kind's name, [RootKind] for the root document.
type Types func(kind string) (*schema.Type, bool)

// Parse reads a patch: a list is a JSON patch, anything else a strategic merge. JSON is YAML. name stands for the patch in
// messages, such as its file's name.
func Parse(name string, data []byte) (Patch, error) {
	var report schema.Report
	docs := schema.Parse(name, data, &report)
	if err := report.Err(); err != nil {
		return Patch{}, fmt.Errorf("read patch: %w", err)
	}
	if len(docs) == 0 {
		return Patch{}, fmt.Errorf("read patch %s: it is empty; expected documents, or a list of JSON patch operations", name)
	}
	if docs[0].Content[0].Kind == yaml.SequenceNode {
		if len(docs) > 1 {
			return Patch{}, fmt.Errorf("read patch %s: it has a JSON patch and other documents; put them in patches of their own", name)
		}
		ops, err := parseOperations(docs[0].Content[0])
		if err != nil {
			return Patch{}, fmt.Errorf("read patch %s: %w", name, err)
		}
		return Patch{name: name, ops: ops}, nil
	}
	for i, d := range docs {
		root := d.Content[0]
		if root.Kind != yaml.MappingNode {
			return Patch{}, fmt.Errorf("read patch %s: line %d: document %d is no mapping", name, root.Line, i+1)
		}
		if len(root.Content) == 0 {
			return Patch{}, fmt.Errorf("read patch %s: line %d: document %d is empty", name, root.Line, i+1)
		}
	}
	return Patch{name: name, merge: docs}, nil
}

// Of returns the strategic merge patch of docs, document nodes that hold mappings and are not changed any more.
func Of(name string, docs ...*yaml.Node) Patch { return Patch{name: name, merge: docs} }

// Name returns the name that p was read under.
func (p Patch) Name() string { return p.name }

// Documents returns the documents of a strategic merge patch; none for a JSON patch. They must not be changed.
func (p Patch) Documents() []*yaml.Node { return p.merge }

// IsJSON reports whether p is a JSON patch.
func (p Patch) IsJSON() bool { return p.ops != nil }

// Check reports what in a strategic merge patch can be in no document of its kind: unknown keys and kinds, wrong types.
// A JSON patch has nothing to check before it is applied.
func (p Patch) Check(types Types, report *schema.Report) {
	for _, d := range p.merge {
		id := identify(d)
		r := schema.NewReporter(report, p.name, id.String(), d)
		t, ok := types(id.kind)
		if !ok {
			r.At("kind").Errorf("unknown kind %q", id.kind)
			continue
		}
		if c := withoutDirectives(schema.Clone(d.Content[0])); c != nil {
			schema.CheckPartial(c, t, r, "apiVersion", "kind", directive)
		}
	}
}

// withoutDirectives removes from n what a directive says to delete, and returns nil if that is all of n.
func withoutDirectives(n *yaml.Node) *yaml.Node {
	if isDelete(n) {
		return nil
	}
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	} else if n.Kind != yaml.SequenceNode {
		return n
	}
	var kept []*yaml.Node
	for i := step - 1; i < len(n.Content); i += step {
		if v := withoutDirectives(n.Content[i]); v != nil {
			kept = append(kept, n.Content[i-step+1:i+1]...)
		}
	}
	n.Content = kept
	return n
}

// identity tells documents apart.
type identity struct{ kind, name string }

func (id identity) String() string {
	switch {
	case id.kind == RootKind:
		return ""
	case id.name == "":
		return id.kind
	default:
		return id.kind + " " + id.name
	}
}

// identify returns the identity of a document. Aliases of kinds are resolved by the caller's types being the same.
func identify(doc *yaml.Node) identity {
	kind := schema.Child(doc, "kind")
	if kind == nil {
		return identity{kind: RootKind}
	}
	id := identity{kind: kind.Value}
	if name := schema.Child(doc, "name"); name != nil {
		id.name = name.Value
	}
	return id
}

// Apply returns docs, the documents of one config, changed by p. docs themselves stay as they were. JSON patches need
// a config of a single document.
func Apply(docs []*yaml.Node, types Types, p Patch) ([]*yaml.Node, error) {
	out := make([]*yaml.Node, len(docs))
	for i, d := range docs {
		out[i] = schema.Clone(d)
	}
	if p.IsJSON() {
		if len(docs) != 1 {
			return nil, fmt.Errorf("apply patch %s: a JSON patch needs a config of one document and this one has %d; "+
				"write a strategic merge patch instead", p.name, len(docs))
		}
		if err := applyOperations(out[0], p.ops); err != nil {
			return nil, fmt.Errorf("apply patch %s: %w", p.name, err)
		}
		return out, nil
	}
	for _, d := range p.merge {
		var err error
		if out, err = applyDocument(out, types, d); err != nil {
			return nil, fmt.Errorf("apply patch %s: %w", p.name, err)
		}
	}
	return out, nil
}

// applyDocument merges one document of a patch.
func applyDocument(docs []*yaml.Node, types Types, patch *yaml.Node) ([]*yaml.Node, error) {
	id := identify(patch)
	t, ok := types(id.kind)
	if !ok {
		return nil, fmt.Errorf("line %d: unknown kind %q", patch.Content[0].Line, id.kind)
	}
	at := -1
	for i, d := range docs {
		if other := identify(d); other.name == id.name && sameKind(types, other.kind, t) {
			at = i
			break
		}
	}
	m := merger{document: id.String()}
	src := patch.Content[0]
	if isDelete(src) {
		if at < 0 {
			return nil, fmt.Errorf("line %d: %w: the config has no document %s to delete", src.Line, ErrNoMatch, orRoot(id))
		}
		return append(docs[:at:at], docs[at+1:]...), nil
	}
	if at < 0 {
		// Merging into an empty document applies the directives, which must not stay in the result.
		empty := &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
		empty.HeadComment, empty.FootComment = patch.HeadComment, patch.FootComment
		if err := m.mapping(empty.Content[0], src, t, ""); err != nil {
			return nil, err
		}
		return append(docs, empty), nil
	}
	if err := m.mapping(docs[at].Content[0], src, t, ""); err != nil {
		return nil, err
	}
	return docs, nil
}

func sameKind(types Types, kind string, t *schema.Type) bool {
	other, ok := types(kind)
	return ok && other == t
}

func orRoot(id identity) string {
	if s := id.String(); s != "" {
		return s
	}
	return "of the root kind (version: v1alpha1)"
}

// isDelete reports whether n is a mapping with the directive to delete it.
func isDelete(n *yaml.Node) bool {
	d := schema.Child(n, directive)
	return d != nil && d.Value == "delete"
}

// where formats a place in a patch for an error.
func where(line int, document, path string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d: ", line)
	for _, s := range []string{document, path} {
		if s != "" {
			b.WriteString(s)
			b.WriteString(": ")
		}
	}
	return strings.TrimSuffix(b.String(), ": ")
}
