// Package doctest is the suite that a package of configuration documents passes: its kinds decode, encode, report and
// are documented as all are.
//
// A package gives its kinds and rules as a [Suite] and has three files: testdata/rules.txt, cases of documents with the
// problems that they have (-update writes them); testdata/full.yaml, documents that set every key; and
// testdata/controlplane.yaml and worker.yaml, what the public client generates. PEM blocks stand in the first two by name:
// see [Material].
//
// It is for the tests of packages below config.
package doctest

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"talos.internal/config/schema"
)

var update = flag.Bool("update", false, "write the golden files")

// Suite is a package of documents.
type Suite struct {
	Kinds []schema.Kind
	Check func(*schema.Check)
	// Keys are the published keys of each type, in their order of declaration; one that is required has an asterisk.
	Keys map[string]string
	// Required are keys that we require beyond what is published, by type.
	Required map[string]string
	// Dependent are kinds whose example needs another document to be free of problems.
	Dependent []string
	// Samples are how many documents of the package each published sample has, by its role.
	Samples map[schema.Role]int
}

// Run runs the suite in the package's folder.
func (s Suite) Run(t *testing.T) {
	t.Run("KindExamplesAreValidAndRoundTrip", s.kindExamplesAreValidAndRoundTrip)
	t.Run("FullDocumentsRoundTrip", s.fullDocumentsRoundTrip)
	t.Run("EveryFieldIsDocumented", s.everyFieldIsDocumented)
	t.Run("Keys", s.keys)
	t.Run("Rules", s.rules)
	t.Run("RulesCoverEveryKind", s.rulesCoverEveryKind)
	t.Run("Samples", s.samples)
}

// comments are the doc comments of the package's types and fields: "Type" and "Type.Field".
func comments(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			d, ok := n.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				return true
			}
			for _, s := range d.Specs {
				spec := s.(*ast.TypeSpec)
				out[spec.Name.Name] = d.Doc.Text()
				st, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range st.Fields.List {
					for _, name := range field.Names {
						out[spec.Name.Name+"."+name.Name] = field.Doc.Text()
					}
				}
			}
			return true
		})
	}
	return out
}

// example returns the block after "Example:" in a doc comment.
func example(doc string) string {
	_, rest, ok := strings.Cut(doc, "Example:\n")
	if !ok {
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(rest) {
		b.WriteString(strings.TrimPrefix(line, "\t"))
	}
	return strings.TrimSpace(b.String()) + "\n"
}

var exportAll = cmp.Exporter(func(reflect.Type) bool { return true })

func (s Suite) kindExamplesAreValidAndRoundTrip(t *testing.T) {
	t.Helper()
	docs := comments(t)
	for _, kind := range s.Kinds {
		t.Run(kind.Name, func(t *testing.T) {
			if kind.Subject == "" {
				t.Errorf("Subject = %q; want a section", kind.Subject)
			}
			text := example(docs[kind.Name])
			set, report := s.Load(text, "")
			if len(report) > 0 && !slices.Contains(s.Dependent, kind.Name) || len(set) != 1 {
				t.Fatalf("problems of the example = %v; want none", report)
			}
			doc := set[0].Value
			if doc.DocumentKind() != kind.Name {
				t.Errorf("DocumentKind() = %q; want %q", doc.DocumentKind(), kind.Name)
			}
			again, _ := s.Load(Encode(t, doc), "")
			if diff := cmp.Diff(doc, again[0].Value, exportAll); diff != "" {
				t.Errorf("decode(encode(example)) differs (-want +got):\n%s", diff)
			}
		})
	}
}

// checkRoundTrip encodes and decodes each document of set and wants it back.
func (s Suite) checkRoundTrip(t *testing.T, set schema.Set) {
	t.Helper()
	for _, e := range set {
		again, report := s.Load(Encode(t, e.Value), "")
		if len(again) != 1 {
			t.Fatalf("decode(encode(%s)) = %v; want the document", e.Title(), report)
		}
		if diff := cmp.Diff(e.Value, again[0].Value, exportAll, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("decode(encode(%s)) differs (-want +got):\n%s", e.Title(), diff)
		}
	}
}

// fullDocumentsRoundTrip has every key of every kind.
func (s Suite) fullDocumentsRoundTrip(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, report := s.Load(Material(t).Replace(string(text)), "")
	if len(report) > 0 {
		t.Fatalf("problems = %v; want none", report)
	}
	s.checkRoundTrip(t, set)
	used := map[string]bool{}
	for _, e := range set {
		collect(reflect.ValueOf(e.Value), used)
		if n, ok := e.Value.(schema.NamedDocument); ok && n.DocumentName() != schema.Child(e.Node, "name").Value {
			t.Errorf("DocumentName() = %q; want %q", n.DocumentName(), schema.Child(e.Node, "name").Value)
		}
	}
	for typ, keys := range s.Keys {
		for key := range strings.FieldsSeq(strings.ReplaceAll(keys, "*", "")) {
			if !used[typ+"."+key] {
				t.Errorf("testdata/full.yaml has no %s in a %s", key, typ)
			}
		}
	}
}

// collect notes the keys that are set in v and below.
func collect(v reflect.Value, used map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			collect(v.Elem(), used)
		}
	case reflect.Slice:
		for i := range v.Len() {
			collect(v.Index(i), used)
		}
	case reflect.Struct:
		typ := schema.TypeOf(v.Type())
		for _, f := range typ.Fields {
			if field := v.FieldByName(f.GoName); !field.IsZero() {
				used[typ.Go.Name()+"."+f.Name] = true
				collect(field, used)
			}
		}
	}
}

// everyFieldIsDocumented walks all types of all kinds: each field has a comment, and its example, if there is one,
// is a value of the field.
func (s Suite) everyFieldIsDocumented(t *testing.T) {
	t.Helper()
	docs := comments(t)
	seen := map[reflect.Type]bool{}
	var walk func(typ *schema.Type)
	walk = func(typ *schema.Type) {
		if typ == nil || seen[typ.Go] {
			return
		}
		seen[typ.Go] = true
		walk(typ.Elem)
		if typ.Class == schema.Struct && !strings.HasPrefix(docs[typ.Go.Name()], typ.Go.Name()+" ") {
			t.Errorf("comment of %s = %q; want one that starts with the name", typ.Go.Name(), docs[typ.Go.Name()])
		}
		for _, f := range typ.Fields {
			walk(f.Type)
			key := f.Owner.Name() + "." + f.GoName
			if !strings.HasPrefix(docs[key], f.GoName+" ") {
				t.Errorf("comment of %s = %q; want one that starts with the name", key, docs[key])
			}
			text := example(docs[key])
			if text == "" {
				continue
			}
			var report schema.Report
			value := reflect.New(typ.Go)
			for _, node := range schema.Parse("", []byte(text), &report) {
				r := schema.NewReporter(&report, "", "", node)
				schema.Decode(node, value.Interface(), r, others(typ, f.Name)...)
				if schema.Child(node, f.Name) == nil {
					t.Errorf("example of %s has no key %s", key, f.Name)
				}
			}
			for _, p := range report {
				if !strings.HasSuffix(p.Message, "is required") || p.Path != "" {
					t.Errorf("example of %s: %s", key, p)
				}
			}
			if value.Elem().FieldByName(f.GoName).IsZero() {
				t.Errorf("example of %s sets nothing", key)
			}
		}
	}
	for _, kind := range s.Kinds {
		walk(schema.TypeOf(reflect.TypeOf(kind.New())))
	}
}

// others are the keys of typ but name: an example of one field has no other.
func others(typ *schema.Type, name string) []string {
	return slices.DeleteFunc(typ.Names(), func(s string) bool { return s == name })
}

// keys holds the names, requirements and order-free set of keys to the published list.
func (s Suite) keys(t *testing.T) {
	t.Helper()
	got := map[string]string{}
	var walk func(typ *schema.Type)
	walk = func(typ *schema.Type) {
		for typ != nil && typ.Class != schema.Struct {
			typ = typ.Elem
		}
		if typ == nil || got[typ.Go.Name()] != "" {
			return
		}
		var keys []string
		for _, f := range typ.Fields {
			key := f.Name
			if f.Required && !slices.Contains(strings.Fields(s.Required[typ.Go.Name()]), key) {
				key += "*"
			}
			keys = append(keys, key)
		}
		got[typ.Go.Name()] = strings.Join(keys, " ")
		for _, f := range typ.Fields {
			walk(f.Type)
		}
	}
	for _, kind := range s.Kinds {
		walk(schema.TypeOf(reflect.TypeOf(kind.New())))
	}
	if diff := cmp.Diff(s.Keys, got); diff != "" {
		t.Errorf("keys differ (-want +got):\n%s", diff)
	}
}

// shown matches a message with a value that the cases use where a secret stands.
var shown = regexp.MustCompile(`"[^"]*secret[^"]*"|c2VjcmV0|PRIVATE KEY-----\\n`)

func (s Suite) rules(t *testing.T) {
	t.Helper()
	const file = "testdata/rules.txt"
	cases := readRules(t, file)
	material := Material(t)
	for i, c := range cases {
		t.Run(c.name(), func(t *testing.T) {
			set, report := s.Load(material.Replace(c.input), c.role())
			if report.Err() == nil {
				s.checkRoundTrip(t, set)
			}
			var got []string
			for _, p := range report {
				got = append(got, p.String())
				if shown.MatchString(p.Message) {
					t.Errorf("message %q shows a secret value", p.Message)
				}
			}
			if *update {
				cases[i].want = got
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
	}
	if *update {
		writeRules(t, file, cases)
	}
}

// rulesCoverEveryKind keeps a kind from coming without a case.
func (s Suite) rulesCoverEveryKind(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("testdata/rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range s.Kinds {
		if !strings.Contains(string(text), "kind: "+kind.Name+"\n") {
			t.Errorf("testdata/rules.txt has no case with kind %s", kind.Name)
		}
	}
}

// Fuzz feeds any YAML to every kind: nothing may panic, and what has no error must encode.
func (s Suite) Fuzz(f *testing.F) {
	f.Helper()
	text, err := os.ReadFile("testdata/rules.txt")
	if err != nil {
		f.Fatal(err)
	}
	for one := range strings.SplitSeq(string(text), "=== ") {
		_, input, _ := strings.Cut(one, "\n")
		input, _, _ = strings.Cut(input, ">>> ")
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var report schema.Report
		for _, node := range schema.Parse("", []byte(text), &report) {
			for _, kind := range s.Kinds {
				var own schema.Report
				doc := kind.New()
				r := schema.NewReporter(&own, "", kind.Name, node)
				schema.Decode(node, doc, r, "apiVersion", "kind")
				schema.Validate(doc, r) // also what did not decode well must not make it panic
				e := schema.Entry{Value: doc, Node: node}
				for _, role := range []schema.Role{schema.ControlPlane, schema.Worker} {
					s.Check(&schema.Check{Set: schema.Set{e, e}, Role: role, Report: &own})
				}
				if own.Err() == nil {
					if _, err := schema.Encode(schema.EncodeValue(doc)); err != nil {
						t.Errorf("Encode(%s) = %v; want nil", kind.Name, err)
					}
				}
			}
		}
	})
}
