package firewallctrl

import (
	"context"
	"net/netip"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// Names of the chains that are made of the config.
const (
	ingressChain    = "ingress"
	preroutingChain = "prerouting"
)

// priority is behind that of the mangle rules, and before addresses are translated (contract.md, section 6.8).
const priority = network.PriorityMangle + 10

// icmpPerSecond is how many packets of ICMP are let in where everything else is not.
const icmpPerSecond = 5

// trusted are links from which everything is let in.
var trusted = []string{"lo", "siderolink", "kubespan"}

func chainConfig() controller.Controller {
	const own = network.NodeAddressRouted
	return effective.Pass("network.NfTablesChainConfigController", []controller.Output{controller.Shared[network.NfTablesChain]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			node, _, err := state.Find[network.NodeAddress](ctx, rt, network.Filtered(own, network.FilterNoK8s))
			if err == nil && len(node.Addresses) == 0 {
				node, _, err = state.Find[network.NodeAddress](ctx, rt, own)
			}
			if err != nil {
				return err
			}
			kubernetes, _, err := state.Find[network.NodeAddressFilter](ctx, rt, network.FilterOnlyK8s)
			if err != nil {
				return err
			}
			for name, s := range ingressChains(c.Set, node.Addresses, kubernetes.IncludeSubnets) {
				if err := controller.Put(ctx, rt, name, s); err != nil {
					return err
				}
			}
			return nil
		},
		controller.Weak[network.NodeAddress](), controller.Weak[network.NodeAddressFilter]())
}

// ingressChains returns the chains that the documents come to, by name; none without documents. node are the machine's addresses,
// kubernetes the networks of pods and services.
func ingressChains(set schema.Set, node, kubernetes []netip.Prefix) map[string]network.NfTablesChain {
	action, decided := schema.Find[*netdoc.NetworkDefaultActionConfig](set)
	docs := schema.All[*netdoc.NetworkRuleConfig](set)
	blocks := decided && action.Blocks()
	if !blocks && len(docs) == 0 {
		return nil
	}
	rules := rulesOf(docs, kubernetes, blocks)
	policy := network.VerdictAccept
	if blocks {
		policy = network.VerdictDrop
	}
	out := map[string]network.NfTablesChain{
		ingressChain: {Type: "filter", Hook: network.HookInput, Priority: priority, Policy: policy, Rules: rules},
	}
	if len(node) == 0 {
		return out
	}
	// What is for others only passes through; that is for the pods' network policies to decide.
	var own []netip.Prefix
	for _, p := range node {
		own = append(own, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	before := []network.NfTablesRule{{MatchDestinationAddress: &network.NfTablesAddressMatch{IncludeSubnets: own, Invert: true}, Verdict: accept()}}
	before = append(before, rules...)
	if blocks {
		before = append(before, network.NfTablesRule{AnonCounter: true, Verdict: drop()})
	}
	out[preroutingChain] = network.NfTablesChain{Type: "filter", Hook: network.HookPrerouting, Priority: priority, Policy: network.VerdictAccept, Rules: before}
	return out
}

func accept() *network.NfTablesVerdict { return new(network.VerdictAccept) }
func drop() *network.NfTablesVerdict   { return new(network.VerdictDrop) }

// rulesOf returns what both chains have in common: what is always let in, then what the documents let in, then what they do not. That
// two documents are about one port lets in what either does.
func rulesOf(docs []*netdoc.NetworkRuleConfig, kubernetes []netip.Prefix, blocks bool) []network.NfTablesRule {
	out := []network.NfTablesRule{
		{MatchConntrackState: &network.NfTablesConntrackStateMatch{States: []network.ConntrackState{network.ConntrackEstablished, network.ConntrackRelated}}, AnonCounter: true, Verdict: accept()},
		{MatchIIfName: &network.NfTablesIfNameMatch{InterfaceNames: trusted}, AnonCounter: true, Verdict: accept()},
		neighbours(),
	}
	if len(kubernetes) > 0 {
		out = append(out, network.NfTablesRule{MatchSourceAddress: &network.NfTablesAddressMatch{IncludeSubnets: kubernetes}, AnonCounter: true, Verdict: accept()})
	}
	for _, d := range docs {
		for _, in := range d.Ingress {
			from := &network.NfTablesAddressMatch{IncludeSubnets: []netip.Prefix{in.Subnet.Masked()}}
			if in.Except.IsValid() {
				from.ExcludeSubnets = []netip.Prefix{in.Except.Masked()}
			}
			out = append(out, network.NfTablesRule{MatchSourceAddress: from, MatchLayer4: selector(d.PortSelector), AnonCounter: true, Verdict: accept()})
		}
	}
	for _, d := range docs {
		out = append(out, network.NfTablesRule{MatchLayer4: selector(d.PortSelector), AnonCounter: true, Verdict: drop()})
	}
	if blocks {
		out = append(out, courtesies()...)
	}
	return out
}

func selector(p netdoc.PortSelector) *network.NfTablesLayer4Match {
	out := &network.NfTablesLayer4Match{Protocol: map[string]network.Protocol{
		"tcp": network.ProtocolTCP, "udp": network.ProtocolUDP, "icmp": network.ProtocolICMP, "icmpv6": network.ProtocolICMPv6,
	}[p.Protocol]}
	if len(p.Ports) > 0 {
		out.MatchDestinationPort = &network.NfTablesPortMatch{}
		for _, r := range p.Ports {
			out.MatchDestinationPort.Ranges = append(out.MatchDestinationPort.Ranges, network.PortRange{Lo: r.Low, Hi: r.High})
		}
	}
	return out
}

// neighbours lets in what IPv6 cannot work without: routers and neighbours finding each other (RFC 4890 section 4.4.1).
func neighbours() network.NfTablesRule {
	const firstDiscovery, lastDiscovery = 133, 137
	types := &network.NfTablesICMPTypeMatch{}
	for t := network.ICMPType(firstDiscovery); t <= lastDiscovery; t++ {
		types.Types = append(types.Types, t)
	}
	return network.NfTablesRule{MatchLayer4: &network.NfTablesLayer4Match{Protocol: network.ProtocolICMPv6, MatchICMPType: types}, Verdict: accept()}
}

// courtesies are let in where everything else is not: a little ICMP, without the kinds that only tell of the machine, and answers of
// DHCPv6 servers, which come from an address that was not asked.
func courtesies() []network.NfTablesRule {
	limit := &network.NfTablesLimitMatch{PacketRatePerSecond: icmpPerSecond}
	talkative := &network.NfTablesICMPTypeMatch{Types: []network.ICMPType{
		network.ICMPTypeTimestampRequest, network.ICMPTypeTimestampReply, network.ICMPTypeAddressMaskRequest, network.ICMPTypeAddressMaskReply,
	}}
	const dhcp6Client = 546
	return []network.NfTablesRule{
		{MatchLayer4: &network.NfTablesLayer4Match{Protocol: network.ProtocolICMP, MatchICMPType: talkative}, AnonCounter: true, Verdict: drop()},
		{MatchLayer4: &network.NfTablesLayer4Match{Protocol: network.ProtocolICMP}, MatchLimit: limit, AnonCounter: true, Verdict: accept()},
		{MatchLayer4: &network.NfTablesLayer4Match{Protocol: network.ProtocolICMPv6}, MatchLimit: limit, AnonCounter: true, Verdict: accept()},
		{
			MatchSourceAddress: &network.NfTablesAddressMatch{IncludeSubnets: []netip.Prefix{netip.MustParsePrefix("fe80::/10")}},
			MatchLayer4: &network.NfTablesLayer4Match{
				Protocol: network.ProtocolUDP, MatchDestinationPort: &network.NfTablesPortMatch{Ranges: []network.PortRange{{Lo: dhcp6Client, Hi: dhcp6Client}}},
			},
			AnonCounter: true, Verdict: accept(),
		},
	}
}
