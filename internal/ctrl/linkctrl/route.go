package linkctrl

import (
	"fmt"
	"net/netip"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
)

func routes(k Kernel) controller.Controller {
	return &applier[network.RouteSpec]{
		name: "network.RouteSpecController", kernel: k, watch: rtnl.Links | rtnl.Addresses | rtnl.Routes,
		plan: func(w kept[network.RouteSpec]) ([]step, error) {
			// The routes first: a link or an address that goes meanwhile takes its routes along, and is seen as gone.
			have, err := k.Routes()
			if err != nil {
				return nil, err
			}
			addresses, err := k.Addresses()
			if err != nil {
				return nil, err
			}
			links, err := k.Links()
			if err != nil {
				return nil, err
			}
			return planRoutes(links, addresses, have, w), nil
		},
	}
}

// onLink is RTNH_F_ONLINK: the gateway is on the link, although no address says so.
const onLink = 4

// routeKey is what the kernel has one route of.
type routeKey struct {
	destination netip.Prefix
	table       int
	priority    int
}

func keyOf(r rtnl.Route) routeKey { return routeKey{r.Destination, r.Table, r.Priority} }

// routePlan has what routes are decided by.
type routePlan struct {
	links     map[string]rtnl.Link
	addresses []rtnl.Address
	have      []rtnl.Route
}

// planRoutes returns the steps. Of several wishes for one destination with one metric, as of two links with DHCP, the first counts whose
// link is up: the kernel would have no rule to choose by.
func planRoutes(links []rtnl.Link, addresses []rtnl.Address, have []rtnl.Route, w kept[network.RouteSpec]) []step {
	p := routePlan{links: map[string]rtnl.Link{}, addresses: addresses, have: have}
	for _, l := range links {
		p.links[l.Name] = l
	}
	var steps []step
	taken := map[routeKey]bool{}
	var changes []step
	for _, s := range w.want {
		next, ok := p.route(s)
		if !ok || taken[keyOf(next)] {
			continue
		}
		taken[keyOf(next)] = true
		switch same, exact := p.find(next); {
		case exact:
		case same:
			changes = append(changes, step{s.ID(), "replace route " + describe(s), func(k Kernel) error { return k.ReplaceRoute(next) }})
		default:
			changes = append(changes, step{s.ID(), "add route " + describe(s), func(k Kernel) error { return k.AddRoute(next) }})
		}
	}
	for _, s := range w.gone {
		old, ok := p.target(s)
		if !ok || taken[keyOf(old)] { // the link is gone, and the route with it; or another wish replaces it
			continue
		}
		for _, r := range have {
			if keyOf(r) == keyOf(old) && r.Gateway == old.Gateway && (r.Link == old.Link || old.Link == 0) && r.Protocol == old.Protocol {
				steps = append(steps, step{s.ID(), "remove route " + describe(s), func(k Kernel) error { return k.RemoveRoute(r) }})
			}
		}
	}
	return append(steps, changes...)
}

func describe(s network.RouteSpec) string {
	to := "default"
	if s.Destination.IsValid() {
		to = s.Destination.String()
	}
	text := fmt.Sprintf("to %s (%s)", to, s.Family)
	if s.Gateway.IsValid() {
		text += " via " + s.Gateway.String()
	}
	if s.OutLinkName != "" {
		text += " by link " + s.OutLinkName
	}
	return fmt.Sprintf("%s with metric %d", text, s.Priority)
}

// target converts a wish, and reports whether its links are there.
func (p routePlan) target(s network.RouteSpec) (rtnl.Route, bool) {
	out := rtnl.Route{
		Destination: s.Destination, Gateway: s.Gateway, Source: s.Source, Priority: int(s.Priority), Table: int(s.Table),
		Protocol: uint8(s.Protocol), Type: uint8(s.Type), Scope: rtnl.Scope(s.Scope), MTU: int(s.MTU),
	}
	if !out.Destination.IsValid() {
		out.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if s.Family == network.FamilyInet6 {
			out.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	const main, static, unicast, metric6 = 254, 4, 1, 1024
	if out.Table == 0 {
		out.Table = main
	}
	if out.Protocol == 0 {
		out.Protocol = static
	}
	if out.Type == 0 {
		out.Type = unicast
	}
	if s.Family == network.FamilyInet6 {
		out.Scope = rtnl.ScopeGlobal // it has no other
		if out.Priority == 0 {
			out.Priority = metric6
		}
	}
	if s.OutLinkName != "" {
		l, ok := p.links[s.OutLinkName]
		if !ok {
			return out, false
		}
		out.Link = l.Index
	}
	for _, h := range s.NextHops {
		l, ok := p.links[h.OutLinkName]
		if !ok && h.OutLinkName != "" {
			return out, false
		}
		out.NextHops = append(out.NextHops, rtnl.NextHop{Gateway: h.Gateway, Link: l.Index, Weight: max(int(h.Weight), 1)})
	}
	return out, true
}

// route converts a wish that the kernel would take now: its link is up, and has what the route stands on.
func (p routePlan) route(s network.RouteSpec) (rtnl.Route, bool) {
	out, ok := p.target(s)
	if !ok {
		return out, false
	}
	if l, named := p.links[s.OutLinkName]; named {
		if !l.Up {
			return out, false
		}
		if s.Gateway.IsValid() && !s.Gateway.IsLinkLocalUnicast() {
			on := slices.DeleteFunc(slices.Clone(p.addresses), func(a rtnl.Address) bool {
				return a.Link != l.Index || a.Prefix.Addr().Is4() != s.Gateway.Is4() || a.Prefix.Addr().IsLinkLocalUnicast()
			})
			if len(on) == 0 {
				return out, false // its address is yet to come
			}
			if !slices.ContainsFunc(on, func(a rtnl.Address) bool { return a.Prefix.Contains(s.Gateway) && !a.Prefix.IsSingleIP() }) && !p.reaches(l.Index, s.Gateway) {
				out.Flags |= onLink
			}
		}
	}
	if s.Source.IsValid() && !slices.ContainsFunc(p.addresses, func(a rtnl.Address) bool { return a.Prefix.Addr() == s.Source }) {
		return out, false
	}
	return out, true
}

// reaches reports whether a route leads directly to a gateway on a link.
func (p routePlan) reaches(link int, gateway netip.Addr) bool {
	return slices.ContainsFunc(p.have, func(r rtnl.Route) bool {
		return r.Link == link && !r.Gateway.IsValid() && r.Destination.Bits() > 0 && r.Destination.Contains(gateway)
	})
}

// find reports whether the kernel has a route of the same key, and whether that is the very same. It says of IPv6 routes that lead
// nowhere that they go by the loopback.
func (p routePlan) find(next rtnl.Route) (same, exact bool) {
	for _, r := range p.have {
		if keyOf(r) != keyOf(next) {
			continue
		}
		same = true
		hops := slices.EqualFunc(r.NextHops, next.NextHops, func(a, b rtnl.NextHop) bool { return a == b })
		if r.Gateway == next.Gateway && (r.Link == next.Link || next.Link == 0) && (r.Source == next.Source || !next.Source.IsValid()) && r.Type == next.Type &&
			r.Scope == next.Scope && r.MTU == next.MTU && r.Protocol == next.Protocol && hops {
			return true, true
		}
	}
	return same, false
}
