package files

import (
	"io/fs"

	"go.yaml.in/yaml/v3"

	"talos.internal/resource"
)

// EtcFileSpec is a file that should be below /etc. Its id is its path there.
type EtcFileSpec struct {
	Contents     Contents    `yaml:"contents" proto:"1"`
	Mode         fs.FileMode `yaml:"mode" proto:"2"`          // permissions only
	SELinuxLabel string      `yaml:"selinux_label" proto:"3"` // empty takes that of the directory
}

// ResourceDefinition implements [resource.Spec].
func (EtcFileSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcFileSpecs.files.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Contents are the bytes of a file. In YAML they are text, or binary (base64) if they are not UTF-8.
type Contents []byte

// MarshalYAML implements [yaml.Marshaler].
func (c Contents) MarshalYAML() (any, error) { return resource.YAMLText(string(c)), nil }

// UnmarshalYAML implements [yaml.Unmarshaler].
func (c *Contents) UnmarshalYAML(n *yaml.Node) error {
	var s string
	if err := n.Decode(&s); err != nil {
		return err
	}
	*c = Contents(s)
	return nil
}

// EtcFileStatus says which version of the [EtcFileSpec] with the same id is in /etc.
type EtcFileStatus struct {
	SpecVersion string `yaml:"specVersion" proto:"1"` // as [resource.Version] is written
}

// ResourceDefinition implements [resource.Spec].
func (EtcFileStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcFileStatuses.files.talos.dev", Namespace: Namespace,
	}
}
