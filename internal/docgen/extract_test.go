package main

import (
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes files, by path, to a new directory that it returns.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const dogs = `package dogdoc

import (
	"talos.internal/config/catdoc"
	"talos.internal/config/scalar"
)

// DogConfig keeps a dog,
// see [Dog], [scalar.Size], [7] and [dog].
//
// Second paragraph:
//   - one item
//     on two lines
//   - another
//
// And code:
//
//	woof
//
// Example:
//
//	kind: DogConfig
//	name: rex
//
// Example:
//
//	kind: DogConfig
type DogConfig struct {
	Common ` + "`yaml:\",inline\"`" + `
	// Toys are what it has.
	//
	// Example:
	//
	//	toys:
	//	    - ball
	Toys []*Toy ` + "`yaml:\"toys\"`" + `
	// Names are names.
	Names map[string]Name ` + "`yaml:\"names\"`" + `
	// Cat is its friend.
	Cat *catdoc.Cat ` + "`yaml:\"cat\"`" + `
	// Age is its age.
	Age scalar.Duration ` + "`yaml:\"age\"`" + `
	hidden int
	Skipped int ` + "`yaml:\"-\"`" + `
}

func (*DogConfig) DocumentKind() string { return "DogConfig" }

type (
	// Common is common.
	Common struct {
		// Color is its color.
		Color string ` + "`yaml:\"color\"`" + `
	}
	// Toy is a toy.
	Toy struct {
		// Part is another toy.
		Part *Toy ` + "`yaml:\"part\"`" + `
	}
	// Name is a name.
	Name string
)

type unreachable struct {
	X int ` + "`yaml:\"x\"`" + `
}
`

const cats = `package catdoc

// Cat is a cat.
type Cat struct{}
`

func TestExtract(t *testing.T) {
	root := tree(t, map[string]string{
		"config/dogdoc/dog.go": dogs, "config/catdoc/cat.go": cats,
		"config/dogdoc/dog_test.go": "this is not Go", "config/dogdoc/notes.txt": "nor this",
	})
	got, err := extract(root, []string{"config/dogdoc", "config/catdoc", "config/absent"})
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"catdoc.Cat", "Cat is a cat.", nil},
		{"dogdoc.Common", "Common is common.", nil},
		{"dogdoc.Common.Color", "Color is its color.", nil},
		{"dogdoc.DogConfig", "DogConfig keeps a dog, see Dog, scalar.Size, [7] and [dog].\n\nSecond paragraph:\n\n- one item on two lines\n- another\n\nAnd code:\n\n    woof",
			[]string{"kind: DogConfig\nname: rex\n", "kind: DogConfig\n"}},
		{"dogdoc.DogConfig.Age", "Age is its age.", nil},
		{"dogdoc.DogConfig.Cat", "Cat is its friend.", nil},
		{"dogdoc.DogConfig.Names", "Names are names.", nil},
		{"dogdoc.DogConfig.Toys", "Toys are what it has.", []string{"toys:\n    - ball\n"}},
		{"dogdoc.Name", "Name is a name.", nil},
		{"dogdoc.Toy", "Toy is a toy.", nil},
		{"dogdoc.Toy.Part", "Part is another toy.", nil},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("extract (-want +got):\n%s", diff)
	}
	file := generate(got)
	formatted, err := format.Source(file)
	if err != nil {
		t.Fatalf("the generated file is not Go: %v", err)
	}
	if diff := cmp.Diff(string(formatted), string(file)); diff != "" {
		t.Errorf("the generated file is not formatted (-gofmt +got):\n%s", diff)
	}
}

func TestExtractNamesWhatIsNotDocumented(t *testing.T) {
	const kind = "func (*A) DocumentKind() string { return \"A\" }\n"
	for _, tc := range []struct{ name, text, want string }{
		{"kind", "type A struct{}\n", "config/adoc/a.go:2: type A has no comment; say what it does for the user"},
		{"field", "// A is a.\ntype A struct {\n\tX int `yaml:\"x\"`\n}\n",
			"config/adoc/a.go:4: field A.X has no comment; say what it does for the user"},
		{"field with an example alone", "// A is a.\ntype A struct {\n\t// Example:\n\t//\n\t//\tx: 1\n\tX int `yaml:\"x\"`\n}\n",
			"config/adoc/a.go:7: field A.X has no comment; say what it does for the user"},
		{"type of a field, and its field", "// A is a.\ntype A struct {\n\t// X is x.\n\tX []B `yaml:\"x\"`\n}\ntype B struct {\n\tY int `yaml:\"y\"`\n}\n",
			"config/adoc/a.go:7: type B has no comment; say what it does for the user\n" +
				"config/adoc/a.go:8: field B.Y has no comment; say what it does for the user"},
		{"type without a name", "// A is a.\ntype A struct {\n\t// X is x.\n\tX struct{ Y int } `yaml:\"x\"`\n}\n",
			"config/adoc/a.go:5: a struct without a name cannot be documented; declare a type for it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := tree(t, map[string]string{"config/adoc/a.go": "package adoc\n" + tc.text + kind})
			_, err := extract(root, []string{"config/adoc"})
			if err == nil || err.Error() != tc.want {
				t.Errorf("extract = %v; want %s", err, tc.want)
			}
		})
	}
}

func TestExtractOfWhatIsNotGo(t *testing.T) {
	root := tree(t, map[string]string{"config/adoc/a.go": "package adoc\nfunc {"})
	if _, err := extract(root, []string{"config/adoc"}); err == nil || !strings.Contains(err.Error(), "config/adoc/a.go:2") {
		t.Errorf("extract = %v; want an error that names config/adoc/a.go:2", err)
	}
}

func TestWriterChecks(t *testing.T) {
	root := t.TempDir()
	w := writer{root: root}
	for i, want := range []bool{true, false} {
		if changed, err := w.write("a/b.txt", []byte("one")); changed != want || err != nil {
			t.Errorf("write %d = %t, %v; want %t, nil", i, changed, err, want)
		}
	}
	w.check = true
	if _, err := w.write("a/b.txt", []byte("one")); err != nil {
		t.Errorf("check of a current file = %v; want nil", err)
	}
	_, err := w.write("a/b.txt", []byte("two"))
	if want := "a/b.txt is not up to date; run go run ./internal/docgen"; err == nil || err.Error() != want {
		t.Errorf("check of a stale file = %v; want %s", err, want)
	}
	if _, err := w.write("a/c.txt", nil); err == nil {
		t.Error("check of a missing file = nil; want an error")
	}
	if got, _ := os.ReadFile(filepath.Join(root, "a", "b.txt")); string(got) != "one" {
		t.Errorf("after a check the file is %q; want it as it was", got)
	}
}

func TestPagesThatBelongToNothing(t *testing.T) {
	root := t.TempDir()
	w := writer{root: root}
	if err := w.pages(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(root, filepath.FromSlash(pagesDir), "OldConfig.md")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (writer{root: root, check: true}).pages(); err == nil || !strings.Contains(err.Error(), "OldConfig.md belongs to nothing") {
		t.Errorf("check with an old page = %v; want an error that names it", err)
	}
	if err := w.pages(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("after pages the old page is there (%v); want it gone", err)
	}
}

// TestGeneratedFilesAreCurrent is what fails when a comment of a document package was changed and the reference was not.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if err := run([]string{"-check"}); err != nil {
		t.Error(err)
	}
}

func TestRunRefusesOtherArguments(t *testing.T) {
	if err := run([]string{"everything"}); err == nil {
		t.Error(`run("everything") = nil; want an error`)
	}
}
