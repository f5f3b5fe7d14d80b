package kube

import (
	"talos.internal/resource"
	"talos.internal/resource/arguments"
)

// KubeletID is the id of the only [KubeletConfig].
const KubeletID = "kubelet"

// KubeletConfig is what the machine config says about kubelet.
type KubeletConfig struct {
	Image                        string                      `yaml:"image" proto:"1"`
	ClusterDNS                   []string                    `yaml:"clusterDNS" proto:"2"` // addresses; empty are those of the cluster
	ClusterDomain                string                      `yaml:"clusterDomain" proto:"3"`
	ExtraArgs                    map[string]arguments.Values `yaml:"extraArgs" proto:"15"` // by name, without hyphens
	ExtraMounts                  []Mount                     `yaml:"extraMounts" proto:"5"`
	Config                       map[string]any              `yaml:"extraConfig" proto:"6"` // what changes the KubeletConfiguration
	CloudProviderExternal        bool                        `yaml:"cloudProviderExternal" proto:"7"`
	DefaultRuntimeSeccompEnabled bool                        `yaml:"defaultRuntimeSeccompEnabled" proto:"8"`
	SkipNodeRegistration         bool                        `yaml:"skipNodeRegistration" proto:"9"`
	StaticPodListURL             string                      `yaml:"staticPodListURL" proto:"10"`
	DisableManifestsDirectory    bool                        `yaml:"disableManifestsDirectory" proto:"11"`
	EnableFSQuotaMonitoring      bool                        `yaml:"enableFSQuotaMonitoring" proto:"12"`
	CredentialProviderConfig     map[string]any              `yaml:"credentialProviderConfig" proto:"13"` // a CredentialProviderConfig
	RegisterWithTaints           map[string]string           `yaml:"registerWithTaints" proto:"16"`       // "effect" or "value:effect" by key
}

// ResourceDefinition implements [resource.Spec].
func (KubeletConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeletConfigs.kubernetes.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// KubeletSpec is what kubelet is started with. Its id is [KubeletID].
type KubeletSpec struct {
	Image                    string         `yaml:"image" proto:"1"`
	Args                     []string       `yaml:"args" proto:"2"`
	ExtraMounts              []Mount        `yaml:"extraMounts" proto:"3"`
	ExpectedNodename         string         `yaml:"expectedNodename" proto:"4"`
	Config                   map[string]any `yaml:"config" proto:"5"`                   // a KubeletConfiguration
	CredentialProviderConfig map[string]any `yaml:"credentialProviderConfig" proto:"6"` // a CredentialProviderConfig
}

// ResourceDefinition implements [resource.Spec].
func (KubeletSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeletSpecs.kubernetes.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Mount is a mount of kubelet's container (OCI runtime spec, config.md, Mounts).
type Mount struct {
	Destination string      `yaml:"destination" proto:"1"`
	Type        string      `yaml:"type" proto:"2"`
	Source      string      `yaml:"source" proto:"3"`
	Options     []string    `yaml:"options" proto:"4"`
	UIDMappings []IDMapping `yaml:"uidMappings" proto:"5"`
	GIDMappings []IDMapping `yaml:"gidMappings" proto:"6"`
}

// IDMapping maps ids of users or groups.
type IDMapping struct {
	ContainerID uint32 `yaml:"containerID" proto:"1"`
	HostID      uint32 `yaml:"hostID" proto:"2"`
	Size        uint32 `yaml:"size" proto:"3"`
}

// KubeletKubeconfig is there once kubelet has joined the cluster. Its id is [KubeletID].
type KubeletKubeconfig struct {
	Hash string `yaml:"hash" proto:"1"` // of the file, so that readers see a change
}

// ResourceDefinition implements [resource.Spec].
func (KubeletKubeconfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeletKubeconfigs.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Hash", JSONPath: "{.hash}"}},
	}
}

// KubeletStatus is the kubelet that runs. Its id is [KubeletID].
type KubeletStatus struct {
	Image string `yaml:"image" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (KubeletStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeletStatuses.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Image", JSONPath: "{.image}"}},
	}
}

// KubeletLifecycle is there while kubelet may run; who needs it to go on holds a finalizer. Its id is
// [KubeletID].
type KubeletLifecycle struct{}

// ResourceDefinition implements [resource.Spec].
func (KubeletLifecycle) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeletLifecycles.kubernetes.talos.dev", Namespace: Namespace,
	}
}
