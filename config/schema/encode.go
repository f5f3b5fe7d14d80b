package schema

import (
	"reflect"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// EncodeValue returns the mapping node of v, a document or an object. Keys come in their order of declaration. Zero values are
// left out, except where the field says encode:"always" or a pointer is set. The caller owns the node.
func EncodeValue(v any) *yaml.Node {
	rv := reflect.ValueOf(v)
	return encodeNode(rv, TypeOf(rv.Type()))
}

func encodeNode(v reflect.Value, t *Type) *yaml.Node {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
		}
		v = v.Elem()
	}
	switch t.Class {
	case Custom:
		return addressable(v).Addr().Interface().(NodeDecoder).EncodeNode()
	case Struct:
		return encodeStruct(v, t)
	case List:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, encodeNode(v.Index(i), t.Elem))
		}
		return n
	case Map:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, k := range sortedKeys(v) {
			n.Content = append(n.Content, StringNode(k.String()), encodeNode(v.MapIndex(k), t.Elem))
		}
		return n
	case Any:
		return AnyNode(v.Interface())
	default:
		return encodeScalar(v)
	}
}

// sortedKeys returns the keys of map v, whose kind is string, in order.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	return keys
}

// addressable returns v, or a copy of it that has an address.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

func encodeStruct(v reflect.Value, t *Type) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, f := range t.Fields {
		fv := v.FieldByIndex(f.index)
		if !f.Always && isEmpty(fv, f) {
			continue
		}
		n.Content = append(n.Content, StringNode(f.Name), encodeNode(fv, f.Type))
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

// isEmpty reports whether the field is left out of an encoded document.
func isEmpty(v reflect.Value, f *Field) bool {
	if f.Pointer {
		return v.IsNil()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0 && (f.Type.Class != Map || v.IsNil() || f.Type.Elem.Class != Any)
	default:
		return v.IsZero()
	}
}

func encodeScalar(v reflect.Value) *yaml.Node {
	if text, ok := addressable(v).Addr().Interface().(Text); ok {
		b, err := text.MarshalText()
		if err != nil {
			return StringNode("")
		}
		return StringNode(string(b))
	}
	switch k := v.Kind(); {
	case k == reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}
	case k >= reflect.Int && k <= reflect.Int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v.Int(), 10)}
	case k >= reflect.Uint && k <= reflect.Uint64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatUint(v.Uint(), 10)}
	case k == reflect.Float32 || k == reflect.Float64:
		return AnyNode(v.Float())
	default:
		return StringNode(v.String())
	}
}

// StringNode returns the scalar node of s: literal style if it has several lines, quoted where YAML needs it.
func StringNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	switch {
	case strings.Contains(s, "\n") && literal(s):
		n.Style = yaml.LiteralStyle
	case oldBool(s):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// oldBool reports whether readers of YAML 1.1 take s for a boolean, unless it is quoted.
func oldBool(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

// literal reports whether s survives a literal block scalar.
func literal(s string) bool {
	return !strings.ContainsAny(s, "\r\t\x00\u0085\u2028\u2029") && !strings.HasPrefix(s, "\n") && !strings.HasPrefix(s, " ") &&
		!strings.Contains(s, " \n")
}

// AnyNode returns the node of a free-form value: nil, bool, any number, string, []any or map[string]any, whose keys are
// sorted. A value of another type is encoded by the YAML library; one that it refuses becomes null.
func AnyNode(x any) *yaml.Node {
	switch x := x.(type) {
	case string:
		return StringNode(x)
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if len(x) == 0 {
			n.Style = yaml.FlowStyle
		}
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			n.Content = append(n.Content, StringNode(k), AnyNode(x[k]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if len(x) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, item := range x {
			n.Content = append(n.Content, AnyNode(item))
		}
		return n
	}
	n := &yaml.Node{}
	if err := n.Encode(x); err != nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	return n
}
