package network

import (
	"net/netip"

	"talos.internal/resource"
	"talos.internal/resource/runtime"
)

// OperatorSpec is a protocol which the node should run on a link, and which makes wishes of its own.
// Its id is "operator/link", with the layer before it if it is not merged. The part of its kind is the
// one that counts.
type OperatorSpec struct {
	Operator  Operator       `yaml:"operator" proto:"1"`
	LinkName  string         `yaml:"linkName" proto:"2"`
	RequireUp bool           `yaml:"requireUp" proto:"3"` // run only while the link is up
	Dhcp4     *DHCP4Operator `yaml:"dhcp4,omitempty" proto:"4"`
	Dhcp6     *DHCP6Operator `yaml:"dhcp6,omitempty" proto:"5"`
	VIP       *VIPOperator   `yaml:"vip,omitempty" proto:"6"`
	Layer     ConfigLayer    `yaml:"layer" proto:"7"` // where the wish is from
}

// ResourceDefinition implements [resource.Spec].
func (OperatorSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "OperatorSpecs.net.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// DHCP4Operator is a DHCP client (RFC 2131).
type DHCP4Operator struct {
	RouteMetric         uint32           `yaml:"routeMetric" proto:"1"`         // of the routes that it makes; the lower goes first
	SkipHostnameRequest bool             `yaml:"skipHostnameRequest" proto:"2"` // do not take a host name
	SkipRoutes          bool             `yaml:"skipRoutes" proto:"4"`          // do not take routes
	ClientIdentifier    ClientIdentifier `yaml:"clientIdentifier" proto:"3"`
}

// DHCP6Operator is a DHCP client for IPv6 (RFC 8415).
type DHCP6Operator struct {
	RouteMetric         uint32           `yaml:"routeMetric" proto:"2"`         // of the routes that it makes; the lower goes first
	SkipHostnameRequest bool             `yaml:"skipHostnameRequest" proto:"3"` // do not take a host name
	ClientIdentifier    ClientIdentifier `yaml:"clientIdentifier" proto:"4"`
}

// ClientIdentifier is whom a DHCP client says it is.
type ClientIdentifier struct {
	Kind       ClientIdentifierKind `yaml:"clientIdentifier" proto:"1"`
	DUIDRawHex string               `yaml:"duidRawHex" proto:"2"` // hexadecimal; for the kind duid
}

// VIPOperator is an address that one machine of several has at a time.
type VIPOperator struct {
	IP            netip.Addr `yaml:"ip" proto:"1"`
	GratuitousARP bool       `yaml:"gratuitousARP" proto:"2"` // announce it by gratuitous ARP (RFC 5227 section 3)
	// EquinixMetal: moved through that provider's API if its ids are set
	EquinixMetal *VIPEquinixMetal `yaml:"equinixMetal,omitempty" proto:"3"`
	// HCloud: moved through that provider's API if its ids are set
	HCloud *VIPHCloud `yaml:"hcloud,omitempty" proto:"4"`
}

// VIPEquinixMetal is how an address is moved at Equinix Metal.
type VIPEquinixMetal struct {
	ProjectID string `yaml:"projectID" proto:"1"`
	DeviceID  string `yaml:"deviceID" proto:"2"`
	APIToken  string `yaml:"apiToken" proto:"3"` // a secret
}

// VIPHCloud is how an address is moved at Hetzner Cloud.
type VIPHCloud struct {
	DeviceID  int64  `yaml:"deviceID" proto:"1"`
	NetworkID int64  `yaml:"networkID" proto:"2"` // 0 is a floating address
	APIToken  string `yaml:"apiToken" proto:"3"`  // a secret
}

// PlatformConfig is the network as the platform, such as a cloud, tells it. Its id is
// [PlatformConfigActive], or [PlatformConfigCached] as it was at an earlier boot.
type PlatformConfig struct {
	Addresses   []AddressSpec    `yaml:"addresses" proto:"1"`
	Links       []LinkSpec       `yaml:"links" proto:"2"`
	Routes      []RouteSpec      `yaml:"routes" proto:"3"`
	Hostnames   []HostnameSpec   `yaml:"hostnames" proto:"4"`
	Resolvers   []ResolverSpec   `yaml:"resolvers" proto:"5"`
	TimeServers []TimeServerSpec `yaml:"timeServers" proto:"6"`
	Operators   []OperatorSpec   `yaml:"operators" proto:"7"`
	// ExternalIPs: addresses that others reach the node by, which it does not have itself
	ExternalIPs []netip.Addr `yaml:"externalIPs" proto:"8"`
	Probes      []ProbeSpec  `yaml:"probes" proto:"9"`
	// Metadata: nil until the platform answered
	Metadata *runtime.PlatformMetadata `yaml:"metadata,omitempty" proto:"10"`
}

// ResourceDefinition implements [resource.Spec].
func (PlatformConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PlatformConfigs.net.talos.dev", Namespace: Namespace,
	}
}

// Ids of [PlatformConfig].
const (
	PlatformConfigActive = "active"
	PlatformConfigCached = "cached"
)
