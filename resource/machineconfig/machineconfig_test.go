package machineconfig

import (
	"testing"

	"talos.internal/resource"
)

// TestConfigIsOneString holds that the config passes through YAML as it was written: the whole
// resource is one document, in which all documents of the config must find place.
func TestConfigIsOneString(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"documents", "version: v1alpha1\nmachine: {}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\n"},
		{"comments and spaces", "# a comment \n  \nversion: v1alpha1 # end"},
		{"leading space and tab", "\t  x: y\n"},
		{"empty", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := resource.New(Active, Config{Text: tt.text})
			text, err := r.SpecYAML()
			if err != nil {
				t.Fatal(err)
			}
			back, err := r.Type().Decode(r.Metadata(), nil, text)
			if err != nil || back.(*resource.Typed[Config]).Spec().Text != tt.text {
				t.Errorf("Decode of\n%s= %v; want %q", text, err, tt.text)
			}
		})
	}
	doc, err := resource.MarshalYAML(resource.New(Active, Config{Text: "a: b\n---\nc: d\n"}))
	if err != nil {
		t.Fatal(err)
	}
	const want = "spec: |\n    a: b\n    ---\n    c: d\n"
	if s := string(doc); len(s) < len(want) || s[len(s)-len(want):] != want {
		t.Errorf("MarshalYAML = %s\nwant the end %s", s, want)
	}
}

func TestTypeIsItsName(t *testing.T) {
	r := resource.New(TypeID, Type{Type: TypeControlPlane})
	if text, err := r.SpecYAML(); err != nil || string(text) != "controlplane\n" {
		t.Errorf("SpecYAML = %q, %v; want controlplane", text, err)
	}
}
