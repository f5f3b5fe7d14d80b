package catalog

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/internal/golden"
	"talos.internal/resource"
	"talos.internal/resource/meta"
)

// published is what the contract says about a type: a paragraph of testdata/types.txt. That file is
// the contract; it is made by nothing in the tree. keys are those of the spec's YAML, in order. With
// ours they are not known from the reference, and "*" is a spec that is no struct of fixed keys. What we added to a published
// type comes after what it has: "addedcolumn" and "added" keys, which are in YAML and not in the message.
type published struct {
	def     resource.Definition
	keys    string
	ours    bool
	message string // full name of the protobuf message; empty if there is none
}

func contract(t *testing.T) map[string]published {
	t.Helper()
	text, err := os.ReadFile("testdata/types.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]published{}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		var p published
		for line := range strings.Lines(paragraph) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			value = strings.TrimSpace(value)
			switch key {
			case "type":
				p.def.Type = value
			case "namespace":
				p.def.Namespace = value
			case "aliases":
				p.def.Aliases = strings.Fields(value)
			case "sensitive":
				p.def.Sensitive = value == "yes"
			case "column", "addedcolumn":
				name, path, _ := strings.Cut(value, " = ")
				p.def.Columns = append(p.def.Columns, resource.Column{Name: name, JSONPath: path})
			case "keys", "ourkeys":
				p.keys, p.ours = value, key == "ourkeys"
			case "added":
				p.keys += " " + value
			case "message":
				p.message = value
			default:
				t.Fatalf("types.txt: %q is no line of a type", line)
			}
		}
		all[p.def.Type] = p
	}
	return all
}

// each runs f for every type but those of package meta, which are not in the table.
func each(t *testing.T, f func(t *testing.T, typ *resource.Type)) {
	t.Helper()
	own := meta.Types()
	for _, typ := range Types() {
		if !slices.Contains(own, typ) {
			t.Run(typ.Name(), func(t *testing.T) { f(t, typ) })
		}
	}
}

func TestTypesAreThoseOfTheContract(t *testing.T) {
	if _, err := Registry(); err != nil {
		t.Fatal(err)
	}
	want := contract(t)
	var names []string
	each(t, func(t *testing.T, typ *resource.Type) {
		names = append(names, typ.Name())
		if d := cmp.Diff(want[typ.Name()].def, typ.Definition()); d != "" {
			t.Errorf("Definition (-contract +ours):\n%s", d)
		}
		if got, want := typ.HasProto(), want[typ.Name()].message != ""; got != want {
			t.Errorf("HasProto = %v; want %v", got, want)
		}
	})
	slices.Sort(names)
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), names); d != "" {
		t.Errorf("types (-contract +ours):\n%s", d)
	}
}

func TestEveryNamespaceIsListed(t *testing.T) {
	known := map[string]bool{}
	for _, ns := range Namespaces() {
		known[ns.Name] = true
		if ns.Description == "" {
			t.Errorf("namespace %s has no description", ns.Name)
		}
	}
	for _, typ := range Types() {
		if ns := typ.Definition().Namespace; !known[ns] {
			t.Errorf("namespace %s of %s is not listed", ns, typ.Name())
		}
	}
	// Reference: contract.md, section 3.1.
	const want = "cluster cluster-raw config containers controlplane cri etcd files hardware k8s kubespan meta " +
		"network network-config perf runtime secrets security storage"
	if got := strings.Join(slices.Sorted(maps.Keys(known)), " "); got != want {
		t.Errorf("Namespaces = %s; want %s", got, want)
	}
}

// inlined are keys of a struct that is in line in another; the contract's table has keys of fields only.
var inlined = map[string][]string{"LinkSpecs.net.talos.dev": {"masterName", "slaveIndex"}}

func TestYAMLHasTheKeysOfTheContract(t *testing.T) {
	want := contract(t)
	each(t, func(t *testing.T, typ *resource.Type) {
		r := full(t, typ, inYAML)
		text, err := r.SpecYAML()
		if err != nil {
			t.Fatal(err)
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for i := 0; i < len(doc.Content[0].Content); i += 2 {
			if k := doc.Content[0].Content[i].Value; !slices.Contains(inlined[typ.Name()], k) {
				keys = append(keys, k)
			}
		}
		if w := want[typ.Name()].keys; w != "*" && strings.Join(keys, " ") != w {
			t.Errorf("keys = %s\nwant   %s", strings.Join(keys, " "), w)
		}
		again, err := typ.Decode(r.Metadata(), nil, text)
		if err != nil {
			t.Fatalf("Decode of own YAML = %v:\n%s", err, text)
		}
		second, err := again.SpecYAML()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(text), string(second)); d != "" {
			t.Errorf("YAML after a round trip (-first +second):\n%s", d)
		}
		if typ.Name() != "DeviceConfigSpecs.net.talos.dev" && !again.SpecEqual(r) { // its text is written anew
			t.Errorf("the spec differs after a round trip through YAML:\n%s", text)
		}
	})
}

// unresolved are columns of the contract for which it has no field.
var unresolved = []string{
	"PCIDriverRebindConfigs.runtime.talos.dev {.name}",
	"PCIDriverRebindStatuses.runtime.talos.dev {.name}",
	"OOMActions.talos.dev {.time}",
}

func TestEveryColumnResolves(t *testing.T) {
	each(t, func(t *testing.T, typ *resource.Type) {
		text, err := full(t, typ, inYAML).SpecYAML()
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		for _, c := range typ.Definition().Columns {
			found, err := jsonPath(doc, c.JSONPath)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(unresolved, typ.Name()+" "+c.JSONPath) {
				if len(found) > 0 {
					t.Errorf("column %s resolves; take it from the list", c.Name)
				}
				continue
			}
			if len(found) == 0 || found[0] == nil || found[0] == "" {
				t.Errorf("column %s: %s finds %v in\n%s", c.Name, c.JSONPath, found, text)
			}
		}
	})
}

func TestAliasesCollideOnlyAsTheReferenceHasThem(t *testing.T) {
	types := map[string][]string{}
	for _, typ := range Types() {
		d := typ.Definition()
		for _, a := range d.Aliases {
			if !slices.Contains(d.AllAliases(), a) {
				t.Errorf("%s: AllAliases lacks %q", d.Type, a)
			}
		}
		for _, a := range d.AllAliases() {
			types[a] = append(types[a], strings.ToLower(d.Type))
		}
	}
	var b strings.Builder
	for _, a := range slices.Sorted(maps.Keys(types)) {
		if len(types[a]) > 1 {
			slices.Sort(types[a])
			fmt.Fprintf(&b, "%s: %s\n", a, strings.Join(types[a], " "))
		}
	}
	golden.Check(t, "collisions.txt", b.String())
}

func TestNobodyCanChangeTheSpecOfAResource(t *testing.T) {
	each(t, func(t *testing.T, typ *resource.Type) {
		given := fullSpec(t, typ, inYAML)
		r := with(empty(t, typ), given)
		before, err := r.SpecYAML()
		if err != nil {
			t.Fatal(err)
		}
		spoil(given)   // what was handed in
		spoil(spec(r)) // what was handed out
		after, err := r.SpecYAML()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(before), string(after)); d != "" {
			t.Errorf("the spec was changed from outside (-before +after):\n%s", d)
		}
	})
}

func TestNoSpecGetsIntoLogs(t *testing.T) {
	each(t, func(t *testing.T, typ *resource.Type) {
		r := full(t, typ, inYAML)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			if s := fmt.Sprintf(verb, r); strings.Contains(s, marker) || strings.Contains(s, fmt.Sprintf("%x", marker)) {
				t.Errorf("Sprintf(%s) = %s; it shows the spec", verb, s)
			}
		}
	})
}

// TestNamesThatPeopleType holds names from the contract and from the introduction's laboratory.
func TestNamesThatPeopleType(t *testing.T) {
	var defs []meta.DefinitionSpec
	for _, typ := range Types() {
		defs = append(defs, meta.NewDefinition(typ.Definition()).Spec())
	}
	for name, want := range map[string]string{
		"members": "Members.cluster.talos.dev", "affiliates": "Affiliates.cluster.talos.dev",
		"mc": "MachineConfigs.config.talos.dev", "machineconfig": "MachineConfigs.config.talos.dev",
		"machinetype": "MachineTypes.config.talos.dev", "svc": "Services.v1alpha1.talos.dev",
		"links": "LinkStatuses.net.talos.dev", "addresses": "AddressStatuses.net.talos.dev",
		"routes": "RouteStatuses.net.talos.dev", "hostname": "HostnameStatuses.net.talos.dev",
		"disks": "Disks.block.talos.dev", "mounts": "MountStatuses.runtime.talos.dev",
		"mountstatuses.block": "MountStatuses.block.talos.dev", "meta": "MetaKeys.runtime.talos.dev",
		"rd": "ResourceDefinitions.meta.cosi.dev", "podstatus": "StaticPodStatuses.kubernetes.talos.dev",
		"extensions": "ExtensionStatuses.runtime.talos.dev", "securitystate": "SecurityStates.talos.dev",
		"cmdline": "KernelCmdlines.runtime.talos.dev", "ram": "MemoryModules.hardware.talos.dev",
	} {
		if got, err := meta.Resolve(defs, name); err != nil || got.Type != want {
			t.Errorf("Resolve(%s) = %s, %v; want %s", name, got.Type, err, want)
		}
	}
}

// BenchmarkYAML and BenchmarkProto encode one full resource of every type.
func BenchmarkYAML(b *testing.B)  { benchmark(b, resource.Resource.SpecYAML) }
func BenchmarkProto(b *testing.B) { benchmark(b, resource.Resource.SpecProto) }

func benchmark(b *testing.B, encode func(resource.Resource) ([]byte, error)) {
	var all []resource.Resource
	for _, typ := range Types() {
		r, err := typ.Decode(resource.NewMetadata(typ.Kind().Ref("id")), nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		v := reflect.New(spec(r).Type()).Elem()
		if err := (&filler{}).fill(v); err != nil {
			b.Fatal(err)
		}
		all = append(all, with(r, v))
	}
	for b.Loop() {
		for _, r := range all {
			if _, err := encode(r); err != nil {
				b.Fatal(err)
			}
		}
	}
}
