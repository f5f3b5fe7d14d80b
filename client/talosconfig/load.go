package talosconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/secret"
)

// Warning is a key that was not understood. It is kept.
type Warning struct {
	// Path is that of the key, such as contexts.lab.colour.
	Path string
	// Line counts from one.
	Line int
}

// String returns line and path.
func (w Warning) String() string {
	return fmt.Sprintf("line %d: %s: unknown key, kept as it is", w.Line, w.Path)
}

// Load reads a talosconfig. An empty text is an empty Config.
//
// It is strict about types and duplicate keys; the error joins every such problem, each with its line and
// path. Unknown keys are kept and come back as warnings, in the order of the file. YAML anchors are
// refused. Credentials are not decoded: see the package comment.
func Load(data []byte) (*Config, []Warning, error) {
	root, err := document(data)
	if err != nil {
		return nil, nil, err
	}

	c := &Config{Contexts: map[string]*Context{}}
	if root == nil {
		return c, nil, nil
	}

	var l loader

	if alias := findAlias(root); alias != nil {
		return nil, nil, fmt.Errorf("line %d: YAML anchors are not supported", alias.Line)
	}

	l.mapping(root, "", &c.unknown, fields{
		"context": func(n *yaml.Node, path string) { c.Context = l.text(n, path) },
		"contexts": func(n *yaml.Node, path string) {
			l.entries(n, path, func(name string, n *yaml.Node, path string) {
				c.Contexts[name] = l.context(n, path)
			})
		},
	})

	if err := errors.Join(l.problems...); err != nil {
		return nil, nil, err
	}

	slices.SortStableFunc(l.warnings, func(a, b Warning) int { return a.Line - b.Line })

	return c, l.warnings, nil
}

// Open reads the talosconfig at path. If there is none, the error wraps fs.ErrNotExist.
func Open(path string) (*Config, []Warning, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read talosconfig: %w", err)
	}

	c, warnings, err := Load(data)
	if err != nil {
		return nil, nil, fmt.Errorf("read talosconfig %s: %w", path, err)
	}

	return c, warnings, nil
}

// document returns the top node, or nil if data holds nothing.
func document(data []byte) (*yaml.Node, error) {
	var doc, second yaml.Node

	dec := yaml.NewDecoder(bytes.NewReader(data))

	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil && strings.Contains(err.Error(), "unknown anchor"): // which quotes the value
		return nil, errors.New("a value that starts with * refers to a YAML anchor that is not there")
	case err != nil:
		return nil, err
	}

	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one YAML document; found more")
	}

	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return nil, nil
	}

	return doc.Content[0], nil
}

// fields say what to do with the known keys of a mapping.
type fields map[string]func(n *yaml.Node, path string)

type loader struct {
	problems []error
	warnings []Warning
}

func (l *loader) problem(n *yaml.Node, path, format string, args ...any) {
	if path != "" {
		path += ": "
	}

	l.problems = append(l.problems, fmt.Errorf("line %d: %s%s", n.Line, path, fmt.Sprintf(format, args...)))
}

func (l *loader) context(n *yaml.Node, path string) *Context {
	c := &Context{}

	if isNull(n) {
		return c
	}

	l.mapping(n, path, &c.unknown, fields{
		"endpoints": func(n *yaml.Node, path string) { c.Endpoints = l.list(n, path) },
		"nodes":     func(n *yaml.Node, path string) { c.Nodes = l.list(n, path) },
		"ca":        func(n *yaml.Node, path string) { c.CA = l.text(n, path) },
		"crt":       func(n *yaml.Node, path string) { c.Crt = l.text(n, path) },
		"key":       func(n *yaml.Node, path string) { c.Key = secret.NewText(l.text(n, path)) },
		"auth":      func(n *yaml.Node, path string) { c.Auth = l.auth(n, path) },
		"cluster":   func(n *yaml.Node, path string) { c.Cluster = l.text(n, path) },
		"proxy-url": func(n *yaml.Node, path string) { c.ProxyURL = l.text(n, path) },
	})

	return c
}

func (l *loader) auth(n *yaml.Node, path string) *Auth {
	if isNull(n) {
		return nil
	}

	a := &Auth{}

	l.mapping(n, path, &a.unknown, fields{
		"basic": func(n *yaml.Node, _ string) {
			if !isNull(n) {
				a.basic = withoutComments(n)
			}
		},
		"siderov1": func(n *yaml.Node, path string) {
			if isNull(n) {
				return
			}

			a.SideroV1 = &SideroV1{}

			l.mapping(n, path, &a.SideroV1.unknown, fields{
				"identity": func(n *yaml.Node, path string) { a.SideroV1.Identity = l.text(n, path) },
			})
		},
	})

	return a
}

// mapping hands each known key to its function and keeps the others.
func (l *loader) mapping(n *yaml.Node, path string, unknown *map[string]*yaml.Node, known fields) {
	l.entries(n, path, func(key string, value *yaml.Node, path string) {
		if read := known[key]; read != nil {
			read(value, path)

			return
		}

		if *unknown == nil {
			*unknown = map[string]*yaml.Node{}
		}

		(*unknown)[key] = withoutComments(value)
		l.warnings = append(l.warnings, Warning{Path: path, Line: value.Line})
	})
}

// entries goes through a mapping, of which null is an empty one.
func (l *loader) entries(n *yaml.Node, path string, each func(key string, value *yaml.Node, path string)) {
	if isNull(n) {
		return
	}

	if n.Kind != yaml.MappingNode {
		l.problem(n, path, "want a mapping; found %s", describe(n))

		return
	}

	first := map[string]int{}

	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || isNull(key) || key.ShortTag() == "!!merge" {
			l.problem(key, path, "want names for keys; found %s", describe(key))

			continue
		}

		keyPath := strings.TrimPrefix(path+"."+key.Value, ".")

		if line := first[key.Value]; line != 0 {
			l.problem(key, keyPath, "the same key is on line %d", line)

			continue
		}

		first[key.Value] = key.Line

		each(key.Value, n.Content[i+1], keyPath)
	}
}

// text takes a string, of which null is the empty one. A number is an error: quoting says that it is meant.
func (l *loader) text(n *yaml.Node, path string) string {
	switch {
	case isNull(n):
		return ""
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str":
		l.problem(n, path, "want a string; found %s", describe(n))

		return ""
	default:
		return n.Value
	}
}

func (l *loader) list(n *yaml.Node, path string) []string {
	if isNull(n) {
		return nil
	}

	if n.Kind != yaml.SequenceNode {
		l.problem(n, path, "want a list; found %s", describe(n))

		return nil
	}

	var out []string

	for i, item := range n.Content {
		itemPath := fmt.Sprintf("%s[%d]", path, i)

		if text := l.text(item, itemPath); text != "" {
			out = append(out, text)
		} else if isNull(item) || item.ShortTag() == "!!str" {
			l.problem(item, itemPath, "it is empty")
		}
	}

	return out
}

// withoutComments drops the comments of a tree, which YAML moves about when they are written again.
func withoutComments(n *yaml.Node) *yaml.Node {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, child := range n.Content {
		withoutComments(child)
	}

	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func findAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n
	}

	for _, child := range n.Content {
		if alias := findAlias(child); alias != nil {
			return alias
		}
	}

	return nil
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}

	switch n.ShortTag() {
	case "!!str":
		return "a string"
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number, which needs quotes to be a string"
	case "!!bool":
		return "true or false, which needs quotes to be a string"
	case "!!timestamp":
		return "a date, which needs quotes to be a string"
	default:
		return "another kind of value"
	}
}
