package reference_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"talos.internal/config/blockdoc"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/reference"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

// documented returns the kinds whose documentation is held to be complete.
func documented() []schema.Kind {
	return slices.Concat(
		[]schema.Kind{rootdoc.Kind()}, netdoc.Kinds(), kubedoc.Kinds(), blockdoc.Kinds(), sysdoc.Kinds())
}

func typeOf(k schema.Kind) *schema.Type { return schema.TypeOf(reflect.TypeOf(k.New())) }

// eachType calls f with t and every type with keys below it, once each.
func eachType(t *schema.Type, seen map[*schema.Type]bool, f func(*schema.Type)) {
	if t == nil || seen[t] {
		return
	}
	seen[t] = true
	if t.Class == schema.Struct {
		f(t)
	}
	for _, field := range t.Fields {
		eachType(field.Type, seen, f)
	}
	eachType(t.Elem, seen, f)
}

func TestEveryFieldIsDocumented(t *testing.T) {
	seen := map[*schema.Type]bool{}
	for _, k := range documented() {
		if len(reference.TypeComment(typeOf(k).Go).Examples) == 0 {
			t.Errorf("%s has no example", k.Name)
		}
		eachType(typeOf(k), seen, func(st *schema.Type) {
			if reference.TypeComment(st.Go).Text == "" {
				t.Errorf("%s has no comment in the table; run go run ./internal/docgen", st.Go)
			}
			for _, f := range st.Fields {
				if reference.FieldComment(f).Text == "" {
					t.Errorf("%s.%s has no comment in the table; run go run ./internal/docgen", f.Owner, f.GoName)
				}
			}
		})
	}
}

func TestExamplesAreValid(t *testing.T) {
	seen := map[*schema.Type]bool{}
	for _, k := range documented() {
		for _, x := range reference.TypeComment(typeOf(k).Go).Examples {
			checkDocument(t, k, x)
		}
		eachType(typeOf(k), seen, func(st *schema.Type) {
			for _, f := range st.Fields {
				for _, x := range reference.FieldComment(f).Examples {
					checkField(t, st, f, x)
				}
			}
		})
	}
}

// checkDocument decodes and validates example, a document of kind k.
func checkDocument(t *testing.T, k schema.Kind, example string) {
	t.Helper()
	var report schema.Report
	nodes := schema.Parse("", []byte(example), &report)
	if len(nodes) != 1 {
		t.Errorf("the example of %s has %d documents; want 1: %s\n%s", k.Name, len(nodes), report, example)
		return
	}
	d := k.New()
	r := schema.NewReporter(&report, "", k.Name, nodes[0].Content[0])
	skip := []string{"apiVersion", "kind"}
	if isRoot(k) {
		skip = nil
	} else if kind := schema.Child(nodes[0], "kind"); kind == nil || kind.Value != k.Name {
		t.Errorf("the example of %s is a document of another kind:\n%s", k.Name, example)
	}
	schema.Decode(nodes[0], d, r, skip...)
	if len(report.Of(schema.Error)) == 0 {
		schema.Validate(d, r)
	}
	if bad := report.Of(schema.Error); len(bad) > 0 {
		t.Errorf("the example of %s is not valid:\n%s%s", k.Name, bad, example)
	}
}

// checkField decodes example, a mapping with the key of f alone, as a value of st. What else st requires may be missing.
func checkField(t *testing.T, st *schema.Type, f *schema.Field, example string) {
	t.Helper()
	var report schema.Report
	nodes := schema.Parse("", []byte(example), &report)
	if len(nodes) != 1 || len(nodes[0].Content[0].Content) != 2 || schema.Child(nodes[0], f.Name) == nil {
		t.Errorf("the example of %s.%s is not a mapping of the key %s alone: %s\n%s", f.Owner, f.GoName, f.Name, report, example)
		return
	}
	v := reflect.New(st.Go)
	r := schema.NewReporter(&report, "", "", nodes[0].Content[0])
	schema.Decode(nodes[0], v.Interface(), r)
	for _, p := range report.Of(schema.Error) {
		if p.Path == "" && strings.HasPrefix(p.Message, "the key ") && strings.HasSuffix(p.Message, " is required") {
			continue
		}
		t.Errorf("the example of %s.%s is not valid: %s\n%s", f.Owner, f.GoName, p, example)
	}
}

// isRoot reports whether k is the root document, which has a version and no kind.
func isRoot(k schema.Kind) bool { return k.Name == "v1alpha1" }
