package patch_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/patch"
	"talos.internal/config/schema"
)

type root struct {
	Debug   bool     `yaml:"debug"`
	Machine *machine `yaml:"machine"`
	Subnets []string `yaml:"subnets" merge:"replace"`
}

type machine struct {
	Name       string            `yaml:"name"`
	Port       int               `yaml:"port"`
	Replicas   *int              `yaml:"replicas"`
	SANs       []string          `yaml:"sans"`
	Interfaces []iface           `yaml:"interfaces" merge:"key=interface,selector"`
	Labels     map[string]string `yaml:"labels"`
	Body       map[string]any    `yaml:"body"`
	Files      []file            `yaml:"files"`
}

type iface struct {
	Interface string            `yaml:"interface"`
	Selector  map[string]string `yaml:"selector"`
	MTU       int               `yaml:"mtu"`
	Addresses []string          `yaml:"addresses"`
	VLANs     []vlan            `yaml:"vlans" merge:"key=id"`
}

type vlan struct {
	ID  int `yaml:"id"`
	MTU int `yaml:"mtu"`
}

type file struct {
	Path    string `yaml:"path"`
	Content string `yaml:"content"`
}

type volume struct {
	Name string `yaml:"name" required:"true"`
	Size string `yaml:"size"`
}

func types(kind string) (*schema.Type, bool) {
	switch kind {
	case patch.RootKind:
		return schema.TypeOf(reflect.TypeFor[root]()), true
	case "VolumeConfig", "Volume":
		return schema.TypeOf(reflect.TypeFor[volume]()), true
	}
	return nil, false
}

func parse(t *testing.T, text string) []*yaml.Node {
	t.Helper()
	var report schema.Report
	docs := schema.Parse("config.yaml", []byte(text), &report)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return docs
}

// apply applies patches to config in order and returns the result, or the first error.
func apply(t *testing.T, config string, patches ...string) (string, error) {
	t.Helper()
	docs := parse(t, config)
	for _, text := range patches {
		p, err := patch.Parse("p.yaml", []byte(text))
		if err != nil {
			return "", err
		}
		if docs, err = patch.Apply(docs, types, p); err != nil {
			return "", err
		}
	}
	out, err := schema.Encode(docs...)
	return string(out), err
}

const base = `# the machine
version: v1alpha1
machine:
    name: a # its name
    port: 80
    sans:
        - one
    # the links
    interfaces:
        - interface: eth0
          mtu: 1500
          addresses:
            - 10.0.0.1/8
          vlans:
            - id: 1
              mtu: 10
        - selector:
            driver: virtio
            bus: "1"
    labels:
        x: "1"
    files:
        - path: /var/a
        - path: /var/b
subnets:
    - 10.244.0.0/16
---
# where the data is
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
size: 1GiB
`

func TestStrategicMerge(t *testing.T) {
	for _, tc := range []struct {
		name    string
		patches []string
		old     string // replaced in base …
		new     string // … by this
	}{
		{"a scalar replaces and keeps its comment", []string{"machine: {name: b}"}, "name: a #", "name: b #"},
		{"an empty string changes nothing", []string{"machine: {name: '', port: 0}"}, "", ""},
		{"null changes nothing", []string{"machine: {sans: }"}, "", ""},
		{"a boolean counts even if false", []string{"debug: true", "debug: false"}, "  - 10.244.0.0/16\n", "  - 10.244.0.0/16\ndebug: false\n"},
		{"zero counts where not set is something else", []string{"machine: {replicas: 2}", "machine: {replicas: 0}"},
			"        - path: /var/b\n", "        - path: /var/b\n    replicas: 0\n"},
		{"an empty string counts in a free mapping", []string{"machine: {labels: {x: ''}}"}, "x: \"1\"", "x: ''"},
		{"a list is added to", []string{"machine: {sans: [two]}"}, "        - one\n", "        - one\n        - two\n"},
		{"a list that is replaced", []string{"subnets: [10.1.0.0/16, 'fd00::/56']"}, "subnets:\n    - 10.244.0.0/16\n", "subnets:\n    - 10.1.0.0/16\n    - 'fd00::/56'\n"},
		{"items merge by their key", []string{"machine: {interfaces: [{interface: eth0, mtu: 9000}]}"}, "mtu: 1500", "mtu: 9000"},
		{"items merge by another key", []string{"machine: {interfaces: [{selector: {bus: '1', driver: virtio}, mtu: 9000}]}"},
			"            bus: \"1\"\n", "            bus: \"1\"\n          mtu: 9000\n"},
		{"items merge below items", []string{"machine: {interfaces: [{interface: eth0, vlans: [{id: 1, mtu: 20}, {id: 2}]}]}"},
			"              mtu: 10\n", "              mtu: 20\n            - id: 2\n"},
		{"an item with a new key is added", []string{"machine:\n  interfaces:\n    - interface: eth1\n"},
			"            bus: \"1\"\n", "            bus: \"1\"\n        - interface: eth1\n"},
		{"delete a key", []string{"machine: {labels: {$patch: delete}}"}, "    labels:\n        x: \"1\"\n", ""},
		{"delete a key of a free mapping", []string{"machine: {labels: {y: '2'}}", "machine: {labels: {y: {$patch: delete}}}"}, "", ""},
		{"delete an item by its first key", []string{"machine: {files: [{path: /var/a, $patch: delete}]}"}, "        - path: /var/a\n", ""},
		{"free-form values merge deep", []string{"machine: {body: {a: {b: 1, l: [1]}}}", "machine: {body: {a: {c: 2, l: [2]}}}"},
			"        - path: /var/b\n", "        - path: /var/b\n    body:\n        a:\n            b: 1\n            l:\n                - 1\n                - 2\n            c: 2\n"},
		{"a document merges by kind and name", []string{"apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nsize: 2GiB\n"}, "size: 1GiB", "size: 2GiB"},
		{"a kind under its other name", []string{"apiVersion: v1alpha1\nkind: Volume\nname: EPHEMERAL\nsize: 2GiB\n"},
			"kind: VolumeConfig\nname: EPHEMERAL\nsize: 1GiB", "kind: Volume\nname: EPHEMERAL\nsize: 2GiB"},
		{"another document is added", []string{"apiVersion: v1alpha1\nkind: VolumeConfig\nname: STATE\n"}, "size: 1GiB\n",
			"size: 1GiB\n---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: STATE\n"},
		{"delete a document", []string{"apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\n$patch: delete\n"},
			"---\n# where the data is\napiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nsize: 1GiB\n", ""},
		{"several documents in one patch", []string{"machine: {name: b}\n---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nsize: 1GiB\n"}, "name: a #", "name: b #"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := apply(t, base, tc.patches...)
			if err != nil {
				t.Fatal(err)
			}
			if tc.old != "" && !strings.Contains(base, tc.old) {
				t.Fatalf("the case replaces %q, which the base does not have", tc.old)
			}
			if diff := cmp.Diff(strings.Replace(base, tc.old, tc.new, 1), got); diff != "" {
				t.Errorf("apply (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchErrorsSayWhere(t *testing.T) {
	for _, tc := range []struct{ name, patch, want string }{
		{"empty", "", "read patch p.yaml: it is empty; expected documents, or a list of JSON patch operations"},
		{"empty document", "{}", "read patch p.yaml: line 1: document 1 is empty"},
		{"scalar", "hello", "read patch p.yaml: line 1: document 1 is no mapping"},
		{"delete of a missing document", "kind: VolumeConfig\nname: NOPE\n$patch: delete\n",
			"apply patch p.yaml: line 1: the patch matches nothing: the config has no document VolumeConfig NOPE to delete"},
		{"delete of a missing key", "machine:\n  labels:\n    nope: {$patch: delete}\n",
			"apply patch p.yaml: line 3: machine.labels.nope: the patch matches nothing: there is no such key to delete"},
		{"delete of a missing item", "machine: {files: [{path: /x, $patch: delete}]}",
			"apply patch p.yaml: line 1: machine.files[0]: the patch matches nothing: no item has path: /x"},
		{"delete of an item without a key", "machine: {files: [{$patch: delete}]}",
			"apply patch p.yaml: line 1: machine.files[0]: an item to delete needs a key that tells which, as in {name: x, $patch: delete}"},
		{"unknown directive", "machine: {$patch: replace}", `apply patch p.yaml: line 1: machine: expected $patch: delete, got "replace"`},
		{"unknown kind", "kind: VolumConfig\nname: a\n", `apply patch p.yaml: line 1: unknown kind "VolumConfig"`},
		{"JSON patch for several documents", `[{"op": "remove", "path": "/debug"}]`,
			"apply patch p.yaml: a JSON patch needs a config of one document and this one has 2; write a strategic merge patch instead"},
		{"JSON patch with another document", "- op: remove\n  path: /a\n---\na: 1\n",
			"read patch p.yaml: it has a JSON patch and other documents; put them in patches of their own"},
		{"JSON patch without an op", `[{"path": "/debug"}]`,
			`read patch p.yaml: line 1: operation 1: expected op to be add, remove, replace, move, copy or test, got ""`},
		{"JSON patch with a bad path", `[{"op": "remove", "path": "debug"}]`,
			`read patch p.yaml: line 1: operation 1: expected path to start with /, got "debug"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := apply(t, base, tc.patch)
			if err == nil || err.Error() != tc.want {
				t.Errorf("error = %v\n want = %s", err, tc.want)
			}
			if strings.Contains(tc.want, "matches nothing") && !errors.Is(err, patch.ErrNoMatch) {
				t.Errorf("error is no ErrNoMatch")
			}
		})
	}
}

func TestCheckFindsWhatNoDocumentCanHave(t *testing.T) {
	p, err := patch.Parse("p.yaml", []byte("machine: {nam: b, port: x, labels: {$patch: delete}}\n---\nkind: VolumeConfig\nname: a\nsise: 1\n---\nkind: Nope\n"))
	if err != nil {
		t.Fatal(err)
	}
	var report schema.Report
	p.Check(types, &report)
	want := `p.yaml:1: machine.nam: unknown key; did you mean "name"?
p.yaml:1: machine.port: expected a whole number, got "x"
p.yaml:5: VolumeConfig a: sise: unknown key; did you mean "size"?
p.yaml:7: Nope: kind: unknown kind "Nope"
`
	if diff := cmp.Diff(want, report.String()); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
}

func TestApplyLeavesItsInputAlone(t *testing.T) {
	docs := parse(t, base)
	p, err := patch.Parse("p", []byte("machine: {name: b, sans: [x], labels: {$patch: delete}, files: [{path: /var/a, $patch: delete}]}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := patch.Apply(docs, types, p); err != nil {
		t.Fatal(err)
	}
	out, err := schema.Encode(docs...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(base, string(out)); diff != "" {
		t.Errorf("the input changed (-before +after):\n%s", diff)
	}
}

// jsonCases are the examples of RFC 6902 appendix A, and more.
var jsonCases = []struct{ name, doc, patch string }{
	{"A.1 add an object member", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`},
	{"A.2 add an array element", `{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`},
	{"A.3 remove an object member", `{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`},
	{"A.4 remove an array element", `{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`},
	{"A.5 replace a value", `{"baz":"qux","foo":"bar"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`},
	{"A.6 move a value", `{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`},
	{"A.7 move an array element", `{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`},
	{"A.8 test, success", `{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]`},
	{"A.9 test, error", `{"baz":"qux"}`, `[{"op":"test","path":"/baz","value":"bar"}]`},
	{"A.10 add a nested member", `{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`},
	{"A.11 unknown members are ignored", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux","xyz":123}]`},
	{"A.12 add to a nonexistent target", `{"foo":"bar"}`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`},
	{"A.14 escapes", `{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10}]`},
	{"A.15 strings and numbers differ", `{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":"10"}]`},
	{"A.16 add an array value", `{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`},
	{"copy is deep", `{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/c"},{"op":"add","path":"/c/b","value":2}]`},
	{"move into itself", `{"a":{"b":1}}`, `[{"op":"move","from":"/a","path":"/a/b"}]`},
	{"index beyond the end", `{"a":[1]}`, `[{"op":"add","path":"/a/2","value":2}]`},
	{"index with a leading zero", `{"a":[1,2]}`, `[{"op":"remove","path":"/a/01"}]`},
	{"remove what is not there", `{"a":1}`, `[{"op":"remove","path":"/b"}]`},
	{"replace the root", `{"a":1}`, `[{"op":"replace","path":"","value":{"b":2}}]`},
}

func TestJSONPatchAgreesWithAnotherImplementation(t *testing.T) {
	for _, tc := range jsonCases {
		t.Run(tc.name, func(t *testing.T) {
			oracle, err := jsonpatch.DecodePatch([]byte(tc.patch))
			if err != nil {
				t.Fatal(err)
			}
			wantJSON, wantErr := oracle.Apply([]byte(tc.doc))
			got, gotErr := apply(t, tc.doc, tc.patch)
			if strings.HasPrefix(tc.name, "index with a leading zero") {
				wantErr = errors.New("RFC 6901 §4 forbids it; the oracle lets it pass")
			}
			if strings.HasPrefix(tc.name, "move into itself") {
				wantErr = errors.New("RFC 6902 §4.4 forbids it")
			}
			if (wantErr == nil) != (gotErr == nil) {
				t.Fatalf("error = %v; the other implementation says %v", gotErr, wantErr)
			}
			if wantErr != nil {
				return
			}
			var want, have any
			if err := json.Unmarshal(wantJSON, &want); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(got), &have); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(have)
			if err != nil {
				t.Fatal(err)
			}
			have = nil
			if err := json.Unmarshal(b, &have); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("result (-other +ours):\n%s", diff)
			}
		})
	}
}

func TestJSONPatchKeepsComments(t *testing.T) {
	got, err := apply(t, "a: 1 # one\n# two\nb: 2\n", `[{"op": "replace", "path": "/a", "value": 3}]`)
	if err != nil || got != "a: 3 # one\n# two\nb: 2\n" {
		t.Errorf("apply = %q, %v; want the comments kept", got, err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(base, "machine: {name: b, interfaces: [{interface: eth0, vlans: [{id: 1, mtu: 3}]}]}")
	f.Add(base, "kind: VolumeConfig\nname: EPHEMERAL\n$patch: delete\n")
	for _, tc := range jsonCases {
		f.Add(tc.doc, tc.patch)
	}
	f.Fuzz(func(t *testing.T, config, text string) {
		var report schema.Report
		docs := schema.Parse("c", []byte(config), &report)
		p, err := patch.Parse("p", []byte(text))
		if err != nil {
			return
		}
		p.Check(types, &report)
		for _, d := range docs {
			if d.Content[0].Kind != yaml.MappingNode {
				return
			}
		}
		_, _ = patch.Apply(docs, types, p)
	})
}
