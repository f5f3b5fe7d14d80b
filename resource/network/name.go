package network

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	HostnameSpecID   = "hostname"  // HostnameSpec
	HostnameStatusID = "hostname"  // HostnameStatus
	ResolverSpecID   = "resolvers" // ResolverSpec
	ResolverStatusID = "resolvers" // ResolverStatus
	HostDNSConfigID  = "config"    // HostDNSConfig
)

// HostnameSpec is a name that the node should have; it takes the layer before its id if it is not
// merged.
type HostnameSpec struct {
	Hostname   string      `yaml:"hostname" proto:"1"`   // without a domain
	Domainname string      `yaml:"domainname" proto:"2"` // empty if there is none
	Layer      ConfigLayer `yaml:"layer" proto:"3"`      // where the wish is from
}

// ResourceDefinition implements [resource.Spec].
func (HostnameSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "HostnameSpecs.net.talos.dev", Namespace: Namespace,
	}
}

// HostnameStatus is the name that the node has.
type HostnameStatus struct {
	Hostname   string `yaml:"hostname" proto:"1"`   // without a domain
	Domainname string `yaml:"domainname" proto:"2"` // empty if there is none
}

// ResourceDefinition implements [resource.Spec].
func (HostnameStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "HostnameStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"hostname"},
		Columns: []resource.Column{
			{Name: "Hostname", JSONPath: "{.hostname}"},
			{Name: "Domainname", JSONPath: "{.domainname}"},
		},
	}
}

// FQDN returns the name with its domain, if there is one.
func (s HostnameStatus) FQDN() string {
	if s.Domainname == "" {
		return s.Hostname
	}
	return s.Hostname + "." + s.Domainname
}

// ResolverSpec are DNS servers that the node should ask; it takes the layer before its id if it is not
// merged.
type ResolverSpec struct {
	// DNSServers: the addresses of NameServers, for readers that know no more
	DNSServers    []netip.Addr `yaml:"dnsServers" proto:"1"`
	NameServers   []NameServer `yaml:"nameServers" proto:"4"`   // in the order in which they are asked
	Layer         ConfigLayer  `yaml:"layer" proto:"2"`         // where the wish is from
	SearchDomains []string     `yaml:"searchDomains" proto:"3"` // what is tried behind a name
	// SearchDomainsOverridden: the list replaces those of lower layers, even if it is empty
	SearchDomainsOverridden bool `yaml:"searchDomainsOverridden" proto:"5"`
}

// ResourceDefinition implements [resource.Spec].
func (ResolverSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ResolverSpecs.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Layer", JSONPath: "{.layer}"},
			{Name: "Resolvers", JSONPath: "{.dnsServers}"},
			{Name: "Search Domains", JSONPath: "{.searchDomains}"},
		},
	}
}

// ResolverStatus are the DNS servers that the node asks.
type ResolverStatus struct {
	// DNSServers: the addresses of NameServers, for readers that know no more
	DNSServers    []netip.Addr `yaml:"dnsServers" proto:"1"`
	NameServers   []NameServer `yaml:"nameServers" proto:"4"`   // in the order in which they are asked
	SearchDomains []string     `yaml:"searchDomains" proto:"2"` // what is tried behind a name
}

// ResourceDefinition implements [resource.Spec].
func (ResolverStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ResolverStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"resolvers"},
		Columns: []resource.Column{
			{Name: "Resolvers", JSONPath: "{.dnsServers}"},
			{Name: "Search Domains", JSONPath: "{.searchDomains}"},
		},
	}
}

// NameServer is a DNS server.
type NameServer struct {
	Addr     netip.Addr  `yaml:"addr" proto:"1"`
	Protocol DNSProtocol `yaml:"protocol" proto:"2"`
	// TLSServerName: the name in its certificate; empty takes the address
	TLSServerName string `yaml:"tlsServerName" proto:"3"`
}

// HostDNSConfig is how the node's own caching resolver runs.
type HostDNSConfig struct {
	Enabled         bool             `yaml:"enabled" proto:"1"`
	ListenAddresses []netip.AddrPort `yaml:"listenAddresses" proto:"2"`
	// ServiceHostDNSAddress: for pods; zero if they have no part in it
	ServiceHostDNSAddress netip.Addr `yaml:"serviceHostDNSAddress" proto:"3"`
	ResolveMemberNames    bool       `yaml:"resolveMemberNames" proto:"4"` // answer for the names of the cluster's members
	// ServiceHostDNSAddressV6: for pods; zero if they have no part in it
	ServiceHostDNSAddressV6 netip.Addr `yaml:"serviceHostDNSAddressV6" proto:"5"`
}

// ResourceDefinition implements [resource.Spec].
func (HostDNSConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "HostDNSConfigs.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Enabled", JSONPath: "{.enabled}"}},
	}
}

// DNSResolveCache is a listener of the node's own resolver. Its id is its network and address.
type DNSResolveCache struct {
	Status string `yaml:"status" proto:"1"` // "running" or "new"
}

// ResourceDefinition implements [resource.Spec].
func (DNSResolveCache) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DNSResolveCaches.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Status", JSONPath: "{.status}"}},
	}
}

// DNSUpstream is a server that the node's own resolver forwards to. Its id is the address. It has no
// protobuf form.
type DNSUpstream struct {
	Healthy bool   `yaml:"healthy"` // it answered lately
	Addr    string `yaml:"addr"`    // "address:port"
}

// ResourceDefinition implements [resource.Spec].
func (DNSUpstream) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DNSUpstreams.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Healthy", JSONPath: "{.healthy}"},
			{Name: "Address", JSONPath: "{.addr}"},
		},
	}
}

// StaticHost are the addresses of a name in /etc/hosts. Its id is the name.
type StaticHost struct {
	Addresses []netip.Addr `yaml:"addresses" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (StaticHost) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "StaticHosts.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Addresses", JSONPath: "{.addresses}"}},
	}
}
