package doctest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
)

// Load decodes and validates the documents of text, and checks them together for a machine of the given role.
func (s Suite) Load(text string, role schema.Role) (schema.Set, schema.Report) {
	registry := schema.NewRegistry(s.Kinds)
	var report schema.Report
	var set schema.Set
	for _, node := range schema.Parse("", []byte(text), &report) {
		name := ""
		if n := schema.Child(node, "kind"); n != nil {
			name = n.Value
		}
		kind, ok := registry.Kind(name)
		if !ok {
			report.Add(schema.Problem{Severity: schema.Error, Message: fmt.Sprintf("unknown kind %q", name)})
			continue
		}
		doc := kind.New()
		var own schema.Report
		r := schema.NewReporter(&own, "", name, node)
		schema.Decode(node, doc, r, "apiVersion", "kind")
		if own.Err() == nil {
			schema.Validate(doc, r)
		}
		report = append(report, own...)
		set = append(set, schema.Entry{Value: doc, Node: node})
	}
	if report.Err() == nil {
		s.Check(&schema.Check{Set: set, Role: role, Report: &report})
	}
	report.Sort()
	return set, report
}

// Encode is what [Suite.Load] undoes: the document with its apiVersion and kind.
func Encode(t *testing.T, d schema.Document) string {
	t.Helper()
	body := schema.EncodeValue(d)
	head := []*yaml.Node{
		schema.StringNode("apiVersion"), schema.StringNode("v1alpha1"), schema.StringNode("kind"), schema.StringNode(d.DocumentKind()),
	}
	body.Content = append(head, body.Content...)
	body.Style = 0
	text, err := schema.Encode(body)
	if err != nil {
		t.Fatalf("Encode(%s) = %v; want nil", schema.Title(d), err)
	}
	return string(text)
}

// ruleCase is one case of testdata/rules.txt: "=== name", or "=== name | role"; the documents; and a line ">>> …" for
// each problem that they have.
type ruleCase struct {
	title string
	input string
	want  []string
}

func (c ruleCase) name() string {
	name, _, _ := strings.Cut(c.title, " | ")
	return name
}

func (c ruleCase) role() schema.Role {
	_, role, _ := strings.Cut(c.title, " | ")
	return schema.Role(role)
}

func readRules(t *testing.T, file string) []ruleCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []ruleCase
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "=== "); ok {
			cases = append(cases, ruleCase{title: strings.TrimSpace(title)})
			continue
		}
		if len(cases) == 0 {
			continue
		}
		c := &cases[len(cases)-1]
		if want, ok := strings.CutPrefix(line, ">>> "); ok {
			c.want = append(c.want, strings.TrimSuffix(want, "\n"))
		} else {
			c.input += line
		}
	}
	return cases
}

func writeRules(t *testing.T, file string, cases []ruleCase) {
	t.Helper()
	var b strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&b, "=== %s\n%s", c.title, c.input)
		for _, line := range c.want {
			fmt.Fprintf(&b, ">>> %s\n", line)
		}
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
