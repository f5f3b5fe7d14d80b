package network

import (
	"fmt"
	"net/netip"
)

// AddressID is the id of an address of a link: "eth0/10.5.0.2/24".
func AddressID(link string, prefix netip.Prefix) string { return link + "/" + prefix.String() }

// ID is the id of the merged wish.
func (s AddressSpec) ID() string { return AddressID(s.LinkName, s.Address) }

// RouteID is the id of a route: "inet4/10.5.0.1//1024" for a default route. Tables other than the main one go before it.
func RouteID(table RoutingTable, family Family, gateway netip.Addr, destination netip.Prefix, priority uint32) string {
	via, to := "", ""
	if gateway.IsValid() {
		via = gateway.String()
	}
	if destination.IsValid() {
		to = destination.String()
	}
	id := fmt.Sprintf("%s/%s/%s/%d", family, via, to, priority)
	if table != TableMain && table != TableUnspec {
		id = table.String() + "/" + id
	}
	return id
}

// ID is the id of the merged wish. Several links may have a gateway with one address that is local to each of them (RFC 4291
// section 2.5.6): then the link is part of the id.
func (s RouteSpec) ID() string {
	id := RouteID(s.Table, s.Family, s.Gateway, s.Destination, s.Priority)
	if s.Gateway.Is6() && s.Gateway.IsLinkLocalUnicast() && s.OutLinkName != "" {
		id = s.OutLinkName + "/" + id
	}
	return id
}

// RoutingRuleID is the id of a routing rule.
func RoutingRuleID(family Family, priority uint32) string {
	return fmt.Sprintf("%s/%d", family, priority)
}

// ID is the id of the merged wish.
func (s RoutingRuleSpec) ID() string { return RoutingRuleID(s.Family, s.Priority) }

// ID is the id of the merged wish. There may be several shared addresses on one link.
func (s OperatorSpec) ID() string {
	id := s.Operator.String() + "/" + s.LinkName
	if s.VIP != nil {
		id += "/" + s.VIP.IP.String()
	}
	return id
}

// ID is the id of the merged wish.
func (s LinkSpec) ID() string { return s.Name }
