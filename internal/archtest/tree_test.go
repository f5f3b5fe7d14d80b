package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// module is the path of the root module.
const module = "talos.internal"

// source is one Go file of the root module.
type source struct {
	path      string // slash-separated, from the root
	dir       string // path's folder
	test      bool
	generated bool
	lines     int
	syntax    *ast.File
	text      []byte
}

// tree is the Go files of the root module. Nested modules and testdata are not part of it.
type tree struct {
	files []source
	set   *token.FileSet
}

// load parses the tree that starts at root.
func load(root string) (*tree, error) {
	t := &tree{set: token.NewFileSet()}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			return enter(root, p, rel, d.Name())
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		return t.add(p, rel)
	})
	sort.Slice(t.files, func(i, j int) bool { return t.files[i].path < t.files[j].path })
	return t, err
}

// enter decides whether the folder p is part of the tree.
func enter(root, p, rel, name string) error {
	if rel == "." {
		return nil
	}
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != root {
		return fs.SkipDir
	}
	return nil
}

func (t *tree) add(p, rel string) error {
	text, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(t.set, rel, text, parser.ParseComments)
	if err != nil {
		return err
	}
	t.files = append(t.files, source{
		path: rel, dir: path.Dir(rel),
		test:      strings.HasSuffix(rel, "_test.go"),
		generated: ast.IsGenerated(syntax),
		lines:     bytes.Count(text, []byte("\n")),
		syntax:    syntax, text: text,
	})
	return nil
}

// imports returns the packages of the root module that s imports, as folders.
func (s source) imports() []string {
	var out []string
	for _, spec := range s.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil && strings.HasPrefix(p, module+"/") {
			out = append(out, strings.TrimPrefix(p, module+"/"))
		}
	}
	return out
}

// line returns the line of pos.
func (t *tree) line(pos token.Pos) int { return t.set.Position(pos).Line }

// repository loads the tree that this package is in.
func repository(t *testing.T) *tree {
	t.Helper()
	tr, err := load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.files) < 50 {
		t.Fatalf("found %d Go files; the walk has lost its way", len(tr.files))
	}
	return tr
}

// below reports whether folder dir is prefix or in it.
func below(dir, prefix string) bool {
	return dir == prefix || strings.HasPrefix(dir, prefix+"/")
}
