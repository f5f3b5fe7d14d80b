package rootdoc_test

import (
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
)

// equal compares documents: addresses and URLs by their text, everything else to the last unexported field.
var equal = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b *url.URL) bool { return a == b || a != nil && b != nil && a.String() == b.String() }),
	cmp.Exporter(func(reflect.Type) bool { return true }),
}

// decode reads the root document in text and validates it; the other documents are left out.
func decode(t testing.TB, text string) (*rootdoc.Config, *yaml.Node, schema.Report) {
	t.Helper()
	var report schema.Report
	for _, node := range schema.Parse("", []byte(text), &report) {
		if schema.Child(node, "kind") != nil {
			continue
		}
		c := &rootdoc.Config{}
		r := schema.NewReporter(&report, "", "", node.Content[0])
		schema.Decode(node, c, r)
		if report.Err() == nil {
			schema.Validate(c, r)
		}
		report.Sort()
		return c, node, report
	}
	return nil, nil, report
}

// read is decode of a file that has no errors.
func read(t testing.TB, name string) *rootdoc.Config {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	c, _, report := decode(t, string(data))
	if err := report.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// fixtures are the configs that between them set every field of the root document.
var fixtures = []string{
	"v1.6-controlplane.yaml", "v1.6-worker.yaml", "v1.14-controlplane.yaml", "v1.14-worker.yaml",
	"legacy-controlplane.yaml", "legacy-worker.yaml", "legacy-other.yaml",
}

func TestRoundTrip(t *testing.T) {
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			c := read(t, name)
			text, err := schema.Encode(schema.EncodeValue(c))
			if err != nil {
				t.Fatal(err)
			}
			again, _, report := decode(t, string(text))
			if err := report.Err(); err != nil {
				t.Fatalf("decode of the encoded config: %v\n%s", err, text)
			}
			if diff := cmp.Diff(c, again, equal); diff != "" {
				t.Errorf("decode(encode(config)) differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSamplesHaveNoProblems(t *testing.T) {
	for _, name := range fixtures[:4] {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			c, _, report := decode(t, string(data))
			if len(report) > 0 {
				t.Errorf("decode = %v; want no problems", report)
			}
			var checked schema.Report
			rootdoc.Check(&schema.Check{Set: schema.Set{{Value: c}}, Mode: schema.Metal, Role: c.Role(), Report: &checked})
			if len(checked) > 0 {
				t.Errorf("Check = %v; want no problems", checked)
			}
		})
	}
}

// TestEveryFieldIsSet holds the fixtures to their promise: a field that none of them sets is not tested by the others.
func TestEveryFieldIsSet(t *testing.T) {
	set := map[string]bool{}
	for _, name := range fixtures {
		for path := range leaves(read(t, name)) {
			set[path] = true
		}
	}
	for _, path := range schemaPaths() {
		if !set[path] {
			t.Errorf("%s is set in no fixture", path)
		}
	}
}

// schemaPaths returns the paths of all fields that hold a value themselves, without item numbers.
func schemaPaths() []string {
	var out []string
	var walk func(t *schema.Type, path string)
	walk = func(t *schema.Type, path string) {
		for (t.Class == schema.List || t.Class == schema.Map) && t.Elem.Class == schema.Struct {
			t = t.Elem
		}
		if t.Class != schema.Struct || len(t.Fields) == 0 {
			out = append(out, path)
			return
		}
		for _, f := range t.Fields {
			walk(f.Type, strings.TrimPrefix(path+"."+f.Name, "."))
		}
	}
	walk(schema.TypeOf(reflect.TypeFor[rootdoc.Config]()), "")
	return out
}

// leaves returns the values in c by their path without item numbers; clear empties one.
func leaves(c *rootdoc.Config) map[string][]reflect.Value {
	out := map[string][]reflect.Value{}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		t := schema.TypeOf(v.Type())
		for v.Kind() == reflect.Pointer && t.Class == schema.Struct && len(t.Fields) > 0 {
			if v.IsNil() {
				return
			}
			v = v.Elem()
		}
		switch {
		case t.Class == schema.Struct && len(t.Fields) > 0:
			for _, f := range t.Fields {
				walk(v.FieldByName(f.GoName), strings.TrimPrefix(path+"."+f.Name, "."))
			}
		case t.Class == schema.List && t.Elem.Class == schema.Struct:
			for i := range v.Len() {
				walk(v.Index(i), path)
			}
		case t.Class == schema.Map && t.Elem.Class == schema.Struct:
			for it := v.MapRange(); it.Next(); {
				walk(it.Value(), path)
			}
		case !v.IsZero():
			out[path] = append(out[path], v)
		}
	}
	walk(reflect.ValueOf(c), "")
	return out
}

func TestRole(t *testing.T) {
	for _, tc := range []struct {
		kind string
		want schema.Role
	}{
		{"controlplane", schema.ControlPlane}, {"init", schema.ControlPlane},
		{"worker", schema.Worker}, {"join", schema.Worker}, {"", ""},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			c := rootdoc.Config{Machine: &rootdoc.Machine{Type: tc.kind}}
			if got := c.Role(); got != tc.want {
				t.Errorf("Role(%q) = %q; want %q", tc.kind, got, tc.want)
			}
		})
	}
	if got := (&rootdoc.Config{}).Role(); got != "" {
		t.Errorf("Role of a config without machine = %q; want none", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range fixtures {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("version: v1alpha1\nmachine: {files: [{path: x, permissions: 0o}]}")
	f.Fuzz(func(t *testing.T, text string) {
		if c, _, _ := decode(t, text); c != nil {
			schema.EncodeValue(c) // does not panic, also on a config that was refused
		}
	})
}
