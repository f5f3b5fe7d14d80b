package machineconfig

import (
	"go.yaml.in/yaml/v3"

	"talos.internal/resource"
)

// Ids of [Config].
const (
	Active     = "v1alpha1"   // what the machine does
	Persistent = "persistent" // what it will do after the next boot
)

// TypeID is the id of the only [Type].
const TypeID = "machine-type"

// Config is the machine config. As YAML it is one string with all its documents, because a resource's
// spec is one document. It has no protobuf form.
type Config struct {
	// YAML documents
	Text string `yaml:"-"`
}

// ResourceDefinition implements [resource.Spec].
func (Config) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MachineConfigs.config.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// MarshalYAML implements [yaml.Marshaler].
func (c Config) MarshalYAML() (any, error) { return resource.YAMLText(c.Text), nil }

// UnmarshalYAML implements [yaml.Unmarshaler].
func (c *Config) UnmarshalYAML(n *yaml.Node) error { return n.Decode(&c.Text) }

// Type is the machine's part in the cluster. As YAML it is the name alone. It has no protobuf form.
type Type struct {
	Type MachineType `yaml:"-"`
}

// ResourceDefinition implements [resource.Spec].
func (Type) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MachineTypes.config.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Type", JSONPath: "{.}"}},
	}
}

// MarshalYAML implements [yaml.Marshaler].
func (t Type) MarshalYAML() (any, error) { return t.Type, nil }

// UnmarshalYAML implements [yaml.Unmarshaler].
func (t *Type) UnmarshalYAML(n *yaml.Node) error { return n.Decode(&t.Type) }

// MachineType is a machine's part in the cluster.
type MachineType int32

// The values of MachineType.
const (
	TypeUnknown      MachineType = 0
	TypeInit         MachineType = 1 // a control plane machine that begins the cluster by itself; no longer used
	TypeControlPlane MachineType = 2
	TypeWorker       MachineType = 3
)

var machineTypeNames = resource.NamesOf(map[MachineType]string{
	TypeUnknown:      "unknown",
	TypeInit:         "init",
	TypeControlPlane: "controlplane",
	TypeWorker:       "worker",
})

// String returns the name of m.
func (m MachineType) String() string { return machineTypeNames.Text(m) }

// MarshalText implements [encoding.TextMarshaler].
func (m MachineType) MarshalText() ([]byte, error) { return []byte(machineTypeNames.Text(m)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MachineType) UnmarshalText(text []byte) error { return machineTypeNames.Set(m, string(text)) }
