// Package network has the resources of the network: what the node should have (Spec) and what its
// kernel or its services have (Status) of links, addresses, routes, rules, names and time servers; the
// packet filter; BGP; probes.
//
// A wish passes two namespaces. Each source writes its own into [ConfigNamespace], with the id prefixed
// by its layer ("configuration/eth0/10.5.0.2/24"); the merge leaves one of each in [Namespace], the
// higher [ConfigLayer] before the lower. Statuses are in [Namespace] only.
//
// Numbers of enumerations and flags are those of the Linux kernel where it has them; their texts follow
// iproute2 and ethtool.
//
// The package only declares. Everyone above resource may import it.
package network

import "talos.internal/resource"

// Namespaces of the resources of this package.
const (
	Namespace       = "network"        // merged wishes and everything observed
	ConfigNamespace = "network-config" // wishes of each source
)

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[AddressSpec](),
		resource.TypeOf[AddressStatus](),
		resource.TypeOf[NodeAddress](),
		resource.TypeOf[NodeAddressFilter](),
		resource.TypeOf[NodeAddressSortAlgorithm](),
		resource.TypeOf[HardwareAddress](),
		resource.TypeOf[LinkSpec](),
		resource.TypeOf[LinkStatus](),
		resource.TypeOf[LinkAliasSpec](),
		resource.TypeOf[LinkRefresh](),
		resource.TypeOf[DeviceConfigSpec](),
		resource.TypeOf[RouteSpec](),
		resource.TypeOf[RouteStatus](),
		resource.TypeOf[RoutingRuleSpec](),
		resource.TypeOf[RoutingRuleStatus](),
		resource.TypeOf[BGPInstanceConfig](),
		resource.TypeOf[BGPPeerStatus](),
		resource.TypeOf[EthernetSpec](),
		resource.TypeOf[EthernetStatus](),
		resource.TypeOf[HostnameSpec](),
		resource.TypeOf[HostnameStatus](),
		resource.TypeOf[ResolverSpec](),
		resource.TypeOf[ResolverStatus](),
		resource.TypeOf[HostDNSConfig](),
		resource.TypeOf[DNSResolveCache](),
		resource.TypeOf[DNSUpstream](),
		resource.TypeOf[StaticHost](),
		resource.TypeOf[OperatorSpec](),
		resource.TypeOf[PlatformConfig](),
		resource.TypeOf[ProbeSpec](),
		resource.TypeOf[ProbeStatus](),
		resource.TypeOf[Status](),
		resource.TypeOf[TimeServerSpec](),
		resource.TypeOf[TimeServerStatus](),
		resource.TypeOf[NfTablesChain](),
	}
}
