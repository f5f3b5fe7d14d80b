package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// entry is what the comment of one declaration says.
type entry struct {
	key      string   // "pkg.Type" or "pkg.Type.GoField"
	text     string   // plain text without the examples; see render
	examples []string // YAML
}

// source is the declarations of the document packages.
type source struct {
	files *token.FileSet
	types map[string]*typeDecl // by "pkg.Type"
	roots []string             // keys of types that are documents
	errs  []error
}

type typeDecl struct {
	pkg     string
	spec    *ast.TypeSpec
	doc     *ast.CommentGroup
	imports map[string]string // package by the name that the file knows it under
}

// extract reads the packages in dirs, paths relative to root, and returns the comments of all types that a document
// can hold and of their fields, sorted by key. A directory that is not there is skipped. The error names each
// declaration that lacks a comment, with its file and line.
func extract(root string, dirs []string) ([]entry, error) {
	s := &source{files: token.NewFileSet(), types: map[string]*typeDecl{}}
	for _, dir := range dirs {
		if err := s.read(root, dir); err != nil {
			return nil, err
		}
	}
	found := map[string]entry{}
	seen := map[string]bool{}
	slices.Sort(s.roots)
	for _, key := range s.roots {
		s.reach(key, seen, found)
	}
	if len(s.errs) > 0 {
		return nil, errors.Join(s.errs...)
	}
	entries := make([]entry, 0, len(found))
	for _, key := range slices.Sorted(maps.Keys(found)) {
		entries = append(entries, found[key])
	}
	return entries, nil
}

// read parses the package in dir.
func (s *source) read(root, dir string) error {
	names, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list package %s: %w", dir, err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name.Name(), ".go") || strings.HasSuffix(name.Name(), "_test.go") {
			continue
		}
		file := path.Join(dir, name.Name())
		src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			return fmt.Errorf("read package %s: %w", dir, err)
		}
		tree, err := parser.ParseFile(s.files, file, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", file, err)
		}
		s.collect(tree)
	}
	return nil
}

// collect notes the types of file, and which of them are documents.
func (s *source) collect(file *ast.File) {
	pkg := file.Name.Name
	imports := map[string]string{}
	for _, spec := range file.Imports {
		name := path.Base(strings.Trim(spec.Path.Value, `"`))
		local := name
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imports[local] = name
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && d.Name.Name == "DocumentKind" {
				s.roots = append(s.roots, pkg+"."+typeName(d.Recv.List[0].Type))
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				t, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				doc := t.Doc
				if doc == nil {
					doc = d.Doc
				}
				s.types[pkg+"."+t.Name.Name] = &typeDecl{pkg: pkg, spec: t, doc: doc, imports: imports}
			}
		}
	}
}

// typeName returns the name of the type in a receiver or an embedded field.
func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

func (s *source) errorf(at ast.Node, format string, args ...any) {
	pos := s.files.Position(at.Pos())
	s.errs = append(s.errs, fmt.Errorf("%s:%d: %s", pos.Filename, pos.Line, fmt.Sprintf(format, args...)))
}

// reach adds the entries of the type named key and of all that it can hold.
func (s *source) reach(key string, seen map[string]bool, found map[string]entry) {
	d := s.types[key]
	if d == nil || seen[key] {
		return
	}
	seen[key] = true
	found[key] = s.entry(key, d.spec, d.doc, "type "+d.spec.Name.Name)
	st, ok := d.spec.Type.(*ast.StructType)
	if !ok {
		s.walk(d, d.spec.Type, seen, found)
		return
	}
	for _, f := range st.Fields.List {
		tag, tagged := yamlTag(f)
		if !tagged || tag == "-" {
			continue
		}
		s.walk(d, f.Type, seen, found)
		if strings.HasSuffix(tag, ",inline") {
			continue
		}
		for _, name := range f.Names {
			if name.IsExported() {
				at := key + "." + name.Name
				found[at] = s.entry(at, f, f.Doc, "field "+d.spec.Name.Name+"."+name.Name)
			}
		}
	}
}

func yamlTag(f *ast.Field) (tag string, ok bool) {
	if f.Tag == nil {
		return "", false
	}
	return reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Lookup("yaml")
}

// walk follows type expression x, which stands in d.
func (s *source) walk(d *typeDecl, x ast.Expr, seen map[string]bool, found map[string]entry) {
	switch x := x.(type) {
	case *ast.Ident:
		s.reach(d.pkg+"."+x.Name, seen, found)
	case *ast.SelectorExpr:
		if pkg, ok := x.X.(*ast.Ident); ok {
			s.reach(d.imports[pkg.Name]+"."+x.Sel.Name, seen, found)
		}
	case *ast.StarExpr:
		s.walk(d, x.X, seen, found)
	case *ast.ArrayType:
		s.walk(d, x.Elt, seen, found)
	case *ast.MapType:
		s.walk(d, x.Value, seen, found)
	case *ast.StructType:
		s.errorf(x, "a struct without a name cannot be documented; declare a type for it")
	}
}

// entry reads the comment of one declaration; what names it in errors.
func (s *source) entry(key string, at ast.Node, doc *ast.CommentGroup, what string) entry {
	text := ""
	if doc != nil {
		text = doc.Text()
	}
	e := entry{key: key}
	e.text, e.examples = render(text)
	if e.text == "" {
		s.errorf(at, "%s has no comment; say what it does for the user", what)
	}
	return e
}

// render returns doc comment text as plain text, and the examples in it. In plain text a paragraph is one line, an empty
// line stands between blocks, items of a list start with "- ", and lines of code with four spaces. An example is a
// block of code after a paragraph that says "Example:".
func render(text string) (plain string, examples []string) {
	p := comment.Parser{LookupPackage: ourPackage, LookupSym: func(string, string) bool { return true }}
	var blocks []string
	pending := false // the last paragraph said "Example:"
	for _, block := range p.Parse(text).Content {
		if code, ok := block.(*comment.Code); ok && pending {
			examples = append(examples, code.Text)
			pending = false
			continue
		}
		pending = false
		switch b := block.(type) {
		case *comment.Paragraph:
			line := flat(b.Text)
			if line == "Example:" {
				pending = true
				continue
			}
			blocks = append(blocks, line)
		case *comment.Heading:
			blocks = append(blocks, flat(b.Text))
		case *comment.List:
			var items []string
			for _, item := range b.Items {
				for _, c := range item.Content {
					if para, ok := c.(*comment.Paragraph); ok {
						items = append(items, "- "+flat(para.Text))
					}
				}
			}
			blocks = append(blocks, strings.Join(items, "\n"))
		case *comment.Code:
			lines := strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n")
			for i, line := range lines {
				lines[i] = strings.TrimRight("    "+line, " ")
			}
			blocks = append(blocks, strings.Join(lines, "\n"))
		}
	}
	return strings.Join(blocks, "\n\n"), examples
}

// ourPackage resolves the package in a link such as [scalar.Size], so that its brackets go.
func ourPackage(name string) (importPath string, ok bool) {
	for _, dir := range append([]string{"config/schema", "config/scalar", "config/expr"}, packages...) {
		if path.Base(dir) == name {
			return dir, true
		}
	}
	return "", false
}

// flat returns the words of text on one line, links as their text.
func flat(text []comment.Text) string {
	var b strings.Builder
	for _, t := range text {
		switch t := t.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		case *comment.Link:
			b.WriteString(flat(t.Text))
		case *comment.DocLink:
			b.WriteString(flat(t.Text))
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
