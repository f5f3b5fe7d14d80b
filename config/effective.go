package config

import (
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
)

// Effective returns the documents that c comes to: each deprecated field of the root document is replaced by the
// documents that succeed it. What remains of the root document comes first, then its successors, then the documents as
// they were written. Every part of the program that acts on a config acts on this.
//
// The result does not share the root document with c; the other documents must not be changed.
func (c *Config) Effective() schema.Set {
	there := map[string]bool{}
	for _, e := range c.set {
		there[e.Value.DocumentKind()] = true
	}
	var out schema.Set
	for _, e := range c.set {
		root, ok := e.Value.(*rootdoc.Config)
		if !ok {
			continue
		}
		out = append(out, schema.Entry{Value: successor.Reduced(root), Node: e.Node, File: e.File})
		for _, d := range successor.Documents(root) {
			if d.Implied && there[d.Doc.DocumentKind()] {
				continue // the config says it
			}
			out = append(out, schema.Entry{Value: d.Doc, Node: e.Node, File: e.File, From: d.Path})
		}
	}
	for _, e := range c.set {
		if _, ok := e.Value.(*rootdoc.Config); !ok {
			out = append(out, e)
		}
	}
	return out
}

// KindOf returns the kind of d, the root document's included.
func KindOf(d schema.Document) (schema.Kind, bool) {
	if d.DocumentKind() == rootdoc.Version {
		return rootdoc.Kind(), true
	}
	return Registry().Kind(d.DocumentKind())
}
