package kube

import (
	"net/netip"

	"talos.internal/resource"
	"talos.internal/resource/arguments"
)

// Ids of resources of which there is one.
const (
	APIServerConfigID         = "kube-apiserver"          // APIServerConfig
	ControllerManagerConfigID = "kube-controller-manager" // ControllerManagerConfig
	SchedulerConfigID         = "kube-scheduler"          // SchedulerConfig
	AdmissionControlConfigID  = "admission-control"       // AdmissionControlConfig
	AuditPolicyConfigID       = "audit-policy"            // AuditPolicyConfig
	AuthenticationConfigID    = "authentication-config"   // AuthenticationConfig
	AuthorizationConfigID     = "authorization"           // AuthorizationConfig
	EtcdEncryptionConfigID    = "k8s"                     // EtcdEncryptionConfig
	ConfigStatusID            = "static-pods"             // ConfigStatus
	SecretsStatusID           = "static-pods"             // SecretsStatus
)

// APIServerConfig is how kube-apiserver runs.
type APIServerConfig struct {
	Image         string `yaml:"image" proto:"1"`
	CloudProvider string `yaml:"cloudProvider" proto:"2"` // empty is none
	// URL of the cluster
	ControlPlaneEndpoint string `yaml:"controlPlaneEndpoint" proto:"3"`
	// URLs
	EtcdServers             []string                    `yaml:"etcdServers" proto:"4"`
	LocalPort               int64                       `yaml:"localPort" proto:"5"` // it listens at
	ServiceCIDRs            []string                    `yaml:"serviceCIDR" proto:"6"`
	ExtraArgs               map[string]arguments.Values `yaml:"extraArgs" proto:"13"` // by name, without hyphens
	Args                    []string                    `yaml:"args" proto:"16"`      // the whole command line; empty until it is computed
	ExtraVolumes            []ExtraVolume               `yaml:"extraVolumes" proto:"8"`
	EnvironmentVariables    map[string]string           `yaml:"environmentVariables" proto:"9"`
	AdvertisedAddress       string                      `yaml:"advertisedAddress" proto:"11"`
	Resources               Resources                   `yaml:"resources" proto:"12"`
	StartupProbesEnabled    bool                        `yaml:"startupProbesEnabled" proto:"14"`
	UseAuthenticationConfig bool                        `yaml:"useAuthenticationConfig" proto:"15"` // there is an [AuthenticationConfig]
}

// ResourceDefinition implements [resource.Spec].
func (APIServerConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "APIServerConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace, Sensitive: true,
	}
}

// ControllerManagerConfig is how kube-controller-manager runs.
type ControllerManagerConfig struct {
	Enabled              bool                        `yaml:"enabled" proto:"1"`
	Image                string                      `yaml:"image" proto:"2"`
	CloudProvider        string                      `yaml:"cloudProvider" proto:"3"` // empty is none
	PodCIDRs             []string                    `yaml:"podCIDRs" proto:"4"`
	ServiceCIDRs         []string                    `yaml:"serviceCIDRs" proto:"5"`
	ExtraArgs            map[string]arguments.Values `yaml:"extraArgs" proto:"10"` // by name, without hyphens
	Args                 []string                    `yaml:"args" proto:"11"`      // the whole command line; empty until it is computed
	ExtraVolumes         []ExtraVolume               `yaml:"extraVolumes" proto:"7"`
	EnvironmentVariables map[string]string           `yaml:"environmentVariables" proto:"8"`
	Resources            Resources                   `yaml:"resources" proto:"9"`
	NodeCIDRMaskSizeIPv4 int64                       `yaml:"nodeCIDRMaskSizeIPv4" proto:"12"` // of the pod network of one node
	NodeCIDRMaskSizeIPv6 int64                       `yaml:"nodeCIDRMaskSizeIPv6" proto:"13"`
}

// ResourceDefinition implements [resource.Spec].
func (ControllerManagerConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ControllerManagerConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}

// SchedulerConfig is how kube-scheduler runs.
type SchedulerConfig struct {
	Enabled              bool                        `yaml:"enabled" proto:"1"`
	Image                string                      `yaml:"image" proto:"2"`
	ExtraArgs            map[string]arguments.Values `yaml:"extraArgs" proto:"8"` // by name, without hyphens
	Args                 []string                    `yaml:"args" proto:"9"`      // the whole command line; empty until it is computed
	Config               map[string]any              `yaml:"config" proto:"7"`    // a KubeSchedulerConfiguration
	ExtraVolumes         []ExtraVolume               `yaml:"extraVolumes" proto:"4"`
	EnvironmentVariables map[string]string           `yaml:"environmentVariables" proto:"5"`
	Resources            Resources                   `yaml:"resources" proto:"6"`
}

// ResourceDefinition implements [resource.Spec].
func (SchedulerConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SchedulerConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}

// ExtraVolume is a directory of the node that a component sees.
type ExtraVolume struct {
	Name      string `yaml:"name" proto:"1"`
	HostPath  string `yaml:"hostPath" proto:"2"`
	MountPath string `yaml:"mountPath" proto:"3"`
	ReadOnly  bool   `yaml:"readonly" proto:"4"`
}

// Resources are the requests and limits of a container, as Kubernetes writes quantities.
type Resources struct {
	Requests map[string]string `yaml:"requests" proto:"1"`
	Limits   map[string]string `yaml:"limits" proto:"2"`
}

// AdmissionControlConfig configures the plugins that admit objects to the API.
type AdmissionControlConfig struct {
	Plugins []AdmissionPlugin `yaml:"config" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (AdmissionControlConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AdmissionControlConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
	}
}

// AdmissionPlugin is one of these plugins with its configuration.
type AdmissionPlugin struct {
	Name          string         `yaml:"name" proto:"1"`
	Configuration map[string]any `yaml:"configuration" proto:"2"`
}

// AuditPolicyConfig is what the API server writes into its audit log.
type AuditPolicyConfig struct {
	Policy map[string]any `yaml:"config" proto:"1"` // an audit Policy
}

// ResourceDefinition implements [resource.Spec].
func (AuditPolicyConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AuditPolicyConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace, Sensitive: true,
	}
}

// AuthenticationConfig is how the API server recognises its callers.
type AuthenticationConfig struct {
	// Config: an AuthenticationConfiguration; empty is the default
	Config map[string]any `yaml:"config" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (AuthenticationConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AuthenticationConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace, Sensitive: true,
	}
}

// AuthorizationConfig is who decides what callers of the API server may do.
type AuthorizationConfig struct {
	Image       string       `yaml:"image" proto:"1"`  // of the API server, which decides what the format is
	Authorizers []Authorizer `yaml:"config" proto:"2"` // asked in this order
}

// ResourceDefinition implements [resource.Spec].
func (AuthorizationConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AuthorizationConfigs.kubernetes.talos.dev", Namespace: ControlPlaneNamespace, Sensitive: true,
	}
}

// Authorizer is one who decides.
type Authorizer struct {
	Type    string         `yaml:"type" proto:"1"` // "Node", "RBAC" or "Webhook"
	Name    string         `yaml:"name" proto:"2"`
	Webhook map[string]any `yaml:"webhook" proto:"3"`
}

// EtcdEncryptionConfig is how the API server encrypts what it keeps in etcd.
type EtcdEncryptionConfig struct {
	Configuration string `yaml:"configuration" proto:"1"` // an EncryptionConfiguration in YAML
}

// ResourceDefinition implements [resource.Spec].
func (EtcdEncryptionConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcdEncryptionConfigs.kubernetes.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// ConfigStatus says which version of the configs is in the files that the control plane reads.
type ConfigStatus struct {
	Ready   bool   `yaml:"ready" proto:"1"`
	Version string `yaml:"version" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (ConfigStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ConfigStatuses.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
		Columns: []resource.Column{
			{Name: "Ready", JSONPath: "{.ready}"},
			{Name: "Secrets Version", JSONPath: "{.version}"},
		},
	}
}

// SecretsStatus says which version of the secrets is in the files that the control plane reads.
type SecretsStatus struct {
	Ready   bool   `yaml:"ready" proto:"1"`
	Version string `yaml:"version" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (SecretsStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SecretStatuses.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
		Columns: []resource.Column{
			{Name: "Ready", JSONPath: "{.ready}"},
			{Name: "Secrets Version", JSONPath: "{.version}"},
		},
	}
}

// Endpoint are the addresses of the API servers, as one source knows them. Its id is the source.
type Endpoint struct {
	Addresses []netip.Addr `yaml:"addresses" proto:"1"`
	Hosts     []string     `yaml:"hosts" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (Endpoint) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Endpoints.kubernetes.talos.dev", Namespace: ControlPlaneNamespace,
		Columns: []resource.Column{
			{Name: "Addresses", JSONPath: "{.addresses}"},
			{Name: "Hosts", JSONPath: "{.hosts}"},
		},
	}
}

// Ids of [Endpoint].
const (
	EndpointAPIServer    = "kube-apiserver" // from the API of Kubernetes
	EndpointDiscovery    = "discovery"      // from the members
	EndpointControlPlane = "controlplane"   // from the machine config
)
