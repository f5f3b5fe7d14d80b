package meta

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/statepb"
	"talos.internal/resource"
)

func TestTypesAreSound(t *testing.T) {
	if _, err := resource.NewRegistry(Types()...); err != nil {
		t.Fatal(err)
	}
}

func TestDefinitionTravelsAsThePublishedMessage(t *testing.T) {
	def := resource.Definition{
		Type: "MachineConfigs.config.talos.dev", Namespace: "config", Aliases: []string{"machineconfiguration"},
		Columns: []resource.Column{{Name: "A", JSONPath: "{.a}"}}, Sensitive: true,
	}
	b, err := NewDefinition(def).SpecProto()
	if err != nil {
		t.Fatal(err)
	}
	var got statepb.ResourceDefinitionSpec
	if err := proto.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"type":         {got.GetResourceType(), "MachineConfigs.config.talos.dev"},
		"display type": {got.GetDisplayType(), "MachineConfig"},
		"namespace":    {got.GetDefaultNamespace(), "config"},
		"aliases":      {strings.Join(got.GetAliases(), " "), "machineconfiguration"},
		"all aliases":  {strings.Join(got.GetAllAliases(), " "), "machineconfig machineconfigs machineconfigs.config machineconfigs.config.talos machineconfiguration mc mcs"},
		"column":       {got.GetPrintColumns()[0].GetName() + got.GetPrintColumns()[0].GetJsonPath(), "A{.a}"},
		"sensitivity":  {got.GetSensitivity().String(), "SENSITIVE"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %q; want %q", what, pair[0], pair[1])
		}
	}
	if len(got.ProtoReflect().GetUnknown()) > 0 {
		t.Error("the message has fields that the contract does not know")
	}
}

func TestDefinitionYAML(t *testing.T) {
	got, err := NewDefinition(NamespaceSpec{}.ResourceDefinition()).SpecYAML()
	if err != nil {
		t.Fatal(err)
	}
	const want = `type: Namespaces.meta.cosi.dev
displayType: Namespace
defaultNamespace: meta
aliases:
    - ns
allAliases:
    - namespace
    - namespaces
    - namespaces.meta
    - namespaces.meta.cosi
    - ns
printColumns:
    - name: Description
      jsonPath: '{.description}'
sensitivity: ""
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("SpecYAML (-want +got):\n%s", d)
	}
}

func TestUnknownSensitivityIsSensitive(t *testing.T) {
	var s Sensitivity
	if err := s.SetProtoEnum(7); err != nil || s != Sensitive {
		t.Errorf("SetProtoEnum(7) = %q, %v; want sensitive", s, err)
	}
}

func TestResolve(t *testing.T) {
	var defs []DefinitionSpec
	for _, name := range []string{"MountStatuses.block.talos.dev", "MountStatuses.runtime.talos.dev", "Members.cluster.talos.dev"} {
		defs = append(defs, NewDefinition(resource.Definition{Type: name, Namespace: "x"}).Spec())
	}
	for _, tt := range []struct{ name, want, err string }{
		{"member", "Members.cluster.talos.dev", ""},
		{"Members.Cluster", "Members.cluster.talos.dev", ""},
		{"mountstatuses.runtime.talos.dev", "MountStatuses.runtime.talos.dev", ""},
		{"mountstatuses.block", "MountStatuses.block.talos.dev", ""},
		{"ms", "", `"ms" may be any of mountstatuses.block.talos.dev, mountstatuses.runtime.talos.dev`},
		{"nothing", "", `no resource type is called "nothing"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Resolve(defs, tt.name)
			if got.Type != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("Resolve(%q) = %q, %v; want %q, %s", tt.name, got.Type, err, tt.want, tt.err)
			}
		})
	}
}
