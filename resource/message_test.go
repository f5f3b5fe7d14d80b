package resource

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type color string

func (c color) ProtoEnum() int32 { return map[color]int32{"red": 1, "blue": 2}[c] }
func (c *color) SetProtoEnum(n int32) error {
	*c = map[int32]color{1: "red", 2: "blue"}[n]
	return nil
}

// wide has what sample lacks.
type wide struct {
	B    bool              `proto:"1"`
	I32  int32             `proto:"2"`
	U64  uint64            `proto:"3"`
	F64  float64           `proto:"4"`
	F32  float32           `proto:"5"`
	Ints []int64           `proto:"6"`
	Opt  *int64            `proto:"7"`
	Dur  time.Duration     `proto:"8"`
	Pfx  netip.Prefix      `proto:"9"`
	AP   netip.AddrPort    `proto:"10"`
	URL  *url.URL          `proto:"11"`
	Num  map[uint32]bool   `proto:"12"`
	Msgs map[string]inner  `proto:"13"`
	Col  color             `proto:"14"`
	Cols []color           `proto:"15"`
	Ptrs []*inner          `proto:"16"`
	Byt  []byte            `proto:"17"`
	Free []map[string]any  `proto:"18"`
	Strs map[string]string `proto:"200"`
	Bool []bool            `proto:"201"`
}

func (wide) ResourceDefinition() Definition { return Definition{Type: "Wides.x.test", Namespace: "x"} }

func fullWide() wide {
	n := int64(0)
	u, _ := url.Parse("https://user:pw@host:1/x?y=z")
	return wide{
		B: true, I32: -1, U64: 1<<64 - 1, F64: -2.5, F32: 1.25, Ints: []int64{0, -1, 300}, Opt: &n,
		Dur: -1500 * time.Millisecond, Pfx: netip.MustParsePrefix("fd00::/8"), AP: netip.MustParseAddrPort("1.2.3.4:5"),
		URL: u, Num: map[uint32]bool{1: true, 2: false}, Msgs: map[string]inner{"k": {Keys: []byte("x")}, "e": {}},
		Col: "blue", Cols: []color{"red", "blue"}, Ptrs: []*inner{{Keys: []byte{1}}}, Byt: []byte(strings.Repeat("long", 100)),
		Free: []map[string]any{{"a": 1.0}, {}}, Strs: map[string]string{"": "empty", "z": ""}, Bool: []bool{true, false},
	}
}

func TestProtoRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec wide
	}{{"zero", wide{}}, {"full", fullWide()}} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := New("a", tt.spec).SpecProto()
			if err != nil {
				t.Fatal(err)
			}
			again, _ := New("a", tt.spec).SpecProto()
			if string(again) != string(b) {
				t.Error("two encodings differ")
			}
			r, err := TypeOf[wide]().Decode(Metadata{}, b, []byte("b: true"))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := r, New("", tt.spec); len(b) > 0 && !got.SpecEqual(want) {
				t.Errorf("after a round trip the spec is\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

// TestProtoAgreesWithProtobuf compares with the official library, given an equivalent .proto.
func TestProtoAgreesWithProtobuf(t *testing.T) {
	const str, i64, u32, msg, enum, double, float, byt, boolean = 9, 3, 13, 11, 14, 1, 2, 12, 8
	fields := []*descriptorpb.FieldDescriptorProto{}
	add := func(name string, n int32, typ descriptorpb.FieldDescriptorProto_Type, repeated bool, typeName string) {
		label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		if repeated {
			label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		}
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &n, Type: &typ, Label: &label}
		if typeName != "" {
			f.TypeName = &typeName
		}
		fields = append(fields, f)
	}
	add("b", 1, boolean, false, "")
	add("ints", 6, i64, true, "")
	add("f64", 4, double, false, "")
	add("f32", 5, float, false, "")
	add("dur", 8, msg, false, ".google.protobuf.Duration")
	add("col", 14, enum, false, ".t.Color")
	add("cols", 15, enum, true, ".t.Color")
	add("byt", 17, byt, false, "")
	add("free", 18, msg, true, ".google.protobuf.Struct")
	add("strs", 200, msg, true, ".t.M.StrsEntry")
	add("when", 300, msg, false, ".google.protobuf.Timestamp")
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("t.proto"), Package: proto.String("t"), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/duration.proto", "google/protobuf/struct.proto", "google/protobuf/timestamp.proto"},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("Color"), Value: []*descriptorpb.EnumValueDescriptorProto{
			{Name: proto.String("NONE"), Number: proto.Int32(0)}, {Name: proto.String("RED"), Number: proto.Int32(1)}, {Name: proto.String("BLUE"), Number: proto.Int32(2)}}}},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M"), Field: fields, NestedType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("StrsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
			Field: []*descriptorpb.FieldDescriptorProto{
				{Name: proto.String("key"), Number: proto.Int32(1), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()},
				{Name: proto.String("value"), Number: proto.Int32(2), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()},
			}}}}},
	}
	var files protoFiles
	files.add(durationpb.File_google_protobuf_duration_proto, structpb.File_google_protobuf_struct_proto, timestamppb.File_google_protobuf_timestamp_proto)
	fd, err := protodesc.NewFile(file, &files)
	if err != nil {
		t.Fatal(err)
	}
	spec := subset{B: true, F64: 2.5, F32: -1, Ints: []int64{5, -6}, Dur: 90*time.Second + 1, Col: "red", Cols: []color{"blue", "red"},
		Byt: []byte{0}, Free: []map[string]any{{"z": 1.0, "a": []any{"x"}}}, Strs: map[string]string{"b": "1", "a": "2"},
		When: time.Date(1969, 1, 2, 3, 4, 5, 6, time.UTC)}
	ours, err := New("a", spec).SpecProto()
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(fd.Messages().Get(0))
	if err := proto.Unmarshal(ours, m); err != nil {
		t.Fatal(err)
	}
	if len(m.GetUnknown()) > 0 {
		t.Errorf("protobuf does not know %x", m.GetUnknown())
	}
	theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(theirs, ours); d != "" {
		t.Errorf("encoding differs from protobuf's (-theirs +ours):\n%s", d)
	}
	r, err := TypeOf[subset]().Decode(Metadata{}, theirs, nil)
	if err != nil || !r.SpecEqual(New("", spec)) {
		t.Errorf("Decode of protobuf's encoding = %v, %v", r, err)
	}
}

type subset struct {
	B    bool              `proto:"1"`
	F64  float64           `proto:"4"`
	F32  float32           `proto:"5"`
	Ints []int64           `proto:"6"`
	Dur  time.Duration     `proto:"8"`
	Col  color             `proto:"14"`
	Cols []color           `proto:"15"`
	Byt  []byte            `proto:"17"`
	Free []map[string]any  `proto:"18"`
	Strs map[string]string `proto:"200"`
	When time.Time         `proto:"300"`
}

func (subset) ResourceDefinition() Definition { return Definition{Type: "Subsets.x", Namespace: "x"} }

func TestProtoAcceptsWhatPeersMaySend(t *testing.T) {
	unpacked := protowire.AppendVarint(protowire.AppendTag(nil, 6, protowire.VarintType), 5)
	unpacked = protowire.AppendVarint(protowire.AppendTag(unpacked, 6, protowire.VarintType), 6)
	unknown := protowire.AppendString(protowire.AppendTag(unpacked, 999, protowire.BytesType), "new")
	r, err := TypeOf[wide]().Decode(Metadata{}, unknown, nil)
	if err != nil || !r.SpecEqual(New("", wide{Ints: []int64{5, 6}})) {
		t.Errorf("unpacked numbers and an unknown field = %v, %v", r, err)
	}
}

func TestProtoRefusesBadInput(t *testing.T) {
	deep := []byte{}
	for range 3 * maxDepth {
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), deep)
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"wrong wire type", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "x"), "field B: wire type"},
		{"overflow", protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1<<40), "does not fit int32"},
		{"truncated", []byte{0x32, 0x7f}, "unexpected EOF"},
		{"nested too deep", protowire.AppendBytes(protowire.AppendTag(nil, 16, protowire.BytesType), deep), "nested deeper"},
		{"duration", protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), appendNumbers(nil, 1<<62, 0)), "out of range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := TypeOf[wide]().Decode(Metadata{}, tt.in, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode = %v; want %q", err, tt.want)
			}
		})
	}
	if _, err := New("a", wide{Strs: map[string]string{"a": "\xff"}}).SpecProto(); err == nil {
		t.Error("SpecProto encoded a string that is not UTF-8")
	}
}

// FuzzDecodeProto holds that any input is refused, or is a spec that survives a round trip.
func FuzzDecodeProto(f *testing.F) {
	for _, s := range []wide{{}, fullWide()} {
		b, err := New("a", s).SpecProto()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := TypeOf[wide]().Decode(Metadata{}, in, nil)
		if err != nil {
			return
		}
		b, err := r.SpecProto()
		if err != nil {
			return // a URL or a Struct may decode to what cannot be encoded
		}
		again, err := TypeOf[wide]().Decode(Metadata{}, b, nil)
		if err != nil {
			t.Fatalf("own encoding of %x is refused: %v", in, err)
		}
		b2, err := again.SpecProto()
		if err != nil || string(b2) != string(b) {
			t.Errorf("encodings of one spec differ: %x, %x (%v)", b, b2, err)
		}
	})
}

// protoFiles resolves the imports of a file that is built in memory.
type protoFiles struct{ protoregistry.Files }

func (f *protoFiles) add(files ...protoreflect.FileDescriptor) {
	for _, d := range files {
		f.RegisterFile(d)
	}
}
