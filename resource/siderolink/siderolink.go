package siderolink

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	ConfigID = "siderolink"        // Config
	StatusID = "siderolink-status" // Status
	TunnelID = "siderolink-tunnel" // Tunnel
)

// Config is which management plane the node joins.
type Config struct {
	// URL, with its parameters
	APIEndpoint string `yaml:"apiEndpoint" proto:"1"`
	Host        string `yaml:"host" proto:"2"`      // "host:port" of it
	JoinToken   string `yaml:"joinToken" proto:"3"` // empty if none is needed
	Insecure    bool   `yaml:"insecure" proto:"4"`  // without TLS
	Tunnel      bool   `yaml:"tunnel" proto:"5"`    // through gRPC
}

// ResourceDefinition implements [resource.Spec].
func (Config) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SiderolinkConfigs.siderolink.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{
			{Name: "API Endpoint", JSONPath: "{.apiEndpoint}"},
			{Name: "Tunnel", JSONPath: "{.tunnel}"},
		},
	}
}

// Status says how the link does.
type Status struct {
	Host       string `yaml:"host" proto:"1"`      // "host:port" of the management plane
	Connected  bool   `yaml:"connected" proto:"2"` // the peer was heard of lately
	LinkName   string `yaml:"linkName" proto:"3"`
	GrpcTunnel bool   `yaml:"grpcTunnel" proto:"4"` // through gRPC
}

// ResourceDefinition implements [resource.Spec].
func (Status) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SiderolinkStatuses.siderolink.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Host", JSONPath: "{.host}"},
			{Name: "Connected", JSONPath: "{.connected}"},
		},
	}
}

// Tunnel is what the tunnel through gRPC needs.
type Tunnel struct {
	APIEndpoint string         `yaml:"apiEndpoint" proto:"1"`
	LinkName    string         `yaml:"linkName" proto:"2"`
	MTU         int64          `yaml:"mtu" proto:"3"`
	NodeAddress netip.AddrPort `yaml:"nodeAddress" proto:"4"` // in the tunnel
}

// ResourceDefinition implements [resource.Spec].
func (Tunnel) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SiderolinkTunnels.siderolink.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{
			{Name: "API Endpoint", JSONPath: "{.apiEndpoint}"},
			{Name: "Link name", JSONPath: "{.linkName}"},
			{Name: "MTU", JSONPath: "{.mtu}"},
			{Name: "Node address", JSONPath: "{.nodeAddress}"},
		},
	}
}
