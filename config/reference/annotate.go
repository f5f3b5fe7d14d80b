package reference

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
)

// The layout of comments in a config.
const (
	lineWidth   = 100 // columns that a comment may take
	indentWidth = 4   // of one level in an encoded document
	leastWidth  = 40  // a comment never gets narrower than this, however deep it stands
)

// Annotate adds comments to n, an encoded document of kind: with docs, above each key what it does; with examples, for each
// key that is not set and has an example, that example in comments where the key would stand. What was in n stays as it
// is, its comments too: without its comments the document is the same, byte for byte.
//
// An example can be put to use by removing the first "# " from its lines.
func Annotate(n *yaml.Node, kind schema.Kind, docs, examples bool) {
	if n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return
		}
		n = n.Content[0]
	}
	a := annotator{docs: docs, examples: examples}
	t := kindType(kind)
	a.mapping(n, t, 0)
	if docs && n.Kind == yaml.MappingNode && len(n.Content) > 0 {
		about := lines(TypeComment(t.Go).Text, lineWidth-2)
		first := n.Content[0]
		first.HeadComment = join(strings.Join(about, "\n"), first.HeadComment)
	}
}

type annotator struct{ docs, examples bool }

// value annotates n, which a field of type t holds at the given depth.
func (a annotator) value(n *yaml.Node, t *schema.Type, depth int) {
	if n.Style&yaml.FlowStyle != 0 {
		return // {} and [] have no lines to stand above
	}
	switch {
	case t.Class == schema.Struct:
		a.mapping(n, t, depth)
	case t.Class == schema.List && n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		a.value(n.Content[0], t.Elem, depth+1) // once is enough
	case t.Class == schema.Map && n.Kind == yaml.MappingNode && len(n.Content) > 1:
		a.value(n.Content[1], t.Elem, depth+1)
	}
}

// mapping annotates n, of struct type t.
func (a annotator) mapping(n *yaml.Node, t *schema.Type, depth int) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return
	}
	waiting := a.gaps(n, t, depth)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := t.Field(key.Value)
		if f == nil {
			continue
		}
		a.value(value, f.Type, depth+1)
		head := waiting[i]
		if a.docs {
			head = join(head, strings.Join(lines(FieldComment(f).Text, width(depth)), "\n"))
		}
		key.HeadComment = join(head, key.HeadComment)
	}
	if rest := waiting[len(n.Content)]; rest != "" {
		last := n.Content[len(n.Content)-2]
		last.FootComment = join(last.FootComment, rest)
	}
}

// gaps returns the examples of keys of t that n lacks, by the index in n.Content of the key that they stand before: the
// first that is declared after them and that nothing declared before them follows.
func (a annotator) gaps(n *yaml.Node, t *schema.Type, depth int) map[int]string {
	if !a.examples {
		return nil
	}
	place := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		place[n.Content[i].Value] = i
	}
	out := map[int]string{}
	after := 0 // the index beyond the keys declared so far
	for i := 0; i+1 < len(n.Content); i += 2 {
		if t.Field(n.Content[i].Value) == nil {
			after = i + 2 // apiVersion and kind come first
			continue
		}
		break
	}
	for _, f := range t.Fields {
		if i, set := place[f.Name]; set {
			after = max(after, i+2)
			continue
		}
		out[after] = join(out[after], a.example(f, depth))
	}
	return out
}

// example returns the commented-out example of f, or "".
func (a annotator) example(f *schema.Field, depth int) string {
	c := FieldComment(f)
	if len(c.Examples) == 0 || f.Deprecated != "" {
		return ""
	}
	var out []string
	if a.docs {
		for _, l := range lines(c.Text, width(depth)-2) {
			out = append(out, "# "+l)
		}
	}
	for l := range strings.SplitSeq(strings.TrimRight(c.Examples[0], "\n"), "\n") {
		out = append(out, strings.TrimRight("# "+l, " "))
	}
	return strings.Join(out, "\n")
}

func width(depth int) int { return max(lineWidth-depth*indentWidth-2, leastWidth) }

// join puts an empty line between two comments of which either may be empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n\n" + b
}

// lines returns plain text (see [Comment]) as lines of a comment whose text has at most width columns, except for words
// and lines of code that are longer.
func lines(plain string, width int) []string {
	if plain == "" {
		return nil
	}
	var out []string
	for l := range strings.SplitSeq(plain, "\n") {
		switch {
		case l == "":
			out = append(out, "#")
		case strings.HasPrefix(l, "    "):
			out = append(out, "# "+l)
		default:
			hang := ""
			if strings.HasPrefix(l, "- ") {
				hang = "  "
			}
			for i, w := range wrap(l, width, hang) {
				if i > 0 {
					w = hang + w
				}
				out = append(out, "# "+w)
			}
		}
	}
	return out
}

// wrap breaks s at spaces into lines of at most width columns, of which those after the first leave room for hang.
func wrap(s string, width int, hang string) []string {
	var out []string
	line, columns := "", 0
	for w := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(w)
		room := width
		if len(out) > 0 {
			room -= len(hang)
		}
		if line != "" && columns+1+n > room {
			out = append(out, line)
			line, columns = "", 0
		}
		if line != "" {
			line += " "
			columns++
		}
		line += w
		columns += n
	}
	return append(out, line)
}
