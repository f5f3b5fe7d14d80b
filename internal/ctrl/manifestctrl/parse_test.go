package manifestctrl

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseManifest(t *testing.T) {
	for _, tt := range []struct{ name, text, want, err string }{
		{"nothing", "", "", ""},
		{"only comments", "# a\n---\n# b\n---\n", "", ""},
		{"two", "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b, namespace: a}\n", "Namespace a,Deployment a/b", ""},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a, namespace: x}\n", "ConfigMap x/a", ""},
		{"an item without a name", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n", "", "document 1 (line 1): item 1 of the list: expected an object with apiVersion, kind and metadata.name, and metadata.name is missing"},
		{"no kind", "a: b\n---\n", "", "document 1 (line 1): expected an object"},
		{"a list of YAML", "- a\n", "", "document 1 (line 1): expected an object with apiVersion and kind"},
		{"broken", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\na: [\n", "", "document 2: yaml:"},
		{"a key that JSON has not", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {[1]: x}\n", "", "document 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects, err := parseManifest([]byte(tt.text))
			var names []string
			for _, o := range objects {
				names = append(names, o.String())
			}
			if got := strings.Join(names, ","); got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parseManifest = %s, %v; want %s, %s", got, err, tt.want, tt.err)
			}
		})
	}
}

// TestTimesStayText holds that what YAML takes for a time is sent as it was written.
func TestTimesStayText(t *testing.T) {
	objects, err := parseManifest([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {d: 2024-01-02, n: 1, b: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"d": "2024-01-02", "n": 1, "b": true}, objects[0].Map("data")); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n---\na: &x [1, 2024-01-01]\nb: *x\n"))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := parseManifest(data)
		if err != nil {
			return
		}
		for _, o := range objects {
			if _, err := json.Marshal(o); err != nil {
				t.Errorf("an object that JSON cannot have: %v", err)
			}
		}
	})
}
