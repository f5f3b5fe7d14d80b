package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Section is one of the three lists of a kubeconfig.
type Section string

// The sections, in the order in which they are merged: contexts refer to the other two.
const (
	Clusters Section = "clusters"
	Users    Section = "users"
	Contexts Section = "contexts"
)

// body is the key of an entry beside its name.
func (s Section) body() string { return string(s[:len(s)-1]) }

// Rename is an entry that got another name, because a different one had its own.
type Rename struct {
	Section  Section
	From, To string
}

// Entry names an element of a section.
type Entry struct {
	Section Section
	Name    string
}

// Options say how to merge.
type Options struct {
	// Rename keeps existing entries and gives a new name to an incoming one that differs from the existing
	// one of its name. Without it the incoming one takes the place of the existing one.
	Rename bool
	// Activate makes the incoming current context the current one. A file that has none gets it anyway.
	Activate bool
}

// Result is a merged kubeconfig.
type Result struct {
	// Data is the file's text, with the private keys of both sides.
	Data []byte
	// Renames are in the order of the sections, then of the incoming file.
	Renames []Rename
	// Replaced are the existing entries that incoming ones took the place of.
	Replaced []Entry
	// Context is the name that the incoming current context has now; empty if there was none.
	Context string
}

// Merge adds the entries of one kubeconfig to another, both given as text, YAML or JSON. An empty existing
// text is an empty file.
//
// An entry that is there already, under the same name with the same content, is left alone, so that
// merging twice changes nothing. A conflict is settled as Options say; new names are the old ones with
// -1, -2 and so on, the first that is free or has the same content. References within incoming contexts
// follow. Everything else of the existing file is kept: other entries, unknown fields, comments, order.
// Indentation becomes kubectl's, and a comment at an unusual place may move.
//
// On an error nothing is returned. Errors name the side, the section and the entry, never credentials.
func Merge(existing, incoming []byte, o Options) (Result, error) {
	newDoc, err := parse(incoming)
	if err == nil && newDoc == nil {
		err = errors.New("it is empty")
	}

	if err != nil {
		return Result{}, fmt.Errorf("new kubeconfig: %w", err)
	}

	doc, err := parse(existing)
	if err != nil {
		return Result{}, fmt.Errorf("existing kubeconfig: %w", err)
	}

	if doc == nil {
		doc = emptyFile()
	}

	from, into := newDoc.Content[0], doc.Content[0]

	m := merger{options: o, names: map[Section]map[string]string{}}
	for _, section := range []Section{Clusters, Users, Contexts} {
		if err := m.section(into, from, section); err != nil {
			return Result{}, err
		}
	}

	if err := m.activate(into, from); err != nil {
		return Result{}, err
	}

	if m.result.Data, err = marshal(doc); err != nil {
		return Result{}, err
	}

	// The text is a person's way into his clusters: it must say what the tree says. It does not if an entry
	// that was replaced held an anchor that others refer to.
	written, err := parse(m.result.Data)
	if err != nil {
		return Result{}, fmt.Errorf("existing kubeconfig: it cannot be merged as it uses YAML anchors: %w", err)
	}

	if same, err := equal(doc, written); err != nil || !same {
		return Result{}, errors.Join(errors.New("existing kubeconfig: it uses YAML that cannot be written again"), err)
	}

	return m.result, nil
}

type merger struct {
	options Options
	names   map[Section]map[string]string // incoming name to the one that it has now
	result  Result
}

// element is an Entry with its nodes. Body is nil if it has none.
type element struct {
	name       string
	node, body *yaml.Node
}

func (m *merger) section(into, from *yaml.Node, section Section) error {
	m.names[section] = map[string]string{}

	list, err := sectionList(into, section)
	if err != nil {
		return fmt.Errorf("existing kubeconfig: %w", err)
	}

	incoming, err := incomingElements(from, section)
	if err != nil {
		return fmt.Errorf("new kubeconfig: %w", err)
	}

	for _, e := range incoming {
		if section == Contexts {
			m.follow(e.body, Clusters)
			m.follow(e.body, Users)
		}

		if err := m.add(list, section, e); err != nil {
			return fmt.Errorf("merge %s %q: %w", section.body(), e.name, err)
		}
	}

	return nil
}

// follow renames what a context refers to.
func (m *merger) follow(body *yaml.Node, section Section) {
	if ref := value(body, section.body()); ref != nil && ref.Kind == yaml.ScalarNode {
		if name, ok := m.names[section][ref.Value]; ok {
			setString(ref, name)
		}
	}
}

// add puts e into the list under the name that it is to have.
func (m *merger) add(list *yaml.Node, section Section, e element) error {
	name := e.name

	for n := 1; ; n++ {
		have := find(list, section, name)
		if have == nil {
			break
		}

		same, err := equal(have.body, e.body)
		if err != nil {
			return err
		}

		if same {
			m.rename(section, e.name, name)

			return nil
		}

		if !m.options.Rename {
			m.names[section][e.name] = name
			m.result.Replaced = append(m.result.Replaced, Entry{section, name})
			replace(have.node, section, e)

			return nil
		}

		name = fmt.Sprintf("%s-%d", e.name, n)
	}

	m.rename(section, e.name, name)
	setString(value(e.node, "name"), name)

	list.Content = append(list.Content, e.node)

	return nil
}

func (m *merger) rename(section Section, from, to string) {
	m.names[section][from] = to

	if from != to {
		m.result.Renames = append(m.result.Renames, Rename{section, from, to})
	}
}

// activate sets the current context.
func (m *merger) activate(into, from *yaml.Node) error {
	const key = "current-context"

	incoming := value(from, key)
	if incoming == nil || incoming.Kind != yaml.ScalarNode || incoming.Value == "" {
		return nil
	}

	name, ok := m.names[Contexts][incoming.Value]
	if !ok {
		return fmt.Errorf("new kubeconfig: its current context %q is not among its contexts", incoming.Value)
	}

	m.result.Context = name

	current := value(into, key)

	switch {
	case current == nil:
		into.Content = append(into.Content, text(key), text(name))
	case current.Kind != yaml.ScalarNode:
		return fmt.Errorf("existing kubeconfig: line %d: %s: want a string", current.Line, key)
	case current.Value == "" || current.ShortTag() == "!!null" || m.options.Activate:
		setString(current, name)
	}

	return nil
}

// parse returns the document of a kubeconfig, whose only child is a mapping, or nil if data holds nothing.
func parse(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))

	var doc, second yaml.Node

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

	if len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}

	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want a mapping", root.Line)
	}

	seen := map[string]int{}

	for i := 0; i+1 < len(root.Content); i += 2 {
		key := root.Content[i]
		if first := seen[key.Value]; first != 0 {
			return nil, fmt.Errorf("line %d: the key %.40q is on line %d already", key.Line, key.Value, first)
		}

		seen[key.Value] = key.Line
	}

	for key, want := range map[string]string{"apiVersion": "v1", "kind": "Config"} {
		if n := value(root, key); n != nil && n.Value != want {
			return nil, fmt.Errorf("line %d: %s: want %s", n.Line, key, want)
		}
	}

	return &doc, nil
}

func emptyFile() *yaml.Node {
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{
		{Kind: yaml.MappingNode, Content: []*yaml.Node{
			text("apiVersion"), text("v1"), text("kind"), text("Config"),
		}},
	}}
}
