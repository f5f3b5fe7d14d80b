package patch

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
)

// merger merges one document of a patch.
type merger struct{ document string }

// child returns the field and the type of key in a mapping of type t; a nil type is a free-form value.
func child(t *schema.Type, key string) (*schema.Field, *schema.Type) {
	switch {
	case t == nil:
		return nil, nil
	case t.Class == schema.Struct:
		if f := t.Field(key); f != nil {
			return f, f.Type
		}
	case t.Class == schema.Map:
		return nil, t.Elem
	}
	return nil, nil
}

// mapping merges mapping src into mapping dst, both of type t.
func (m merger) mapping(dst, src *yaml.Node, t *schema.Type, path string) error {
	if d := schema.Child(src, directive); d != nil {
		return fmt.Errorf("%s: expected %s: delete, got %q", where(d.Line, m.document, path), directive, d.Value)
	}
	for i := 0; i+1 < len(src.Content); i += 2 {
		key, value := src.Content[i], src.Content[i+1]
		at := schema.Join(path, key.Value)
		f, ft := child(t, key.Value)
		there := schema.KeyIndex(dst, key.Value)
		if isDelete(value) {
			if there < 0 {
				return fmt.Errorf("%s: %w: there is no such key to delete", where(key.Line, m.document, at), ErrNoMatch)
			}
			dst.Content = append(dst.Content[:there:there], dst.Content[there+2:]...)
			continue
		}
		if there < 0 {
			v, err := m.fresh(value, ft, at)
			if err != nil {
				return err
			}
			dst.Content = append(dst.Content, schema.Clone(key), v)
			// An empty mapping is written as {}; with content it is not.
			dst.Style &^= yaml.FlowStyle
			continue
		}
		if err := m.value(dst.Content[there+1], value, f, ft, at); err != nil {
			return err
		}
	}
	return nil
}

// fresh returns a copy of value for a place where nothing was, with its directives applied, which can only fail: there is
// nothing to delete.
func (m merger) fresh(value *yaml.Node, t *schema.Type, path string) (*yaml.Node, error) {
	switch value.Kind {
	case yaml.MappingNode:
		out := *value
		out.Content = nil
		return &out, m.mapping(&out, value, t, path)
	case yaml.SequenceNode:
		out := *value
		out.Content = nil
		return &out, m.list(&out, value, nil, t, path)
	default:
		return schema.Clone(value), nil
	}
}

// value merges src into dst, the value of field f (nil in a free mapping) of type t.
func (m merger) value(dst, src *yaml.Node, f *schema.Field, t *schema.Type, path string) error {
	switch {
	case src.Kind == yaml.ScalarNode && src.ShortTag() == "!!null":
		return nil // "key:" says nothing
	case f != nil && f.Replace:
		return m.replace(dst, src, t, path)
	case dst.Kind == yaml.MappingNode && src.Kind == yaml.MappingNode:
		return m.mapping(dst, src, t, path)
	case dst.Kind == yaml.SequenceNode && src.Kind == yaml.SequenceNode && (t == nil || t.Class != schema.Custom):
		return m.list(dst, src, f, t, path)
	case src.Kind == yaml.ScalarNode && f != nil && !f.Pointer && isZero(src):
		return nil
	default:
		return m.replace(dst, src, t, path)
	}
}

// isZero reports whether a scalar is one that changes nothing: an empty string or the number 0. Booleans always count.
func isZero(n *yaml.Node) bool {
	return n.Value == "" || n.ShortTag() == "!!int" && n.Value == "0"
}

// replace puts src in dst's place and keeps dst's comments where src has none.
func (m merger) replace(dst, src *yaml.Node, t *schema.Type, path string) error {
	if Equal(dst, src) {
		return nil // keep the quotes and the layout that are there
	}
	v, err := m.fresh(src, t, path)
	if err != nil {
		return err
	}
	head, line, foot := dst.HeadComment, dst.LineComment, dst.FootComment
	*dst = *v
	for _, c := range []struct {
		comment *string
		kept    string
	}{{&dst.HeadComment, head}, {&dst.LineComment, line}, {&dst.FootComment, foot}} {
		if *c.comment == "" {
			*c.comment = c.kept
		}
	}
	return nil
}

// list merges list src into list dst: items to delete leave, those that agree on the merge keys merge, others are added.
func (m merger) list(dst, src *yaml.Node, f *schema.Field, t *schema.Type, path string) error {
	var elem *schema.Type
	if t != nil && t.Class == schema.List {
		elem = t.Elem
	}
	for i, item := range src.Content {
		at := schema.Index(path, i)
		if isDelete(item) {
			if err := m.removeItem(dst, item, at); err != nil {
				return err
			}
			continue
		}
		if f != nil && item.Kind == yaml.MappingNode {
			if same := agreeing(dst, item, f.MergeKeys); same != nil {
				if err := m.mapping(same, item, elem, at); err != nil {
					return err
				}
				continue
			}
		}
		v, err := m.fresh(item, elem, at)
		if err != nil {
			return err
		}
		dst.Content = append(dst.Content, v)
		dst.Style &^= yaml.FlowStyle
	}
	return nil
}

// removeItem removes from dst the items whose value for the first key of item is item's.
func (m merger) removeItem(dst, item *yaml.Node, path string) error {
	var key, value *yaml.Node
	for i := 0; i+1 < len(item.Content); i += 2 {
		if item.Content[i].Value != directive {
			key, value = item.Content[i], item.Content[i+1]
			break
		}
	}
	if key == nil {
		return fmt.Errorf("%s: an item to delete needs a key that tells which, as in {name: x, %s: delete}",
			where(item.Line, m.document, path), directive)
	}
	var kept []*yaml.Node
	for _, d := range dst.Content {
		if v := schema.Child(d, key.Value); v == nil || v.Kind != yaml.ScalarNode || v.Value != value.Value {
			kept = append(kept, d)
		}
	}
	if len(kept) == len(dst.Content) {
		return fmt.Errorf("%s: %w: no item has %s: %s", where(item.Line, m.document, path), ErrNoMatch, key.Value, value.Value)
	}
	dst.Content = kept
	return nil
}

// agreeing returns the item of list dst that agrees with item on the first of keys that item has, or nil.
func agreeing(dst, item *yaml.Node, keys [][]string) *yaml.Node {
	for _, alternative := range keys {
		if !hasAll(item, alternative) {
			continue
		}
		for _, d := range dst.Content {
			if hasAll(d, alternative) && agree(d, item, alternative) {
				return d
			}
		}
		return nil
	}
	return nil
}

func hasAll(n *yaml.Node, keys []string) bool {
	for _, k := range keys {
		if schema.Child(n, k) == nil {
			return false
		}
	}
	return true
}

func agree(a, b *yaml.Node, keys []string) bool {
	for _, k := range keys {
		if !Equal(schema.Child(a, k), schema.Child(b, k)) {
			return false
		}
	}
	return true
}

// Equal reports whether two trees hold the same values; the order of keys, comments and layout do not count.
func Equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || len(a.Content) != len(b.Content) {
		return false
	}
	switch a.Kind {
	case yaml.ScalarNode:
		return a.Value == b.Value && sameTag(a, b)
	case yaml.MappingNode:
		for i := 0; i+1 < len(a.Content); i += 2 {
			v := schema.Child(b, a.Content[i].Value)
			if v == nil || !Equal(a.Content[i+1], v) {
				return false
			}
		}
		return true
	default:
		for i := range a.Content {
			if !Equal(a.Content[i], b.Content[i]) {
				return false
			}
		}
		return true
	}
}

// sameTag compares tags; numbers compare by their text.
func sameTag(a, b *yaml.Node) bool {
	x, y := a.ShortTag(), b.ShortTag()
	return x == y || x != "!!null" && y != "!!null" && x != "!!str" && y != "!!str"
}
