package runtime

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	MetaLoadedID       = "meta-loaded"      // MetaLoaded
	PlatformMetadataID = "platformmetadata" // PlatformMetadata
)

// MetaKey is a value that survives reinstallation, in the META partition. Its id is its tag: "0x0a".
type MetaKey struct {
	Value string `yaml:"value" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (MetaKey) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MetaKeys.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"meta"},
		Columns: []resource.Column{{Name: "Value", JSONPath: "{.value}"}},
	}
}

// MetaLoaded says that every [MetaKey] is there.
type MetaLoaded struct {
	Done bool `yaml:"done" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (MetaLoaded) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MetaLoads.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Done", JSONPath: "{.done}"}},
	}
}

// MountStatus is a mounted volume, in the form of older versions. Its id is the volume's.
type MountStatus struct {
	Source              string   `yaml:"source" proto:"1"`
	Target              string   `yaml:"target" proto:"2"`
	FilesystemType      string   `yaml:"filesystemType" proto:"3"`
	Options             []string `yaml:"options" proto:"4"`
	Encrypted           bool     `yaml:"encrypted" proto:"5"`
	EncryptionProviders []string `yaml:"encryptionProviders" proto:"6"`
}

// ResourceDefinition implements [resource.Spec].
func (MountStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MountStatuses.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"mounts"},
		Columns: []resource.Column{
			{Name: "Source", JSONPath: "{.source}"},
			{Name: "Target", JSONPath: "{.target}"},
			{Name: "Filesystem Type", JSONPath: "{.filesystemType}"},
		},
	}
}

// PlatformMetadata is what the platform, such as a cloud, says about the machine. What it does not say
// is empty.
type PlatformMetadata struct {
	Platform     string            `yaml:"platform" proto:"1"`
	Hostname     string            `yaml:"hostname" proto:"2"`
	Region       string            `yaml:"region" proto:"3"`
	Zone         string            `yaml:"zone" proto:"4"`
	InstanceType string            `yaml:"instanceType" proto:"5"`
	InstanceID   string            `yaml:"instanceId" proto:"6"`
	ProviderID   string            `yaml:"providerId" proto:"7"` // as Kubernetes names the machine
	Spot         bool              `yaml:"spot" proto:"8"`       // the platform may take it away at any time
	InternalDNS  string            `yaml:"internalDNS" proto:"9"`
	ExternalDNS  string            `yaml:"externalDNS" proto:"10"`
	Tags         map[string]string `yaml:"tags" proto:"11"`
}

// ResourceDefinition implements [resource.Spec].
func (PlatformMetadata) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PlatformMetadatas.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Platform", JSONPath: "{.platform}"},
			{Name: "Type", JSONPath: "{.instanceType}"},
			{Name: "Region", JSONPath: "{.region}"},
			{Name: "Zone", JSONPath: "{.zone}"},
		},
	}
}
