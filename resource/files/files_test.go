package files

import (
	"testing"

	"talos.internal/resource"
)

func TestContentsInYAML(t *testing.T) {
	for _, tt := range []struct{ name, contents, yaml string }{
		{"text", "a\nb\n", "contents: |\n    a\n    b\nmode: 420\nselinux_label: \"\"\n"},
		{"not UTF-8", "\xff", "contents: !!binary /w==\nmode: 420\nselinux_label: \"\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := resource.New("hosts", EtcFileSpec{Contents: Contents(tt.contents), Mode: 0o644})
			text, err := r.SpecYAML()
			if err != nil || string(text) != tt.yaml {
				t.Errorf("SpecYAML = %q, %v; want %q", text, err, tt.yaml)
			}
			back, err := r.Type().Decode(r.Metadata(), nil, text)
			if err != nil || !back.SpecEqual(r) {
				t.Errorf("Decode = %v, %v; want %q", back, err, tt.contents)
			}
		})
	}
}
