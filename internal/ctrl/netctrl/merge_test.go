package netctrl

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/resource/network"
)

var (
	equalAddr   = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	equalPrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// check merges the wishes in both orders: the order of a list decides nothing.
func check[S any](t *testing.T, merge func([]Wish[S]) map[string]S, all []Wish[S], want map[string]S) {
	t.Helper()
	for range 2 {
		if d := cmp.Diff(want, merge(all), equalAddr, equalPrefix); d != "" {
			t.Errorf("merge of %+v (-want +got):\n%s", all, d)
		}
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
}

const (
	base     = network.LayerDefault
	cmdline  = network.LayerCmdline
	platform = network.LayerPlatform
	operator = network.LayerOperator
	config   = network.LayerMachineConfiguration
)

func TestTheHighestLayerCountsWholeFor(t *testing.T) {
	t.Run("addresses", func(t *testing.T) {
		at := func(link, prefix string, l network.ConfigLayer, priority uint32) network.AddressSpec {
			return network.AddressSpec{LinkName: link, Address: netip.MustParsePrefix(prefix), Layer: l, Priority: priority}
		}
		check(t, MergeAddresses, []Wish[network.AddressSpec]{
			{"default/eth0/10.5.0.2/24", at("eth0", "10.5.0.2/24", base, 7)},
			{"operator/dhcp4/eth0/10.5.0.2/24", at("eth0", "10.5.0.2/24", operator, 0)},
			{"configuration/eth1/10.5.0.2/24", at("eth1", "10.5.0.2/24", config, 9)},
			{"cmdline/eth0/10.5.0.2/16", at("eth0", "10.5.0.2/16", cmdline, 9)},
		}, map[string]network.AddressSpec{
			"eth0/10.5.0.2/24": at("eth0", "10.5.0.2/24", operator, 0),
			"eth1/10.5.0.2/24": at("eth1", "10.5.0.2/24", config, 9),
			"eth0/10.5.0.2/16": at("eth0", "10.5.0.2/16", cmdline, 9),
		})
	})
	t.Run("routes", func(t *testing.T) {
		route := func(l network.ConfigLayer, table network.RoutingTable, metric, mtu uint32) network.RouteSpec {
			return network.RouteSpec{Family: network.FamilyInet4, Gateway: netip.MustParseAddr("10.5.0.1"), Table: table, Priority: metric, MTU: mtu, Layer: l}
		}
		check(t, MergeRoutes, []Wish[network.RouteSpec]{
			{"operator/a", route(operator, network.TableMain, 1024, 0)},
			{"configuration/b", route(config, network.TableMain, 1024, 1400)},
			{"platform/c", route(platform, 100, 1024, 0)},
			{"platform/d", route(platform, network.TableMain, 512, 0)},
		}, map[string]network.RouteSpec{
			"inet4/10.5.0.1//1024":     route(config, network.TableMain, 1024, 1400),
			"100/inet4/10.5.0.1//1024": route(platform, 100, 1024, 0),
			"inet4/10.5.0.1//512":      route(platform, network.TableMain, 512, 0),
		})
	})
	t.Run("routing rules", func(t *testing.T) {
		rule := func(l network.ConfigLayer, f network.Family, table network.RoutingTable) network.RoutingRuleSpec {
			return network.RoutingRuleSpec{Family: f, Priority: 1000, Table: table, Layer: l}
		}
		check(t, MergeRoutingRules, []Wish[network.RoutingRuleSpec]{
			{"platform/a", rule(platform, network.FamilyInet4, 1)},
			{"configuration/a", rule(config, network.FamilyInet4, 2)},
			{"platform/b", rule(platform, network.FamilyInet6, 3)},
		}, map[string]network.RoutingRuleSpec{"inet4/1000": rule(config, network.FamilyInet4, 2), "inet6/1000": rule(platform, network.FamilyInet6, 3)})
	})
	t.Run("operators", func(t *testing.T) {
		dhcp := func(l network.ConfigLayer, metric uint32) network.OperatorSpec {
			return network.OperatorSpec{Operator: network.OperatorDHCP4, LinkName: "eth0", Layer: l, Dhcp4: &network.DHCP4Operator{RouteMetric: metric}}
		}
		vip := func(a string) network.OperatorSpec {
			return network.OperatorSpec{Operator: network.OperatorVIP, LinkName: "eth0", Layer: config, VIP: &network.VIPOperator{IP: netip.MustParseAddr(a)}}
		}
		check(t, MergeOperators, []Wish[network.OperatorSpec]{
			{"default/dhcp4/eth0", dhcp(base, 1024)}, {"configuration/dhcp4/eth0", dhcp(config, 512)},
			{"configuration/vip/a", vip("10.5.0.9")}, {"configuration/vip/b", vip("10.5.0.10")},
		}, map[string]network.OperatorSpec{"dhcp4/eth0": dhcp(config, 512), "vip/eth0/10.5.0.9": vip("10.5.0.9"), "vip/eth0/10.5.0.10": vip("10.5.0.10")})
	})
	t.Run("probes", func(t *testing.T) {
		probe := func(l network.ConfigLayer, every time.Duration) network.ProbeSpec {
			return network.ProbeSpec{Interval: every, Layer: l}
		}
		check(t, MergeProbes, []Wish[network.ProbeSpec]{
			{"platform/proxy", probe(platform, 1)}, {"configuration/proxy", probe(config, 2)}, {"configuration/tcp:a/b", probe(config, 3)},
		}, map[string]network.ProbeSpec{"proxy": probe(config, 2), "tcp:a/b": probe(config, 3)})
	})
	t.Run("hostnames, of those that have one", func(t *testing.T) {
		name := func(l network.ConfigLayer, host, domain string) network.HostnameSpec {
			return network.HostnameSpec{Hostname: host, Domainname: domain, Layer: l}
		}
		check(t, MergeHostnames, []Wish[network.HostnameSpec]{
			{"default/hostname", name(base, "talos-abc-def", "")}, {"platform/hostname", name(platform, "node-1", "lab.example")},
			{"operator/dhcp4/eth0/hostname", name(operator, "", "dhcp.example")},
		}, map[string]network.HostnameSpec{"hostname": name(platform, "node-1", "lab.example")})
		check(t, MergeHostnames, nil, map[string]network.HostnameSpec{})
	})
}

func resolver(l network.ConfigLayer, servers []string, search []string, overridden bool) network.ResolverSpec {
	s := network.ResolverSpec{Layer: l, SearchDomains: search, SearchDomainsOverridden: overridden}
	for _, a := range addrs(servers...) {
		addServer(&s, network.NameServer{Addr: a})
	}
	return s
}

func TestResolversAreMergedByAttribute(t *testing.T) {
	defaults := Wish[network.ResolverSpec]{"default/resolvers", resolver(base, []string{"1.1.1.1"}, []string{"own.example"}, false)}
	for _, tc := range []struct {
		name string
		all  []Wish[network.ResolverSpec]
		want network.ResolverSpec
	}{
		{"one", nil, defaults.Spec},
		{"servers from above, domains from below", []Wish[network.ResolverSpec]{{"platform/resolvers", resolver(platform, []string{"10.5.0.1"}, nil, false)}},
			resolver(platform, []string{"10.5.0.1"}, []string{"own.example"}, false)},
		{"domains from above, servers from below", []Wish[network.ResolverSpec]{{"configuration/resolvers", resolver(config, nil, []string{"lab.example"}, false)}},
			resolver(config, []string{"1.1.1.1"}, []string{"lab.example"}, false)},
		{"overridden by none", []Wish[network.ResolverSpec]{{"configuration/resolvers", resolver(config, nil, nil, true)}},
			resolver(config, []string{"1.1.1.1"}, nil, true)},
		{"one layer together, without repetitions", []Wish[network.ResolverSpec]{
			{"operator/dhcp4/eth0/resolvers", resolver(operator, []string{"10.5.0.1", "10.5.0.3"}, []string{"a"}, false)},
			{"operator/dhcp6/eth0/resolvers", resolver(operator, []string{"fd00::1", "10.5.0.3"}, []string{"b", "a"}, false)}},
			resolver(operator, []string{"10.5.0.1", "10.5.0.3", "fd00::1"}, []string{"a", "b"}, false)},
		{"addresses alone", []Wish[network.ResolverSpec]{{"operator/x/resolvers", network.ResolverSpec{Layer: operator, DNSServers: addrs("10.5.0.1")}}},
			resolver(operator, []string{"10.5.0.1"}, []string{"own.example"}, false)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check(t, MergeResolvers, append(tc.all, defaults), map[string]network.ResolverSpec{network.ResolverSpecID: tc.want})
		})
	}
}

func TestTimeServersOfTheHighestLayerThatHasSome(t *testing.T) {
	servers := func(l network.ConfigLayer, nts bool, list ...string) network.TimeServerSpec {
		return network.TimeServerSpec{Layer: l, UseNTS: nts, Servers: list}
	}
	check(t, MergeTimeServers, []Wish[network.TimeServerSpec]{
		{"default/timeservers", servers(base, false, "time.cloudflare.com")},
		{"operator/dhcp4/eth0/timeservers", servers(operator, false, "10.5.0.1")},
		{"operator/dhcp4/eth1/timeservers", servers(operator, false, "10.6.0.1", "10.5.0.1")},
		{"configuration/timeservers", servers(config, true)},
	}, map[string]network.TimeServerSpec{"timeservers": servers(operator, false, "10.5.0.1", "10.6.0.1")})
}

func TestLinksAreMergedByAttribute(t *testing.T) {
	yes := true
	peer := func(key, endpoint string) network.WireguardPeer {
		return network.WireguardPeer{PublicKey: key, Endpoint: endpoint}
	}
	check(t, MergeLinks, []Wish[network.LinkSpec]{
		{"default/eth0", network.LinkSpec{Name: "eth0", Up: true, Layer: base}},
		{"operator/dhcp4/eth0", network.LinkSpec{Name: "eth0", Up: true, MTU: 1450, Layer: operator}},
		{"configuration/eth0", network.LinkSpec{Name: "eth0", Multicast: &yes, Layer: config}},
		{"platform/bond0", network.LinkSpec{Name: "bond0", Logical: true, Up: true, Kind: "bond", BondMaster: &network.BondMasterSpec{MIIMon: 100}, Layer: platform}},
		{"configuration/bond0", network.LinkSpec{Name: "bond0", Up: true, MTU: 9000, Layer: config}},
		{"platform/wg0", network.LinkSpec{Name: "wg0", Kind: "wireguard", Layer: platform, Wireguard: &network.WireguardSpec{
			PrivateKey: "k", ListenPort: 1, Peers: []network.WireguardPeer{peer("b", "old"), peer("c", "")}}}},
		{"configuration/wg0", network.LinkSpec{Name: "wg0", Layer: config, Wireguard: &network.WireguardSpec{
			ListenPort: 2, Peers: []network.WireguardPeer{peer("b", "new"), peer("a", "")}}}},
	}, map[string]network.LinkSpec{
		"eth0":  {Name: "eth0", Up: false, MTU: 1450, Multicast: &yes, Layer: config},
		"bond0": {Name: "bond0", Logical: true, Up: true, MTU: 9000, Kind: "bond", BondMaster: &network.BondMasterSpec{MIIMon: 100}, Layer: config},
		"wg0": {Name: "wg0", Kind: "wireguard", Layer: config, Wireguard: &network.WireguardSpec{
			PrivateKey: "k", ListenPort: 2, Peers: []network.WireguardPeer{peer("a", ""), peer("b", "new"), peer("c", "")}}},
	})
}
