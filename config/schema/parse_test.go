package schema_test

import (
	"strings"
	"testing"

	"talos.internal/config/schema"
)

func problems(text string) string {
	var report schema.Report
	schema.Parse("c.yaml", []byte(text), &report)
	return report.String()
}

func TestParseRefusesWhatIsBeyondBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "*" + string(c-1) + "]\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"size", strings.Repeat("#", 100<<20), "the limit is 16777216 bytes (16 MiB)"},
		{"many keys", strings.Repeat("a: b\n", 800_000), "the limit is 750000"},
		{"many items", "[" + strings.Repeat("a,", 800_000) + "]", "the limit is 750000"},
		{"many nested items", strings.Repeat("- ", 800_000), "the limit is 750000"},
		{"alias bomb", bomb, "more than 1000000 values once its aliases are expanded"},
		{"alias in its own anchor", "a: &a [*a]\n", "stands inside its own anchor"},
		{"deep flow", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested deeper than 200 levels"},
		{"deep block", strings.Repeat("- ", 5000) + "x", "nested deeper than 200 levels"},
		{"endless flow", strings.Repeat("[", 700_000), "not valid YAML"},
		{"endless mapping", strings.Repeat("{a: ", 300_000), "not valid YAML"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := problems(tc.text); !strings.Contains(got, tc.want) {
				t.Errorf("problems = %.300q; want %q in it", got, tc.want)
			}
		})
	}
}

func TestParseReportsSyntaxWithItsLine(t *testing.T) {
	var report schema.Report
	docs := schema.Parse("c.yaml", []byte("a: 1\n---\nb: [1\nc: 2\n"), &report)
	if len(docs) != 1 {
		t.Errorf("Parse returned %d documents; want the 1 before the error", len(docs))
	}
	if got := report.String(); !strings.HasPrefix(got, "c.yaml:") || !strings.Contains(got, "not valid YAML") {
		t.Errorf("problems = %q; want a place and the reason", got)
	}
}

func TestParseSkipsEmptyDocuments(t *testing.T) {
	var report schema.Report
	docs := schema.Parse("", []byte("---\n---\n# nothing\n---\na: 1\n---\n"), &report)
	if len(docs) != 1 || len(report) != 0 {
		t.Errorf("Parse = %d documents, problems %q; want 1 and none", len(docs), report.String())
	}
}

func TestKeysMustBeScalars(t *testing.T) {
	if got := problems("{[a]: 1}\n"); !strings.Contains(got, "a key must be a plain word") {
		t.Errorf("problems = %q", got)
	}
}

func TestReportIsBounded(t *testing.T) {
	var report schema.Report
	for range 1000 {
		report.Add(schema.Problem{Severity: schema.Error, Message: "x"})
	}
	if len(report) != 201 {
		t.Errorf("a report has %d problems; want 201", len(report))
	}
	if got := report[200].Message; got != "more than 200 problems; the rest is left out" {
		t.Errorf("the last problem is %q", got)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"mtu", "addresses", "bondMode", "links"}
	for _, tc := range []struct{ got, want string }{
		{"adresses", "addresses"}, {"BondMode", "bondMode"}, {"bond_mode", "bondMode"}, {"mut", "mtu"},
		{"x", ""}, {"", ""}, {"gateway", ""}, {strings.Repeat("m", 10000), ""},
	} {
		if got := schema.Nearest(tc.got, names); got != tc.want {
			t.Errorf("Nearest(%.20q) = %q; want %q", tc.got, got, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a: &x [1, *x]\n"))
	f.Add([]byte("<<: {a: 1}\n? [b]\n: c\n"))
	f.Add([]byte("name: Rex\nlegs: 4\ntoys: [{name: a}]\n---\n- 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var report schema.Report
		for _, d := range schema.Parse("f", data, &report) {
			var p pet
			r := schema.NewReporter(&report, "f", "", d)
			schema.Decode(d, &p, r)
			schema.Validate(&p, r)
			if _, err := schema.Encode(d); err != nil {
				t.Skip() // the encoder refuses some trees; it must not panic
			}
			if _, err := schema.Encode(schema.EncodeValue(&p)); err != nil {
				t.Errorf("what was decoded does not encode: %v", err)
			}
		}
	})
}

func TestWithin(t *testing.T) {
	for _, tc := range []struct {
		path, above string
		want        bool
	}{
		{"a.b", "a", true}, {"a[0]", "a", true}, {"a", "a", true}, {"a.b", "", true}, {"ab", "a", false}, {"a", "a.b", false}, {"", "", true},
	} {
		if got := schema.Within(tc.path, tc.above); got != tc.want {
			t.Errorf("Within(%q, %q) = %v; want %v", tc.path, tc.above, got, tc.want)
		}
	}
}
