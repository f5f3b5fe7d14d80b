package schema

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Validator is implemented by a document, or an object in one, with a rule that its fields' types cannot express.
// It is called by [Validate] after a decode without errors; it sees nothing outside the object. The method of an
// inlined struct is promoted: a struct with a method of its own must call it.
type Validator interface {
	// Validate reports to r, whose place is the object's.
	Validate(r *Reporter)
}

// Decode sets v, a non-nil pointer, from n, which must be free of aliases (see [Parse]). What does not fit its type
// is reported to r with its place and left as it was; everything else is set, so that one pass finds all mistakes.
// Keys in skip are not looked at.
func Decode(n *yaml.Node, v any, r *Reporter, skip ...string) {
	rv := reflect.ValueOf(v).Elem()
	decodeInto(content(n), rv, TypeOf(rv.Type()), r, nil, skip)
}

// CheckPartial reports what in n can be in no value of type t. Unlike [Decode] it takes n for a part: required keys may
// be missing. Keys in skip are not looked at.
func CheckPartial(n *yaml.Node, t *Type, r *Reporter, skip ...string) {
	c := *r
	c.partial = true
	decodeInto(content(n), reflect.New(t.Go).Elem(), t, &c, nil, skip)
}

// decodeInto sets v, of plan t, from n. f is the field that holds it, or nil.
func decodeInto(n *yaml.Node, v reflect.Value, t *Type, r *Reporter, f *Field, skip []string) {
	if n == nil {
		return
	}
	n = resolve(n)
	if isNull(n) && t.Class != Any {
		return // "key:" with nothing after it is the same as no key
	}
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch t.Class {
	case Custom:
		v.Addr().Interface().(NodeDecoder).DecodeNode(n, r)
	case Struct:
		decodeStruct(n, v, t, r, skip)
	case List:
		decodeList(n, v, t, r, f)
	case Map:
		decodeMap(n, v, t, r)
	case Any:
		x := anyValue(n)
		if x == nil {
			v.SetZero()
			return
		}
		v.Set(reflect.ValueOf(x))
	default:
		if decodeScalar(n, v, r) && f != nil && len(f.Enum) > 0 && t.Class == Scalar && v.Kind() == reflect.String {
			checkEnum(n, v.String(), f, r)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func decodeStruct(n *yaml.Node, v reflect.Value, t *Type, r *Reporter, skip []string) {
	if n.Kind != yaml.MappingNode {
		r.Mismatch(n, expectedMapping(t), "")
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if contains(skip, key.Value) {
			continue
		}
		f := t.Field(key.Value)
		if f == nil {
			unknownKey(key, t, r.At(key.Value))
			continue
		}
		seen[f.Name] = !isNull(value)
		at := r.At(f.Name)
		at.secret = f.Secret
		decodeInto(value, v.FieldByIndex(f.index), f.Type, at, f, nil)
	}
	for _, f := range t.Fields {
		if f.Required && !r.partial && !seen[f.Name] && !contains(skip, f.Name) {
			r.add(Error, n, "", "the key %q is required", []any{f.Name})
		}
	}
}

func expectedMapping(t *Type) string {
	names := t.Names()
	switch {
	case len(names) == 0:
		return "an empty mapping ({})"
	case len(names) > 4:
		return "a mapping with keys such as " + strings.Join(names[:4], ", ")
	default:
		return "a mapping with the keys " + strings.Join(names, ", ")
	}
}

func unknownKey(key *yaml.Node, t *Type, r *Reporter) {
	hint := ""
	if near := Nearest(key.Value, t.Names()); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	} else if len(t.Fields) > 0 && len(t.Fields) <= 12 {
		hint = "known keys: " + strings.Join(t.Names(), ", ")
	}
	r.add(Error, key, hint, "unknown key", nil)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func decodeList(n *yaml.Node, v reflect.Value, t *Type, r *Reporter, f *Field) {
	if n.Kind != yaml.SequenceNode {
		r.Mismatch(n, "a list of "+plural(t.Elem), "")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		at := r.Item(i)
		at.secret = r.secret
		if isNull(item) && t.Elem.Class != Any {
			at.Mismatch(item, Expected(t.Elem), "")
			continue
		}
		decodeInto(item, v.Index(i), t.Elem, at, f, nil)
	}
}

func decodeMap(n *yaml.Node, v reflect.Value, t *Type, r *Reporter) {
	if n.Kind != yaml.MappingNode {
		r.Mismatch(n, "a mapping of names to "+plural(t.Elem), "")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := reflect.New(v.Type().Elem()).Elem()
		at := r.At(n.Content[i].Value)
		at.secret = r.secret
		decodeInto(n.Content[i+1], e, t.Elem, at, nil, nil)
		v.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), e)
	}
}

// plural names several values of type t.
func plural(t *Type) string {
	switch t.Class {
	case Struct, Map:
		return "mappings"
	case List:
		return "lists"
	case Scalar:
		switch k := t.Go.Kind(); {
		case reflect.PointerTo(t.Go).Implements(textType):
			return "values, each " + Expected(t)
		case k == reflect.String:
			return "strings"
		case k == reflect.Bool:
			return "booleans"
		default:
			return "numbers"
		}
	default:
		return "values"
	}
}

// Expected says what a value of type t looks like, for a message.
func Expected(t *Type) string {
	z := reflect.New(t.Go).Interface()
	switch x := z.(type) {
	case NodeDecoder:
		return x.Expects()
	case Text:
		return x.Expects()
	}
	switch t.Class {
	case Struct:
		return expectedMapping(t)
	case List:
		return "a list of " + plural(t.Elem)
	case Map:
		return "a mapping of names to " + plural(t.Elem)
	case Any:
		return "a value"
	}
	switch k := t.Go.Kind(); {
	case k == reflect.String:
		return "a string"
	case k == reflect.Bool:
		return "true or false"
	case k >= reflect.Uint && k <= reflect.Uint64:
		return "a whole number from 0 to " + strconv.FormatUint(uint64(math.MaxUint64)>>(64-t.Go.Bits()), 10)
	case k == reflect.Float32 || k == reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// decodeScalar sets v from scalar n and reports whether it did.
func decodeScalar(n *yaml.Node, v reflect.Value, r *Reporter) bool {
	t := TypeOf(v.Type())
	if n.Kind != yaml.ScalarNode {
		r.Mismatch(n, Expected(t), "")
		return false
	}
	if text, ok := v.Addr().Interface().(Text); ok {
		value, ok := scalarText(n)
		if !ok {
			r.Mismatch(n, Expected(t), "")
			return false
		}
		if err := text.UnmarshalText([]byte(value)); err != nil {
			r.mismatchCause(n, Expected(t), err)
			return false
		}
		return true
	}
	if !setScalar(n, v) {
		r.Mismatch(n, Expected(t), quoteHint(n, v.Kind()))
		return false
	}
	return true
}

// quoteHint explains the mistake of a number or boolean in quotes.
func quoteHint(n *yaml.Node, k reflect.Kind) string {
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	plain := yaml.Node{Kind: yaml.ScalarNode, Value: n.Value}
	if quoted && k != reflect.String && setScalar(&plain, reflect.New(kindType(k)).Elem()) {
		return "write it without quotes"
	}
	return ""
}

func kindType(k reflect.Kind) reflect.Type {
	switch {
	case k == reflect.Bool:
		return reflect.TypeFor[bool]()
	case k == reflect.Float32 || k == reflect.Float64:
		return reflect.TypeFor[float64]()
	default:
		return reflect.TypeFor[int64]()
	}
}

// mismatchCause is Mismatch with the parser's own words for the cause.
func (r *Reporter) mismatchCause(n *yaml.Node, expected string, cause error) {
	if r.secret {
		r.Mismatch(n, expected, "")
		return
	}
	r.add(Error, n, "", "expected %s, got %s: %v", []any{expected, describe(n), cause})
}

// scalarText returns the text of scalar n; binary values are decoded.
func scalarText(n *yaml.Node) (string, bool) {
	if n.ShortTag() != "!!binary" {
		return n.Value, true
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
	return string(b), err == nil
}

// setScalar sets v, of a basic kind, from scalar n and reports whether n fits. Any scalar fits a string, as in
// "net.ipv4.ip_forward: 1".
func setScalar(n *yaml.Node, v reflect.Value) bool {
	tag := n.ShortTag()
	switch k := v.Kind(); {
	case k == reflect.String:
		s, ok := scalarText(n)
		v.SetString(s)
		return ok
	case k == reflect.Bool:
		b, ok := parseBool(n, tag)
		v.SetBool(b)
		return ok
	case k >= reflect.Int && k <= reflect.Int64:
		i, err := strconv.ParseInt(number(n.Value), 0, v.Type().Bits())
		v.SetInt(i)
		return err == nil && tag == "!!int"
	case k >= reflect.Uint && k <= reflect.Uint64:
		u, err := strconv.ParseUint(number(n.Value), 0, v.Type().Bits())
		v.SetUint(u)
		return err == nil && tag == "!!int"
	case k == reflect.Float32 || k == reflect.Float64:
		f, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), v.Type().Bits())
		v.SetFloat(f)
		return err == nil && (tag == "!!int" || tag == "!!float")
	}
	return false
}

// number makes a YAML integer one that strconv reads: YAML 1.1 writes octal as 0644, which strconv takes too.
func number(s string) string { return strings.TrimPrefix(s, "+") }

// parseBool reads a boolean. The words of YAML 1.1 are taken where a boolean is expected, as the published system does.
func parseBool(n *yaml.Node, tag string) (value, ok bool) {
	if tag != "!!bool" && (tag != "!!str" || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0) {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}

func checkEnum(n *yaml.Node, value string, f *Field, r *Reporter) {
	if contains(f.Enum, value) {
		return
	}
	hint := ""
	if near := Nearest(value, f.Enum); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	}
	r.Mismatch(n, "one of "+strings.Join(f.Enum, ", "), hint)
}

// anyValue returns n as nil, bool, int64, uint64, float64, string, []any or map[string]any.
func anyValue(n *yaml.Node) any {
	n = resolve(n)
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = anyValue(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, item := range n.Content {
			l[i] = anyValue(item)
		}
		return l
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		b, _ := parseBool(n, "!!bool")
		return b
	case "!!int":
		if i, err := strconv.ParseInt(number(n.Value), 0, 64); err == nil {
			return i
		}
		if u, err := strconv.ParseUint(number(n.Value), 0, 64); err == nil {
			return u
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil {
			return f
		}
	}
	s, _ := scalarText(n)
	return s
}

// Validate calls every [Validator] in v, the innermost first.
func Validate(v any, r *Reporter) {
	rv := reflect.ValueOf(v)
	validateValue(rv, TypeOf(rv.Type()), r)
}

func validateValue(v reflect.Value, t *Type, r *Reporter) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch t.Class {
	case Struct:
		for _, f := range t.Fields {
			validateValue(v.FieldByIndex(f.index), f.Type, r.At(f.Name))
		}
	case List:
		if t.Elem.Class == Scalar {
			return
		}
		for i := range v.Len() {
			validateValue(v.Index(i), t.Elem, r.Item(i))
		}
		return
	case Map:
		if t.Elem.Class == Scalar || t.Elem.Class == Any {
			return
		}
		for _, k := range sortedKeys(v) {
			validateValue(v.MapIndex(k), t.Elem, r.At(k.String()))
		}
		return
	}
	if x, ok := addressable(v).Addr().Interface().(Validator); ok {
		x.Validate(r)
	}
}
