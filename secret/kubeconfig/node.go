package kubeconfig

import (
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// sectionList returns the list of a section, which it adds if it is not there. kubectl writes null for an
// empty one.
func sectionList(root *yaml.Node, section Section) (*yaml.Node, error) {
	list := value(root, string(section))

	switch {
	case list == nil:
		list = &yaml.Node{Kind: yaml.SequenceNode}
		root.Content = append(root.Content, text(string(section)), list)
	case list.Anchor != "": // what is added here would show up wherever the anchor is used
		return nil, fmt.Errorf("line %d: %s: a list with a YAML anchor is not supported", list.Line, section)
	case list.ShortTag() == "!!null":
		list.Kind, list.Tag, list.Value = yaml.SequenceNode, "", ""
	case list.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("line %d: %s: want a list", list.Line, section)
	}

	if len(list.Content) == 0 {
		list.Style &^= yaml.FlowStyle
	}

	return list, nil
}

// incomingElements returns the entries of a section, each of which must have its own name.
func incomingElements(root *yaml.Node, section Section) ([]element, error) {
	list := value(root, string(section))

	switch {
	case list == nil || list.ShortTag() == "!!null":
		return nil, nil
	case list.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("line %d: %s: want a list", list.Line, section)
	}

	var elements []element

	seen := map[string]bool{}

	for _, node := range list.Content {
		// What is taken over must stand alone in the other file.
		if hasAlias(node) {
			return nil, fmt.Errorf("line %d: %s: YAML anchors are not supported", node.Line, section)
		}

		e, ok := elementOf(node, section)

		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: %s: want entries with a name", node.Line, section)
		case seen[e.name]:
			return nil, fmt.Errorf("line %d: %s: the name %q is there twice", node.Line, section, e.name)
		}

		seen[e.name] = true

		elements = append(elements, e)
	}

	return elements, nil
}

// find returns the entry of that name, the first if there are several, as kubectl does; nil if there is
// none. Entries that make no sense are passed over: they are not ours to judge.
func find(list *yaml.Node, section Section, name string) *element {
	for _, node := range list.Content {
		if e, ok := elementOf(node, section); ok && e.name == name {
			return &e
		}
	}

	return nil
}

func elementOf(node *yaml.Node, section Section) (element, bool) {
	name := value(node, "name")
	if name == nil || name.Kind != yaml.ScalarNode || name.Value == "" || name.ShortTag() == "!!null" {
		return element{}, false
	}

	return element{name: name.Value, node: node, body: value(node, section.body())}, true
}

// replace puts the body of e into an existing entry and keeps what else that has.
func replace(node *yaml.Node, section Section, e element) {
	if node.Kind == yaml.AliasNode {
		*node = *e.node

		return
	}

	body := e.body
	if body == nil {
		body = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}

	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == section.body() {
			node.Content[i+1] = body

			return
		}
	}

	node.Content = append(node.Content, text(section.body()), body)
}

// equal compares meanings: order of keys, style and comments do not count.
func equal(a, b *yaml.Node) (bool, error) {
	var left, right any

	for _, side := range []struct {
		node *yaml.Node
		to   *any
	}{{a, &left}, {b, &right}} {
		if side.node == nil {
			continue
		}

		if err := side.node.Decode(side.to); err != nil {
			return false, fmt.Errorf("line %d: its content cannot be read as YAML", side.node.Line)
		}
	}

	return reflect.DeepEqual(left, right), nil
}

// value returns what a mapping has under key, with an alias resolved; nil if it has none.
func value(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}

	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}

	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Kind != yaml.ScalarNode || n.Content[i].Value != key {
			continue
		}

		if v := n.Content[i+1]; v.Kind != yaml.AliasNode {
			return v
		}

		return n.Content[i+1].Alias
	}

	return nil
}

func hasAlias(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return true
	}

	for _, child := range n.Content {
		if hasAlias(child) {
			return true
		}
	}

	return false
}

// text is a string node; the encoder quotes it where that is needed.
func text(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// setString changes the value and keeps comments.
func setString(n *yaml.Node, s string) {
	if n.Value == s && n.ShortTag() == "!!str" {
		return
	}

	n.Kind, n.Tag, n.Value, n.Style = yaml.ScalarNode, "!!str", s, 0
}
