package api_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "talos.internal/api/affiliatepb"
	_ "talos.internal/api/clusterpb"
	_ "talos.internal/api/commonpb"
	_ "talos.internal/api/configpb"
	_ "talos.internal/api/definitions/blockpb"
	_ "talos.internal/api/definitions/clusterspecpb"
	_ "talos.internal/api/definitions/containerspb"
	_ "talos.internal/api/definitions/cripb"
	_ "talos.internal/api/definitions/enumspb"
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
	_ "talos.internal/api/discoverypb"
	_ "talos.internal/api/inspectpb"
	_ "talos.internal/api/machinepb"
	_ "talos.internal/api/membershippb"
	_ "talos.internal/api/securitypb"
	_ "talos.internal/api/statepb"
	_ "talos.internal/api/storagepb"
	_ "talos.internal/api/timepb"
)

var update = flag.Bool("update", false, "rewrite testdata/contract.golden")

// The dump holds all that decides which bytes travel and under which names; the order of declarations does not.
func TestContractIsTheCommittedOne(t *testing.T) {
	const golden = "testdata/contract.golden"
	got := dump(linkedFiles())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the wire contract changed (-committed +linked); if it is meant, run with -update:\n%s", diff)
	}
}

func TestEverySourceIsInTheContract(t *testing.T) {
	linked := map[string]protoreflect.FileDescriptor{}
	for _, fd := range linkedFiles() {
		linked[fd.Path()] = fd
	}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".proto" {
			return err
		}
		source := path.Join("api", filepath.ToSlash(name))
		if linked[source] == nil {
			t.Errorf("%s is not linked into this test; import its package", source)
		}
		delete(linked, source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range linked {
		t.Errorf("%s is linked but has no source", name)
	}
}

func TestJSONNamesAreTheDefaults(t *testing.T) {
	eachMessage(linkedFiles(), func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if got, want := f.JSONName(), defaultJSONName(string(f.Name())); got != want {
				t.Errorf("JSONName(%s) = %s; want %s", f.FullName(), got, want)
			}
		}
	})
}

// linkedFiles returns the descriptors of this tree's files, ordered by path.
func linkedFiles() []protoreflect.FileDescriptor {
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		opts, _ := fd.Options().(*descriptorpb.FileOptions)
		if strings.HasPrefix(opts.GetGoPackage(), "talos.internal/") {
			files = append(files, fd)
		}
		return true
	})
	sort.Slice(files, func(i, j int) bool { return files[i].Path() < files[j].Path() })
	return files
}

// eachMessage calls f for every message of files, nested ones included, but not for the entries of maps.
func eachMessage(files []protoreflect.FileDescriptor, f func(protoreflect.MessageDescriptor)) {
	var walk func(protoreflect.MessageDescriptors)
	walk = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			if !ms.Get(i).IsMapEntry() {
				f(ms.Get(i))
				walk(ms.Get(i).Messages())
			}
		}
	}
	for _, fd := range files {
		walk(fd.Messages())
	}
}

// dump writes one block for each service, message and enum, ordered by full name, members by number or name.
func dump(files []protoreflect.FileDescriptor) string {
	var blocks []string
	enums := func(es protoreflect.EnumDescriptors) {
		for i := range es.Len() {
			blocks = append(blocks, dumpEnum(es.Get(i)))
		}
	}
	for _, fd := range files {
		enums(fd.Enums())
		for i := range fd.Services().Len() {
			blocks = append(blocks, dumpService(fd.Services().Get(i)))
		}
	}
	eachMessage(files, func(m protoreflect.MessageDescriptor) {
		blocks = append(blocks, dumpMessage(m))
		enums(m.Enums())
	})
	sort.Strings(blocks)
	return strings.Join(blocks, "\n")
}

func dumpService(s protoreflect.ServiceDescriptor) string {
	side := func(stream bool, m protoreflect.MessageDescriptor) string {
		if stream {
			return "stream " + string(m.FullName())
		}
		return string(m.FullName())
	}
	var lines []string
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		lines = append(lines, fmt.Sprintf("  %s (%s) (%s)\n", m.Name(),
			side(m.IsStreamingClient(), m.Input()), side(m.IsStreamingServer(), m.Output())))
	}
	sort.Strings(lines)
	return fmt.Sprintf("service %s\n%s", s.FullName(), strings.Join(lines, ""))
}

func dumpMessage(m protoreflect.MessageDescriptor) string {
	var fields []protoreflect.FieldDescriptor
	for i := range m.Fields().Len() {
		fields = append(fields, m.Fields().Get(i))
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })

	var b strings.Builder
	fmt.Fprintf(&b, "message %s\n", m.FullName())
	for _, f := range fields {
		label := ""
		switch {
		case f.IsMap():
		case f.IsList():
			label = "repeated "
		case f.HasOptionalKeyword():
			label = "optional "
		case f.ContainingOneof() != nil:
			label = "oneof:" + string(f.ContainingOneof().Name()) + " "
		}
		packed := ""
		if f.IsPacked() {
			packed = " packed"
		}
		fmt.Fprintf(&b, "  %d %s %s%s%s\n", f.Number(), f.Name(), label, typeName(f), packed)
	}
	for i := range m.ReservedRanges().Len() {
		r := m.ReservedRanges().Get(i)
		fmt.Fprintf(&b, "  reserved %d to %d\n", r[0], r[1]-1)
	}
	return b.String()
}

func dumpEnum(e protoreflect.EnumDescriptor) string {
	var b strings.Builder
	fmt.Fprintf(&b, "enum %s\n", e.FullName())
	for i := range e.Values().Len() {
		fmt.Fprintf(&b, "  %d %s\n", e.Values().Get(i).Number(), e.Values().Get(i).Name())
	}
	return b.String()
}

func typeName(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s,%s>", typeName(f.MapKey()), typeName(f.MapValue()))
	case f.Message() != nil:
		return string(f.Message().FullName())
	case f.Enum() != nil:
		return string(f.Enum().FullName())
	default:
		return f.Kind().String()
	}
}

// defaultJSONName is the mapping of the proto3 language guide: an underscore is dropped and the next letter is upper.
func defaultJSONName(name string) string {
	var b strings.Builder
	upper := false
	for _, r := range name {
		switch {
		case r == '_':
			upper = true
		case upper && 'a' <= r && r <= 'z':
			b.WriteRune(r - 'a' + 'A')
			upper = false
		default:
			b.WriteRune(r)
			upper = false
		}
	}
	return b.String()
}
