package resource

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// scalar encodes one value without its tag. Exactly one pair of functions is set: number for varint
// and fixed types, content for what is preceded by its length.
type scalar struct {
	wire       protowire.Type
	number     func(reflect.Value) uint64
	setNumber  func(reflect.Value, uint64) error
	content    func([]byte, reflect.Value) ([]byte, error)
	setContent func(reflect.Value, []byte, int) error
	// empty reports whether a value is not worth sending; nil means the zero value of the Go type.
	empty func(reflect.Value) bool
	// self is the encoding of a ProtoMarshaler, which is not worth sending if it is no bytes.
	self bool
}

func (s *scalar) isEmpty(v reflect.Value) bool {
	if s.empty != nil {
		return s.empty(v)
	}
	return v.IsZero()
}

func (s *scalar) appendValue(b []byte, v reflect.Value) ([]byte, error) {
	switch s.wire {
	case protowire.VarintType:
		return protowire.AppendVarint(b, s.number(v)), nil
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(b, uint32(s.number(v))), nil
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(b, s.number(v)), nil
	}
	// The length is known only afterwards: reserve one byte for it, and shift in the rare case that
	// it needs more.
	start := len(b)
	b, err := s.content(append(b, 0), v)
	if err != nil {
		return b, err
	}
	n := uint64(len(b) - start - 1)
	if extra := protowire.SizeVarint(n) - 1; extra > 0 {
		b = append(b, make([]byte, extra)...)
		copy(b[start+1+extra:], b[start+1:len(b)-extra])
	}
	protowire.AppendVarint(b[:start], n)
	return b, nil
}

func (s *scalar) takeValue(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error) {
	if t != s.wire {
		return 0, fmt.Errorf("wire type %d, want %d", t, s.wire)
	}
	var n uint64
	var size int
	switch t {
	case protowire.VarintType:
		n, size = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		var n32 uint32
		n32, size = protowire.ConsumeFixed32(b)
		n = uint64(n32)
	case protowire.Fixed64Type:
		n, size = protowire.ConsumeFixed64(b)
	default:
		var content []byte
		if content, size = protowire.ConsumeBytes(b); size >= 0 {
			return size, s.setContent(v, content, depth)
		}
	}
	if size < 0 {
		return 0, protowire.ParseError(size)
	}
	return size, s.setNumber(v, n)
}

// single is a field that occurs at most once.
type single struct{ *scalar }

func (c single) put(b []byte, n protowire.Number, v reflect.Value) ([]byte, error) {
	if c.isEmpty(v) {
		return b, nil
	}
	start := len(b)
	b = protowire.AppendTag(b, n, c.wire)
	tagged := len(b)
	b, err := c.appendValue(b, v)
	if c.self && err == nil && len(b) == tagged+1 { // only the length, which is zero
		b = b[:start]
	}
	return b, err
}

func (c single) take(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error) {
	return c.takeValue(v, t, b, depth)
}

// optional is a pointer: it is sent whenever it is not nil.
type optional struct{ elem *scalar }

func (c optional) put(b []byte, n protowire.Number, v reflect.Value) ([]byte, error) {
	if v.IsNil() {
		return b, nil
	}
	return c.elem.appendValue(protowire.AppendTag(b, n, c.elem.wire), v.Elem())
}

func (c optional) take(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error) {
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return c.elem.takeValue(v.Elem(), t, b, depth)
}

// repeated is a slice. If pointers is set its elements are pointers, of which nil is sent as empty.
type repeated struct {
	elem     *scalar
	pointers bool
}

func (c repeated) deref(v reflect.Value) reflect.Value {
	if !c.pointers {
		return v
	}
	if v.IsNil() {
		return reflect.Zero(v.Type().Elem())
	}
	return v.Elem()
}

func (c repeated) put(b []byte, n protowire.Number, v reflect.Value) ([]byte, error) {
	var err error
	if v.Len() > 0 && c.elem.wire != protowire.BytesType {
		var packed []byte
		for i := range v.Len() {
			if packed, err = c.elem.appendValue(packed, c.deref(v.Index(i))); err != nil {
				return b, err
			}
		}
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), packed), nil
	}
	for i := range v.Len() {
		b = protowire.AppendTag(b, n, c.elem.wire)
		if b, err = c.elem.appendValue(b, c.deref(v.Index(i))); err != nil {
			return b, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return b, nil
}

func (c repeated) take(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error) {
	if t != protowire.BytesType || c.elem.wire == protowire.BytesType {
		return c.takeOne(v, t, b, depth)
	}
	packed, size := protowire.ConsumeBytes(b)
	if size < 0 {
		return 0, protowire.ParseError(size)
	}
	for len(packed) > 0 {
		n, err := c.takeOne(v, c.elem.wire, packed, depth)
		if err != nil {
			return 0, err
		}
		packed = packed[n:]
	}
	return size, nil
}

func (c repeated) takeOne(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error) {
	e := reflect.New(v.Type().Elem()).Elem()
	target := e
	if c.pointers {
		e.Set(reflect.New(e.Type().Elem()))
		target = e.Elem()
	}
	n, err := c.elem.takeValue(target, t, b, depth)
	if err != nil {
		return 0, err
	}
	v.Set(reflect.Append(v, e))
	return n, nil
}

// mapping is a map: repeated messages of key 1 and value 2, sent in the order of the keys.
type mapping struct {
	key   *scalar
	value fieldCodec
}

func (c mapping) put(b []byte, n protowire.Number, v reflect.Value) ([]byte, error) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if a.Kind() == reflect.String {
			return cmp.Compare(a.String(), b.String())
		}
		return cmp.Compare(c.key.number(a), c.key.number(b))
	})
	for _, k := range keys {
		entry, err := single{c.key}.put(nil, 1, k)
		if err != nil {
			return b, err
		}
		if entry, err = c.value.put(entry, 2, v.MapIndex(k)); err != nil {
			return b, fmt.Errorf("value of %v: %w", k, err)
		}
		b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), entry)
	}
	return b, nil
}

func (c mapping) take(v reflect.Value, t protowire.Type, b []byte, depth int) (int, error) {
	if t != protowire.BytesType {
		return 0, fmt.Errorf("wire type %d, want that of a map", t)
	}
	entry, size := protowire.ConsumeBytes(b)
	if size < 0 {
		return 0, protowire.ParseError(size)
	}
	key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
	for len(entry) > 0 {
		n, t, tag := protowire.ConsumeTag(entry)
		if tag < 0 {
			return 0, protowire.ParseError(tag)
		}
		entry = entry[tag:]
		var used int
		var err error
		switch n {
		case 1:
			used, err = c.key.takeValue(key, t, entry, depth)
		case 2:
			used, err = c.value.take(value, t, entry, depth)
		default:
			if used = protowire.ConsumeFieldValue(n, t, entry); used < 0 {
				err = protowire.ParseError(used)
			}
		}
		if err != nil {
			return 0, err
		}
		entry = entry[used:]
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	v.SetMapIndex(key, value)
	return size, nil
}

// field chooses the codec of a field of Go type t.
func (mc *messageCompiler) field(t reflect.Type) (fieldCodec, error) {
	if s, err := mc.scalar(t); s != nil || err != nil {
		return single{s}, err
	}
	switch t.Kind() {
	case reflect.Pointer:
		s, err := mc.scalar(t.Elem())
		if s != nil || err != nil {
			return optional{s}, err
		}
	case reflect.Slice:
		elem, pointers := t.Elem(), false
		if elem.Kind() == reflect.Pointer {
			elem, pointers = elem.Elem(), true
		}
		s, err := mc.scalar(elem)
		if s != nil || err != nil {
			return repeated{s, pointers}, err
		}
	case reflect.Map:
		k, err := mc.scalar(t.Key())
		if err != nil {
			return nil, err
		}
		if k == nil || t.Key().Kind() != reflect.String && k.wire != protowire.VarintType {
			break
		}
		v, err := mc.field(t.Elem())
		if _, ok := v.(repeated); ok {
			break // protobuf has no map of lists
		}
		if v != nil || err != nil {
			return mapping{k, v}, err
		}
	}
	return nil, fmt.Errorf("%v has no protobuf form", t)
}

// scalar chooses the encoding of one value of Go type t; nil if it is no single value.
func (mc *messageCompiler) scalar(t reflect.Type) (*scalar, error) {
	if s := wellKnown[t]; s != nil {
		return s, nil
	}
	if t.Implements(reflect.TypeFor[ProtoEnum]()) {
		if !reflect.PointerTo(t).Implements(reflect.TypeFor[ProtoEnumSetter]()) {
			return nil, fmt.Errorf("%v has ProtoEnum but no SetProtoEnum", t)
		}
		return enumScalar, nil
	}
	if t.Kind() == reflect.Struct || t.Implements(reflect.TypeFor[ProtoMarshaler]()) {
		m, err := mc.compile(t)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", t, err)
		}
		if m.complete && len(m.fields) == 0 && t.NumField() > 0 {
			return nil, fmt.Errorf("%v has no proto tags", t)
		}
		return &scalar{wire: protowire.BytesType, self: m.self,
			content:    m.append,
			setContent: func(v reflect.Value, b []byte, depth int) error { return m.parse(v, b, depth+1) },
		}, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return boolScalar, nil
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		return intScalar, nil
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		return uintScalar, nil
	case reflect.Float64:
		return doubleScalar, nil
	case reflect.Float32:
		return floatScalar, nil
	case reflect.String:
		return stringScalar, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return bytesScalar, nil
		}
	}
	return nil, nil
}

var (
	boolScalar = &scalar{wire: protowire.VarintType,
		number:    func(v reflect.Value) uint64 { return protowire.EncodeBool(v.Bool()) },
		setNumber: func(v reflect.Value, n uint64) error { v.SetBool(n != 0); return nil },
	}
	intScalar = &scalar{wire: protowire.VarintType,
		number: func(v reflect.Value) uint64 { return uint64(v.Int()) },
		setNumber: func(v reflect.Value, n uint64) error {
			// protobuf truncates; a spec whose Go type is too narrow is a mistake worth an error.
			if v.OverflowInt(int64(n)) {
				return fmt.Errorf("%d does not fit %v", int64(n), v.Type())
			}
			v.SetInt(int64(n))
			return nil
		},
	}
	uintScalar = &scalar{wire: protowire.VarintType,
		number: func(v reflect.Value) uint64 { return v.Uint() },
		setNumber: func(v reflect.Value, n uint64) error {
			if v.OverflowUint(n) {
				return fmt.Errorf("%d does not fit %v", n, v.Type())
			}
			v.SetUint(n)
			return nil
		},
	}
	doubleScalar = &scalar{wire: protowire.Fixed64Type,
		number:    func(v reflect.Value) uint64 { return math.Float64bits(v.Float()) },
		setNumber: func(v reflect.Value, n uint64) error { v.SetFloat(math.Float64frombits(n)); return nil },
	}
	floatScalar = &scalar{wire: protowire.Fixed32Type,
		number: func(v reflect.Value) uint64 { return uint64(math.Float32bits(float32(v.Float()))) },
		setNumber: func(v reflect.Value, n uint64) error {
			v.SetFloat(float64(math.Float32frombits(uint32(n))))
			return nil
		},
	}
	stringScalar = &scalar{wire: protowire.BytesType,
		content: func(b []byte, v reflect.Value) ([]byte, error) {
			if !utf8.ValidString(v.String()) {
				return b, fmt.Errorf("%q is not UTF-8", v.String())
			}
			return append(b, v.String()...), nil
		},
		setContent: func(v reflect.Value, b []byte, _ int) error {
			if !utf8.Valid(b) {
				return fmt.Errorf("%q is not UTF-8", b)
			}
			v.SetString(string(b))
			return nil
		},
	}
	bytesScalar = &scalar{wire: protowire.BytesType,
		content:    func(b []byte, v reflect.Value) ([]byte, error) { return append(b, v.Bytes()...), nil },
		setContent: func(v reflect.Value, b []byte, _ int) error { v.SetBytes(slices.Clone(b)); return nil },
		empty:      func(v reflect.Value) bool { return v.Len() == 0 },
	}
	enumScalar = &scalar{wire: protowire.VarintType,
		number: func(v reflect.Value) uint64 {
			return uint64(int64(v.Interface().(ProtoEnum).ProtoEnum()))
		},
		setNumber: func(v reflect.Value, n uint64) error {
			return v.Addr().Interface().(ProtoEnumSetter).SetProtoEnum(int32(n))
		},
		empty: func(v reflect.Value) bool { return v.Interface().(ProtoEnum).ProtoEnum() == 0 },
	}
)
