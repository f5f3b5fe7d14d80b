package reference_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/reference"
	"talos.internal/config/schema"
	"talos.internal/internal/golden"
)

// compile returns the JSON Schema of kinds, checked against the meta-schema.
func compile(t *testing.T, kinds []schema.Kind) *jsonschema.Schema {
	t.Helper()
	text, err := reference.JSONSchema(kinds)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatalf("the JSON Schema does not compile: %v", err)
	}
	return s
}

// instance returns the YAML document n as the JSON value that an editor makes of it.
func instance(t *testing.T, n *yaml.Node) any {
	t.Helper()
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchemaAcceptsSamples(t *testing.T) {
	s := compile(t, documented())
	known := schema.NewRegistry(documented())
	for _, file := range []string{"testdata/many-documents.yaml", "testdata/root-style.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var report schema.Report
		for _, n := range schema.Parse(file, text, &report) {
			kind := "v1alpha1"
			if k := schema.Child(n, "kind"); k != nil {
				kind = k.Value
			}
			t.Run(kind, func(t *testing.T) {
				if _, ok := known.Kind(kind); !ok {
					t.Skipf("no package declares %s yet", kind)
				}
				if err := s.Validate(instance(t, n)); err != nil {
					t.Errorf("%s line %d: %v; want valid", file, n.Line, err)
				}
			})
		}
		if len(report) > 0 {
			t.Errorf("Parse(%s) reports %s; want nothing", file, report)
		}
	}
}

func TestSchemaAcceptsExamples(t *testing.T) {
	s := compile(t, documented())
	for _, k := range documented() {
		for _, x := range reference.TypeComment(typeOf(k).Go).Examples {
			t.Run(k.Name, func(t *testing.T) {
				if err := s.Validate(instance(t, parseOne(t, x))); err != nil {
					t.Errorf("%v; want valid:\n%s", err, x)
				}
			})
		}
	}
}

func TestSchemaRefusesWrongDocuments(t *testing.T) {
	s := compile(t, blockdoc.Kinds())
	const head = "apiVersion: v1alpha1\nkind: "
	raw := func(rest string) string {
		return head + "RawVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GiB}\n" + rest
	}
	if err := s.Validate(instance(t, parseOne(t, raw("encryption: {keys: [{slot: 1, tpm: {options: {pcrs: [7]}}}]}")))); err != nil {
		t.Fatalf("the document that the wrong ones are made from is not valid: %v", err)
	}
	for _, tc := range []struct{ name, text string }{
		{"no document", "[]"},
		{"no kind", "apiVersion: v1alpha1"},
		{"no apiVersion", "kind: FilesystemTrimConfig"},
		{"another apiVersion", "apiVersion: v1beta1\nkind: FilesystemTrimConfig"},
		{"unknown kind", head + "FilesystemTrimConf"},
		{"unknown key", raw("encrypted: true")},
		{"unknown key of an object", raw("encryption: {keys: [{tpm: {}}], ciphers: x}")},
		{"unknown key of an item", raw("encryption: {keys: [{tmp: {}}]}")},
		{"missing key", head + "RawVolumeConfig\nname: a"},
		{"missing key of an object", raw("encryption: {}")},
		{"string for an object", raw("encryption: luks2")},
		{"object for a list", raw("encryption: {keys: {tpm: {}}}")},
		{"string for a number", raw("encryption: {keys: [{slot: first, tpm: {}}]}")},
		{"negative number", raw("encryption: {keys: [{tpm: {}}], keySize: -8}")},
		{"string for a boolean", raw("encryption: {keys: [{tpm: {}}], allowDiscards: 'true'}")},
		{"not of the enumeration", raw("encryption: {keys: [{tpm: {}}], provider: luks1}")},
		{"item not of the enumeration", raw("encryption: {keys: [{tpm: {}}], options: [fast]}")},
		{"number not of the enumeration", head + "RAIDArrayConfig\nname: a\nmetadata: 1.1\nprovisioning: {volumeSelector: {match: a}}"},
		{"no duration", head + "FilesystemTrimConfig\ninterval: often"},
		{"duration without a unit", head + "FilesystemTrimConfig\ninterval: '10'"},
		{"number for a duration", head + "FilesystemTrimConfig\ninterval: 10"},
		{"no size", head + "VolumeConfig\nname: LOG\nprovisioning: {minSize: big}"},
		{"percentage for a size", head + "VolumeConfig\nname: LOG\nprovisioning: {minSize: 10%}"},
		{"no URL", raw("encryption: {keys: [{kms: {endpoint: example.com}}]}")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := s.Validate(instance(t, parseOne(t, tc.text))); err == nil {
				t.Errorf("Validate = nil; want an error for\n%s", tc.text)
			}
		})
	}
}

// TestPatternsAcceptWhatParses holds that the patterns of scalars are no stricter than their parsers.
func TestPatternsAcceptWhatParses(t *testing.T) {
	s := compile(t, blockdoc.Kinds())
	for _, tc := range []struct{ name, text string }{
		{"size in bytes", "kind: VolumeConfig\nname: LOG\nprovisioning: {minSize: 1048576}"},
		{"size with a fraction", "kind: VolumeConfig\nname: LOG\nprovisioning: {minSize: 1.5 GB, maxSize: 2Gi}"},
		{"size in lower case", "kind: VolumeConfig\nname: LOG\nprovisioning: {minSize: 1gib, maxSize: 2t}"},
		{"percentage", "kind: VolumeConfig\nname: LOG\nprovisioning: {maxSize: -10%}"},
		{"compound duration", "kind: FilesystemTrimConfig\ninterval: 1h30m0.5s"},
		{"URL in upper case", "kind: RawVolumeConfig\nname: 1\nprovisioning: {diskSelector: {match: true}, minSize: 1G}\n" +
			"encryption: {keys: [{kms: {endpoint: 'GRPC://example.com'}}]}"},
		{"number for text", "kind: RAIDArrayConfig\nname: 1\nmetadata: 1.2\nprovisioning: {volumeSelector: {match: true}}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := parseOne(t, "apiVersion: v1alpha1\n"+tc.text)
			k := kindNamed(t, blockdoc.Kinds(), schema.Child(n, "kind").Value)
			var report schema.Report
			d := k.New()
			schema.Decode(n, d, schema.NewReporter(&report, "", "", n), "apiVersion", "kind")
			if len(report) > 0 {
				t.Fatalf("Decode reports %s; want nothing", report)
			}
			if err := s.Validate(instance(t, n)); err != nil {
				t.Errorf("%v; want valid, as it decodes", err)
			}
		})
	}
}

func TestJSONSchemaGolden(t *testing.T) {
	text, err := reference.JSONSchema([]schema.Kind{
		kindNamed(t, blockdoc.Kinds(), "LVMLogicalVolumeConfig"), kindNamed(t, blockdoc.Kinds(), "RAIDArrayConfig"),
	})
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "two-kinds.schema.json", text)
}

func TestJSONSchemaMarksWhatIsDeprecated(t *testing.T) {
	text, err := reference.JSONSchema([]schema.Kind{kindNamed(t, documented(), "v1alpha1")})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Defs map[string]struct {
			Properties map[string]struct{ Deprecated bool }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	root := doc.Defs["v1alpha1"].Properties
	if !root["persist"].Deprecated || root["machine"].Deprecated {
		t.Errorf("deprecated: persist %t, machine %t; want true, false", root["persist"].Deprecated, root["machine"].Deprecated)
	}
}

func TestSchemaKnowsAliases(t *testing.T) {
	k := kindNamed(t, blockdoc.Kinds(), "ZswapConfig")
	k.Aliases = []string{"Zswap"}
	s := compile(t, []schema.Kind{k})
	for kind, valid := range map[string]bool{"ZswapConfig": true, "Zswap": true, "Swap": false} {
		err := s.Validate(instance(t, parseOne(t, "apiVersion: v1alpha1\nkind: "+kind)))
		if (err == nil) != valid {
			t.Errorf("Validate(kind %s) = %v; want valid: %t", kind, err, valid)
		}
	}
}

func TestTwoKindsOfOneName(t *testing.T) {
	twice := append(blockdoc.Kinds(), blockdoc.Kinds()[0])
	if _, err := reference.JSONSchema(twice); err == nil {
		t.Error("JSONSchema(twice the same kind) = nil error; want one")
	}
	if _, err := reference.Pages(twice); err == nil {
		t.Error("Pages(twice the same kind) = nil error; want one")
	}
}
