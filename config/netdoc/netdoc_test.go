package netdoc_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
)

var update = flag.Bool("update", false, "write what is reported into the files of testdata")

var registry = schema.NewRegistry(netdoc.Kinds())

// kindOf returns the kind of document n.
func kindOf(t *testing.T, n *yaml.Node) schema.Kind {
	t.Helper()
	name := schema.Child(n, "kind")
	if name == nil {
		t.Fatal("the document has no kind")
	}
	kind, ok := registry.Kind(name.Value)
	if !ok {
		t.Fatalf("Kind(%q) = false; want true", name.Value)
	}
	return kind
}

// decode returns the documents of text and what their decoder, and their own rules if validate is set, report.
func decode(t *testing.T, text string, validate bool) (schema.Set, schema.Report) {
	t.Helper()
	var report schema.Report
	var set schema.Set
	for _, n := range schema.Parse("", []byte(text), &report) {
		doc := kindOf(t, n).New()
		var own schema.Report
		r := schema.NewReporter(&own, "", "", n)
		schema.Decode(n, doc, r, "apiVersion", "kind")
		if len(own) == 0 && validate {
			schema.Validate(doc, r)
		}
		for _, p := range own {
			report.Add(p)
		}
		set = append(set, schema.Entry{Value: doc, Node: n})
	}
	return set, report
}

// cases calls run with each config of a file and compares what it returns with what the file has for it. The file has, for
// each case, a line "== NAME", the config, a line "=>", and what is reported.
func cases(t *testing.T, file string, run func(t *testing.T, text string) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(data), "== ")
	out := head
	for one := range strings.SplitSeq(rest, "\n== ") {
		name, body, _ := strings.Cut(one, "\n")
		text, want, ok := strings.Cut(body+"\n", "=>\n")
		if !ok {
			t.Fatalf("%s: %s has no line =>", file, name)
		}
		want = strings.TrimRight(want, "\n")
		t.Run(name, func(t *testing.T) {
			got := strings.TrimRight(run(t, text), "\n")
			if got != want && !*update {
				t.Errorf("%s in %s:\ngot\n%s\nwant\n%s", name, file, got, want)
			}
			out += "== " + name + "\n" + text + "=>\n" + got + "\n\n"
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestValidate holds the rules of single documents: what is reported, where, and in which words.
func TestValidate(t *testing.T) {
	cases(t, "testdata/validate.txt", func(t *testing.T, text string) string {
		_, report := decode(t, text, true)
		return report.String()
	})
}

// TestCheck holds the rules between documents. A first line "# role: worker" gives the config a root document.
func TestCheck(t *testing.T) {
	cases(t, "testdata/check.txt", func(t *testing.T, text string) string {
		set, report := decode(t, text, false)
		if len(report) > 0 {
			t.Fatalf("Decode = %s; want no problem", report)
		}
		role, _, _ := strings.Cut(text, "\n")
		role, ok := strings.CutPrefix(role, "# role: ")
		if !ok {
			role = ""
		}
		netdoc.Check(&schema.Check{Set: set, Role: schema.Role(role), Report: &report})
		return report.String()
	})
}

// TestKubeSpanNeedsIdentity is apart from the others because the identity is another package's document.
func TestKubeSpanNeedsIdentity(t *testing.T) {
	for _, tc := range []struct {
		name string
		role schema.Role
		with bool
		want string
	}{
		{"without", schema.Worker, false, "KubeSpanConfig: enabled: KubeSpan needs discovery, which has no identity here; add a DiscoveryIdentityConfig\n"},
		{"with", schema.Worker, true, ""},
		{"part of a config", "", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := schema.Set{{Value: &netdoc.KubeSpanConfig{Enabled: true}}}
			if tc.with {
				set = append(set, schema.Entry{Value: identity{}})
			}
			var report schema.Report
			netdoc.Check(&schema.Check{Set: set, Role: tc.role, Report: &report})
			if got := report.String(); got != tc.want {
				t.Errorf("Check = %q; want %q", got, tc.want)
			}
		})
	}
}

type identity struct{}

func (identity) DocumentKind() string { return "DiscoveryIdentityConfig" }

func TestKinds(t *testing.T) {
	controlPlane := map[string]bool{"Layer2VIPConfig": true, "HCloudVIPConfig": true}
	single := map[string]bool{
		"HostnameConfig": true, "ResolverConfig": true, "TimeSyncConfig": true, "NetworkDefaultActionConfig": true,
		"KubeSpanConfig": true, "KubeSpanEndpointsConfig": true,
	}
	for _, k := range netdoc.Kinds() {
		if got := k.New().DocumentKind(); got != k.Name {
			t.Errorf("%s: DocumentKind() = %q; want %q", k.Name, got, k.Name)
		}
		if k.Subject != "network" || k.ControlPlaneOnly != controlPlane[k.Name] || k.Named() == single[k.Name] {
			t.Errorf("%s = subject %q, control plane only %v, named %v; want network, %v, %v",
				k.Name, k.Subject, k.ControlPlaneOnly, k.Named(), controlPlane[k.Name], !single[k.Name])
		}
	}
	if k, ok := registry.Kind("KubeSpanEndpoints"); !ok || k.Name != "KubeSpanEndpointsConfig" {
		t.Errorf("Kind(KubeSpanEndpoints) = %q, %v; want KubeSpanEndpointsConfig, true", k.Name, ok)
	}
}
