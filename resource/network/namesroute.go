package network

import "talos.internal/resource"

// RoutingTable is a routing table of the kernel. Tables without a name are written as their number.
type RoutingTable int32

// The values of RoutingTable.
const (
	TableUnspec  RoutingTable = 0
	TableDefault RoutingTable = 253
	TableMain    RoutingTable = 254
	TableLocal   RoutingTable = 255
)

var routingTableNames = resource.NamesOf(map[RoutingTable]string{
	TableUnspec: "unspec", TableDefault: "default", TableMain: "main", TableLocal: "local",
})

// String returns the name of r.
func (r RoutingTable) String() string { return routingTableNames.Text(r) }

// MarshalText implements [encoding.TextMarshaler].
func (r RoutingTable) MarshalText() ([]byte, error) { return []byte(routingTableNames.Text(r)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *RoutingTable) UnmarshalText(text []byte) error {
	return routingTableNames.Set(r, string(text))
}

// RouteType is what a route does with a packet (rtnetlink(7)).
type RouteType int32

// The values of RouteType.
const (
	RouteTypeUnspec          RouteType = 0
	RouteTypeUnicast         RouteType = 1
	RouteTypeLocal           RouteType = 2
	RouteTypeBroadcast       RouteType = 3
	RouteTypeAnycast         RouteType = 4
	RouteTypeMulticast       RouteType = 5
	RouteTypeBlackhole       RouteType = 6
	RouteTypeUnreachable     RouteType = 7
	RouteTypeProhibit        RouteType = 8
	RouteTypeThrow           RouteType = 9
	RouteTypeNAT             RouteType = 10
	RouteTypeExternalResolve RouteType = 11
)

var routeTypeNames = resource.NamesOf(map[RouteType]string{
	RouteTypeUnspec:          "unspec",
	RouteTypeUnicast:         "unicast",
	RouteTypeLocal:           "local",
	RouteTypeBroadcast:       "broadcast",
	RouteTypeAnycast:         "anycast",
	RouteTypeMulticast:       "multicast",
	RouteTypeBlackhole:       "blackhole",
	RouteTypeUnreachable:     "unreachable",
	RouteTypeProhibit:        "prohibit",
	RouteTypeThrow:           "throw",
	RouteTypeNAT:             "nat",
	RouteTypeExternalResolve: "xresolve",
})

// String returns the name of r.
func (r RouteType) String() string { return routeTypeNames.Text(r) }

// MarshalText implements [encoding.TextMarshaler].
func (r RouteType) MarshalText() ([]byte, error) { return []byte(routeTypeNames.Text(r)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *RouteType) UnmarshalText(text []byte) error { return routeTypeNames.Set(r, string(text)) }

// RouteProtocol is who made a route (linux/rtnetlink.h).
type RouteProtocol int32

// The values of RouteProtocol.
const (
	RouteProtocolUnspec     RouteProtocol = 0
	RouteProtocolRedirect   RouteProtocol = 1
	RouteProtocolKernel     RouteProtocol = 2
	RouteProtocolBoot       RouteProtocol = 3
	RouteProtocolStatic     RouteProtocol = 4
	RouteProtocolRA         RouteProtocol = 9
	RouteProtocolMRT        RouteProtocol = 10
	RouteProtocolZebra      RouteProtocol = 11
	RouteProtocolBird       RouteProtocol = 12
	RouteProtocolDnrouted   RouteProtocol = 13
	RouteProtocolXorp       RouteProtocol = 14
	RouteProtocolNTK        RouteProtocol = 15
	RouteProtocolDHCP       RouteProtocol = 16
	RouteProtocolMRTD       RouteProtocol = 17
	RouteProtocolKeepalived RouteProtocol = 18
	RouteProtocolBabel      RouteProtocol = 42
	RouteProtocolOpenr      RouteProtocol = 99
	RouteProtocolBGP        RouteProtocol = 186
	RouteProtocolISIS       RouteProtocol = 187
	RouteProtocolOSPF       RouteProtocol = 188
	RouteProtocolRIP        RouteProtocol = 189
	RouteProtocolEIGRP      RouteProtocol = 192
)

var routeProtocolNames = resource.NamesOf(map[RouteProtocol]string{
	RouteProtocolUnspec:     "unspec",
	RouteProtocolRedirect:   "redirect",
	RouteProtocolKernel:     "kernel",
	RouteProtocolBoot:       "boot",
	RouteProtocolStatic:     "static",
	RouteProtocolRA:         "ra",
	RouteProtocolMRT:        "mrt",
	RouteProtocolZebra:      "zebra",
	RouteProtocolBird:       "bird",
	RouteProtocolDnrouted:   "dnrouted",
	RouteProtocolXorp:       "xorp",
	RouteProtocolNTK:        "ntk",
	RouteProtocolDHCP:       "dhcp",
	RouteProtocolMRTD:       "mrtd",
	RouteProtocolKeepalived: "keepalived",
	RouteProtocolBabel:      "babel",
	RouteProtocolOpenr:      "openr",
	RouteProtocolBGP:        "bgp",
	RouteProtocolISIS:       "isis",
	RouteProtocolOSPF:       "ospf",
	RouteProtocolRIP:        "rip",
	RouteProtocolEIGRP:      "eigrp",
})

// String returns the name of r.
func (r RouteProtocol) String() string { return routeProtocolNames.Text(r) }

// MarshalText implements [encoding.TextMarshaler].
func (r RouteProtocol) MarshalText() ([]byte, error) { return []byte(routeProtocolNames.Text(r)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *RouteProtocol) UnmarshalText(text []byte) error {
	return routeProtocolNames.Set(r, string(text))
}

// RouteFlags are the bits of a route (RTM_F_ in linux/rtnetlink.h).
type RouteFlags uint32

// The bits of RouteFlags.
const (
	RouteNotify      RouteFlags = 0x100
	RouteCloned      RouteFlags = 0x200
	RouteEqualize    RouteFlags = 0x400
	RoutePrefix      RouteFlags = 0x800
	RouteLookupTable RouteFlags = 0x1000
	RouteFIBMatch    RouteFlags = 0x2000
	RouteOffload     RouteFlags = 0x4000
	RouteTrap        RouteFlags = 0x8000
)

var routeFlagsNames = resource.FlagNamesOf(map[RouteFlags]string{
	RouteNotify:      "notify",
	RouteCloned:      "cloned",
	RouteEqualize:    "equalize",
	RoutePrefix:      "prefix",
	RouteLookupTable: "lookuptable",
	RouteFIBMatch:    "fibmatch",
	RouteOffload:     "offload",
	RouteTrap:        "trap",
})

// String returns the names of the bits of r, by number, with commas between them.
func (r RouteFlags) String() string { return routeFlagsNames.Text(r) }

// MarshalText implements [encoding.TextMarshaler].
func (r RouteFlags) MarshalText() ([]byte, error) { return []byte(routeFlagsNames.Text(r)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *RouteFlags) UnmarshalText(text []byte) error { return routeFlagsNames.Set(r, string(text)) }

// RoutingRuleAction is what a routing rule does with a packet.
type RoutingRuleAction int32

// The values of RoutingRuleAction.
const (
	RoutingRuleActionUnspec      RoutingRuleAction = 0
	RoutingRuleActionUnicast     RoutingRuleAction = 1 // look into the table
	RoutingRuleActionBlackhole   RoutingRuleAction = 6
	RoutingRuleActionUnreachable RoutingRuleAction = 7
	RoutingRuleActionProhibit    RoutingRuleAction = 8
)

var routingRuleActionNames = resource.NamesOf(map[RoutingRuleAction]string{
	RoutingRuleActionUnspec:      "unspec",
	RoutingRuleActionUnicast:     "unicast",
	RoutingRuleActionBlackhole:   "blackhole",
	RoutingRuleActionUnreachable: "unreachable",
	RoutingRuleActionProhibit:    "prohibit",
})

// String returns the name of r.
func (r RoutingRuleAction) String() string { return routingRuleActionNames.Text(r) }

// MarshalText implements [encoding.TextMarshaler].
func (r RoutingRuleAction) MarshalText() ([]byte, error) {
	return []byte(routingRuleActionNames.Text(r)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *RoutingRuleAction) UnmarshalText(text []byte) error {
	return routingRuleActionNames.Set(r, string(text))
}

// BGPSessionState is the state of a BGP session (RFC 4271 section 8.2.2).
type BGPSessionState int32

// The values of BGPSessionState.
const (
	BGPUnknown     BGPSessionState = 0
	BGPIdle        BGPSessionState = 1
	BGPConnect     BGPSessionState = 2
	BGPActive      BGPSessionState = 3
	BGPOpenSent    BGPSessionState = 4
	BGPOpenConfirm BGPSessionState = 5
	BGPEstablished BGPSessionState = 6
)

var bgpSessionStateNames = resource.NamesOf(map[BGPSessionState]string{
	BGPUnknown:     "unknown",
	BGPIdle:        "idle",
	BGPConnect:     "connect",
	BGPActive:      "active",
	BGPOpenSent:    "opensent",
	BGPOpenConfirm: "openconfirm",
	BGPEstablished: "established",
})

// String returns the name of b.
func (b BGPSessionState) String() string { return bgpSessionStateNames.Text(b) }

// MarshalText implements [encoding.TextMarshaler].
func (b BGPSessionState) MarshalText() ([]byte, error) {
	return []byte(bgpSessionStateNames.Text(b)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *BGPSessionState) UnmarshalText(text []byte) error {
	return bgpSessionStateNames.Set(b, string(text))
}
