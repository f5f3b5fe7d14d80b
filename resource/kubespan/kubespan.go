package kubespan

import (
	"net/netip"
	"time"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	ConfigID   = "kubespan" // Config
	IdentityID = "local"    // Identity
)

// Config is what the machine config says about the mesh.
type Config struct {
	Enabled      bool   `yaml:"enabled" proto:"1"`
	ClusterID    string `yaml:"clusterId" proto:"2"`
	SharedSecret string `yaml:"sharedSecret" proto:"3"` // the pre-shared key of all peers, in base64
	// ForceRouting: traffic to a peer that is down is dropped, not sent outside the mesh
	ForceRouting                bool   `yaml:"forceRouting" proto:"4"`
	AdvertiseKubernetesNetworks bool   `yaml:"advertiseKubernetesNetworks" proto:"5"` // pods are reached through the mesh
	MTU                         uint32 `yaml:"mtu" proto:"6"`                         // of the link, in bytes
	// EndpointFilters: which own addresses are announced: CIDRs, with ! before it excluded
	EndpointFilters       []string         `yaml:"endpointFilters" proto:"7"`
	HarvestExtraEndpoints bool             `yaml:"harvestExtraEndpoints" proto:"8"` // announce where peers were seen
	ExtraEndpoints        []netip.AddrPort `yaml:"extraEndpoints" proto:"9"`        // further own endpoints
	// ExcludeAdvertisedNetworks: networks that are never reached through the mesh
	ExcludeAdvertisedNetworks []netip.Prefix `yaml:"excludeAdvertisedNetworks" proto:"10"`
}

// ResourceDefinition implements [resource.Spec].
func (Config) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeSpanConfigs.kubespan.talos.dev", Namespace: ConfigNamespace, Sensitive: true,
	}
}

// Identity is this node's end of the mesh.
type Identity struct {
	Address    netip.Prefix `yaml:"address" proto:"1"`    // in the mesh
	Subnet     netip.Prefix `yaml:"subnet" proto:"2"`     // of the mesh, the same for the cluster
	PrivateKey string       `yaml:"privateKey" proto:"3"` // in base64
	PublicKey  string       `yaml:"publicKey" proto:"4"`  // in base64
}

// ResourceDefinition implements [resource.Spec].
func (Identity) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeSpanIdentities.kubespan.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{
			{Name: "Address", JSONPath: "{.address}"},
			{Name: "PublicKey", JSONPath: "{.publicKey}"},
		},
	}
}

// Endpoint is where a peer was seen, which others are told. Its id is the public key.
type Endpoint struct {
	AffiliateID string         `yaml:"affiliateID" proto:"1"`
	Address     netip.AddrPort `yaml:"endpoint" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (Endpoint) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeSpanEndpoints.kubespan.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Endpoint", JSONPath: "{.endpoint}"},
			{Name: "Affiliate ID", JSONPath: "{.affiliateID}"},
		},
	}
}

// PeerSpec is a peer that this node should have. Its id is the public key.
type PeerSpec struct {
	Address    netip.Addr       `yaml:"address" proto:"1"` // in the mesh
	AllowedIPs []netip.Prefix   `yaml:"allowedIPs" proto:"2"`
	Endpoints  []netip.AddrPort `yaml:"endpoints" proto:"3"` // where to try it
	Label      string           `yaml:"label" proto:"4"`     // its name, for a person
}

// ResourceDefinition implements [resource.Spec].
func (PeerSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeSpanPeerSpecs.kubespan.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Label", JSONPath: "{.label}"},
			{Name: "Endpoints", JSONPath: "{.endpoints}"},
		},
	}
}

// PeerStatus is how a peer does. Its id is the public key.
type PeerStatus struct {
	Endpoint           netip.AddrPort `yaml:"endpoint" proto:"1"` // in use; zero if none is
	Label              string         `yaml:"label" proto:"2"`
	State              PeerState      `yaml:"state" proto:"3"`
	ReceiveBytes       int64          `yaml:"receiveBytes" proto:"4"`
	TransmitBytes      int64          `yaml:"transmitBytes" proto:"5"`
	LastHandshakeTime  time.Time      `yaml:"lastHandshakeTime" proto:"6"` // zero if there was none
	LastUsedEndpoint   netip.AddrPort `yaml:"lastUsedEndpoint" proto:"7"`
	LastEndpointChange time.Time      `yaml:"lastEndpointChange" proto:"8"`
}

// ResourceDefinition implements [resource.Spec].
func (PeerStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeSpanPeerStatuses.kubespan.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Label", JSONPath: "{.label}"},
			{Name: "Endpoint", JSONPath: "{.endpoint}"},
			{Name: "State", JSONPath: "{.state}"},
			{Name: "Rx", JSONPath: "{.receiveBytes}"},
			{Name: "Tx", JSONPath: "{.transmitBytes}"},
		},
	}
}

// PeerState is whether a peer answers.
type PeerState int32

// The values of PeerState.
const (
	PeerUnknown PeerState = 0
	PeerUp      PeerState = 1
	PeerDown    PeerState = 2
)

var peerStateNames = resource.NamesOf(map[PeerState]string{
	PeerUnknown: "unknown",
	PeerUp:      "up",
	PeerDown:    "down",
})

// String returns the name of p.
func (p PeerState) String() string { return peerStateNames.Text(p) }

// MarshalText implements [encoding.TextMarshaler].
func (p PeerState) MarshalText() ([]byte, error) { return []byte(peerStateNames.Text(p)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *PeerState) UnmarshalText(text []byte) error { return peerStateNames.Set(p, string(text)) }
