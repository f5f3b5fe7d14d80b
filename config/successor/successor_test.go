package successor_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/defaults"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
	"talos.internal/config/sysdoc"
	"talos.internal/internal/golden"
)

// node returns d as it would stand in a config.
func node(d schema.Document) *yaml.Node {
	n := schema.EncodeValue(d)
	n.Style &^= yaml.FlowStyle
	if d.DocumentKind() != rootdoc.Version {
		n.Content = append([]*yaml.Node{schema.StringNode("kind"), schema.StringNode(d.DocumentKind())}, n.Content...)
	}
	return n
}

// The golden files have the converted documents, each with the place that it comes from, and then what is left of the
// root document.
func TestDocumentsGolden(t *testing.T) {
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			c := read(t, name)
			var b bytes.Buffer
			for _, d := range successor.Documents(c) {
				text, err := schema.Encode(node(d.Doc))
				if err != nil {
					t.Fatal(err)
				}
				implied := ""
				if d.Implied {
					implied = ", implied"
				}
				fmt.Fprintf(&b, "# %s%s\n%s---\n", d.Path, implied, text)
			}
			text, err := schema.Encode(node(successor.Reduced(c)))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "# reduced\n%s", text)
			out := strings.ReplaceAll(b.String(), ":v"+defaults.Kubernetes, ":vDEFAULT") // a new version is no change here
			golden.Check(t, strings.TrimSuffix(name, ".yaml")+".golden", []byte(out))
		})
	}
}

// Every converted document must be one that a user could have written: it decodes again to the same value, and neither
// its own rules nor those between documents report an error.
func TestDocumentsAreValid(t *testing.T) {
	kinds := map[string]schema.Kind{}
	for _, k := range slices.Concat(kubedoc.Kinds(), netdoc.Kinds(), blockdoc.Kinds(), sysdoc.Kinds()) {
		kinds[k.Name] = k
	}
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			c := read(t, name)
			set := schema.Set{{Value: successor.Reduced(c)}}
			for _, d := range successor.Documents(c) {
				var report schema.Report
				r := schema.NewReporter(&report, "", schema.Title(d.Doc), nil)
				again := kinds[d.Doc.DocumentKind()].New()
				schema.Decode(node(d.Doc), again, r, "kind")
				schema.Validate(d.Doc, r)
				if err := report.Err(); err != nil {
					t.Errorf("from %s: %v", d.Path, err)
				}
				if got, want := text(t, again), text(t, d.Doc); got != want {
					t.Errorf("from %s: decode(encode(document)) = %s; want %s", d.Path, got, want)
				}
				set = append(set, schema.Entry{Value: d.Doc, From: d.Path})
			}
			var report schema.Report
			check := &schema.Check{Set: set, Mode: schema.Metal, Role: c.Role(), Report: &report}
			rootdoc.Check(check)
			kubedoc.Check(check)
			netdoc.Check(check)
			blockdoc.Check(check)
			sysdoc.Check(check)
			if err := report.Err(); err != nil {
				t.Errorf("Check of all documents = %v", err)
			}
		})
	}
}

func text(t testing.TB, d schema.Document) string {
	t.Helper()
	b, err := schema.Encode(node(d))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// source returns a function that makes a new copy of a fixture at each call.
func source(t testing.TB, name string) func() *rootdoc.Config {
	t.Helper()
	n := schema.EncodeValue(read(t, name))
	return func() *rootdoc.Config {
		c := &rootdoc.Config{}
		var report schema.Report
		schema.Decode(n, c, schema.NewReporter(&report, "", "", nil))
		return c
	}
}

// outcome is all that becomes of a config, as text.
func outcome(t testing.TB, c *rootdoc.Config) string {
	t.Helper()
	nodes := []*yaml.Node{node(successor.Reduced(c))}
	for _, d := range successor.Documents(c) {
		nodes = append(nodes, node(d.Doc))
	}
	b, err := schema.Encode(nodes...)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ignored are the fields that become nothing: what they say always holds or is no more. With the reasons they are in
// docs/decisions/0003-root-document-conversion.md.
var ignored = []string{
	"persist",
	"machine.kubelet.disableManifestsDirectory",
	"machine.network.interfaces.bond.adActorSystem",
	"machine.network.interfaces.vip.equinixMetal.apiToken",
	"machine.network.interfaces.vlans.vip.equinixMetal.apiToken",
	"machine.install.extraKernelArgs",
	"machine.install.extensions.image",
	"machine.install.bootloader",
	"machine.install.legacyBIOSSupport",
	"machine.install.grubUseUKICmdline",
	"machine.features.rbac",
	"cluster.discovery.registries.kubernetes.disabled",
	"cluster.apiServer.disablePodSecurityPolicy",
}

// mute are the values in the fixtures that say what would hold without them.
var mute = []string{
	"machine.systemDiskEncryption.state.keys.lockToState", // only false is valid
}

// TestEveryFieldCounts empties each value of each fixture in turn: what becomes of the config must change, unless the
// field is listed as ignored; and then it must not. A new field that is neither converted nor kept fails here.
func TestEveryFieldCounts(t *testing.T) {
	counts := map[string]bool{}
	for _, name := range fixtures {
		fresh := source(t, name)
		whole := outcome(t, fresh())
		for path, values := range leaves(fresh()) {
			for i := range values {
				c := fresh()
				v := leaves(c)[path][i]
				if !v.CanSet() { // below a map of objects
					counts[path] = counts[path] || mapped(t, c, path, whole)
					continue
				}
				v.SetZero()
				if outcome(t, c) != whole {
					counts[path] = true
				}
			}
		}
	}
	for _, path := range schemaPaths() {
		want := !slices.Contains(ignored, path)
		if counts[path] != want && !slices.Contains(mute, path) {
			t.Errorf("%s changes what becomes of a config: %t; want %t", path, counts[path], want)
		}
	}
}

// mapped does for registries, whose values in a map cannot be set, what TestEveryFieldCounts does.
func mapped(t *testing.T, c *rootdoc.Config, path, whole string) bool {
	t.Helper()
	empty := func(root, v any) {
		p := strings.TrimPrefix(path, root.(string)+".")
		visit := reflect.ValueOf(v).Elem()
		for key := range strings.SplitSeq(p, ".") {
			for visit.Kind() == reflect.Pointer {
				if visit.IsNil() {
					return
				}
				visit = visit.Elem()
			}
			visit = visit.FieldByName(schema.TypeOf(visit.Type()).Field(key).GoName)
		}
		visit.SetZero()
	}
	g := c.Machine.Registries
	for host, m := range g.Mirrors {
		if strings.HasPrefix(path, "machine.registries.mirrors.") {
			empty("machine.registries.mirrors", &m)
			g.Mirrors[host] = m
		}
	}
	for host, r := range g.Config {
		if strings.HasPrefix(path, "machine.registries.config.") {
			empty("machine.registries.config", &r)
			g.Config[host] = r
		}
	}
	return outcome(t, c) != whole
}

// TestReducedHasNoConvertedField: a field with a successor in its tag must not stay in the reduced document, unless it
// is one of those that are kept.
func TestReducedHasNoConvertedField(t *testing.T) {
	kept := []string{
		"machine.kubelet.extraMounts", "machine.files", "machine.disks", "cluster.apiServer.extraVolumes",
		"cluster.controllerManager.extraVolumes", "cluster.scheduler.extraVolumes",
	}
	deprecated := map[string]bool{}
	var walk func(ty *schema.Type, path string, old bool)
	walk = func(ty *schema.Type, path string, old bool) {
		for (ty.Class == schema.List || ty.Class == schema.Map) && ty.Elem.Class == schema.Struct {
			ty = ty.Elem
		}
		deprecated[path] = old
		if ty.Class != schema.Struct {
			return
		}
		for _, f := range ty.Fields {
			walk(f.Type, strings.TrimPrefix(path+"."+f.Name, "."), old || f.Deprecated != "")
		}
	}
	walk(schema.TypeOf(reflect.TypeFor[rootdoc.Config]()), "", false)
	for _, name := range fixtures {
		reduced := leaves(successor.Reduced(read(t, name)))
		for path := range reduced {
			isKept := slices.ContainsFunc(kept, func(k string) bool { return strings.HasPrefix(path, k+".") })
			if deprecated[path] && !isKept {
				t.Errorf("%s: the reduced document still has %s", name, path)
			}
		}
		for path := range leaves(read(t, name)) {
			if !deprecated[path] && reduced[path] == nil {
				t.Errorf("%s: the reduced document has lost %s", name, path)
			}
		}
	}
}

func TestReducedLeavesTheConfigAlone(t *testing.T) {
	c, want := read(t, "legacy-controlplane.yaml"), read(t, "legacy-controlplane.yaml")
	successor.Reduced(c)
	successor.Documents(c)
	if diff := cmp.Diff(want, c, equal); diff != "" {
		t.Errorf("the config after its conversion differs (-want +got):\n%s", diff)
	}
}

// What is kept of a section must not depend on what else is in it.
func TestReducedOfWhatIsKept(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"a file alone", "machine: {files: [{path: /var/a, op: create}]}",
			"machine:\n    files:\n        - path: /var/a\n          op: create\n"},
		{"a partition alone", "machine: {disks: [{device: /dev/sdb, partitions: [{mountpoint: /var/a}]}]}",
			"machine:\n    disks:\n        - device: /dev/sdb\n          partitions:\n            - mountpoint: /var/a\n"},
		{"an etcd subnet alone", "cluster: {etcd: {subnet: 10.0.0.0/8}}",
			"cluster:\n    etcd:\n        advertisedSubnets:\n            - 10.0.0.0/8\n"},
		{"a mount of the kubelet alone", "machine: {kubelet: {extraMounts: [{destination: /a}]}}",
			"machine:\n    kubelet:\n        extraMounts:\n            - destination: /a\n"},
		{"nothing", "machine: {kubelet: {extraArgs: {v: 4}}}\ncluster: {proxy: {disabled: true}}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, report := decode(t, "version: v1alpha1\n"+tc.text)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			if got, want := text(t, successor.Reduced(c)), "version: v1alpha1\ndebug: false\n"+tc.want; got != want {
				t.Errorf("Reduced = %s; want %s", got, want)
			}
		})
	}
}

func TestReducedTwice(t *testing.T) {
	for _, name := range fixtures {
		once := successor.Reduced(read(t, name))
		if got, want := text(t, successor.Reduced(once)), text(t, once); got != want {
			t.Errorf("%s: Reduced(Reduced(config)) = %s; want %s", name, got, want)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	for _, name := range fixtures {
		data, err := os.ReadFile(filepath.Join(fixtureDir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, node, report := decode(t, text)
		if c == nil {
			return
		}
		// None of these panics, also on a config that was refused.
		successor.Documents(c)
		successor.Reduced(c)
		successor.Conflicts(&schema.Check{Set: schema.Set{{Value: c, Node: node}}, Report: &report})
	})
}
