package cluster

import (
	"net/netip"

	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
)

// Ids of resources of which there is one.
const (
	IdentityID        = "local"   // Identity
	InfoID            = "current" // Info
	DiscoveryConfigID = "cluster" // DiscoveryConfig
)

// Identity is who this node is, for as long as its state is kept.
type Identity struct {
	NodeID string `yaml:"nodeId" proto:"1"` // 32 random bytes in base62
}

// ResourceDefinition implements [resource.Spec].
func (Identity) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Identities.cluster.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "ID", JSONPath: "{.nodeId}"}},
	}
}

// Info says which cluster this is.
type Info struct {
	ClusterID   string `yaml:"clusterId" proto:"1"`
	ClusterName string `yaml:"clusterName" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (Info) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Infos.cluster.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Cluster ID", JSONPath: "{.clusterId}"},
			{Name: "Cluster Name", JSONPath: "{.clusterName}"},
		},
	}
}

// DiscoveryConfig is how members find each other.
type DiscoveryConfig struct {
	DiscoveryEnabled          bool `yaml:"discoveryEnabled" proto:"1"`
	RegistryKubernetesEnabled bool `yaml:"registryKubernetesEnabled" proto:"2"` // through annotations of the Node objects
	RegistryServiceEnabled    bool `yaml:"registryServiceEnabled" proto:"3"`    // through discovery services
	// ServiceEndpoint: the first of ServiceEndpoints, for readers that know one only
	ServiceEndpoint         string            `yaml:"serviceEndpoint" proto:"4"`
	ServiceEndpointInsecure bool              `yaml:"serviceEndpointInsecure" proto:"5"` // without TLS
	ServiceEncryptionKey    resource.Base64   `yaml:"serviceEncryptionKey" proto:"6"`    // a secret of the cluster, 32 bytes
	ServiceClusterID        string            `yaml:"serviceClusterID" proto:"7"`
	ServiceEndpoints        []ServiceEndpoint `yaml:"serviceEndpoints" proto:"8"`
}

// ResourceDefinition implements [resource.Spec].
func (DiscoveryConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DiscoveryConfigs.cluster.talos.dev", Namespace: ConfigNamespace, Sensitive: true,
	}
}

// ServiceEndpoint is a discovery service.
type ServiceEndpoint struct {
	Name     string `yaml:"name" proto:"1"`
	Endpoint string `yaml:"endpoint" proto:"2"` // "host:port"
	Insecure bool   `yaml:"insecure" proto:"3"` // without TLS
}

// Affiliate is a machine that claims to belong to the cluster. Its id is its node id, with the source
// before it if it is not merged ("service/…", "k8s/…").
type Affiliate struct {
	NodeID          string                    `yaml:"nodeId" proto:"1"`
	Addresses       []netip.Addr              `yaml:"addresses" proto:"2"`
	Hostname        string                    `yaml:"hostname" proto:"3"`        // with its domain, if there is one
	Nodename        string                    `yaml:"nodename" proto:"4"`        // of its Node object; empty if it has none
	OperatingSystem string                    `yaml:"operatingSystem" proto:"5"` // name and version
	MachineType     machineconfig.MachineType `yaml:"machineType" proto:"6"`
	// KubeSpan: what it says about KubeSpan; zero if it does not take part
	KubeSpan     KubeSpanAffiliate `yaml:"kubespan" proto:"7"`
	ControlPlane *ControlPlane     `yaml:"controlPlane,omitempty" proto:"8"` // nil for a worker
	// State: whether it runs, as far as this node knows; empty if nobody told. It is in YAML only: the published message has
	// no place for it
	State MemberState `yaml:"state,omitempty"`
}

// MemberState says whether a machine runs, as far as another one knows.
type MemberState string

// The states. A machine that is gone stays a member until it is forgotten.
const (
	MemberAlive   MemberState = "alive"
	MemberSuspect MemberState = "suspect" // it has not been heard for a moment, or there is nobody to ask
	MemberGone    MemberState = "gone"
)

// ResourceDefinition implements [resource.Spec].
func (Affiliate) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Affiliates.cluster.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Hostname", JSONPath: "{.hostname}"},
			{Name: "Machine Type", JSONPath: "{.machineType}"},
			{Name: "Addresses", JSONPath: "{.addresses}"},
		},
	}
}

// KubeSpanAffiliate is what a machine says about its end of the mesh.
type KubeSpanAffiliate struct {
	PublicKey           string         `yaml:"publicKey" proto:"1"`           // in base64; empty if it does not take part
	Address             netip.Addr     `yaml:"address" proto:"2"`             // in the mesh
	AdditionalAddresses []netip.Prefix `yaml:"additionalAddresses" proto:"3"` // what else is behind it
	// Endpoints: where it may be reached from outside the mesh
	Endpoints                 []netip.AddrPort `yaml:"endpoints" proto:"4"`
	ExcludeAdvertisedNetworks []netip.Prefix   `yaml:"excludeAdvertisedNetworks" proto:"5"`
}

// ControlPlane is what a machine of the control plane says about itself.
type ControlPlane struct {
	APIServerPort int64 `yaml:"port" proto:"1"` // of the Kubernetes API
}

// Member is a machine that belongs to the cluster. Its id is the name of its Node object, or its host
// name.
type Member struct {
	NodeID          string                    `yaml:"nodeId" proto:"1"`
	Addresses       []netip.Addr              `yaml:"addresses" proto:"2"`
	Hostname        string                    `yaml:"hostname" proto:"3"` // with its domain, if there is one
	MachineType     machineconfig.MachineType `yaml:"machineType" proto:"4"`
	OperatingSystem string                    `yaml:"operatingSystem" proto:"5"`        // name and version
	ControlPlane    *ControlPlane             `yaml:"controlPlane,omitempty" proto:"6"` // nil for a worker
	State           MemberState               `yaml:"state,omitempty"`                  // as in an [Affiliate]
}

// ResourceDefinition implements [resource.Spec].
func (Member) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Members.cluster.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Hostname", JSONPath: "{.hostname}"},
			{Name: "Machine Type", JSONPath: "{.machineType}"},
			{Name: "OS", JSONPath: "{.operatingSystem}"},
			{Name: "Addresses", JSONPath: "{.addresses}"},
			{Name: "State", JSONPath: "{.state}"}, // ours, after the published ones
		},
	}
}
