package catalog

import (
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "talos.internal/api/definitions/blockpb"
	_ "talos.internal/api/definitions/clusterspecpb"
	_ "talos.internal/api/definitions/containerspb"
	_ "talos.internal/api/definitions/cripb"
	_ "talos.internal/api/definitions/etcdpb"
	_ "talos.internal/api/definitions/extensionspb"
	_ "talos.internal/api/definitions/filespb"
	_ "talos.internal/api/definitions/hardwarepb"
	_ "talos.internal/api/definitions/k8spb"
	_ "talos.internal/api/definitions/kubeaccesspb"
	_ "talos.internal/api/definitions/kubespanpb"
	_ "talos.internal/api/definitions/networkpb"
	_ "talos.internal/api/definitions/perfpb"
	_ "talos.internal/api/definitions/protopb"
	_ "talos.internal/api/definitions/runtimepb"
	_ "talos.internal/api/definitions/secretspb"
	_ "talos.internal/api/definitions/securityspecpb"
	_ "talos.internal/api/definitions/servicepb"
	_ "talos.internal/api/definitions/siderolinkpb"
	_ "talos.internal/api/definitions/storagespecpb"
	_ "talos.internal/api/definitions/timespecpb"
	_ "talos.internal/api/deviceconfigpb"
	"talos.internal/internal/golden"
	"talos.internal/resource"
	"talos.internal/resource/arguments"
	"talos.internal/resource/block"
)

// messageOf returns the published message of a type, nil if it has none.
func messageOf(t *testing.T, name string) protoreflect.MessageType {
	t.Helper()
	m := contract(t)[name].message
	if m == "" {
		return nil
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(m))
	if err != nil {
		t.Fatalf("message %s: %v", m, err)
	}
	return mt
}

func TestSpecsTravelAsThePublishedMessages(t *testing.T) {
	each(t, func(t *testing.T, typ *resource.Type) {
		mt := messageOf(t, typ.Name())
		if mt == nil {
			return
		}
		r := full(t, typ, inProto)
		ours, err := r.SpecProto()
		if err != nil {
			t.Fatal(err)
		}
		m := mt.New().Interface()
		if err := proto.Unmarshal(ours, m); err != nil {
			t.Fatal(err)
		}
		wantComplete(t, m.ProtoReflect(), true)
		theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if string(theirs) != string(ours) {
			t.Errorf("encoding differs from protobuf's:\nours   %x\ntheirs %x", ours, theirs)
		}
		back, err := typ.Decode(r.Metadata(), theirs, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !back.SpecEqual(r) {
			t.Errorf("spec after a round trip through protobuf (-ours +theirs):\n%s",
				cmp.Diff(fmt.Sprint(spec(r)), fmt.Sprint(spec(back))))
		}
	})
}

// wantComplete checks that m has no unknown field, and each field of its message. Messages of
// google are not looked into.
func wantComplete(t *testing.T, m protoreflect.Message, fields bool) {
	t.Helper()
	d := m.Descriptor()
	if strings.HasPrefix(string(d.FullName()), "google.") {
		return
	}
	if len(m.GetUnknown()) > 0 {
		t.Errorf("%s does not know %x", d.FullName(), m.GetUnknown())
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if fields && !m.Has(f) && !(f.Kind() == protoreflect.EnumKind && f.Enum().Values().Len() == 1) {
			t.Errorf("%s: our encoding lacks %s", d.FullName(), f.Name())
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					wantComplete(t, v.Message(), fields)
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				wantComplete(t, v.List().Get(i).Message(), fields)
			}
		default:
			wantComplete(t, v.Message(), fields)
		}
		return true
	})
}

// comparison walks Go types and message descriptors side by side.
type comparison struct {
	t       *testing.T
	done    map[protoreflect.FullName]bool
	renamed []string                           // "message.field Go.Field key"
	enums   map[protoreflect.FullName][]string // the lines of each enumeration
	nested  map[string]string                  // keys of structs by their Go name
}

func TestFieldsAreThoseOfThePublishedMessages(t *testing.T) {
	c := &comparison{t: t, done: map[protoreflect.FullName]bool{},
		enums: map[protoreflect.FullName][]string{}, nested: map[string]string{}}
	each(t, func(t *testing.T, typ *resource.Type) {
		if mt := messageOf(t, typ.Name()); mt != nil {
			c.message(spec(empty(t, typ)).Type(), mt.Descriptor(), true)
		}
	})
	t.Run("every message is used", func(t *testing.T) {
		protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
			if strings.HasPrefix(f.Path(), "api/definitions/") {
				for i := range f.Messages().Len() {
					if n := f.Messages().Get(i).FullName(); !c.done[n] {
						t.Errorf("no type has the message %s", n)
					}
				}
			}
			return true
		})
	})
	t.Run("names", func(t *testing.T) {
		slices.Sort(c.renamed)
		golden.Check(t, "renamed.txt", strings.Join(c.renamed, "\n")+"\n")
	})
	t.Run("texts of enumerations", func(t *testing.T) {
		var b strings.Builder
		for _, n := range slices.Sorted(maps.Keys(c.enums)) {
			fmt.Fprintf(&b, "%s\n%s\n", n.Name(), strings.Join(c.enums[n], ""))
		}
		golden.Check(t, "enums.txt", b.String())
	})
	t.Run("keys of nested structs", func(t *testing.T) {
		var b strings.Builder
		for _, n := range slices.Sorted(maps.Keys(c.nested)) {
			fmt.Fprintf(&b, "%s: %s\n", n, c.nested[n])
		}
		golden.Check(t, "nested.txt", b.String())
	})
}

// added are fields of ours, which the published message has no place for.
var added = []string{"cluster.Affiliate.State", "cluster.Member.State"}

// message compares the fields of struct g with those of message d: number, name and kind. A name is
// the same as the field's or its key's but for case and underscores, or the pair is in renamed.txt.
func (c *comparison) message(g reflect.Type, d protoreflect.MessageDescriptor, top bool) {
	if c.done[d.FullName()] {
		return
	}
	c.done[d.FullName()] = true
	var keys []string
	seen := 0
	for i := range g.NumField() {
		f := g.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		keys = append(keys, key)
		if f.Tag.Get("yaml") == "" && g != reflect.TypeFor[arguments.Values]() {
			c.t.Errorf("%v.%s has no yaml tag", g, f.Name)
		}
		tag, ok := f.Tag.Lookup("proto")
		if !ok && slices.Contains(added, fmt.Sprintf("%v.%s", g, f.Name)) {
			continue
		}
		if !ok {
			c.t.Errorf("%v.%s has no proto tag", g, f.Name)
			continue
		}
		n, _ := strconv.Atoi(tag)
		fd := d.Fields().ByNumber(protoreflect.FieldNumber(n))
		if fd == nil {
			c.t.Errorf("%v.%s: %s has no field %d", g, f.Name, d.FullName(), n)
			continue
		}
		seen++
		if name := plain(string(fd.Name())); name != plain(key) && name != plain(f.Name) {
			c.renamed = append(c.renamed, fmt.Sprintf("%s.%s %v.%s %s", d.FullName(), fd.Name(), g, f.Name, key))
		}
		c.field(fmt.Sprintf("%v.%s", g, f.Name), f.Type, fd)
	}
	if seen != d.Fields().Len() {
		c.t.Errorf("%v has %d fields of %s; want %d", g, seen, d.FullName(), d.Fields().Len())
	}
	if !top {
		c.nested[g.String()] = strings.Join(keys, " ")
	}
}

func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func (c *comparison) field(what string, g reflect.Type, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap():
		if g.Kind() != reflect.Map {
			c.t.Errorf("%s is a %v; want a map", what, g)
			return
		}
		c.one(what+" key", g.Key(), f.MapKey())
		c.one(what+" value", g.Elem(), f.MapValue())
	case f.IsList():
		if g.Kind() != reflect.Slice {
			c.t.Errorf("%s is a %v; want a slice", what, g)
			return
		}
		c.one(what, g.Elem(), f)
	default:
		c.one(what, g, f)
	}
}

// wellKnown are Go types which stand for messages that are not in api/definitions.
var wellKnown = map[reflect.Type]protoreflect.FullName{
	reflect.TypeFor[time.Time]():        "google.protobuf.Timestamp",
	reflect.TypeFor[time.Duration]():    "google.protobuf.Duration",
	reflect.TypeFor[map[string]any]():   "google.protobuf.Struct",
	reflect.TypeFor[netip.Addr]():       "common.NetIP",
	reflect.TypeFor[netip.AddrPort]():   "common.NetIPPort",
	reflect.TypeFor[netip.Prefix]():     "common.NetIPPrefix",
	reflect.TypeFor[resource.URL]():     "common.URL",
	reflect.TypeFor[block.Expression](): "google.api.expr.v1alpha1.CheckedExpr",
}

// one compares a single value, or an element.
func (c *comparison) one(what string, g reflect.Type, f protoreflect.FieldDescriptor) {
	if g.Kind() == reflect.Pointer {
		g = g.Elem()
	}
	if name, ok := wellKnown[g]; ok {
		if f.Message() == nil || f.Message().FullName() != name {
			c.t.Errorf("%s is a %v; want %v", what, g, f.Kind())
		}
		return
	}
	named := g.Implements(reflect.TypeFor[encoding.TextMarshaler]())
	switch f.Kind() {
	case protoreflect.MessageKind:
		if g.Kind() != reflect.Struct {
			c.t.Errorf("%s is a %v; want a struct for %s", what, g, f.Message().FullName())
			return
		}
		c.message(g, f.Message(), false)
	case protoreflect.EnumKind:
		if g.Kind() != reflect.Int32 || !named {
			c.t.Errorf("%s is a %v; want an enumeration for %s", what, g, f.Enum().FullName())
			return
		}
		c.enum(g, f.Enum())
	default:
		want := map[protoreflect.Kind][]reflect.Kind{
			protoreflect.BoolKind: {reflect.Bool}, protoreflect.DoubleKind: {reflect.Float64},
			protoreflect.Int32Kind: {reflect.Int32}, protoreflect.Int64Kind: {reflect.Int64},
			protoreflect.Uint32Kind: {reflect.Uint32, reflect.Uint16}, protoreflect.Uint64Kind: {reflect.Uint64},
			protoreflect.StringKind: {reflect.String}, protoreflect.BytesKind: {reflect.Slice, reflect.String},
		}[f.Kind()]
		if !slices.Contains(want, g.Kind()) {
			c.t.Errorf("%s is a %v; want one for %v", what, g, f.Kind())
		}
	}
}

// enum writes down the text of each number of d, and checks that the text means the number.
func (c *comparison) enum(g reflect.Type, d protoreflect.EnumDescriptor) {
	if c.enums[d.FullName()] != nil {
		return
	}
	lines := []string{}
	for i := range d.Values().Len() {
		n := d.Values().Get(i).Number()
		v, back := reflect.New(g), reflect.New(g)
		v.Elem().SetInt(int64(n))
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			c.t.Errorf("%v(%d).MarshalText = %v", g, n, err)
		}
		if err := back.Interface().(encoding.TextUnmarshaler).UnmarshalText(text); err != nil || back.Elem().Int() != int64(n) {
			c.t.Errorf("%v.UnmarshalText(%q) = %d, %v; want %d", g, text, back.Elem().Int(), err, n)
		}
		if isNumber(string(text)) {
			if g.String() == "network.RoutingTable" {
				continue // a table without a name is its number
			}
			c.t.Errorf("%v(%d) has no text; %s calls it %s", g, n, d.FullName(), d.Values().Get(i).Name())
		}
		lines = append(lines, fmt.Sprintf("  %d %s\n", n, text))
	}
	c.enums[d.FullName()] = lines
}
