// Package reference renders the documentation of the machine config: Markdown pages, a JSON Schema for editors, and the
// comments of a generated config.
//
// All of it comes from one place: the Go types of the documents and their doc comments. The comments are compiled in as
// a table (comments_gen.go) that the program internal/docgen writes; the kinds are handed in, so that the package knows
// no document. What the types cannot say in a JSON Schema, a scalar may say itself: see [SchemaProvider].
//
// The same input always gives the same bytes. The package is pure, and imported by the program that writes the pages and
// by commands that print configs.
package reference

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"talos.internal/config/schema"
)

// Comment is what the doc comment of a type or a field says.
type Comment struct {
	// Text is plain text: a paragraph is one line, an empty line stands between blocks, items of a list start with "- " and
	// lines of code with four spaces. It is empty if there is no comment.
	Text string
	// Examples are YAML: a whole document for a kind, else a mapping with the field's own key. The caller must not write
	// to it.
	Examples []string
}

// entry is a row of the generated table.
type entry struct {
	key, text string
	examples  []string
}

// TypeComment returns the comment of t; pointers are followed.
func TypeComment(t reflect.Type) Comment {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return lookup(t.String())
}

// FieldComment returns the comment of f. Where it starts with the name of the Go field, it starts with the key instead.
func FieldComment(f *schema.Field) Comment {
	c := lookup(f.Owner.String() + "." + f.GoName)
	if rest, ok := strings.CutPrefix(c.Text, f.GoName+" "); ok {
		c.Text = f.Name + " " + rest
	}
	return c
}

func lookup(key string) Comment {
	i, ok := slices.BinarySearchFunc(comments, key, func(e entry, key string) int { return strings.Compare(e.key, key) })
	if !ok {
		return Comment{}
	}
	return Comment{Text: comments[i].text, Examples: comments[i].examples}
}

// rootKind is the name of the kind of the root document, which has a version instead of a kind.
const rootKind = "v1alpha1"

// defaultPattern finds what a comment says of a value that is left out.
var defaultPattern = regexp.MustCompile(`(?:Default: |[Tt]he default is |[Ll]eft out, it is )(.*)`)

// Default returns the default that c documents, in words ("168h", "the host name of the machine"), or "". It is what
// follows "Default: ", "The default is " or "Left out, it is ", up to the end of the clause.
func (c Comment) Default() string {
	m := defaultPattern.FindStringSubmatch(c.Text)
	if m == nil {
		return ""
	}
	s := m[1]
	for i := range len(s) {
		switch end := i + 1; {
		case s[i] == '.' && (end == len(s) || s[end] == ' '):
			return s[:i]
		case (s[i] == ',' || s[i] == ';') && end < len(s) && s[end] == ' ' && strings.Count(s[:i], "[") == strings.Count(s[:i], "]"):
			return s[:i]
		}
	}
	return s
}

// Summary returns the first sentence of c.
func (c Comment) Summary() string {
	first, _, _ := strings.Cut(c.Text, "\n")
	for i := range len(first) {
		if first[i] == '.' && (i+1 == len(first) || first[i+1] == ' ' && !abbreviation(first[:i])) {
			return first[:i+1]
		}
	}
	return first
}

func abbreviation(s string) bool { return strings.HasSuffix(s, "e.g") || strings.HasSuffix(s, "i.e") }

// object is a type with keys and the places in a document where it stands.
type object struct {
	typ   *schema.Type
	paths []string
}

// objects returns the objects below the document type t, that itself not included, in order of their first place. An
// object inside itself is listed once.
func objects(t *schema.Type) []*object {
	var all []*object
	byType := map[*schema.Type]*object{}
	var visit func(t *schema.Type, at string)
	visit = func(t *schema.Type, at string) {
		for _, f := range t.Fields {
			inner, path := unwrap(f.Type, schema.Join(at, f.Name))
			if inner.Class != schema.Struct || len(inner.Fields) == 0 {
				continue
			}
			if o := byType[inner]; o != nil {
				o.paths = append(o.paths, path)
				continue
			}
			o := &object{typ: inner, paths: []string{path}}
			byType[inner] = o
			all = append(all, o)
			visit(inner, path)
		}
	}
	byType[t] = &object{}
	visit(t, "")
	return all
}

// unwrap returns the type of the items of t, if t is a list or a map, and their path: [] for an item, * for a value.
func unwrap(t *schema.Type, path string) (*schema.Type, string) {
	for {
		switch t.Class {
		case schema.List:
			t, path = t.Elem, path+"[]"
		case schema.Map:
			t, path = t.Elem, path+".*"
		default:
			return t, path
		}
	}
}
