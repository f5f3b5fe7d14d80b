package netdoc_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
)

// compare looks into types with unexported fields and into those that print redacted.
var compare = cmp.Exporter(func(reflect.Type) bool { return true })

// roundTrip decodes n, encodes the value, and decodes that again.
func roundTrip(t *testing.T, n *yaml.Node) schema.Document {
	t.Helper()
	kind := kindOf(t, n)
	var report schema.Report
	first, second := kind.New(), kind.New()
	r := schema.NewReporter(&report, "", "", n)
	schema.Decode(n, first, r, "apiVersion", "kind")
	schema.Validate(first, r)
	again := schema.EncodeValue(first)
	data, err := schema.Encode(again)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range schema.Parse("", data, &report) {
		schema.Decode(m, second, schema.NewReporter(&report, "", "", m))
	}
	if len(report) > 0 {
		t.Errorf("round trip = %s; want no problem", report)
	}
	if diff := cmp.Diff(first, second, compare); diff != "" {
		t.Errorf("round trip (-first +second):\n%s", diff)
	}
	return first
}

// TestRoundTrip decodes and encodes a document of each kind that together use each key.
func TestRoundTrip(t *testing.T) {
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var report schema.Report
	used := map[string]bool{}
	for _, n := range schema.Parse("full.yaml", data, &report) {
		kind := kindOf(t, n)
		t.Run(kind.Name, func(t *testing.T) {
			markKeys(used, schema.TypeOf(reflect.TypeOf(roundTrip(t, n))), n.Content[0])
		})
	}
	if len(report) > 0 {
		t.Fatalf("Parse = %s; want no problem", report)
	}
	for _, k := range wireKeys {
		typ := schema.TypeOf(reflect.TypeOf(k.object))
		for _, f := range typ.Fields {
			if key := typ.Go.Name() + "." + f.Name; !used[key] {
				t.Errorf("full.yaml has no %s; want each key", key)
			}
		}
	}
}

// markKeys notes the keys of n, an object of type typ.
func markKeys(used map[string]bool, typ *schema.Type, n *yaml.Node) {
	switch typ.Class {
	case schema.Struct:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if f := typ.Field(n.Content[i].Value); f != nil {
				used[typ.Go.Name()+"."+f.Name] = true
				markKeys(used, f.Type, n.Content[i+1])
			}
		}
	case schema.List:
		for _, item := range n.Content {
			markKeys(used, typ.Elem, item)
		}
	}
}

// TestDocumentedKindsAndFields holds that each kind has a description and an example that is valid, and each field a
// description; the examples of fields fit their types.
func TestDocumentedKindsAndFields(t *testing.T) {
	comments := sourceComments(t)
	seen := map[string]bool{}
	var visit func(*schema.Type)
	visit = func(typ *schema.Type) {
		for _, f := range typ.Fields {
			name := f.Owner.Name() + "." + f.GoName
			text, example := splitExample(comments[name])
			if !strings.HasPrefix(text, f.GoName+" ") {
				t.Errorf("%s is documented as %q; want a text that starts with its name", name, text)
			}
			if example != "" && !seen[name] {
				seen[name] = true
				checkFieldExample(t, name, f, example)
			}
			if elem := f.Type; elem.Class == schema.Struct {
				visit(elem)
			} else if elem.Elem != nil && elem.Elem.Class == schema.Struct {
				visit(elem.Elem)
			}
		}
		if text := comments[typ.Go.Name()]; text == "" {
			t.Errorf("%s has no comment; want one", typ.Go.Name())
		}
	}
	for _, k := range netdoc.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			_, example := splitExample(comments[k.Name])
			var report schema.Report
			docs := schema.Parse("", []byte(example), &report)
			if len(docs) != 1 || len(report) > 0 {
				t.Fatalf("example of %s = %d documents, %s; want one", k.Name, len(docs), report)
			}
			roundTrip(t, docs[0])
		})
		visit(schema.TypeOf(reflect.TypeOf(k.New())))
	}
	if len(seen) < 20 {
		t.Errorf("found %d examples of fields; want more than 20", len(seen))
	}
}

// checkFieldExample decodes an example, which holds the key itself, and wants that field f takes it.
func checkFieldExample(t *testing.T, name string, f *schema.Field, example string) {
	t.Helper()
	var report schema.Report
	docs := schema.Parse("", []byte(example), &report)
	if len(docs) != 1 || len(docs[0].Content[0].Content) != 2 || docs[0].Content[0].Content[0].Value != f.Name {
		t.Errorf("example of %s = %q; want the key %s alone", name, example, f.Name)
		return
	}
	v := reflect.New(f.Owner)
	schema.Decode(docs[0], v.Interface(), schema.NewReporter(&report, "", "", docs[0]))
	for _, p := range report {
		if !strings.HasSuffix(p.Message, " is required") {
			t.Errorf("example of %s: %s; want no problem", name, p)
		}
	}
	schema.Validate(v.Elem().FieldByName(f.GoName).Interface(), schema.NewReporter(&report, "", "", docs[0]))
	if err := report.Err(); err != nil && !strings.Contains(err.Error(), " is required") {
		t.Errorf("example of %s: %v; want nil", name, err)
	}
}

// splitExample cuts a comment at its example, which it returns without its indentation.
func splitExample(comment string) (text, example string) {
	text, block, _ := strings.Cut(comment, "Example:\n")
	for line := range strings.Lines(block) {
		example += strings.TrimPrefix(line, "\t")
	}
	return strings.TrimSpace(text), strings.TrimSpace(example)
}

// sourceComments returns the comments of the package's types, by name, and of their fields, by TYPE.FIELD.
func sourceComments(t *testing.T) map[string]string {
	t.Helper()
	set := token.NewFileSet()
	var files []*ast.File
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	pkg, err := doc.NewFromFiles(set, files, "netdoc")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, typ := range pkg.Types {
		out[typ.Name] = typ.Doc
		if s, ok := typ.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					out[typ.Name+"."+name.Name] = f.Doc.Text()
				}
			}
		}
	}
	return out
}

func FuzzDecode(f *testing.F) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(full), "---\n") {
		f.Add([]byte(doc))
	}
	f.Add([]byte("name: x\nlinks: [x, x]\nbondMode: 802.3ad\ntable: 0\naddresses: [{address: ::ffff:1.2.3.4/100}]"))
	f.Add([]byte("portSelector: {ports: [1-65535, 1], protocol: icmp}\ningress: [{subnet: 1.2.3.4/0, except: ::/0}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var report schema.Report
		for _, n := range schema.Parse("", data, &report) {
			var set schema.Set
			for _, k := range netdoc.Kinds() {
				doc := k.New()
				r := schema.NewReporter(&report, "", "", n)
				schema.Decode(n, doc, r, "apiVersion", "kind")
				schema.Validate(doc, r)
				schema.EncodeValue(doc)
				set = append(set, schema.Entry{Value: doc, Node: n})
			}
			netdoc.Check(&schema.Check{Set: set, Role: schema.Worker, Report: &report})
		}
	})
}
