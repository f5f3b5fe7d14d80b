package schema

import (
	"encoding"
	"reflect"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Class is the shape of a type as a document sees it.
type Class int

// The classes.
const (
	Scalar Class = iota // string, bool, number, or a type with a text form of its own
	Struct              // a mapping with declared keys
	List                // a sequence
	Map                 // a mapping with free keys
	Any                 // anything at all
	Custom              // a type that decodes its node itself
)

// Text is a scalar with a text form of its own. UnmarshalText gets the scalar's text and returns an error that
// reads well after "expected …, got …: ".
type Text interface {
	encoding.TextUnmarshaler
	encoding.TextMarshaler
	// Expects says what a value looks like, with an example: "a duration such as 1h30m".
	Expects() string
}

// NodeDecoder is a value with a form that no declared shape covers, such as a string or a list of strings.
type NodeDecoder interface {
	// DecodeNode sets the receiver from n and reports to r, at r's own path, what is wrong with it.
	DecodeNode(n *yaml.Node, r *Reporter)
	// EncodeNode returns the value's node; the caller owns it.
	EncodeNode() *yaml.Node
	// Expects says what a value looks like.
	Expects() string
}

// Type is the plan of one Go type. It is immutable and shared.
type Type struct {
	Go    reflect.Type // never a pointer
	Class Class
	// Fields are the keys of a Struct in their order of declaration, embedded ones in their place.
	Fields []*Field
	// Elem is the type of the items of a List and of the values of a Map.
	Elem *Type

	byName map[string]*Field
}

// Field is one key of a Struct.
type Field struct {
	Name string
	// Owner and GoName name the Go declaration, for which the documentation is generated.
	Owner  reflect.Type
	GoName string
	Type   *Type
	// Pointer is set where nil and the zero value differ.
	Pointer    bool
	Required   bool
	Always     bool
	Secret     bool
	Enum       []string
	Replace    bool       // a patch replaces the value
	MergeKeys  [][]string // alternatives; each is the keys that must agree
	Deprecated string     // the successor

	index []int
}

// Field returns the field with the given key, or nil.
func (t *Type) Field(name string) *Field { return t.byName[name] }

// Names returns the keys of a Struct.
func (t *Type) Names() []string {
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return names
}

var (
	textType    = reflect.TypeFor[Text]()
	decoderType = reflect.TypeFor[NodeDecoder]()

	plans sync.Map // reflect.Type → *Type, complete ones only
	build sync.Mutex
)

// TypeOf returns the plan of t; pointers are followed. It panics for a type that cannot be in a document (a
// channel, a field without a yaml tag): that is a mistake in the declaration, which a test of the kind finds.
func TypeOf(t reflect.Type) *Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p, ok := plans.Load(t); ok {
		return p.(*Type)
	}
	build.Lock()
	defer build.Unlock()
	made := map[reflect.Type]*Type{}
	p := planOf(t, made)
	for g, m := range made {
		plans.LoadOrStore(g, m)
	}
	return p
}

func planOf(t reflect.Type, made map[reflect.Type]*Type) *Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p, ok := plans.Load(t); ok {
		return p.(*Type)
	}
	if p, ok := made[t]; ok {
		return p
	}
	p := &Type{Go: t}
	made[t] = p
	switch {
	case reflect.PointerTo(t).Implements(decoderType):
		p.Class = Custom
	case reflect.PointerTo(t).Implements(textType):
		p.Class = Scalar
	case t.Kind() == reflect.Struct:
		p.Class = Struct
		p.byName = map[string]*Field{}
		p.addFields(t, nil, made)
	case t.Kind() == reflect.Slice:
		p.Class, p.Elem = List, planOf(t.Elem(), made)
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		p.Class, p.Elem = Map, planOf(t.Elem(), made)
	case t.Kind() == reflect.Interface && t.NumMethod() == 0:
		p.Class = Any
	case t.Kind() == reflect.String, t.Kind() == reflect.Bool, isNumber(t.Kind()):
		p.Class = Scalar
	default:
		panic("schema: a document cannot hold a " + t.String())
	}
	return p
}

func isNumber(k reflect.Kind) bool {
	return k >= reflect.Int && k <= reflect.Uint64 || k == reflect.Float32 || k == reflect.Float64
}

// addFields adds the fields of struct type t, which sits at index in p's own type.
func (p *Type) addFields(t reflect.Type, index []int, made map[reflect.Type]*Type) {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("yaml")
		if tag == "-" || !sf.IsExported() {
			continue
		}
		name, option, _ := strings.Cut(tag, ",")
		at := append(index[:len(index):len(index)], i)
		if option == "inline" {
			p.addFields(sf.Type, at, made)
			continue
		}
		if !tagged || name == "" {
			panic("schema: " + t.String() + "." + sf.Name + " has no yaml tag")
		}
		f := &Field{
			Name: name, Owner: t, GoName: sf.Name, index: at,
			Type:       planOf(sf.Type, made),
			Pointer:    sf.Type.Kind() == reflect.Pointer,
			Required:   sf.Tag.Get("required") == "true",
			Always:     sf.Tag.Get("encode") == "always",
			Secret:     sf.Tag.Get("secret") == "true",
			Deprecated: sf.Tag.Get("deprecated"),
		}
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.Enum = strings.Split(enum, "|")
		}
		f.merge(sf.Tag.Get("merge"))
		if p.byName[name] != nil {
			panic("schema: " + p.Go.String() + " has the key " + name + " twice")
		}
		p.byName[name] = f
		p.Fields = append(p.Fields, f)
	}
}

// merge reads the tag merge: "replace", or "key=" with alternatives separated by "|" of keys joined by "+".
func (f *Field) merge(tag string) {
	if tag == "replace" {
		f.Replace = true
		return
	}
	keys, ok := strings.CutPrefix(tag, "key=")
	if !ok {
		return
	}
	for alternative := range strings.SplitSeq(keys, ",") {
		f.MergeKeys = append(f.MergeKeys, strings.Split(alternative, "+"))
	}
}
