package rootdoc_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
)

// TestExamples decodes the examples in doc comments, which become the reference, and holds that every type and field of
// the document has a doc comment.
func TestExamples(t *testing.T) {
	types := map[string]*schema.Type{}
	var walk func(ty *schema.Type)
	walk = func(ty *schema.Type) {
		if ty.Elem != nil {
			walk(ty.Elem)
		}
		if ty.Class != schema.Struct || types[ty.Go.Name()] != nil {
			return
		}
		types[ty.Go.Name()] = ty
		for _, f := range ty.Fields {
			walk(f.Type)
		}
	}
	walk(schema.TypeOf(reflect.TypeFor[rootdoc.Config]()))
	seen, examples := map[string]bool{}, 0
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			spec := g.Specs[0].(*ast.TypeSpec)
			ty := types[spec.Name.Name]
			body, isStruct := spec.Type.(*ast.StructType)
			if ty == nil || !isStruct {
				continue
			}
			seen[spec.Name.Name] = true
			if !strings.HasPrefix(g.Doc.Text(), spec.Name.Name+" ") {
				t.Errorf("%s has no doc comment", spec.Name.Name)
			}
			examples += checkExample(t, ty, "", g.Doc.Text())
			for _, f := range body.Fields.List {
				name := f.Names[0].Name
				if !strings.HasPrefix(f.Doc.Text(), name+" ") {
					t.Errorf("%s.%s has no doc comment", spec.Name.Name, name)
				}
				examples += checkExample(t, ty, name, f.Doc.Text())
			}
		}
	}
	for name := range types {
		if !seen[name] {
			t.Errorf("the type %s was not found in the package", name)
		}
	}
	if examples < 30 {
		t.Errorf("found %d examples; want at least 30", examples)
	}
}

// checkExample decodes the example in doc, if there is one, and returns how many there were.
func checkExample(t *testing.T, ty *schema.Type, field, doc string) int {
	t.Helper()
	_, text, ok := strings.Cut(doc, "Example:\n")
	if !ok {
		return 0
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(line, "\t"))
	}
	var report schema.Report
	docs := schema.Parse("", []byte(b.String()), &report)
	if len(docs) != 1 {
		t.Errorf("%s.%s: the example has %d documents: %v", ty.Go.Name(), field, len(docs), report)
		return 1
	}
	if field != "" && schema.Child(docs[0], keyOf(ty, field)) == nil {
		t.Errorf("%s.%s: the example lacks the key itself:\n%s", ty.Go.Name(), field, b.String())
	}
	v := reflect.New(ty.Go)
	schema.Decode(docs[0], v.Interface(), schema.NewReporter(&report, "", "", docs[0]))
	for _, p := range report {
		if field == "" || p.Path != "" { // a part of an object lacks what the whole one requires
			t.Errorf("%s.%s: %v", ty.Go.Name(), field, p)
		}
	}
	return 1
}

func keyOf(ty *schema.Type, goName string) string {
	for _, f := range ty.Fields {
		if f.GoName == goName {
			return f.Name
		}
	}
	return ""
}
