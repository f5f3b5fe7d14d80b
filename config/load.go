package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/patch"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

// apiVersion is the value of apiVersion of all kinds.
const apiVersion = "v1alpha1"

// Registry returns the kinds that documents may have, apart from the root document's.
var Registry = sync.OnceValue(func() *schema.Registry {
	return schema.NewRegistry(kubedoc.Kinds(), netdoc.Kinds(), blockdoc.Kinds(), sysdoc.Kinds())
})

// Types gives the plan of a kind's documents, for patches and documentation; [patch.RootKind] is the root document.
func Types(kind string) (*schema.Type, bool) {
	if kind == patch.RootKind {
		return schema.TypeOf(reflect.TypeFor[rootdoc.Config]()), true
	}
	k, ok := Registry().Kind(kind)
	if !ok {
		return nil, false
	}
	return schema.TypeOf(reflect.TypeOf(k.New())), true
}

// Config is a machine config. It is immutable.
type Config struct {
	file string
	docs []*yaml.Node
	set  schema.Set
}

// Load reads a config; file stands for it in messages and may be empty. It fails with a [*schema.InvalidError] that has every
// problem of the documents taken one by one. Rules between documents and of a mode are [Config.Check]'s.
func Load(file string, data []byte) (*Config, error) {
	var report schema.Report
	c := load(file, data, &report)
	if err := report.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// load reads what can be read of a config and reports the rest.
func load(file string, data []byte, report *schema.Report) *Config {
	c := &Config{file: file, docs: schema.Parse(file, data, report)}
	if len(c.docs) == 0 && report.Err() == nil {
		report.Add(schema.Problem{Severity: schema.Error, File: file, Message: "the config is empty; expected at least one document"})
	}
	l := loader{file: file, report: report, first: map[string]int{}}
	for _, d := range c.docs {
		if v := l.document(d); v != nil {
			c.set = append(c.set, schema.Entry{Value: v, Node: d, File: file})
		}
	}
	return c
}

// loader reads the documents of one input.
type loader struct {
	file   string
	report *schema.Report
	first  map[string]int // the line of each document, by its title
}

func (l *loader) problem(n *yaml.Node, path, message, hint string) {
	l.report.Add(schema.Problem{
		Severity: schema.Error, File: l.file, Line: n.Line, Column: n.Column, Path: path, Message: message, Hint: hint,
	})
}

// document decodes one document and returns nil if it is of no known kind.
func (l *loader) document(d *yaml.Node) schema.Document {
	root := d.Content[0]
	if root.Kind != yaml.MappingNode {
		l.problem(root, "", "expected a document with apiVersion and kind, or the root document with version: v1alpha1", "")
		return nil
	}
	kind := schema.Child(d, "kind")
	if kind == nil {
		return l.root(d)
	}
	k, ok := Registry().Kind(kind.Value)
	if !ok {
		hint := ""
		if near := schema.Nearest(kind.Value, Registry().Names()); near != "" {
			hint = "did you mean " + strconv.Quote(near) + "?"
		}
		l.problem(kind, "kind", "unknown kind "+strconv.Quote(kind.Value), hint)
		return nil
	}
	v := schema.Child(d, "apiVersion")
	switch {
	case v == nil:
		l.problem(root, "", k.Name+": the key \"apiVersion\" is required", "write apiVersion: "+apiVersion)
	case v.Value != apiVersion:
		l.problem(v, "apiVersion", fmt.Sprintf("%s: expected %s, got %q", k.Name, apiVersion, v.Value), "")
	}
	doc := k.New()
	l.decode(d, doc, "apiVersion", "kind")
	return doc
}

// root decodes the root document.
func (l *loader) root(d *yaml.Node) schema.Document {
	if schema.Child(d, "version") == nil && schema.Child(d, "apiVersion") != nil {
		l.problem(d.Content[0], "", "the key \"kind\" is required", "")
		return nil
	}
	doc := &rootdoc.Config{}
	l.decode(d, doc)
	return doc
}

// decode sets doc from d, validates it, and reports it if it is there twice.
func (l *loader) decode(d *yaml.Node, doc schema.Document, skip ...string) {
	before := len(*l.report)
	title := doc.DocumentKind()
	if name := schema.Child(d, "name"); name != nil && name.Kind == yaml.ScalarNode {
		title += " " + name.Value
	}
	if title == rootdoc.Version {
		title = ""
	}
	r := schema.NewReporter(l.report, l.file, title, d.Content[0])
	schema.Decode(d, doc, r, skip...)
	if _, named := doc.(schema.NamedDocument); named && schema.Child(d, "name") == nil && len(*l.report) == before {
		r.Errorf("the key \"name\" is required")
	}
	l.validate(doc, d, title, (*l.report)[before:])
	if line, twice := l.first[title]; twice {
		r.Hintf("merge the two", "the document is there twice; it was first on line %d", line)
		return
	}
	l.first[title] = d.Content[0].Line
}

// validate reports what the rules of doc say. Rules take the fields' own rules for granted: what they say about a place where
// a field is already wrong, or about what holds it, is left out, as it may only follow from that.
func (l *loader) validate(doc schema.Document, d *yaml.Node, title string, wrong schema.Report) {
	wrong = slices.Clone(wrong)
	var found schema.Report
	schema.Validate(doc, schema.NewReporter(&found, l.file, title, d.Content[0]))
	for _, p := range found {
		if !slices.ContainsFunc(wrong, func(w schema.Problem) bool { return schema.Within(p.Path, w.Path) || schema.Within(w.Path, p.Path) }) {
			l.report.Add(p)
		}
	}
}

// New returns a config of docs, which must not be changed any more. It fails as [Load] does, with problems that have no
// line: nobody has seen the text.
func New(docs ...schema.Document) (*Config, error) {
	nodes := make([]*yaml.Node, len(docs))
	for i, d := range docs {
		nodes[i] = Node(d)
	}
	data, err := schema.Encode(nodes...)
	if err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	c, err := Load("", data)
	for i := range schema.AsInvalid(err) {
		p := &schema.AsInvalid(err)[i]
		p.Line, p.Column = 0, 0
	}
	return c, err
}

// Node returns the document node of d as it is written to a file.
func Node(d schema.Document) *yaml.Node {
	n := schema.EncodeValue(d)
	if d.DocumentKind() != rootdoc.Version {
		head := []*yaml.Node{
			schema.StringNode("apiVersion"), schema.StringNode(apiVersion),
			schema.StringNode("kind"), schema.StringNode(d.DocumentKind()),
		}
		n.Content = append(head, n.Content...)
		n.Style &^= yaml.FlowStyle
	}
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{n}}
}

// Documents returns the documents as they were written, in their order. The caller must not change them.
func (c *Config) Documents() schema.Set { return c.set }

// Root returns the root document, or nil if c has none and is therefore not complete.
func (c *Config) Root() *rootdoc.Config {
	root, _ := schema.Find[*rootdoc.Config](c.set)
	return root
}

// Role returns what the machine is in its cluster; empty without a root document.
func (c *Config) Role() schema.Role {
	if root := c.Root(); root != nil {
		return root.Role()
	}
	return ""
}

// Nodes returns the documents' YAML trees in their order. The caller must not change them.
func (c *Config) Nodes() []*yaml.Node { return c.docs }

// Bytes returns c as YAML, with the comments that it was read with.
func (c *Config) Bytes() ([]byte, error) { return schema.Encode(c.docs...) }

// Patch returns c changed by patches, in their order. It fails with the first patch's problems, or with those of the
// result; c itself stays as it is. A patch that matches nothing is [patch.ErrNoMatch]. A patch with old-style fields of the
// root document changes their successors where the config is made of documents.
func (c *Config) Patch(patches ...patch.Patch) (*Config, error) {
	docs := c.docs
	for _, p := range patches {
		var report schema.Report
		p.Check(Types, &report)
		if err := report.Err(); err != nil {
			return nil, fmt.Errorf("patch %s: %w", p.Name(), err)
		}
		lifted, err := lift(docs, p)
		if err != nil {
			return nil, err
		}
		if docs, err = patch.Apply(docs, Types, lifted); err != nil {
			return nil, err
		}
	}
	data, err := schema.Encode(docs...)
	if err != nil {
		return nil, fmt.Errorf("encode the patched config: %w", err)
	}
	patched, err := Load(c.file, data)
	if err != nil {
		return nil, fmt.Errorf("after %s: %w", names(patches), err)
	}
	return patched, nil
}

func names(patches []patch.Patch) string {
	list := make([]string, len(patches))
	for i, p := range patches {
		list[i] = p.Name()
	}
	return "patch " + strings.Join(list, ", ")
}
