package network

import (
	"net/netip"

	"talos.internal/resource"
)

// RouteSpec is a route that the kernel should have. Its id is made of family, gateway, destination and
// priority, with the layer before it if it is not merged.
type RouteSpec struct {
	Family      Family         `yaml:"family" proto:"1"`
	Destination netip.Prefix   `yaml:"dst" proto:"2"`     // the zero prefix is the default route
	Source      netip.Addr     `yaml:"src" proto:"3"`     // preferred source address; zero leaves it to the kernel
	Gateway     netip.Addr     `yaml:"gateway" proto:"4"` // zero if the destination is on the link
	OutLinkName string         `yaml:"outLinkName" proto:"5"`
	Table       RoutingTable   `yaml:"table" proto:"6"`
	Priority    uint32         `yaml:"priority" proto:"7"` // the metric; the lower goes first
	Scope       Scope          `yaml:"scope" proto:"8"`
	Type        RouteType      `yaml:"type" proto:"9"`
	Flags       RouteFlags     `yaml:"flags" proto:"10"`
	Protocol    RouteProtocol  `yaml:"protocol" proto:"11"`
	Layer       ConfigLayer    `yaml:"layer" proto:"12"`    // where the wish is from
	MTU         uint32         `yaml:"mtu" proto:"13"`      // of the path; 0 is that of the link
	NextHops    []RouteNextHop `yaml:"nextHops" proto:"14"` // instead of gateway and link, for several paths
}

// ResourceDefinition implements [resource.Spec].
func (RouteSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RouteSpecs.net.talos.dev", Namespace: Namespace,
	}
}

// RouteStatus is a route of the kernel. Its id is made of table, family, gateway, destination and
// priority.
type RouteStatus struct {
	Family       Family         `yaml:"family" proto:"1"`
	Destination  netip.Prefix   `yaml:"dst" proto:"2"` // the zero prefix is the default route
	Source       netip.Addr     `yaml:"src" proto:"3"` // preferred source address
	Gateway      netip.Addr     `yaml:"gateway" proto:"4"`
	OutLinkIndex uint32         `yaml:"outLinkIndex" proto:"5"`
	OutLinkName  string         `yaml:"outLinkName" proto:"6"`
	Table        RoutingTable   `yaml:"table" proto:"7"`
	Priority     uint32         `yaml:"priority" proto:"8"` // the metric
	Scope        Scope          `yaml:"scope" proto:"9"`
	Type         RouteType      `yaml:"type" proto:"10"`
	Flags        RouteFlags     `yaml:"flags" proto:"11"`
	Protocol     RouteProtocol  `yaml:"protocol" proto:"12"` // who made it
	MTU          uint32         `yaml:"mtu" proto:"13"`      // of the path; 0 is that of the link
	NextHops     []RouteNextHop `yaml:"nextHops" proto:"14"` // of a route over several paths
}

// ResourceDefinition implements [resource.Spec].
func (RouteStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RouteStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"route", "routes"},
		Columns: []resource.Column{
			{Name: "Destination", JSONPath: "{.dst}"},
			{Name: "Gateway", JSONPath: "{.gateway}"},
			{Name: "Link", JSONPath: "{.outLinkName}"},
			{Name: "Metric", JSONPath: "{.priority}"},
		},
	}
}

// RouteNextHop is one path of a route over several.
type RouteNextHop struct {
	Gateway     netip.Addr `yaml:"gateway" proto:"1"`
	OutLinkName string     `yaml:"outLinkName" proto:"2"`
	Weight      uint32     `yaml:"weight" proto:"3"` // its share; 0 and 1 are the same
}

// RoutingRuleSpec is a rule that the kernel should have for choosing a routing table. Its id is made of
// family and priority, with the layer before it if it is not merged.
type RoutingRuleSpec struct {
	Family   Family            `yaml:"family" proto:"1"`
	Src      netip.Prefix      `yaml:"src" proto:"2"` // the zero prefix matches any source
	Dst      netip.Prefix      `yaml:"dst" proto:"3"` // the zero prefix matches any destination
	Table    RoutingTable      `yaml:"table" proto:"4"`
	Priority uint32            `yaml:"priority" proto:"5"` // rules are tried in this order
	Action   RoutingRuleAction `yaml:"action" proto:"6"`
	IifName  string            `yaml:"iifName" proto:"7"` // the link that a packet came by; empty matches any
	OifName  string            `yaml:"oifName" proto:"8"` // the link that it is bound to; empty matches any
	FwMark   uint32            `yaml:"fwMark" proto:"9"`
	// FwMask: which bits of the mark count; 0 with a mark of 0 matches any
	FwMask uint32      `yaml:"fwMask" proto:"10"`
	Layer  ConfigLayer `yaml:"layer" proto:"11"` // where the wish is from
}

// ResourceDefinition implements [resource.Spec].
func (RoutingRuleSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RoutingRuleSpecs.net.talos.dev", Namespace: Namespace,
	}
}

// RoutingRuleStatus is a rule of the kernel for choosing a routing table.
type RoutingRuleStatus struct {
	Family   Family            `yaml:"family" proto:"1"`
	Src      netip.Prefix      `yaml:"src" proto:"2"` // the zero prefix matches any source
	Dst      netip.Prefix      `yaml:"dst" proto:"3"` // the zero prefix matches any destination
	Table    RoutingTable      `yaml:"table" proto:"4"`
	Priority uint32            `yaml:"priority" proto:"5"` // rules are tried in this order
	Action   RoutingRuleAction `yaml:"action" proto:"6"`
	IifName  string            `yaml:"iifName" proto:"7"`
	OifName  string            `yaml:"oifName" proto:"8"`
	FwMark   uint32            `yaml:"fwMark" proto:"9"`
	FwMask   uint32            `yaml:"fwMask" proto:"10"`
}

// ResourceDefinition implements [resource.Spec].
func (RoutingRuleStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RoutingRuleStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"routingrule", "routingrules"},
		Columns: []resource.Column{
			{Name: "Src", JSONPath: "{.src}"},
			{Name: "Dst", JSONPath: "{.dst}"},
			{Name: "Table", JSONPath: "{.table}"},
			{Name: "Priority", JSONPath: "{.priority}"},
		},
	}
}
