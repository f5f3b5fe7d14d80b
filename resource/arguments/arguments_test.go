package arguments

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestValuesInYAML(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values Values
		text   string
	}{
		{"one", Of("a"), "a\n"},
		{"several", Of("a", "b"), "- a\n- b\n"},
		{"none", Of(), "[]\n"},
		{"one that looks like a number", Of("1"), "\"1\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := yaml.Marshal(tt.values)
			if err != nil || string(text) != tt.text {
				t.Errorf("Marshal(%v) = %q, %v; want %q", tt.values, text, err, tt.text)
			}
			var back Values
			if err := yaml.Unmarshal(text, &back); err != nil || len(cmp.Diff(tt.values.Values, back.Values)) > 0 && len(tt.values.Values) > 0 {
				t.Errorf("Unmarshal(%q) = %v, %v; want %v", text, back, err, tt.values)
			}
		})
	}
	var v Values
	if err := yaml.Unmarshal([]byte("a: b"), &v); err == nil {
		t.Errorf("Unmarshal of a map = %v; want an error", v)
	}
}

func TestOfKeepsACopy(t *testing.T) {
	given := []string{"a"}
	v := Of(given...)
	given[0] = "spoilt"
	if v.Values[0] != "a" {
		t.Error("Of kept the caller's slice")
	}
}
