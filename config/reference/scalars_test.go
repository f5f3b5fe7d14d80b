package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"talos.internal/config/schema"
)

// TestSharedScalarsHaveASchema holds that no type of packages scalar and expr that a document can hold was forgotten: those
// with a method Expects.
func TestSharedScalarsHaveASchema(t *testing.T) {
	have := map[string]bool{}
	for typ := range known {
		have[typ.String()] = true
	}
	found := 0
	for _, dir := range []string{"../scalar", "../expr"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, file.Name()), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range tree.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Recv == nil || f.Name.Name != "Expects" {
					continue
				}
				found++
				if name := path.Base(dir) + "." + f.Recv.List[0].Type.(*ast.Ident).Name; !have[name] {
					t.Errorf("%s has no JSON Schema in known", name)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d scalars; want more than 20", found)
	}
}

func TestCommentsAreSorted(t *testing.T) {
	for i := 1; i < len(comments); i++ {
		if comments[i-1].key >= comments[i].key {
			t.Errorf("%s stands before %s; lookup needs them sorted", comments[i-1].key, comments[i].key)
		}
	}
	if len(comments) == 0 {
		t.Error("the table is empty; run go run ./internal/docgen")
	}
}

// shouting is a scalar that says itself what it accepts.
type shouting string

func (shouting) JSONSchema() map[string]any { return map[string]any{"pattern": "^[A-Z]+$"} }

func TestAScalarMaySayItsSchema(t *testing.T) {
	w := &schemaWriter{defs: map[string]any{}}
	got := w.value(schema.TypeOf(reflect.TypeFor[shouting]()))
	if got["pattern"] != "^[A-Z]+$" {
		t.Errorf("value(shouting) = %v; want its own pattern", got)
	}
	if got := w.value(schema.TypeOf(reflect.TypeFor[map[string]string]()))["additionalProperties"]; !reflect.DeepEqual(got, oneOfTypes("string", "number", "boolean")) {
		t.Errorf("value(map[string]string) has values %v; want strings, numbers and booleans", got)
	}
}

// loop is an object inside itself.
type loop struct {
	Next *loop  `yaml:"next"`
	All  []loop `yaml:"all"`
}

func TestAnObjectInsideItself(t *testing.T) {
	w := &schemaWriter{defs: map[string]any{}}
	w.value(schema.TypeOf(reflect.TypeFor[loop]()))
	if len(w.defs) != 1 || w.defs["reference.loop"] == nil {
		t.Errorf("definitions = %v; want one of reference.loop", w.defs)
	}
	if got := objects(schema.TypeOf(reflect.TypeFor[loop]())); len(got) != 0 {
		t.Errorf("objects(loop) = %d objects; want none beside it", len(got))
	}
}
