package config

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/patch"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
)

// lift rewrites the old-style parts of a patch for a config that is made of documents: a patch such as
// "cluster: {proxy: {disabled: true}}" would otherwise put a field beside the document that succeeds it, which is a
// conflict. For a config that has such fields itself, and for a patch that has none, it returns p as it is.
//
// What the patch means is found by converting a bare old-style config with and without it: where the two differ is what
// it says. So it needs no knowledge of single fields, and what the conversion implies by itself cancels out. A value that is the
// conversion's default makes no difference then, though it makes one to a config that has another; so each value of the patch is also
// converted with another in its place, and what that moves is what the value says.
func lift(docs []*yaml.Node, p patch.Patch) (patch.Patch, error) {
	if p.IsJSON() || !madeOfDocuments(docs) {
		return p, nil
	}
	var out []*yaml.Node
	for _, d := range p.Documents() {
		if schema.Child(d, "kind") != nil {
			out = append(out, d)
			continue
		}
		lifted, err := liftRoot(docs, d, p.Name())
		if err != nil {
			return p, err
		}
		out = append(out, lifted...)
	}
	return patch.Of(p.Name(), out...), nil
}

// madeOfDocuments reports whether a config has documents, and a root document without fields that others succeed.
func madeOfDocuments(docs []*yaml.Node) bool {
	root := decodeRoot(docs)
	return root != nil && !successor.OldStyle(root) && len(docs) > 1
}

// decodeRoot returns the root document among docs, or nil; what is wrong with it is left to who loads it.
func decodeRoot(docs []*yaml.Node) *rootdoc.Config {
	for _, d := range docs {
		if schema.Child(d, "kind") == nil {
			root := &rootdoc.Config{}
			var ignored schema.Report
			schema.Decode(d, root, schema.NewReporter(&ignored, "", "", d))
			return root
		}
	}
	return nil
}

// liftRoot rewrites the root document of a patch.
func liftRoot(docs []*yaml.Node, p *yaml.Node, name string) ([]*yaml.Node, error) {
	bare := fmt.Sprintf("version: %s\nmachine: {type: %s}\ncluster: {controlPlane: {endpoint: 'https://lift.invalid'}}\n",
		rootdoc.Version, roleOr(decodeRoot(docs).Role()))
	var report schema.Report
	before := schema.Parse("", []byte(bare), &report)
	own := schema.Clone(p)
	rest := own.Content[0]
	if rest.Kind != yaml.MappingNode || schema.Child(rest, "$patch") != nil {
		return []*yaml.Node{p}, nil
	}
	legacy := schema.Clone(p)
	successor.KeepOldStyle(legacy.Content[0])
	if len(legacy.Content[0].Content) == 0 {
		return []*yaml.Node{p}, nil
	}
	successor.DropOldStyle(rest)
	after, err := patch.Apply(before, Types, patch.Of(name, legacy))
	if err != nil {
		return nil, fmt.Errorf("%w; the config is made of documents: change the document instead", err)
	}
	a, b := effective(before), effective(after)
	var others [][]*yaml.Node
	eachScalar(legacy.Content[0], func(n *yaml.Node) {
		value := n.Value
		n.Value = another(n)
		if other, err := patch.Apply(before, Types, patch.Of(name, legacy)); err == nil {
			others = append(others, effective(other))
		}
		n.Value = value
	})
	out := []*yaml.Node{own}
	for _, e := range b {
		var changed *yaml.Node
		if old := lookup(a, e); old != nil {
			changed = delta(old.Content[0], e.Content[0])
		} else {
			changed = schema.Clone(e.Content[0])
		}
		target := lookup(docs, e)
		for _, other := range others {
			switch old := lookup(other, e); {
			case old != nil && target != nil:
				addMissing(changed, says(old.Content[0], e.Content[0], target.Content[0]))
			case old == nil && target == nil:
				addMissing(changed, schema.Clone(e.Content[0]))
			}
		}
		if len(changed.Content) == 0 {
			continue
		}
		if schema.Child(e, "kind") == nil {
			addMissing(rest, changed)
			continue
		}
		identify(changed, e)
		if target != nil {
			dropAbsent(changed, target.Content[0])
		}
		out = append(out, &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{changed}})
	}
	for _, e := range slices.Concat(append(others, a)...) {
		if lookup(b, e) == nil && lookup(docs, e) != nil && lookup(out, e) == nil {
			gone := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			identify(gone, e)
			set(gone, "$patch", schema.StringNode("delete"))
			out = append(out, &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{gone}})
		}
	}
	if len(rest.Content) == 0 {
		out = out[1:]
	}
	return out, nil
}

func roleOr(r schema.Role) schema.Role {
	if r == "" {
		return schema.ControlPlane
	}
	return r
}

// effective returns the effective documents of a config of one root document, as trees.
func effective(docs []*yaml.Node) []*yaml.Node {
	root := decodeRoot(docs)
	out := []*yaml.Node{Node(successor.Reduced(root))}
	for _, d := range successor.Documents(root) {
		out = append(out, Node(d.Doc))
	}
	return out
}

// lookup returns the document of docs with the kind and name of d, or nil.
func lookup(docs []*yaml.Node, d *yaml.Node) *yaml.Node {
	for _, o := range docs {
		if text(o, "kind") == text(d, "kind") && text(o, "name") == text(d, "name") {
			return o
		}
	}
	return nil
}

func text(d *yaml.Node, key string) string {
	if n := schema.Child(d, key); n != nil {
		return n.Value
	}
	return ""
}

// delta returns what has to be merged into a to get b: keys that are new or differ, and directives to delete those that
// are gone.
func delta(a, b *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i+1 < len(b.Content); i += 2 {
		key, v := b.Content[i].Value, b.Content[i+1]
		old := schema.Child(a, key)
		switch {
		case old == nil:
			set(out, key, schema.Clone(v))
		case old.Kind == yaml.MappingNode && v.Kind == yaml.MappingNode:
			if d := delta(old, v); len(d.Content) > 0 {
				set(out, key, d)
			}
		case !patch.Equal(old, v):
			set(out, key, schema.Clone(v))
		}
	}
	for i := 0; i+1 < len(a.Content); i += 2 {
		if key := a.Content[i].Value; schema.Child(b, key) == nil {
			gone := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			set(gone, "$patch", schema.StringNode("delete"))
			set(out, key, gone)
		}
	}
	return out
}

// eachScalar calls do for each value below n that is neither a mapping nor a list.
func eachScalar(n *yaml.Node, do func(*yaml.Node)) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			eachScalar(n.Content[i], do)
		}
	case yaml.SequenceNode:
		for _, v := range n.Content {
			eachScalar(v, do)
		}
	case yaml.ScalarNode:
		do(n)
	}
}

// another returns a value that is not that of scalar n. It need not be a valid one.
func another(n *yaml.Node) string {
	switch {
	case n.Tag == "!!bool" && n.Value == "true":
		return "false"
	case n.Tag == "!!bool":
		return "true"
	case n.Tag == "!!int":
		return n.Value + "1"
	}
	return n.Value + "x"
}

// says returns what of b a value says that would have given other in its place, to be merged into target. A mapping that only b
// has is left out where target has one: its content is not the value's.
func says(other, b, target *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i+1 < len(b.Content); i += 2 {
		key, v := b.Content[i].Value, b.Content[i+1]
		old, there := schema.Child(other, key), schema.Child(target, key)
		switch {
		case v.Kind != yaml.MappingNode || there == nil || there.Kind != yaml.MappingNode:
			if old == nil || !patch.Equal(old, v) {
				set(out, key, schema.Clone(v))
			}
		case old != nil && old.Kind == yaml.MappingNode:
			if d := says(old, v, there); len(d.Content) > 0 {
				set(out, key, d)
			}
		}
	}
	for i := 0; i+1 < len(other.Content); i += 2 {
		if key := other.Content[i].Value; schema.Child(b, key) == nil {
			gone := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			set(gone, "$patch", schema.StringNode("delete"))
			set(out, key, gone)
		}
	}
	return out
}

// set adds key to mapping m, which does not have it.
func set(m *yaml.Node, key string, v *yaml.Node) {
	m.Content = append(m.Content, schema.StringNode(key), v)
	m.Style &^= yaml.FlowStyle
}

// identify puts the keys that tell document d apart at the head of m.
func identify(m, d *yaml.Node) {
	var head []*yaml.Node
	for _, key := range []string{"apiVersion", "kind", "name"} {
		if v := schema.Child(d, key); v != nil && schema.Child(m, key) == nil {
			head = append(head, schema.StringNode(key), schema.Clone(v))
		}
	}
	m.Content = append(head, m.Content...)
}

// addMissing adds to mapping dst what it lacks of src.
func addMissing(dst, src *yaml.Node) {
	for i := 0; i+1 < len(src.Content); i += 2 {
		switch old := schema.Child(dst, src.Content[i].Value); {
		case old == nil:
			set(dst, src.Content[i].Value, src.Content[i+1])
		case old.Kind == yaml.MappingNode && src.Content[i+1].Kind == yaml.MappingNode:
			addMissing(old, src.Content[i+1])
		}
	}
}

// dropAbsent removes from m the directives to delete what target, the mapping that m will be merged into, does not have.
func dropAbsent(m, target *yaml.Node) {
	var kept []*yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, v := m.Content[i], m.Content[i+1]
		there := schema.Child(target, key.Value)
		if schema.Child(v, "$patch") != nil && there == nil {
			continue
		}
		if v.Kind == yaml.MappingNode && there != nil && there.Kind == yaml.MappingNode && schema.Child(v, "$patch") == nil {
			dropAbsent(v, there)
		}
		kept = append(kept, key, v)
	}
	m.Content = kept
}
