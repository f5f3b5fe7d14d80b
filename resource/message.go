package resource

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// ProtoMarshaler is a spec, or a type used inside one, that encodes itself as a protobuf message.
// Without it a struct is encoded by its proto tags: `proto:"3"` is field number 3. A field without a
// tag is not in the message.
//
// Go types stand for: integers and booleans varint (enumerations too), floats fixed, string and
// []byte themselves; slices repeated fields, packed where proto3 packs; maps map fields; structs and
// pointers to structs messages; pointers to scalars optional fields; time.Time and time.Duration
// google.protobuf.Timestamp and Duration; netip.Addr, netip.AddrPort, netip.Prefix, [URL] and url.URL
// common.NetIP, NetIPPort, NetIPPrefix and URL; map[string]any google.protobuf.Struct. [Names] helps
// with enumerations. Zero values are not sent, nor is a field whose MarshalProto returns no bytes, and
// the output for one value is always the same.
type ProtoMarshaler interface {
	MarshalProto() ([]byte, error)
}

// ProtoUnmarshaler is the other direction of [ProtoMarshaler], implemented by the pointer.
type ProtoUnmarshaler interface {
	UnmarshalProto([]byte) error
}

// ProtoEnum is a type of strings or structs that travels as an enumeration.
type ProtoEnum interface {
	ProtoEnum() int32
}

// ProtoEnumSetter is the other direction of [ProtoEnum], implemented by the pointer. It decides what
// a number that it does not know means.
type ProtoEnumSetter interface {
	SetProtoEnum(int32) error
}

// maxDepth bounds messages in messages, so that hostile input to a recursive spec cannot end the
// process with a stack overflow. protobuf's own decoders use 100 by default in other languages.
const maxDepth = 100

// message is the compiled protobuf form of a struct.
type message struct {
	fields   []field // by number
	byNumber map[protowire.Number]int
	self     bool // the type is its own ProtoMarshaler
	complete bool // all fields are compiled
}

type field struct {
	number protowire.Number
	name   string
	index  int
	codec  fieldCodec
}

// fieldCodec encodes a whole field, with its tags, and decodes one occurrence of it.
type fieldCodec interface {
	put(b []byte, n protowire.Number, v reflect.Value) ([]byte, error)
	// take decodes the value, whose wire type is t and which is at the start of b, into v, and
	// returns how many bytes it took.
	take(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error)
}

var messages sync.Map // reflect.Type to messageResult

type messageResult struct {
	m   *message
	err error
}

// messageOf returns the compiled form of struct t, nil if it has no protobuf form.
func messageOf(t reflect.Type) (*message, error) {
	if r, ok := messages.Load(t); ok {
		return r.(messageResult).m, r.(messageResult).err
	}
	m, err := (&messageCompiler{open: map[reflect.Type]*message{}}).compile(t)
	if m != nil && !m.self && len(m.fields) == 0 {
		m = nil
	}
	messages.Store(t, messageResult{m, err})
	return m, err
}

type messageCompiler struct {
	open map[reflect.Type]*message // begun, for recursive types
}

func (mc *messageCompiler) compile(t reflect.Type) (*message, error) {
	if m, ok := mc.open[t]; ok {
		return m, nil
	}
	m := &message{byNumber: map[protowire.Number]int{}}
	mc.open[t] = m
	if t.Implements(reflect.TypeFor[ProtoMarshaler]()) {
		if !reflect.PointerTo(t).Implements(reflect.TypeFor[ProtoUnmarshaler]()) {
			return nil, fmt.Errorf("%v has MarshalProto but no UnmarshalProto", t)
		}
		m.self = true
		return m, nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("proto")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(tag, 10, 32)
		if err != nil || !protowire.Number(n).IsValid() {
			return nil, fmt.Errorf("field %s: proto tag %q is no field number", f.Name, tag)
		}
		if !f.IsExported() {
			return nil, fmt.Errorf("field %s: has a proto tag but is unexported", f.Name)
		}
		c, err := mc.field(f.Type)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		m.fields = append(m.fields, field{protowire.Number(n), f.Name, i, c})
	}
	slices.SortFunc(m.fields, func(a, b field) int { return cmp.Compare(a.number, b.number) })
	for i, f := range m.fields {
		if j, ok := m.byNumber[f.number]; ok {
			return nil, fmt.Errorf("fields %s and %s both have proto number %d", m.fields[j].name, f.name, f.number)
		}
		m.byNumber[f.number] = i
	}
	m.complete = true
	return m, nil
}

func (t *Type) encodeProto(v reflect.Value) ([]byte, error) {
	if t.wire == nil {
		return nil, nil
	}
	b, err := t.wire.append(nil, v)
	if err != nil {
		return nil, fmt.Errorf("encode spec of type %s as protobuf: %w", t.def.Type, err)
	}
	return b, nil
}

// append adds the content of v to b, without a tag or length.
func (m *message) append(b []byte, v reflect.Value) ([]byte, error) {
	if m.self {
		own, err := v.Interface().(ProtoMarshaler).MarshalProto()
		return append(b, own...), err
	}
	var err error
	for _, f := range m.fields {
		if b, err = f.codec.put(b, f.number, v.Field(f.index)); err != nil {
			return b, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return b, nil
}

// parse merges the message in b into v.
func (m *message) parse(v reflect.Value, b []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("messages are nested deeper than %d", maxDepth)
	}
	if m.self {
		return v.Addr().Interface().(ProtoUnmarshaler).UnmarshalProto(b)
	}
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		i, known := m.byNumber[n]
		if !known {
			if size = protowire.ConsumeFieldValue(n, t, b); size < 0 {
				return protowire.ParseError(size)
			}
			b = b[size:]
			continue
		}
		f := m.fields[i]
		size, err := f.codec.take(v.Field(f.index), t, b, depth)
		if err != nil {
			return fmt.Errorf("field %s: %w", f.name, err)
		}
		b = b[size:]
	}
	return nil
}
