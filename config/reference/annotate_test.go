package reference_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/reference"
	"talos.internal/config/schema"
	"talos.internal/internal/golden"
)

// parseOne returns the document node of text, which must be one document.
func parseOne(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var report schema.Report
	nodes := schema.Parse("", []byte(text), &report)
	if len(report) > 0 || len(nodes) != 1 {
		t.Fatalf("Parse = %d documents, report %s; want 1 and nothing; input:\n%s", len(nodes), report, text)
	}
	return nodes[0]
}

func encode(t *testing.T, n *yaml.Node) []byte {
	t.Helper()
	out, err := schema.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func stripComments(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		stripComments(c)
	}
}

func kindNamed(t *testing.T, kinds []schema.Kind, name string) schema.Kind {
	t.Helper()
	for _, k := range kinds {
		if k.Name == name {
			return k
		}
	}
	t.Fatalf("there is no kind %s", name)
	return schema.Kind{}
}

func TestAnnotateGolden(t *testing.T) {
	const trim = "apiVersion: v1alpha1\nkind: FilesystemTrimConfig\ninterval: 168h0m0s\n"
	const volume = "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning:\n    minSize: 10GiB\n" +
		"encryption:\n    keys:\n        - slot: 0\n          tpm: {}\n        - slot: 1\n          nodeID: {}\nmount:\n    secure: true\n"
	for _, tc := range []struct {
		name, kind, text string
		docs, examples   bool
	}{
		{"trim-docs", "FilesystemTrimConfig", trim, true, false},
		{"trim-unset", "FilesystemTrimConfig", "apiVersion: v1alpha1\nkind: FilesystemTrimConfig\n", true, true},
		{"volume-docs", "VolumeConfig", volume, true, false},
		{"volume-examples", "VolumeConfig", volume, false, true},
		{"volume-both", "VolumeConfig", volume, true, true},
		{"volume-disorder", "VolumeConfig", "mount:\n    secure: true\nkind: VolumeConfig\nprovisioning:\n    grow: false\n" +
			"    diskSelector:\n        match: system_disk\nname: EPHEMERAL\napiVersion: v1alpha1\n", false, true},
		{"volume-flow", "VolumeConfig", "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {minSize: 10GiB}\n",
			true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := parseOne(t, tc.text)
			reference.Annotate(n, kindNamed(t, blockdoc.Kinds(), tc.kind), tc.docs, tc.examples)
			out := encode(t, n)
			golden.Check(t, tc.name+".yaml", out)
			for line := range strings.SplitSeq(string(out), "\n") {
				if len(line) > 104 {
					t.Errorf("line of %d bytes; want about 100: %s", len(line), line)
				}
			}
		})
	}
}

func TestAnnotateKeepsTheDocument(t *testing.T) {
	for _, k := range documented() {
		for _, x := range reference.TypeComment(typeOf(k).Go).Examples {
			t.Run(k.Name, func(t *testing.T) {
				checkKept(t, k, x)
			})
		}
	}
	t.Run("samples", func(t *testing.T) {
		for _, file := range []string{"testdata/many-documents.yaml", "testdata/root-style.yaml"} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var report schema.Report
			for _, n := range schema.Parse(file, text, &report) {
				name := "v1alpha1"
				if k := schema.Child(n, "kind"); k != nil {
					name = k.Value
				}
				checkKept(t, kindNamed(t, documented(), name), string(encode(t, n)))
			}
		}
	})
	t.Run("key by key", func(t *testing.T) {
		for _, k := range documented() {
			for _, f := range typeOf(k).Fields {
				for _, x := range reference.FieldComment(f).Examples {
					checkKept(t, k, x)
				}
			}
		}
	})
}

// checkKept annotates text, a document of kind k, and compares it without comments to what it was.
func checkKept(t *testing.T, k schema.Kind, text string) {
	t.Helper()
	plain := parseOne(t, text)
	stripComments(plain)
	want := encode(t, plain)
	for _, with := range []struct{ docs, examples bool }{{true, false}, {false, true}, {true, true}} {
		n := parseOne(t, string(want))
		reference.Annotate(n, k, with.docs, with.examples)
		out := encode(t, n)
		back := parseOne(t, string(out))
		stripComments(back)
		if got := encode(t, back); !bytes.Equal(got, want) {
			t.Errorf("%s with docs %t, examples %t changes (-want +got):\n%s\nannotated:\n%s",
				k.Name, with.docs, with.examples, cmp.Diff(string(want), string(got)), out)
		}
		if with.docs && !strings.Contains(string(out), "# ") {
			t.Errorf("%s has no comments:\n%s", k.Name, out)
		}
	}
}

func TestAnnotateOffersNothingDeprecated(t *testing.T) {
	n := parseOne(t, "version: v1alpha1\nmachine:\n    type: worker\ncluster:\n    token: abcdef.0123456789abcdef\n")
	reference.Annotate(n, kindNamed(t, documented(), "v1alpha1"), false, true)
	out := string(encode(t, n))
	if !strings.Contains(out, "# certSANs:") {
		t.Errorf("the example of machine.certSANs is not there:\n%s", out)
	}
	if strings.Contains(out, "# sysctls:") {
		t.Errorf("the example of machine.sysctls, which is deprecated, is there:\n%s", out)
	}
}

func TestAnnotateOfNothing(t *testing.T) {
	n := &yaml.Node{Kind: yaml.DocumentNode}
	reference.Annotate(n, blockdoc.Kinds()[0], true, true)
	if len(n.Content) != 0 {
		t.Errorf("Annotate adds %d nodes; want none", len(n.Content))
	}
}
