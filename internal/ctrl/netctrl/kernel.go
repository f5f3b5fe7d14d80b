package netctrl

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// fromKernel is a pass that mirrors what the kernel has.
func fromKernel[S resource.Spec](k Kernel, name string, what rtnl.Change, output controller.Output, read func() (map[string]S, error), inputs ...controller.Input) controller.Controller {
	return controller.Pass{
		ControllerName: name, From: inputs, To: []controller.Output{output}, Watch: watching(k, what),
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			all, err := read()
			if err != nil {
				return err
			}
			for id, spec := range all {
				if err := controller.Put(ctx, rt, id, spec); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func linkStatus(k Kernel, devices func(string) Device) controller.Controller {
	return fromKernel(k, "network.LinkStatusController", rtnl.Links, controller.Exclusive[network.LinkStatus](), func() (map[string]network.LinkStatus, error) {
		links, err := k.Links()
		out := make(map[string]network.LinkStatus, len(links))
		for _, l := range links {
			s := linkStatusOf(l)
			if devices != nil && s.Kind == "" && s.Type == network.LinkTypeEther {
				d := devices(l.Name)
				s.Driver, s.BusPath, s.PCIID = d.Driver, d.BusPath, d.PCIID
			}
			out[l.Name] = s
		}
		return out, err
	}, controller.Weak[network.LinkRefresh]())
}

// linkStatusOf converts. What ethtool and the bus know of a device is not in it.
func linkStatusOf(l rtnl.Link) network.LinkStatus {
	out := network.LinkStatus{
		Alias: l.Alias, AltNames: l.AltNames, Index: uint32(l.Index), Type: network.LinkType(l.HardwareType), LinkIndex: uint32(l.Parent),
		Flags: network.LinkFlags(l.Flags), HardwareAddr: network.HardwareAddr(l.HardwareAddr), PermanentAddr: network.HardwareAddr(l.PermanentMAC),
		BroadcastAddr: network.HardwareAddr(l.Broadcast), MTU: uint32(l.MTU), QueueDisc: l.QueueDisc, MasterIndex: uint32(l.Master),
		OperationalState: operState(l.OperState), Kind: l.Kind, SlaveKind: l.MasterKind,
		LinkState: network.LinkFlags(l.Flags)&network.LinkLowerUp != 0,
		Port:      network.PortOther, Duplex: network.DuplexUnknown,
	}
	if l.Kind == "device" { // the library's word for what nobody made
		out.Kind = ""
	}
	if l.VLAN != (rtnl.VLAN{}) {
		out.VLAN = &network.VLANSpec{VID: uint32(l.VLAN.ID), Protocol: network.VLANProtocol(l.VLAN.Protocol)}
	}
	if l.Bridge != nil {
		out.BridgeMaster = &network.BridgeMasterSpec{STP: network.STPSpec{Enabled: l.Bridge.STP}, VLAN: network.BridgeVLANSpec{FilteringEnabled: l.Bridge.VLANFiltering}}
	}
	if l.Table != 0 {
		out.VRFMaster = &network.VRFMasterSpec{Table: network.RoutingTable(l.Table)}
	}
	if l.Bond != nil {
		out.BondMaster = bondOf(*l.Bond)
	}
	return out
}

// bondOf converts.
func bondOf(b rtnl.Bond) *network.BondMasterSpec {
	o := b.Options
	out := &network.BondMasterSpec{
		Mode: network.BondMode(b.Mode), HashPolicy: network.BondXmitHashPolicy(o[rtnl.BondXmitHashPolicy]), LACPRate: network.LACPRate(o[rtnl.BondLACPRate]),
		ARPValidate: network.ARPValidate(o[rtnl.BondARPValidate]), ARPAllTargets: network.ARPAllTargets(o[rtnl.BondARPAllTargets]),
		PrimaryReselect: network.PrimaryReselect(o[rtnl.BondPrimaryReselect]), FailOverMAC: network.FailOverMAC(o[rtnl.BondFailOverMAC]),
		ADSelect: network.ADSelect(o[rtnl.BondADSelect]), MIIMon: o[rtnl.BondMIIMon], UpDelay: o[rtnl.BondUpDelay], DownDelay: o[rtnl.BondDownDelay],
		ARPInterval: o[rtnl.BondARPInterval], ResendIGMP: o[rtnl.BondResendIGMP], MinLinks: o[rtnl.BondMinLinks], LPInterval: o[rtnl.BondLPInterval],
		PacketsPerSlave: o[rtnl.BondPacketsPerSlave], NumPeerNotify: o[rtnl.BondNumPeerNotif], TLBDynamicLB: o[rtnl.BondTLBDynamicLB],
		AllSlavesActive: o[rtnl.BondAllSlavesActive], UseCarrier: o[rtnl.BondUseCarrier] != 0, ADActorSysPrio: o[rtnl.BondADActorSysPrio],
		ADUserPortKey: o[rtnl.BondADUserPortKey], PeerNotifyDelay: o[rtnl.BondPeerNotifDelay], ARPIPTargets: b.ARPTargets, NSIP6Targets: b.NSTargets,
		ADLACPActive: network.ADLACPActive(o[rtnl.BondLACPActive]), MissedMax: o[rtnl.BondMissedMax],
	}
	if b.Primary != 0 {
		out.PrimaryIndex = new(uint32(b.Primary))
	}
	return out
}

// operState converts the words of RFC 2863 as ip(8) has them. A word that nobody knows is the unknown state.
func operState(s string) network.OperationalState {
	switch s {
	case "not-present":
		return network.OperNotPresent
	case "down":
		return network.OperDown
	case "lower-layer-down":
		return network.OperLowerLayerDown
	case "testing":
		return network.OperTesting
	case "dormant":
		return network.OperDormant
	case "up":
		return network.OperUp
	}
	return network.OperUnknown
}

// names returns the names of links by their indices.
func names(k Kernel) (map[int]string, error) {
	links, err := k.Links()
	out := make(map[int]string, len(links))
	for _, l := range links {
		out[l.Index] = l.Name
	}
	return out, err
}

func addressStatus(k Kernel) controller.Controller {
	return fromKernel(k, "network.AddressStatusController", rtnl.Addresses|rtnl.Links, controller.Shared[network.AddressStatus](), func() (map[string]network.AddressStatus, error) {
		// The addresses first: the link of one that is listed was there then, and if it has gone since, so will the address.
		addresses, err := k.Addresses()
		if err != nil {
			return nil, err
		}
		link, err := names(k)
		out := make(map[string]network.AddressStatus, len(addresses))
		for _, a := range addresses {
			if name := link[a.Link]; name != "" {
				out[network.AddressID(name, a.Prefix)] = addressStatusOf(a, name)
			}
		}
		return out, err
	})
}

func addressStatusOf(a rtnl.Address, link string) network.AddressStatus {
	out := network.AddressStatus{
		Address: a.Prefix, Local: a.Prefix.Addr(), Broadcast: a.Broadcast, LinkIndex: uint32(a.Link), LinkName: link,
		Family: familyOf(a.Prefix.Addr()), Scope: network.Scope(a.Scope), Flags: network.AddressFlags(a.Flags),
	}
	return out
}

func routeStatus(k Kernel) controller.Controller {
	return fromKernel(k, "network.RouteStatusController", rtnl.Routes|rtnl.Links, controller.Exclusive[network.RouteStatus](), func() (map[string]network.RouteStatus, error) {
		routes, err := k.Routes()
		if err != nil {
			return nil, err
		}
		link, err := names(k)
		return routeStatuses(routes, link), err
	})
}

// routeStatuses converts. Each link has the same routes of IPv6 for what is local to it, and two links may have the same of
// IPv4, so the link goes before the id of the former, and of the latter from the second on.
func routeStatuses(routes []rtnl.Route, link map[int]string) map[string]network.RouteStatus {
	out := make(map[string]network.RouteStatus, len(routes))
	for _, r := range slices.SortedStableFunc(slices.Values(routes), func(a, b rtnl.Route) int { return a.Link - b.Link }) {
		s := routeStatusOf(r, link)
		id := network.RouteID(s.Table, s.Family, s.Gateway, s.Destination, s.Priority)
		if _, taken := out[id]; (taken || s.Family == network.FamilyInet6) && s.OutLinkName != "" {
			id = s.OutLinkName + "/" + id
		}
		out[id] = s
	}
	return out
}

func routeStatusOf(r rtnl.Route, link map[int]string) network.RouteStatus {
	const nextHopFlags = 0xff // of the path, such as whether it has a carrier
	out := network.RouteStatus{
		Family: familyOf(r.Destination.Addr()), Destination: r.Destination, Source: r.Source, Gateway: r.Gateway,
		OutLinkIndex: uint32(r.Link), OutLinkName: link[r.Link], Table: network.RoutingTable(r.Table), Priority: uint32(r.Priority),
		Scope: network.Scope(r.Scope), Type: network.RouteType(r.Type), Flags: network.RouteFlags(r.Flags &^ nextHopFlags),
		Protocol: network.RouteProtocol(r.Protocol), MTU: uint32(r.MTU),
	}
	if r.Destination.Bits() == 0 {
		out.Destination = netip.Prefix{}
	}
	for _, h := range r.NextHops {
		out.NextHops = append(out.NextHops, network.RouteNextHop{Gateway: h.Gateway, OutLinkName: link[h.Link], Weight: uint32(h.Weight)})
	}
	return out
}

func routingRuleStatus(k Kernel) controller.Controller {
	return fromKernel(k, "network.RoutingRuleStatusController", rtnl.Rules, controller.Exclusive[network.RoutingRuleStatus](), func() (map[string]network.RoutingRuleStatus, error) {
		rules, err := k.Rules()
		if err != nil {
			return nil, err
		}
		return routingRuleStatuses(rules), nil
	})
}

// routingRuleStatuses converts. Of several rules with one priority the ids of the second and later ones have what they
// match, too.
func routingRuleStatuses(rules []rtnl.Rule) map[string]network.RoutingRuleStatus {
	out := make(map[string]network.RoutingRuleStatus, len(rules))
	for _, r := range rules {
		s := network.RoutingRuleStatus{
			Family: network.FamilyInet4, Src: r.Source, Dst: r.Destination, Table: network.RoutingTable(r.Table), Priority: r.Priority,
			Action: network.RoutingRuleAction(r.Action), IifName: r.Input, OifName: r.Output, FwMark: r.Mark, FwMask: r.Mask,
		}
		if r.IPv6 {
			s.Family = network.FamilyInet6
		}
		id := network.RoutingRuleID(s.Family, s.Priority)
		if _, taken := out[id]; taken {
			var b strings.Builder
			b.WriteString(id)
			for _, part := range []string{text(s.Src), text(s.Dst), s.IifName, s.OifName, s.Table.String(), s.Action.String()} {
				b.WriteString("/" + part)
			}
			id = b.String()
		}
		out[id] = s
	}
	return out
}

func text(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func hardwareAddr() controller.Controller {
	return controller.Pass{
		ControllerName: "network.HardwareAddrController", From: []controller.Input{controller.Weak[network.LinkStatus]()},
		To: []controller.Output{controller.Exclusive[network.HardwareAddress]()},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			list, err := controller.Running[network.LinkStatus](ctx, rt)
			if err != nil {
				return err
			}
			links := make(map[string]network.LinkStatus, len(list))
			for _, r := range list {
				links[r.Metadata().ID()] = r.Spec()
			}
			last, _, err := state.Find[network.HardwareAddress](ctx, rt, network.FirstHardwareAddressID)
			if err != nil {
				return err
			}
			if first, ok := firstHardwareAddr(links, last); ok {
				return controller.Put(ctx, rt, network.FirstHardwareAddressID, first)
			}
			return nil
		},
	}
}

// firstHardwareAddr returns the address of the physical link whose name comes first. A container has no physical link but
// its end of a veth pair, or what else reaches out of it: then that, and as long as it is there always the same one, for
// links of pods come and go.
func firstHardwareAddr(links map[string]network.LinkStatus, last network.HardwareAddress) (network.HardwareAddress, bool) {
	var physical, reaching []string
	for name, l := range links {
		switch {
		case l.Type != network.LinkTypeEther || len(l.HardwareAddr) == 0:
		case l.Kind == "":
			physical = append(physical, name)
		case l.MasterIndex == 0 && slices.Contains([]string{"veth", "macvlan", "ipvlan"}, l.Kind):
			reaching = append(reaching, name)
		}
	}
	var name string
	switch {
	case len(physical) > 0:
		name = slices.Min(physical)
	case slices.Contains(reaching, last.Name):
		name = last.Name
	case len(reaching) > 0:
		name = slices.Min(reaching)
	default:
		return network.HardwareAddress{}, false
	}
	return network.HardwareAddress{Name: name, HardwareAddr: links[name].HardwareAddr}, true
}
