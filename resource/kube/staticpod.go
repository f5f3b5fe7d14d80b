package kube

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	StaticPodServerStatusID    = "static-pod-server-status" // StaticPodServerStatus
	ManifestStatusID           = "manifests"                // ManifestStatus
	ExtraManifestsConfigID     = "extra-manifests"          // ExtraManifestsConfig
	BootstrapManifestsConfigID = "manifests"                // BootstrapManifestsConfig
)

// The annotations of a static pod of the control plane that change with what it is made from.
const (
	ConfigVersion     = "talos.dev/config-version"      // the resource with the command line
	SecretsVersion    = "talos.dev/secrets-version"     // the secret files
	ConfigFileVersion = "talos.dev/config-file-version" // the config files
)

// StaticPod is a Pod that kubelet runs without being told by the API. Its id is the name. As YAML it is
// the Pod itself.
type StaticPod struct {
	Pod map[string]any `yaml:",inline" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (StaticPod) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "StaticPods.kubernetes.talos.dev", Namespace: Namespace,
	}
}

// StaticPodStatus is the status of a static pod as kubelet tells it. Its id is "namespace/name". As
// YAML it is the PodStatus.
type StaticPodStatus struct {
	PodStatus map[string]any `yaml:",inline" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (StaticPodStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "StaticPodStatuses.kubernetes.talos.dev", Namespace: Namespace,
		Aliases: []string{"podstatus"},
		Columns: []resource.Column{{Name: "Ready", JSONPath: "{.conditions[?(@.type==\"Ready\")].status}"}},
	}
}

// StaticPodServerStatus says where kubelet gets its static pods.
type StaticPodServerStatus struct {
	URL string `yaml:"url" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (StaticPodServerStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "StaticPodServerStatuses.kubernetes.talos.dev", Namespace: Namespace,
	}
}

// Manifest are objects that the cluster should have. Its id is its name; manifests are applied in the
// order of these.
type Manifest struct {
	Items []Object `yaml:"items" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (Manifest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Manifests.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}

// Object is an object of Kubernetes. As YAML it is the object itself.
type Object struct {
	Object map[string]any `yaml:",inline" proto:"1"`
}

// ManifestStatus says which manifests were applied.
type ManifestStatus struct {
	ManifestsApplied []string `yaml:"manifestsApplied" proto:"1"` // ids of [Manifest]
}

// ResourceDefinition implements [resource.Spec].
func (ManifestStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ManifestStatuses.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}

// ExtraManifestsConfig are manifests that the machine config brings.
type ExtraManifestsConfig struct {
	ExtraManifests []ExtraManifest `yaml:"extraManifests" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (ExtraManifestsConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ExtraManifestsConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}

// ExtraManifest is a manifest from a URL, or from the config itself.
type ExtraManifest struct {
	Name string `yaml:"name" proto:"1"`
	URL  string `yaml:"url" proto:"2"`
	// Priority: goes before the name in the order; "05" if it is not set
	Priority     string            `yaml:"priority" proto:"3"`
	ExtraHeaders map[string]string `yaml:"extraHeaders" proto:"4"` // of the request
	// YAML, instead of the URL
	InlineManifest string `yaml:"inlineManifest" proto:"5"`
}

// BootstrapManifestsConfig is what the manifests of a new cluster are made from.
type BootstrapManifestsConfig struct {
	// URL of the API; the contract names the key so
	Server        string         `yaml:"string" proto:"1"`
	ClusterDomain string         `yaml:"clusterDomain" proto:"2"`
	PodCIDRs      []string       `yaml:"podCIDRs" proto:"3"`
	ProxyEnabled  bool           `yaml:"proxyEnabled" proto:"4"`
	ProxyImage    string         `yaml:"proxyImage" proto:"5"`
	ProxyArgs     []string       `yaml:"proxyArgs" proto:"6"`
	ProxyConfig   map[string]any `yaml:"proxyConfig" proto:"27"` // a KubeProxyConfiguration
	// ProxyConfigChecksum: changes with it, so that the pods are replaced
	ProxyConfigChecksum               string         `yaml:"proxyConfigChecksum" proto:"29"`
	ProxyResources                    Resources      `yaml:"proxyResources" proto:"28"`
	CoreDNSEnabled                    bool           `yaml:"coreDNSEnabled" proto:"7"`
	CoreDNSImage                      string         `yaml:"coreDNSImage" proto:"8"`
	DNSServiceIP                      string         `yaml:"dnsServiceIP" proto:"9"`
	DNSServiceIPv6                    string         `yaml:"dnsServiceIPv6" proto:"10"`
	FlannelEnabled                    bool           `yaml:"flannelEnabled" proto:"11"`
	FlannelImage                      string         `yaml:"flannelImage" proto:"12"`
	FlannelExtraArgs                  []string       `yaml:"flannelExtraArgs" proto:"16"`
	FlannelKubeServiceHost            string         `yaml:"flannelKubeServiceHost" proto:"17"`
	FlannelKubeServicePort            string         `yaml:"flannelKubeServicePort" proto:"18"`
	FlannelKubeNetworkPoliciesEnabled bool           `yaml:"flannelKubeNetworkPoliciesEnabled" proto:"19"`
	FlannelKubeNetworkPoliciesImage   string         `yaml:"flannelKubeNetworkPoliciesImage" proto:"20"`
	FlannelBackendType                string         `yaml:"flannelBackendType" proto:"23"`
	FlannelBackendPort                uint32         `yaml:"flannelBackendPort" proto:"24"`
	FlannelBackendMTU                 uint32         `yaml:"flannelBackendMTU" proto:"22"` // 0 lets flannel choose
	FlannelBackendExtraConfig         map[string]any `yaml:"flannelBackendExtraConfig" proto:"26"`
	FlannelResources                  Resources      `yaml:"flannelResources" proto:"25"`
	PodSecurityPolicyEnabled          bool           `yaml:"podSecurityPolicyEnabled" proto:"14"` // no longer used
	TalosAPIServiceEnabled            bool           `yaml:"talosAPIServiceEnabled" proto:"15"`   // make a Service for the node's API
	CNIName                           string         `yaml:"cniName" proto:"21"`                  // "flannel", "none" or "custom"
}

// ResourceDefinition implements [resource.Spec].
func (BootstrapManifestsConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BootstrapManifestsConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}
