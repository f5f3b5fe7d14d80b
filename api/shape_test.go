package api_test

import (
	"math"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// A call to many nodes is allowed for these services: the proxy joins the replies without decoding them.
var joined = map[protoreflect.FullName]bool{
	"machine.MachineService":          true,
	"cluster.ClusterService":          true,
	"inspect.InspectService":          true,
	"storage.StorageService":          true,
	"time.TimeService":                true,
	"cosi.resource.State":             false,
	"machine.DebugService":            false,
	"machine.ImageService":            false,
	"machine.LVMService":              false,
	"machine.LifecycleService":        false,
	"machine.MDService":               false,
	"machine.StorageService":          false,
	"membership.MembershipService":    false,
	"securityapi.SecurityService":     false,
	"sidero.discovery.server.Cluster": false,
}

// The proxy appends common.Metadata to field 1 of a reply: if that field is not what it takes it for, what the client
// gets is garbage without an error.
func TestRepliesOfJoinedServicesHaveTheShapeThatTheProxyNeeds(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		if !joined[m.Parent().FullName()] {
			return
		}
		part := m.Output()
		if !m.IsStreamingServer() {
			f := part.Fields().ByNumber(1)
			if part.Fields().Len() != 1 || f == nil || f.Name() != "messages" || !f.IsList() || f.Message() == nil {
				t.Fatalf("%s: the reply %s is not { repeated messages = 1 }", m.FullName(), part.FullName())
			}
			part = f.Message()
		}
		f := part.Fields().ByNumber(1)
		if f == nil || f.Name() != "metadata" || f.IsList() || f.Message() == nil ||
			f.Message().FullName() != "common.Metadata" {
			t.Errorf("%s: field 1 of %s is not common.Metadata metadata", m.FullName(), part.FullName())
		}
	})
}

func TestRepliesOfTwoNodesJoinByConcatenation(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		if !joined[m.Parent().FullName()] || m.IsStreamingServer() {
			return
		}
		one := messageType(t, m.Output()).New()
		fill(one, 4)
		wire := marshal(t, one.Interface())

		both := messageType(t, m.Output()).New()
		if err := proto.Unmarshal(append(wire, wire...), both.Interface()); err != nil {
			t.Fatal(err)
		}
		field := m.Output().Fields().ByNumber(1)
		if got, want := both.Get(field).List().Len(), 2*one.Get(field).List().Len(); got != want || want == 0 {
			t.Errorf("%s: two replies joined hold %d messages; want %d", m.FullName(), got, want)
		}
	})
}

func TestEveryServiceIsEitherJoinedOrNot(t *testing.T) {
	eachMethod(t, func(t *testing.T, m protoreflect.MethodDescriptor) {
		if _, ok := joined[m.Parent().FullName()]; !ok {
			t.Errorf("%s is not in the table; say whether a call to many nodes is allowed", m.Parent().FullName())
		}
	})
}

// What a peer sends is decoded before anything is known of the peer but its certificate, and in maintenance mode not
// even that.
func FuzzRequests(f *testing.F) {
	types := requestTypes(f)
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	for _, mt := range types {
		m := mt.New()
		fill(m, 4)
		wire := marshal(f, m.Interface())
		f.Add(wire)
		f.Add(wire[:len(wire)/2])
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, mt := range types {
			first, second := mt.New().Interface(), mt.New().Interface()
			if proto.Unmarshal(wire, first) != nil {
				continue
			}
			if err := proto.Unmarshal(marshal(t, first), second); err != nil {
				t.Errorf("%s: what was decoded and encoded again does not decode: %v", mt.Descriptor().FullName(), err)
			}
			if !proto.Equal(first, second) {
				t.Errorf("%s: decode(encode(%v)) = %v", mt.Descriptor().FullName(), first, second)
			}
		}
	})
}

func eachMethod(t *testing.T, f func(*testing.T, protoreflect.MethodDescriptor)) {
	t.Helper()
	for _, fd := range linkedFiles() {
		for i := range fd.Services().Len() {
			s := fd.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				t.Run(string(m.FullName()), func(t *testing.T) { f(t, m) })
			}
		}
	}
}

// requestTypes returns the types that clients send, each once, ordered by name.
func requestTypes(tb testing.TB) []protoreflect.MessageType {
	tb.Helper()
	types := map[protoreflect.FullName]protoreflect.MessageType{}
	for _, fd := range linkedFiles() {
		for i := range fd.Services().Len() {
			s := fd.Services().Get(i)
			for j := range s.Methods().Len() {
				in := s.Methods().Get(j).Input()
				types[in.FullName()] = messageType(tb, in)
			}
		}
	}
	list := make([]protoreflect.MessageType, 0, len(types))
	for _, mt := range types {
		list = append(list, mt)
	}
	sort.Slice(list, func(i, j int) bool {
		return strings.Compare(string(list[i].Descriptor().FullName()), string(list[j].Descriptor().FullName())) < 0
	})
	return list
}

func messageType(tb testing.TB, m protoreflect.MessageDescriptor) protoreflect.MessageType {
	tb.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(m.FullName())
	if err != nil {
		tb.Fatalf("%s: %v", m.FullName(), err)
	}
	return mt
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatalf("encode %s: %v", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return wire
}

// fill sets every field of m to something that is not its zero value, messages to the given depth. Of a oneof the last
// field stays.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Message() != nil && depth == 0:
		case f.IsMap():
			v := m.NewField(f)
			value := v.Map().NewValue()
			if f.MapValue().Message() != nil {
				fill(value.Message(), depth-1)
			} else {
				value = scalar(f.MapValue())
			}
			v.Map().Set(scalar(f.MapKey()).MapKey(), value)
			m.Set(f, v)
		case f.IsList():
			v := m.NewField(f)
			element := v.List().NewElement()
			if f.Message() != nil {
				fill(element.Message(), depth-1)
			} else {
				element = scalar(f)
			}
			v.List().Append(element)
			m.Set(f, v)
		case f.Message() != nil:
			v := m.NewField(f)
			fill(v.Message(), depth-1)
			m.Set(f, v)
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(math.MinInt32)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(math.MaxUint32)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(math.MinInt64)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(math.MaxUint64)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(math.Pi)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(math.Pi)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 0xff})
	default:
		return protoreflect.ValueOfString("ключ")
	}
}
