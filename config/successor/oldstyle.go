package successor

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/rootdoc"
)

// OldStyle reports whether a field is set that a document succeeds.
func OldStyle(c *rootdoc.Config) bool { return len(setRows(c)) > 0 }

// DropOldStyle removes from n, a mapping with a root document or a part of one, the fields that documents succeed.
// Directives of patches below what stays are kept.
func DropOldStyle(n *yaml.Node) { dropOldStyle(n, "") }

// KeepOldStyle removes from n, a mapping with a root document or a part of one, all but the fields that documents
// succeed.
func KeepOldStyle(n *yaml.Node) { keepOldStyle(n, "") }

func dropOldStyle(n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	var rest []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if f, _ := fateOf(at); f == succeeded && !keepsBelow(at) {
			continue
		}
		had := len(v.Content)
		dropOldStyle(v, at)
		if had > 0 && len(v.Content) == 0 {
			continue
		}
		rest = append(rest, key, v)
	}
	n.Content = rest
}

func keepOldStyle(n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	var rest []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if f, _ := fateOf(at); f != succeeded || keepsBelow(at) {
			if v.Kind != yaml.MappingNode {
				continue
			}
			if keepOldStyle(v, at); len(v.Content) == 0 {
				continue
			}
		}
		rest = append(rest, key, v)
	}
	n.Content = rest
}
