// Package netdoc has the documents of a machine config that describe its network: links and what is stacked on them,
// addresses, routes and rules, DHCP, shared addresses, names, resolvers, time, BGP, the firewall, KubeSpan and probes.
//
// Each kind is a struct of its own; its doc comments are the user's reference. What types cannot say is checked in two
// places: Validate sees one object, [Check] sees all documents. A link is meant by its name, by one of its alternative
// names, or by an alias that a LinkAliasConfig gives it. A name that no document defines is a physical link, of which
// the config knows nothing: no rule calls it an error.
//
// The package decides nothing about a running machine: it has no network, no files and no clock. Only packages of the
// config import it and its consumers read its types.
package netdoc

import "talos.internal/config/schema"

// Kinds returns the kinds of network documents, in the order of their reference pages.
func Kinds() []schema.Kind {
	kinds := []schema.Kind{
		{Name: "LinkConfig", New: func() schema.Document { return new(LinkConfig) }},
		{Name: "LinkAliasConfig", New: func() schema.Document { return new(LinkAliasConfig) }},
		{Name: "BondConfig", New: func() schema.Document { return new(BondConfig) }},
		{Name: "BridgeConfig", New: func() schema.Document { return new(BridgeConfig) }},
		{Name: "VLANConfig", New: func() schema.Document { return new(VLANConfig) }},
		{Name: "VRFConfig", New: func() schema.Document { return new(VRFConfig) }},
		{Name: "VethConfig", New: func() schema.Document { return new(VethConfig) }},
		{Name: "DummyLinkConfig", New: func() schema.Document { return new(DummyLinkConfig) }},
		{Name: "WireguardConfig", New: func() schema.Document { return new(WireguardConfig) }},
		{Name: "EthernetConfig", New: func() schema.Document { return new(EthernetConfig) }},
		{Name: "DHCPv4Config", New: func() schema.Document { return new(DHCPv4Config) }},
		{Name: "DHCPv6Config", New: func() schema.Document { return new(DHCPv6Config) }},
		// The election of a shared address runs in etcd, which a worker does not have (contract §2.7).
		{Name: "Layer2VIPConfig", New: func() schema.Document { return new(Layer2VIPConfig) }, ControlPlaneOnly: true},
		{Name: "HCloudVIPConfig", New: func() schema.Document { return new(HCloudVIPConfig) }, ControlPlaneOnly: true},
		{Name: "HostnameConfig", New: func() schema.Document { return new(HostnameConfig) }},
		{Name: "ResolverConfig", New: func() schema.Document { return new(ResolverConfig) }},
		{Name: "StaticHostConfig", New: func() schema.Document { return new(StaticHostConfig) }},
		{Name: "TimeSyncConfig", New: func() schema.Document { return new(TimeSyncConfig) }},
		{Name: "BlackholeRouteConfig", New: func() schema.Document { return new(BlackholeRouteConfig) }},
		{Name: "RoutingRuleConfig", New: func() schema.Document { return new(RoutingRuleConfig) }},
		{Name: "BGPInstanceConfig", New: func() schema.Document { return new(BGPInstanceConfig) }},
		{Name: "NetworkDefaultActionConfig", New: func() schema.Document { return new(NetworkDefaultActionConfig) }},
		{Name: "NetworkRuleConfig", New: func() schema.Document { return new(NetworkRuleConfig) }},
		{Name: "KubeSpanConfig", New: func() schema.Document { return new(KubeSpanConfig) }},
		{Name: "KubeSpanEndpointsConfig", New: func() schema.Document { return new(KubeSpanEndpointsConfig) },
			Aliases: []string{"KubeSpanEndpoints"}},
		{Name: "TCPProbeConfig", New: func() schema.Document { return new(TCPProbeConfig) }},
		{Name: "HTTPProbeConfig", New: func() schema.Document { return new(HTTPProbeConfig) }},
	}
	for i := range kinds {
		kinds[i].Subject = "network"
	}
	return kinds
}

// firsts remembers for each key the value that came with it first.
type firsts[K comparable, V any] map[K]V

// seen returns the value that came with k first, and whether that was before.
func (f firsts[K, V]) seen(k K, v V) (first V, before bool) {
	if first, before = f[k]; !before {
		f[k] = v
		first = v
	}
	return first, before
}

// orDefault returns what p points at, or d if it is nil.
func orDefault[T any](p *T, d T) T {
	if p == nil {
		return d
	}
	return *p
}
