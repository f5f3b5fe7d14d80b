package resource

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDisplayTypeIsTheSingular(t *testing.T) {
	for plural, want := range map[string]string{
		"Members": "Member", "AddressStatuses": "AddressStatus", "NodeAddresses": "NodeAddress",
		"Identities": "Identity", "BootedEntries": "BootedEntry", "LinkRefreshes": "LinkRefresh",
		"DNSResolveCaches": "DNSResolveCache", "ServicePIDs": "ServicePID", "EtcdSecrets": "EtcdSecret",
		"PCIDevices": "PCIDevice", "MetaLoads": "MetaLoad", "s": "s", "Data": "Data",
	} {
		if got := (Definition{Type: plural + ".x.talos.dev"}).DisplayType(); got != want {
			t.Errorf("DisplayType(%s) = %q; want %q", plural, got, want)
		}
	}
}

func TestAllAliases(t *testing.T) {
	for _, tt := range []struct {
		name string
		def  Definition
		want string
	}{
		{"one capital has no short form", Definition{Type: "Members.cluster.talos.dev"},
			"member members members.cluster members.cluster.talos"},
		{"capitals, and capitals with an s", Definition{Type: "MachineConfigs.config.talos.dev"},
			"machineconfig machineconfigs machineconfigs.config machineconfigs.config.talos mc mcs"},
		{"no second s", Definition{Type: "MachineStatuses.runtime.talos.dev"},
			"machinestatus machinestatuses machinestatuses.runtime machinestatuses.runtime.talos ms"},
		{"given ones are kept, once", Definition{Type: "Services.v1alpha1.talos.dev", Aliases: []string{"svc", "service"}},
			"service services services.v1alpha1 services.v1alpha1.talos svc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(tt.def.AllAliases(), " "); got != tt.want {
				t.Errorf("AllAliases() = %q; want %q", got, tt.want)
			}
		})
	}
}

type badChannel struct{ C chan int }

func (badChannel) ResourceDefinition() Definition { return Definition{Type: "Bads.x", Namespace: "x"} }

type badHidden struct{ list []int }

func (badHidden) ResourceDefinition() Definition { return Definition{Type: "Bads.x", Namespace: "x"} }

type badNumbers struct {
	A int `proto:"1"`
	B int `proto:"1"`
}

func (badNumbers) ResourceDefinition() Definition { return Definition{Type: "Bads.x", Namespace: "x"} }

type badTag struct {
	A int `proto:"one"`
}

func (badTag) ResourceDefinition() Definition { return Definition{Type: "Bads.x", Namespace: "x"} }

type badNamespace struct{}

func (badNamespace) ResourceDefinition() Definition { return Definition{Type: "Bads.x"} }

type badNested struct {
	A struct{ B int } `proto:"1"`
}

func (badNested) ResourceDefinition() Definition { return Definition{Type: "Bads.x", Namespace: "x"} }

type badScalar int

func (badScalar) ResourceDefinition() Definition { return Definition{Type: "Bads.x", Namespace: "x"} }

func TestTypeErrNamesTheMistake(t *testing.T) {
	_ = badHidden{}.list
	for _, tt := range []struct {
		name string
		typ  *Type
		want string
	}{
		{"channel", TypeOf[badChannel](), "field C: a field of type chan int cannot be copied"},
		{"hidden slice", TypeOf[badHidden](), "method Clone"},
		{"number twice", TypeOf[badNumbers](), "fields A and B both have proto number 1"},
		{"no number", TypeOf[badTag](), `proto tag "one" is no field number`},
		{"no namespace", TypeOf[badNamespace](), "namespace is empty"},
		{"message without fields", TypeOf[badNested](), "has no proto tags"},
		{"not a struct", TypeOf[badScalar](), "want a struct"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.typ.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Err() = %v; want %q in it", err, tt.want)
			}
			if _, err := NewRegistry(tt.typ); err == nil {
				t.Error("NewRegistry accepted the type")
			}
		})
	}
}

type twin struct{ A string }

func (twin) ResourceDefinition() Definition {
	return Definition{Type: "Samples.x.test", Namespace: "x"}
}

func TestRegistry(t *testing.T) {
	reg, err := NewRegistry(TypeOf[sample](), TypeOf[sample]())
	if err != nil {
		t.Fatal(err)
	}
	if got := reg.Lookup("Samples.x.test"); got != TypeOf[sample]() {
		t.Errorf("Lookup = %v; want the type of sample", got)
	}
	if _, err := NewRegistry(TypeOf[sample](), TypeOf[twin]()); err == nil || !strings.Contains(err.Error(), "declared twice") {
		t.Errorf("NewRegistry of two types with one name: %v; want an error", err)
	}
	md := NewMetadata(Ref{"x", "Unknowns.x", "a"})
	r, err := reg.Decode(md, []byte{8, 1}, []byte("a: 1\n"))
	if _, ok := r.(*Raw); !ok || err != nil {
		t.Errorf("Decode of an unknown type = %T, %v; want Raw", r, err)
	}
	if r, err := (*Registry)(nil).Decode(md, nil, nil); r == nil || err != nil {
		t.Errorf("Decode by a nil registry = %v, %v; want a resource", r, err)
	}
	names := []string{}
	for _, typ := range reg.All() {
		names = append(names, typ.Name())
	}
	if d := cmp.Diff([]string{"Samples.x.test"}, names); d != "" {
		t.Errorf("All() (-want +got):\n%s", d)
	}
}
