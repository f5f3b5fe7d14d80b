package patch

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
)

// operation is one operation of a JSON patch (RFC 6902 §4).
type operation struct {
	op         string
	path, from []string // reference tokens (RFC 6901 §4)
	value      *yaml.Node
	text       string // the path as written
}

// parseOperations reads the list of a JSON patch.
func parseOperations(list *yaml.Node) ([]operation, error) {
	if len(list.Content) == 0 {
		return nil, fmt.Errorf("the list of operations is empty")
	}
	ops := make([]operation, 0, len(list.Content))
	for i, n := range list.Content {
		op, err := parseOperation(n)
		if err != nil {
			return nil, fmt.Errorf("line %d: operation %d: %w", n.Line, i+1, err)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func parseOperation(n *yaml.Node) (operation, error) {
	if n.Kind != yaml.MappingNode {
		return operation{}, fmt.Errorf("expected a mapping with op and path")
	}
	o := operation{value: schema.Child(n, "value")}
	if v := schema.Child(n, "op"); v != nil {
		o.op = v.Value
	}
	var err error
	if o.path, err = pointer(n, "path"); err != nil {
		return operation{}, err
	}
	o.text = schema.Child(n, "path").Value
	switch o.op {
	case "add", "replace", "test":
		if o.value == nil {
			return operation{}, fmt.Errorf("%s needs a value", o.op)
		}
	case "move", "copy":
		if o.from, err = pointer(n, "from"); err != nil {
			return operation{}, err
		}
	case "remove":
	default:
		return operation{}, fmt.Errorf("expected op to be add, remove, replace, move, copy or test, got %q", o.op)
	}
	return o, nil
}

// pointer reads the JSON pointer (RFC 6901 §3) at key of n.
func pointer(n *yaml.Node, key string) ([]string, error) {
	v := schema.Child(n, key)
	if v == nil || v.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("the key %q is required", key)
	}
	if v.Value == "" {
		return nil, nil
	}
	if v.Value[0] != '/' {
		return nil, fmt.Errorf("expected %s to start with /, got %q", key, v.Value)
	}
	tokens := strings.Split(v.Value[1:], "/")
	for i, t := range tokens {
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// applyOperations changes doc, a document node, by ops.
func applyOperations(doc *yaml.Node, ops []operation) error {
	for i, o := range ops {
		if err := o.apply(doc); err != nil {
			return fmt.Errorf("operation %d (%s %s): %w", i+1, o.op, o.text, err)
		}
	}
	return nil
}

func (o operation) apply(doc *yaml.Node) error {
	switch o.op {
	case "add":
		return add(doc, o.path, schema.Clone(o.value))
	case "remove":
		_, err := remove(doc, o.path)
		return err
	case "replace":
		target, err := find(doc, o.path)
		if err != nil {
			return err
		}
		return merger{}.replace(target, o.value, nil, "")
	case "move":
		if isPrefix(o.from, o.path) && len(o.from) < len(o.path) {
			return fmt.Errorf("a value cannot be moved into itself")
		}
		v, err := remove(doc, o.from)
		if err != nil {
			return err
		}
		return add(doc, o.path, v)
	case "copy":
		v, err := find(doc, o.from)
		if err != nil {
			return err
		}
		return add(doc, o.path, schema.Clone(v))
	default: // test
		v, err := find(doc, o.path)
		if err != nil {
			return err
		}
		if !Equal(v, o.value) {
			return fmt.Errorf("the value is not the one that the test expects")
		}
		return nil
	}
}

func isPrefix(a, b []string) bool {
	if len(a) > len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// find returns the node at path.
func find(doc *yaml.Node, path []string) (*yaml.Node, error) {
	n := doc.Content[0]
	for i, token := range path {
		next, err := step(n, token)
		if err != nil {
			return nil, fmt.Errorf("%w: /%s: %w", ErrNoMatch, strings.Join(path[:i+1], "/"), err)
		}
		n = next
	}
	return n, nil
}

func step(n *yaml.Node, token string) (*yaml.Node, error) {
	switch n.Kind {
	case yaml.MappingNode:
		if i := schema.KeyIndex(n, token); i >= 0 {
			return n.Content[i+1], nil
		}
		return nil, fmt.Errorf("there is no key %q", token)
	case yaml.SequenceNode:
		i, err := itemIndex(token, len(n.Content)-1)
		if err != nil {
			return nil, err
		}
		return n.Content[i], nil
	default:
		return nil, fmt.Errorf("it is neither a mapping nor a list")
	}
}

// itemIndex reads an array index (RFC 6901 §4) from 0 to last.
func itemIndex(token string, last int) (int, error) {
	i, err := strconv.Atoi(token)
	if err != nil || strconv.Itoa(i) != token || i < 0 {
		return 0, fmt.Errorf("%q is no index of a list", token)
	}
	if i > last {
		return 0, fmt.Errorf("the index %d is beyond the list's end", i)
	}
	return i, nil
}

// split returns the node that holds the last token of path.
func split(doc *yaml.Node, path []string) (parent *yaml.Node, token string, err error) {
	last := len(path) - 1
	parent, err = find(doc, path[:last])
	return parent, path[last], err
}

// add implements "add": it sets a key, or inserts an item before an index, "-" being the end.
func add(doc *yaml.Node, path []string, v *yaml.Node) error {
	if len(path) == 0 {
		doc.Content[0] = v
		return nil
	}
	parent, token, err := split(doc, path)
	if err != nil {
		return err
	}
	switch parent.Kind {
	case yaml.MappingNode:
		if i := schema.KeyIndex(parent, token); i >= 0 {
			return merger{}.replace(parent.Content[i+1], v, nil, "")
		}
		parent.Content = append(parent.Content, schema.StringNode(token), v)
	case yaml.SequenceNode:
		i := len(parent.Content)
		if token != "-" {
			if i, err = itemIndex(token, len(parent.Content)); err != nil {
				return fmt.Errorf("%w: %w", ErrNoMatch, err)
			}
		}
		parent.Content = append(parent.Content[:i:i], append([]*yaml.Node{v}, parent.Content[i:]...)...)
	default:
		return fmt.Errorf("%w: /%s is neither a mapping nor a list", ErrNoMatch, strings.Join(path[:len(path)-1], "/"))
	}
	parent.Style &^= yaml.FlowStyle
	return nil
}

// remove implements "remove" and returns what was there.
func remove(doc *yaml.Node, path []string) (*yaml.Node, error) {
	if len(path) == 0 {
		return nil, fmt.Errorf("the whole document cannot be removed")
	}
	v, err := find(doc, path)
	if err != nil {
		return nil, err
	}
	parent, token, err := split(doc, path)
	if err != nil {
		return nil, err
	}
	if parent.Kind == yaml.MappingNode {
		i := schema.KeyIndex(parent, token)
		parent.Content = append(parent.Content[:i:i], parent.Content[i+2:]...)
		return v, nil
	}
	i, err := itemIndex(token, len(parent.Content)-1)
	if err != nil {
		return nil, err
	}
	parent.Content = append(parent.Content[:i:i], parent.Content[i+1:]...)
	return v, nil
}
