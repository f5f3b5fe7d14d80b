package resources

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/util/jsonpath"

	"talos.internal/api/statepb"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource/meta"
)

// An item is a resource of a node, or one event about it.
type item struct {
	node  string
	event string // of a watch; empty otherwise
	res   *statepb.Resource
	def   meta.DefinitionSpec
}

// A printer prints items. flush is called after the last one of a list, or when a watch has nothing more at hand.
type printer interface {
	// begin is called before the items of a type, of which there may be none.
	begin(def meta.DefinitionSpec) error
	print(i item) error
	flush() error
}

// newPrinter returns the printer of an output format, or an error that says which there are.
func newPrinter(w io.Writer, format string, watch bool) (printer, error) {
	if path, ok := strings.CutPrefix(format, "jsonpath="); ok {
		j, err := parsePath(path)
		if err != nil {
			return nil, fmt.Errorf("jsonpath: %w", err)
		}
		return &pathPrinter{w: w, path: j}, nil
	}
	switch format {
	case "table":
		return &tablePrinter{w: w, watch: watch}, nil
	case "yaml":
		return &yamlPrinter{w: w}, nil
	case "json":
		return &jsonPrinter{w: w}, nil
	}
	return nil, fmt.Errorf("expected table, yaml, json or jsonpath=TEMPLATE, got %q", format)
}

func parsePath(path string) (*jsonpath.JSONPath, error) {
	j := jsonpath.New("output").AllowMissingKeys(true)
	return j, j.Parse(path)
}

// tablePrinter prints a table for each type; a watch has only one type, and its rows are printed as they come.
type tablePrinter struct {
	w     io.Writer
	watch bool

	def   string // the type that the table is of
	table *nodes.Table
	live  *nodes.LiveTable
	// held are the rows that a watch begins with, so that the columns fit them.
	held [][]any
}

func (t *tablePrinter) print(i item) error {
	cells, err := row(i, t.watch)
	if err != nil {
		return err
	}
	switch {
	case !t.watch:
		t.table.Row(cells...)
		return nil
	case t.held != nil:
		t.held = append(t.held, cells)
		return nil
	}
	return t.live.Row(cells...)
}

func (t *tablePrinter) begin(def meta.DefinitionSpec) error {
	if t.def == def.Type {
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	headings := []string{"NODE"}
	if t.watch {
		headings = append(headings, "*")
	}
	headings = append(headings, "NAMESPACE", "TYPE", "ID", "VERSION")
	for _, c := range def.PrintColumns {
		headings = append(headings, strings.ToUpper(c.Name))
	}
	t.def = def.Type
	t.table = nodes.NewTable(headings...)
	t.live = nodes.NewLiveTable(t.w, headings)
	t.held = [][]any{}
	return nil
}

func (t *tablePrinter) flush() error {
	if t.def == "" {
		return nil
	}
	if !t.watch {
		t.def = ""
		return t.table.Write(t.w)
	}
	held := t.held
	t.held = nil
	t.live.Fit(held)
	for _, cells := range held {
		if err := t.live.Row(cells...); err != nil {
			return err
		}
	}
	return nil
}

// row is the line of an item. A column whose path leads nowhere is empty.
func row(i item, watch bool) ([]any, error) {
	md := i.res.GetMetadata()
	cells := []any{i.node}
	if watch {
		cells = append(cells, map[string]string{"created": "+", "destroyed": "-"}[i.event])
	}
	cells = append(cells, md.GetNamespace(), i.def.DisplayType, md.GetId(), md.GetVersion())
	spec, err := decode(i.res.GetSpec().GetYamlSpec())
	if err != nil {
		return nil, fmt.Errorf("read %s %s of %s: %w", i.def.DisplayType, md.GetId(), i.node, err)
	}
	for _, c := range i.def.PrintColumns {
		cells = append(cells, cell(c.JSONPath, spec))
	}
	return cells, nil
}

func cell(path string, spec any) string {
	j, err := parsePath(path)
	if err != nil {
		return "?" // the machine's mistake; the other columns are still of use
	}
	var b bytes.Buffer
	if err := j.Execute(&b, spec); err != nil {
		return ""
	}
	return b.String()
}

// decode reads YAML as what encoding/json would have made of it.
func decode(text string) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return nil, err
	}
	return plain(v), nil
}

// plain turns maps with keys that are no strings, which YAML has and JSON has not.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = plain(e)
		}
	case map[any]any:
		out := map[string]any{}
		for k, e := range v {
			out[fmt.Sprint(k)] = plain(e)
		}
		return out
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return v
}

// document is an item as one YAML document: node, metadata and spec.
func document(i item) (*yaml.Node, error) {
	doc, err := Document(i.event, i.res)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.node, err)
	}
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: i.node}
	doc.Content = append([]*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: "node"}, name}, doc.Content...)
	return doc, nil
}

// Document returns a resource as a YAML mapping of its metadata and its spec, after the name of the event about it, if there
// is one.
func Document(event string, r *statepb.Resource) (*yaml.Node, error) {
	md := r.GetMetadata()
	head := struct {
		Namespace   string            `yaml:"namespace"`
		Type        string            `yaml:"type"`
		ID          string            `yaml:"id"`
		Version     yaml.Node         `yaml:"version"`
		Owner       string            `yaml:"owner,omitempty"`
		Phase       string            `yaml:"phase"`
		Created     string            `yaml:"created,omitempty"`
		Updated     string            `yaml:"updated,omitempty"`
		Labels      map[string]string `yaml:"labels,omitempty"`
		Annotations map[string]string `yaml:"annotations,omitempty"`
		Finalizers  []string          `yaml:"finalizers,omitempty"`
	}{
		Namespace: md.GetNamespace(), Type: md.GetType(), ID: md.GetId(), Owner: md.GetOwner(), Phase: md.GetPhase(),
		// A version is a number, but for "undefined": as YAML it is whatever it looks like.
		Version: yaml.Node{Kind: yaml.ScalarNode, Value: md.GetVersion()},
		Labels:  md.GetLabels(), Annotations: md.GetAnnotations(), Finalizers: md.GetFinalizers(),
	}
	if t := md.GetCreated(); t != nil {
		head.Created = t.AsTime().UTC().Format(time.RFC3339)
	}
	if t := md.GetUpdated(); t != nil {
		head.Updated = t.AsTime().UTC().Format(time.RFC3339)
	}
	var spec yaml.Node
	if err := yaml.Unmarshal([]byte(r.GetSpec().GetYamlSpec()), &spec); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", md.GetType(), md.GetId(), err)
	}
	body := &yaml.Node{Kind: yaml.MappingNode}
	if spec.Kind == yaml.DocumentNode {
		body = spec.Content[0]
	}
	whole := struct {
		Event    string     `yaml:"event,omitempty"`
		Metadata any        `yaml:"metadata"`
		Spec     *yaml.Node `yaml:"spec"`
	}{event, head, body}
	var out yaml.Node
	return &out, out.Encode(whole)
}

type yamlPrinter struct {
	w     io.Writer
	begun bool
}

func (y *yamlPrinter) print(i item) error {
	doc, err := document(i)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if y.begun {
		b.WriteString("---\n")
	}
	y.begun = true
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(4)
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err = y.w.Write(b.Bytes())
	return err
}

func (*yamlPrinter) begin(meta.DefinitionSpec) error { return nil }

func (*yamlPrinter) flush() error { return nil }

// tree is an item as what encoding/json makes of its JSON.
func tree(i item) (any, error) {
	doc, err := document(i)
	if err != nil {
		return nil, err
	}
	var v any
	if err := doc.Decode(&v); err != nil {
		return nil, err
	}
	return plain(v), nil
}

type jsonPrinter struct{ w io.Writer }

func (j *jsonPrinter) print(i item) error {
	v, err := tree(i)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(j.w)
	enc.SetIndent("", "    ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (*jsonPrinter) begin(meta.DefinitionSpec) error { return nil }

func (*jsonPrinter) flush() error { return nil }

type pathPrinter struct {
	w    io.Writer
	path *jsonpath.JSONPath
}

func (p *pathPrinter) print(i item) error {
	v, err := tree(i)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := p.path.Execute(&b, v); err != nil {
		return fmt.Errorf("jsonpath: %w", err)
	}
	b.WriteByte('\n')
	_, err = p.w.Write(b.Bytes())
	return err
}

func (*pathPrinter) begin(meta.DefinitionSpec) error { return nil }

func (*pathPrinter) flush() error { return nil }
