package network

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	NodeAddressSortAlgorithmID = "default" // NodeAddressSortAlgorithm
	FirstHardwareAddressID     = "first"   // HardwareAddress
)

// AddressSpec is an address that a link should have. Its id is "link/address", with the layer before it
// if it is not merged.
type AddressSpec struct {
	Address  netip.Prefix `yaml:"address" proto:"1"`  // with the length of its prefix
	LinkName string       `yaml:"linkName" proto:"2"` // the link may not exist yet
	Family   Family       `yaml:"family" proto:"3"`
	Scope    Scope        `yaml:"scope" proto:"4"`
	Flags    AddressFlags `yaml:"flags" proto:"5"`
	// AnnounceWithARP: announce the address by gratuitous ARP when it is set
	AnnounceWithARP bool        `yaml:"announceWithARP" proto:"6"`
	Priority        uint32      `yaml:"priority" proto:"8"` // of the route to the prefix; 0 is the kernel's default
	Layer           ConfigLayer `yaml:"layer" proto:"7"`    // where the wish is from
}

// ResourceDefinition implements [resource.Spec].
func (AddressSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AddressSpecs.net.talos.dev", Namespace: Namespace,
	}
}

// AddressStatus is an address that a link has. Its id is "link/address".
type AddressStatus struct {
	Address   netip.Prefix `yaml:"address" proto:"1"` // with the length of its prefix
	Local     netip.Addr   `yaml:"local" proto:"2"`   // for a point-to-point link, its own end
	Broadcast netip.Addr   `yaml:"broadcast" proto:"3"`
	Anycast   netip.Addr   `yaml:"anycast" proto:"4"`
	Multicast netip.Addr   `yaml:"multicast" proto:"5"`
	LinkIndex uint32       `yaml:"linkIndex" proto:"6"`
	LinkName  string       `yaml:"linkName" proto:"7"`
	Family    Family       `yaml:"family" proto:"8"`
	Scope     Scope        `yaml:"scope" proto:"9"`
	Flags     AddressFlags `yaml:"flags" proto:"10"`
	Priority  uint32       `yaml:"priority" proto:"11"` // of the route to the prefix; 0 is the kernel's default
}

// ResourceDefinition implements [resource.Spec].
func (AddressStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AddressStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"address", "addresses"},
		Columns: []resource.Column{
			{Name: "Address", JSONPath: "{.address}"},
			{Name: "Link", JSONPath: "{.linkName}"},
		},
	}
}

// NodeAddress is a set of addresses of the node. Its id says which: [NodeAddressDefault],
// [NodeAddressCurrent], [NodeAddressAccumulative], [NodeAddressRouted]; with [Filtered] one that passed
// a [NodeAddressFilter].
type NodeAddress struct {
	Addresses     []netip.Prefix       `yaml:"addresses" proto:"1"` // in the order of the algorithm
	SortAlgorithm AddressSortAlgorithm `yaml:"sortAlgorithm" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeAddress) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeAddresses.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Addresses", JSONPath: "{.addresses}"},
			{Name: "SortAlgorithm", JSONPath: "{.sortAlgorithm}"},
		},
	}
}

// Ids of [NodeAddress].
const (
	NodeAddressDefault      = "default"      // one address, which does not change while the node has it
	NodeAddressCurrent      = "current"      // what the links have now
	NodeAddressAccumulative = "accumulative" // what they ever had since boot
	NodeAddressRouted       = "routed"       // what other machines can reach
)

// Ids of [NodeAddressFilter].
const (
	FilterNoK8s   = "no-k8s"   // without the addresses of pods and services
	FilterOnlyK8s = "only-k8s" // nothing but these
)

// Filtered returns the id of the [NodeAddress] which is what the filter leaves of the one with id set.
func Filtered(set, filter string) string { return set + "-" + filter }

// NodeAddressFilter says which addresses a filtered [NodeAddress] has.
type NodeAddressFilter struct {
	// IncludeSubnets: an address is in one of these; with none, in any
	IncludeSubnets []netip.Prefix `yaml:"includeSubnets" proto:"1"`
	ExcludeSubnets []netip.Prefix `yaml:"excludeSubnets" proto:"2"` // and in none of these
}

// ResourceDefinition implements [resource.Spec].
func (NodeAddressFilter) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeAddressFilters.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Include Subnets", JSONPath: "{.includeSubnets}"},
			{Name: "Exclude Subnets", JSONPath: "{.excludeSubnets}"},
		},
	}
}

// NodeAddressSortAlgorithm is the order in which the node names its addresses.
type NodeAddressSortAlgorithm struct {
	Algorithm AddressSortAlgorithm `yaml:"algorithm" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeAddressSortAlgorithm) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeAddressSortAlgorithms.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Algorithm", JSONPath: "{.algorithm}"}},
	}
}

// HardwareAddress is the address of the physical link whose name comes first, from which the node
// derives others.
type HardwareAddress struct {
	Name         string       `yaml:"name" proto:"1"` // of the link
	HardwareAddr HardwareAddr `yaml:"hardwareAddr" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (HardwareAddress) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "HardwareAddresses.net.talos.dev", Namespace: Namespace,
	}
}
