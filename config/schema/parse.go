package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of an input. They are far above any real config (the largest seen, with the manifests of a CNI
// inline, is under 1 MiB) and keep the cost of a hostile one under a second and 400 MiB.
const (
	// MaxSize is the size of an input in bytes.
	MaxSize = 16 << 20
	// maxTokens bounds the lines, list items and keys of an input, and with them the parser's memory.
	maxTokens = 750_000
	// maxNodes bounds the nodes of all documents after aliases are expanded.
	maxNodes = 1_000_000
	// maxDepth bounds nesting. Manifests nest to about 30.
	maxDepth = 200
)

// Parse reads a stream of YAML documents. Each result is a document node whose aliases and merge keys are expanded,
// so that what follows sees plain trees: no anchor is left in them. Empty documents are left out.
//
// It reports syntax errors, duplicate keys, keys that are not scalars, and inputs beyond the bounds: [MaxSize], 750,000
// lines and items, 1,000,000 nodes, 200 levels. After a syntax error the documents before it are still returned.
func Parse(file string, data []byte, report *Report) []*yaml.Node {
	if len(data) > MaxSize {
		report.Add(Problem{
			Severity: Error, File: file,
			Message: fmt.Sprintf("the input is too large; the limit is %d bytes (16 MiB)", MaxSize),
			Hint:    "move large manifests to a URL (KubeExternalManifestConfig)",
		})
		return nil
	}
	if n := countTokens(data); n > maxTokens {
		report.Add(Problem{
			Severity: Error, File: file,
			Message: fmt.Sprintf("the input has %d lines, keys and list items; the limit is %d", n, maxTokens),
		})
		return nil
	}
	var docs []*yaml.Node
	x := expander{file: file, report: report, budget: maxNodes}
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		node, err := next(d)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			report.Add(syntaxProblem(file, err))
			return docs
		}
		root := content(node)
		if root == nil || root.Kind == yaml.ScalarNode && root.Tag == "!!null" && root.Value == "" {
			continue
		}
		if !x.document(node) {
			return docs
		}
		docs = append(docs, node)
	}
}

// next decodes one document. The parser is not ours: a panic in it becomes an error like any other.
func next(d *yaml.Decoder) (node *yaml.Node, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("yaml: the parser gave up: %v", v)
		}
	}()
	node = new(yaml.Node)
	if err := d.Decode(node); err != nil {
		return nil, err
	}
	return node, nil
}

var lineOfError = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?((?s).*)$`)

// syntaxProblem translates an error of the YAML parser, which has its line in its text.
func syntaxProblem(file string, err error) Problem {
	m := lineOfError.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(m[1])
	return Problem{
		Severity: Error, File: file, Line: line,
		Message: "not valid YAML: " + m[2],
		Hint:    "what follows this place was not read",
	}
}

// countTokens counts, from above, the nodes that data can parse to. It does not know strings or comments, so that
// it counts too many, never too few: each node but the first of a document follows one of these bytes.
func countTokens(data []byte) int {
	n := 0
	for _, c := range data {
		switch c {
		case '\n', '\r', ',', '[', '{':
			n++
		}
	}
	for i := 0; i+1 < len(data); i++ {
		switch data[i] {
		case '-', '?', ':': // "- - - a": one node an indicator
			if c := data[i+1]; c == ' ' || c == '\t' {
				n++
			}
		}
	}
	return n
}

// content returns the root of a document node, or n itself if it is another kind of node, or nil if there is none.
func content(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return nil
		}
		return n.Content[0]
	}
	return n
}

// resolve follows an alias. Parsed trees have none; trees that somebody built may.
func resolve(n *yaml.Node) *yaml.Node {
	for range 8 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

// KeyIndex returns the index of key in the Content of mapping m, or -1; its value follows it.
func KeyIndex(m *yaml.Node, key string) int {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// Child returns the value of key in mapping m, or nil if m is no mapping or lacks the key.
func Child(m *yaml.Node, key string) *yaml.Node {
	m = content(m)
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	if i := KeyIndex(m, key); i >= 0 {
		return resolve(m.Content[i+1])
	}
	return nil
}

// Clone returns a deep copy of n. Aliases are kept as pointers to the original anchors.
func Clone(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		c.Content[i] = Clone(child)
	}
	return &c
}

// expander replaces aliases and merge keys by what they stand for, and checks mappings, within a budget of nodes.
type expander struct {
	file   string
	report *Report
	budget int
	over   bool
}

// document expands one document in place. It reports false when the budget is spent.
func (x *expander) document(doc *yaml.Node) bool {
	doc.Content[0] = x.expand(doc.Content[0], "", 0, nil)
	return !x.over
}

func (x *expander) problem(n *yaml.Node, path, message string) {
	x.report.Add(Problem{Severity: Error, File: x.file, Line: n.Line, Column: n.Column, Path: path, Message: message})
}

// expand returns n without aliases. open holds the anchors that are being expanded: one inside itself has no end.
func (x *expander) expand(n *yaml.Node, path string, depth int, open []*yaml.Node) *yaml.Node {
	if x.over {
		return n
	}
	x.budget--
	switch {
	case x.budget < 0:
		x.over = true
		x.problem(n, "", fmt.Sprintf("the input has more than %d values once its aliases are expanded", maxNodes))
		return n
	case depth > maxDepth:
		x.over = true
		x.problem(n, "", fmt.Sprintf("nested deeper than %d levels", maxDepth))
		return n
	}
	switch n.Kind {
	case yaml.AliasNode:
		for _, o := range open {
			if o == n.Alias {
				x.over = true
				x.problem(n, path, fmt.Sprintf("alias *%s stands inside its own anchor", n.Value))
				return n
			}
		}
		c := x.expand(cloneAt(n.Alias, n), path, depth, append(open[:len(open):len(open)], n.Alias))
		return c
	case yaml.SequenceNode:
		n.Anchor = ""
		for i, item := range n.Content {
			n.Content[i] = x.expand(item, Index(path, i), depth+1, open)
		}
	case yaml.MappingNode:
		n.Anchor = ""
		x.mapping(n, path, depth, open)
	default:
		n.Anchor = ""
	}
	return n
}

// cloneAt copies the top of an anchored node; its children stay shared until expand copies them in turn. The copy
// takes the alias's place, so that a message points at where the value is used.
func cloneAt(anchored, alias *yaml.Node) *yaml.Node {
	c := *anchored
	c.Anchor = ""
	c.Line, c.Column = alias.Line, alias.Column
	c.HeadComment, c.LineComment, c.FootComment = alias.HeadComment, alias.LineComment, alias.FootComment
	c.Content = make([]*yaml.Node, len(anchored.Content))
	for i, child := range anchored.Content {
		cc := *child
		cc.Content = append([]*yaml.Node(nil), child.Content...)
		c.Content[i] = &cc
	}
	return &c
}

// mapping expands the values of m, merges "<<" into it, and reports keys that are double or no scalars.
func (x *expander) mapping(m *yaml.Node, path string, depth int, open []*yaml.Node) {
	var merged []*yaml.Node
	own := make([]*yaml.Node, 0, len(m.Content))
	first := make(map[string]int, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		if k.Kind == yaml.AliasNode && k.Alias != nil && k.Alias.Kind == yaml.ScalarNode {
			k = cloneAt(k.Alias, k)
		}
		k.Anchor = ""
		if k.Kind != yaml.ScalarNode {
			x.problem(k, path, "a key must be a plain word or a string, not a list or a mapping")
			continue
		}
		if k.Tag == "!!merge" || k.Value == "<<" && k.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
			merged = append(merged, x.expand(v, path, depth+1, open))
			continue
		}
		at := Join(path, k.Value)
		if line, twice := first[k.Value]; twice {
			x.problem(k, at, fmt.Sprintf("the key is there twice; it was first on line %d", line))
			continue
		}
		first[k.Value] = k.Line
		own = append(own, k, x.expand(v, at, depth+1, open))
	}
	for _, v := range merged {
		own = x.merge(own, first, v, path)
	}
	m.Content = own
}

// merge appends the entries of v, a mapping or a list of mappings, whose keys are not there yet (YAML merge key,
// https://yaml.org/type/merge.html).
func (x *expander) merge(own []*yaml.Node, first map[string]int, v *yaml.Node, path string) []*yaml.Node {
	sources := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		sources = v.Content
	}
	for _, s := range sources {
		if s.Kind != yaml.MappingNode {
			x.problem(s, path, "a merge key (<<) takes a mapping or a list of mappings")
			continue
		}
		for i := 0; i+1 < len(s.Content); i += 2 {
			if _, there := first[s.Content[i].Value]; there {
				continue
			}
			first[s.Content[i].Value] = s.Content[i].Line
			own = append(own, s.Content[i], s.Content[i+1])
		}
	}
	return own
}

// Encode writes documents as one YAML stream, indented by four, separated by "---" lines, with their comments.
func Encode(docs ...*yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	for i, doc := range docs {
		if i > 0 {
			b.WriteString("---\n")
		}
		var one strings.Builder
		e := yaml.NewEncoder(&one)
		e.SetIndent(4)
		if err := e.Encode(doc); err != nil {
			return nil, fmt.Errorf("encode document %d: %w", i+1, err)
		}
		if err := e.Close(); err != nil {
			return nil, fmt.Errorf("encode document %d: %w", i+1, err)
		}
		b.WriteString(one.String())
	}
	return b.Bytes(), nil
}
