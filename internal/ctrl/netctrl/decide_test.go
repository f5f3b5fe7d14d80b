package netctrl

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/netdoc"
	"talos.internal/config/scalar"
	"talos.internal/internal/effective"
	"talos.internal/internal/golden"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
)

// documents parses a config.
func documents(t *testing.T, text string) *effective.Config {
	t.Helper()
	c, err := effective.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHostnameWishes(t *testing.T) {
	const id = "Utoh3O0ZneV0kT2IUBrh7TgdouRcUW2yzaaMl4VXnCd"
	address := prefixes("10.5.0.2/24")
	for _, tc := range []struct {
		name      string
		doc       *netdoc.HostnameConfig
		id        string
		addresses []netip.Prefix
		want      []network.HostnameSpec
	}{
		{"of the address without a config", nil, id, address, []network.HostnameSpec{{Hostname: "talos-10-5-0-2"}}},
		{"of an address of IPv6", nil, id, prefixes("fd00::2/64"), []network.HostnameSpec{{Hostname: "talos-fd00-0000-0000-0000-0000-0000-0000-0002"}}},
		{"nothing before there is an address", nil, id, nil, nil},
		{"stable", &netdoc.HostnameConfig{Auto: "stable"}, id, address, []network.HostnameSpec{{Hostname: StableHostname(id)}}},
		{"stable before there is an identity", &netdoc.HostnameConfig{Auto: "stable"}, "", address, nil},
		{"off", &netdoc.HostnameConfig{Auto: "off"}, id, address, nil},
		{"given", &netdoc.HostnameConfig{Auto: "off", Hostname: "node-1"}, id, address, []network.HostnameSpec{{Hostname: "node-1", Layer: config}}},
		{"given with a domain", &netdoc.HostnameConfig{Hostname: "node-1.lab.example"}, id, nil, []network.HostnameSpec{{Hostname: "node-1", Domainname: "lab.example", Layer: config}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, hostnameWishes(tc.doc, tc.id, tc.addresses)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestStableHostnameStaysTheSame(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"", "a", "b", "Utoh3O0ZneV0kT2IUBrh7TgdouRcUW2yzaaMl4VXnCd"} {
		name := StableHostname(id)
		if !scalar.ValidHostname(name) || len(name) != len("talos-xxx-yyy") || seen[name] || name != StableHostname(id) {
			t.Errorf("StableHostname(%q) = %q", id, name)
		}
		seen[name] = true
	}
	// SHA-256 of "a" is 51rzzsl5su8a… in base 36.
	if got := StableHostname("a"); got != "talos-1rz-zsl" {
		t.Errorf("StableHostname(a) = %q", got)
	}
}

func TestResolverWishes(t *testing.T) {
	defaults := resolver(base, []string{"1.1.1.1", "8.8.8.8"}, nil, false)
	with := func(search ...string) network.ResolverSpec {
		s := defaults
		s.SearchDomains = search
		return s
	}
	server := func(a string) netdoc.Nameserver {
		return netdoc.Nameserver{Address: scalar.Addr{Addr: netip.MustParseAddr(a)}}
	}
	dot := server("1.1.1.1")
	dot.Protocol, dot.TLSServerName = netdoc.DoT, "one.one.one.one"
	for _, tc := range []struct {
		name   string
		doc    *netdoc.ResolverConfig
		domain string
		want   []network.ResolverSpec
	}{
		{"without a config", nil, "", []network.ResolverSpec{with()}},
		{"the domain of the machine", nil, "lab.example", []network.ResolverSpec{with("lab.example")}},
		{"only the host's own resolver", &netdoc.ResolverConfig{HostDNS: &netdoc.HostDNS{Enabled: true}}, "lab.example", []network.ResolverSpec{with("lab.example")}},
		{"servers", &netdoc.ResolverConfig{Nameservers: []netdoc.Nameserver{server("10.5.0.1"), dot}}, "", []network.ResolverSpec{with(), {
			Layer: config, DNSServers: addrs("10.5.0.1", "1.1.1.1"),
			NameServers: []network.NameServer{{Addr: netip.MustParseAddr("10.5.0.1")}, {Addr: netip.MustParseAddr("1.1.1.1"), Protocol: network.DNSDoT, TLSServerName: "one.one.one.one"}},
		}}},
		{"domains, and the machine's own last", &netdoc.ResolverConfig{SearchDomains: &netdoc.SearchDomains{Domains: []string{"a.example", "b.example"}}}, "lab.example",
			[]network.ResolverSpec{with("lab.example"), {Layer: config, SearchDomains: []string{"a.example", "b.example", "lab.example"}}}},
		{"no domain at all", &netdoc.ResolverConfig{SearchDomains: &netdoc.SearchDomains{DisableDefault: true}}, "lab.example",
			[]network.ResolverSpec{with(), {Layer: config, SearchDomainsOverridden: true}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := resolverWishes(tc.doc, tc.domain)
			for i := range got {
				if len(got[i].SearchDomains) == 0 {
					got[i].SearchDomains = nil
				}
			}
			if d := cmp.Diff(tc.want, got, equalAddr); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestTimeServerWishes(t *testing.T) {
	defaults := network.TimeServerSpec{Servers: []string{"time.cloudflare.com"}}
	for _, tc := range []struct {
		name string
		doc  *netdoc.TimeSyncConfig
		want []network.TimeServerSpec
	}{
		{"without a config", nil, []network.TimeServerSpec{defaults}},
		{"NTP", &netdoc.TimeSyncConfig{NTP: &netdoc.NTP{Servers: []string{"a"}, UseNTS: true}}, []network.TimeServerSpec{defaults, {Servers: []string{"a"}, UseNTS: true, Layer: config}}},
		{"NTP without servers", &netdoc.TimeSyncConfig{NTP: &netdoc.NTP{}}, []network.TimeServerSpec{defaults}},
		{"PTP", &netdoc.TimeSyncConfig{PTP: &netdoc.PTP{Devices: []string{"/dev/ptp0"}}}, []network.TimeServerSpec{defaults, {Servers: []string{"/dev/ptp0"}, Layer: config}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, timeServerWishes(tc.doc)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestWhatAContainerRuntimeSays(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Container
		want network.PlatformConfig
	}{
		{"nothing", Container{}, network.PlatformConfig{Metadata: &runtime.PlatformMetadata{Platform: "container"}}},
		{"Docker", Container{
			Hostname: "node-1.lab.example\n", SKU: "2CPU-2048RAM",
			ResolvConf: "# Generated by Docker Engine.\nnameserver 127.0.0.11\nsearch old\nsearch lab.example . other\noptions ndots:0\nnameserver 127.0.0.11\nnameserver fe80::1%eth0\nnameserver\nnameserver nonsense\n",
		}, network.PlatformConfig{
			Metadata:  &runtime.PlatformMetadata{Platform: "container", Hostname: "node-1.lab.example", InstanceType: "2CPU-2048RAM"},
			Hostnames: []network.HostnameSpec{{Hostname: "node-1", Domainname: "lab.example", Layer: platform}},
			Resolvers: []network.ResolverSpec{resolver(platform, []string{"127.0.0.11"}, []string{"lab.example", "other"}, false)},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, tc.in.Config(), equalAddr); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 127.0.0.11\nsearch a b\noptions ndots:0\n")
	f.Add("domain x\nnameserver ::1 # comment\n")
	f.Fuzz(func(t *testing.T, text string) {
		servers, search := ParseResolvConf(text)
		for _, a := range servers {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
				t.Errorf("server %v", a)
			}
		}
		for _, s := range search {
			if s == "" || strings.ContainsAny(s, " \t\n") {
				t.Errorf("search domain %q", s)
			}
		}
	})
}

func TestOrderOfAddresses(t *testing.T) {
	mixed := prefixes("fd00::2/64", "10.5.0.2/24", "10.5.0.2/32", "10.4.0.9/16", "fd00::2/128", "192.0.2.1/32")
	for _, tc := range []struct {
		algorithm network.AddressSortAlgorithm
		want      []netip.Prefix
	}{
		{network.SortV1, prefixes("10.4.0.9/16", "10.5.0.2/24", "10.5.0.2/32", "192.0.2.1/32", "fd00::2/64", "fd00::2/128")},
		{network.SortV2, prefixes("10.5.0.2/32", "192.0.2.1/32", "10.5.0.2/24", "10.4.0.9/16", "fd00::2/128", "fd00::2/64")},
	} {
		t.Run(tc.algorithm.String(), func(t *testing.T) {
			got := nodeAddresses(addressFacts{everHad: mixed, algorithm: tc.algorithm})[network.NodeAddressAccumulative]
			if d := cmp.Diff(tc.want, got, equalPrefix); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// at is an address of a link, with flags.
func at(link, prefix string, flags ...network.AddressFlags) network.AddressStatus {
	a := network.AddressStatus{LinkName: link, Address: netip.MustParsePrefix(prefix)}
	for _, f := range flags {
		a.Flags |= f
	}
	return a
}

func TestNodeAddresses(t *testing.T) {
	up := network.LinkStatus{OperationalState: network.OperUp}
	links := map[string]network.LinkStatus{
		"lo": {OperationalState: network.OperUnknown, Flags: network.LinkUp}, "eth0": up, "cni0": up, "kubespan": up, "siderolink": up,
		"eth1": {OperationalState: network.OperDown}, "wg0": {OperationalState: network.OperUnknown},
	}
	k8s := prefixes("10.244.0.0/16", "10.96.0.0/12")
	filters := map[string]network.NodeAddressFilter{"no-k8s": {ExcludeSubnets: k8s}, "only-k8s": {IncludeSubnets: k8s}}
	for _, tc := range []struct {
		name string
		in   addressFacts
		want map[string][]string
	}{
		{"nothing", addressFacts{}, map[string][]string{"current": nil, "accumulative": nil, "routed": nil}},
		{"only what others are reached from", addressFacts{addresses: []network.AddressStatus{
			at("lo", "127.0.0.1/8"), at("lo", "::1/128"), at("eth0", "fe80::1/64"), at("eth0", "169.254.7.1/16"), at("eth0", "10.5.0.2/24"),
			at("eth0", "fd00::9/64", network.AddressTentative), at("eth0", "fd00::8/64", network.AddressDADFailed), at("eth0", "fd00::7/64", network.AddressTemporary),
			at("eth0", "fd00::6/64", network.AddressTentative, network.AddressOptimistic), at("eth1", "10.6.0.2/24"), at("wg0", "10.7.0.2/24"),
			at("gone", "10.8.0.2/24"), at("siderolink", "fdae::2/64"), at("lo", "192.0.2.1/32"),
		}}, map[string][]string{
			"default": {"10.5.0.2/24"}, "current": {"10.5.0.2/24", "192.0.2.1/32", "fd00::6/64"}, "accumulative": {"10.5.0.2/24", "192.0.2.1/32", "fd00::6/64"},
			"routed": {"10.5.0.2/24", "192.0.2.1/32", "fd00::6/64"},
		}},
		{"the default stays while the node has it", addressFacts{
			lastDefault: prefixes("10.5.0.9/16"), everHad: prefixes("10.5.0.9/16", "10.5.0.8/16"),
			addresses: []network.AddressStatus{at("eth0", "10.5.0.2/24"), at("eth0", "10.5.0.9/24")},
		}, map[string][]string{
			"default": {"10.5.0.9/24"}, "current": {"10.5.0.2/24", "10.5.0.9/24"}, "routed": {"10.5.0.2/24", "10.5.0.9/24"},
			"accumulative": {"10.5.0.2/24", "10.5.0.8/16", "10.5.0.9/16", "10.5.0.9/24"},
		}},
		{"the default is another one when it is gone", addressFacts{lastDefault: prefixes("10.5.0.9/16"), addresses: []network.AddressStatus{at("eth0", "10.5.0.2/24")}},
			map[string][]string{"default": {"10.5.0.2/24"}, "current": {"10.5.0.2/24"}, "accumulative": {"10.5.0.2/24"}, "routed": {"10.5.0.2/24"}}},
		{"filters; the default is none of the pods'", addressFacts{filters: filters, addresses: []network.AddressStatus{
			at("cni0", "10.244.0.1/24"), at("eth0", "172.20.0.2/24"), at("kubespan", "10.1.0.1/32"), at("eth0", "10.9.0.1/24", network.AddressDeprecated),
		}}, map[string][]string{
			"default": {"172.20.0.2/24"}, "current": {"10.1.0.1/32", "10.9.0.1/24", "10.244.0.1/24", "172.20.0.2/24"},
			"accumulative": {"10.1.0.1/32", "10.9.0.1/24", "10.244.0.1/24", "172.20.0.2/24"}, "routed": {"10.1.0.1/32", "10.9.0.1/24", "10.244.0.1/24", "172.20.0.2/24"},
			"current-no-k8s": {"10.1.0.1/32", "10.9.0.1/24", "172.20.0.2/24"}, "current-only-k8s": {"10.244.0.1/24"},
			"accumulative-no-k8s": {"10.1.0.1/32", "10.9.0.1/24", "172.20.0.2/24"}, "accumulative-only-k8s": {"10.244.0.1/24"},
			"routed-no-k8s": {"10.1.0.1/32", "10.9.0.1/24", "172.20.0.2/24"}, "routed-only-k8s": {"10.244.0.1/24"},
		}},
		{"shared and external addresses are not routed", addressFacts{addresses: []network.AddressStatus{
			at("eth0", "10.5.0.2/24"), at("eth0", "10.5.0.100/32"), at("external", "203.0.113.7/32"), at("eth0", "fd00::2/64"), at("eth0", "fd00::100/128"),
		}}, map[string][]string{
			"default": {"10.5.0.2/24"}, "current": {"10.5.0.2/24", "10.5.0.100/32", "203.0.113.7/32", "fd00::2/64", "fd00::100/128"},
			"accumulative": {"10.5.0.2/24", "10.5.0.100/32", "203.0.113.7/32", "fd00::2/64", "fd00::100/128"}, "routed": {"10.5.0.2/24", "fd00::2/64"},
		}},
		{"with v2 a single address of IPv6 is the machine's", addressFacts{algorithm: network.SortV2, addresses: []network.AddressStatus{
			at("eth0", "fd00::2/64"), at("eth0", "fd00::100/128"),
		}}, map[string][]string{
			"default": {"fd00::100/128"}, "current": {"fd00::100/128", "fd00::2/64"}, "accumulative": {"fd00::100/128", "fd00::2/64"}, "routed": {"fd00::100/128", "fd00::2/64"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.links = links
			got := map[string][]string{}
			for id, list := range nodeAddresses(tc.in) {
				var texts []string
				for _, p := range list {
					texts = append(texts, p.String())
				}
				got[id] = texts
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	route := network.RouteStatus{Type: network.RouteTypeUnicast, Table: network.TableMain}
	unreachable, other, net := route, route, route
	unreachable.Type, other.Table, net.Destination = network.RouteTypeUnreachable, 100, netip.MustParsePrefix("10.5.0.0/24")
	for _, tc := range []struct {
		name string
		in   readiness
		want network.Status
	}{
		{"nothing", readiness{}, network.Status{}},
		{"each part by itself", readiness{addresses: 1, hostname: true, files: true}, network.Status{AddressReady: true, HostnameReady: true, EtcFilesReady: true}},
		{"a default route", readiness{routes: []network.RouteStatus{net, route}}, network.Status{ConnectivityReady: true}},
		{"no default route", readiness{routes: []network.RouteStatus{net, other, unreachable}}, network.Status{}},
		{"probes succeed without a route", readiness{probes: []bool{true, true}}, network.Status{ConnectivityReady: true}},
		{"one probe fails", readiness{probes: []bool{true, false}, routes: []network.RouteStatus{route}}, network.Status{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.in.status(); got != tc.want {
				t.Errorf("status = %+v; want %+v", got, tc.want)
			}
		})
	}
}

func TestFilesOfEtc(t *testing.T) {
	static := staticHosts(documents(t, `---
apiVersion: v1alpha1
kind: StaticHostConfig
name: 10.5.0.1
hostnames: [registry.lab.example, Registry]
---
apiVersion: v1alpha1
kind: StaticHostConfig
name: 10.5.0.0
hostnames: [registry]
`))
	host := network.HostnameStatus{Hostname: "node-1", Domainname: "lab.example"}
	golden.Check(t, "hosts", hosts(host, prefixes("10.5.0.2/24"), static))
	golden.Check(t, "hosts.plain", hosts(network.HostnameStatus{Hostname: "node-1"}, nil, nil))
	servers := resolver(config, []string{"10.5.0.1", "10.5.0.1", "1.1.1.1", "fd00::1", "8.8.8.8"}, []string{"lab.example", "example"}, false)
	r := network.ResolverStatus{NameServers: servers.NameServers, SearchDomains: servers.SearchDomains}
	r.NameServers[2].Protocol = network.DNSDoT
	golden.Check(t, "resolv.conf", resolvConf(r, network.HostDNSConfig{}))
	golden.Check(t, "resolv.conf.host", resolvConf(network.ResolverStatus{}, network.HostDNSConfig{Enabled: true, ListenAddresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")}}))
	want := map[string][]netip.Addr{
		"node-1": addrs("10.5.0.2"), "node-1.lab.example": addrs("10.5.0.2"), "registry.lab.example": addrs("10.5.0.1"), "registry": addrs("10.5.0.0", "10.5.0.1"),
	}
	if d := cmp.Diff(want, addressesByName(host, prefixes("10.5.0.2/24"), static), equalAddr); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
}

func TestIDsOfRoutesAndRules(t *testing.T) {
	link := map[int]string{1: "lo", 2: "eth0", 3: "eth1"}
	route := func(dst, gw string, link, table, metric int) rtnl.Route {
		r := rtnl.Route{Destination: netip.MustParsePrefix(dst), Link: link, Table: table, Priority: metric, Type: 1, Flags: 0x10}
		if gw != "" {
			r.Gateway = netip.MustParseAddr(gw)
		}
		return r
	}
	got := routeStatuses([]rtnl.Route{
		route("0.0.0.0/0", "10.5.0.1", 2, 254, 1024), route("10.5.0.0/24", "", 3, 254, 0), route("10.5.0.0/24", "", 2, 254, 0),
		route("127.0.0.1/32", "", 1, 255, 0), route("fe80::/64", "", 2, 254, 256), route("fe80::/64", "", 3, 254, 256),
	}, link)
	for id, where := range map[string]string{
		"inet4/10.5.0.1//1024": "eth0", "inet4//10.5.0.0/24/0": "eth0", "eth1/inet4//10.5.0.0/24/0": "eth1", "local/inet4//127.0.0.1/32/0": "lo",
		"eth0/inet6//fe80::/64/256": "eth0", "eth1/inet6//fe80::/64/256": "eth1",
	} {
		if r, ok := got[id]; !ok || r.OutLinkName != where || r.Flags != 0 {
			t.Errorf("%s = %+v, %t; want it on %s", id, r, ok, where)
		}
	}
	if len(got) != 6 || got["inet4/10.5.0.1//1024"].Destination.IsValid() {
		t.Errorf("routes = %+v; want 6, the default one without a destination", got)
	}
	rules := routingRuleStatuses([]rtnl.Rule{{Priority: 0, Table: 255, Action: 1}, {Priority: 0, Table: 255, Action: 1, IPv6: true}, {Priority: 0, Source: netip.MustParsePrefix("10.0.0.0/8"), Table: 100, Action: 1}})
	for _, id := range []string{"inet4/0", "inet6/0", "inet4/0/10.0.0.0/8////100/unicast"} {
		if _, ok := rules[id]; !ok {
			t.Errorf("no rule %s in %+v", id, rules)
		}
	}
}

func TestFirstHardwareAddr(t *testing.T) {
	link := func(kind string, mac byte) network.LinkStatus {
		return network.LinkStatus{Type: network.LinkTypeEther, Kind: kind, HardwareAddr: network.HardwareAddr{2, 0, 0, 0, 0, mac}}
	}
	port := link("veth", 9)
	port.MasterIndex = 4
	container := map[string]network.LinkStatus{"lo": {Type: network.LinkTypeLoopback}, "cni0": link("bridge", 1), "eth0": link("veth", 2), "cali0": link("veth", 3), "aveth": port}
	for _, tc := range []struct {
		name  string
		links map[string]network.LinkStatus
		last  string
		want  string
	}{
		{"nothing", nil, "", ""},
		{"a machine", map[string]network.LinkStatus{"enp2s0": link("", 1), "enp1s0": link("", 2), "bond0": link("bond", 3), "aveth": link("veth", 4)}, "aveth", "enp1s0"},
		{"a container, at first", map[string]network.LinkStatus{"eth0": container["eth0"]}, "", "eth0"},
		{"a container, when a pod's link is there", container, "eth0", "eth0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := firstHardwareAddr(tc.links, network.HardwareAddress{Name: tc.last})
			if got.Name != tc.want || ok != (tc.want != "") {
				t.Errorf("firstHardwareAddr = %+v, %t; want %q", got, ok, tc.want)
			}
		})
	}
}

func TestVerdictOfAProbe(t *testing.T) {
	failed := errors.New("failed")
	var v verdict
	for i, step := range []struct {
		err     error
		success bool
	}{{failed, false}, {nil, true}, {failed, true}, {failed, true}, {failed, false}, {failed, false}, {nil, true}, {failed, true}} {
		if v = v.after(step.err, 2); v.success != step.success || (v.err == "") != (step.err == nil) {
			t.Errorf("after attempt %d: %+v; want success %t", i, v, step.success)
		}
	}
	if v := (verdict{known: true, success: true}).after(failed, 0); v.success {
		t.Error("a threshold of 0 lets a failure pass")
	}
}

func TestReasonHasNoPortOfOurs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	where := l.Addr().String()
	s := network.ProbeSpec{TCP: &network.TCPProbe{Endpoint: where}}
	if err := (NetProber{}).Probe(t.Context(), s); err != nil {
		t.Errorf("Probe(%s) = %v", where, err)
	}
	l.Close()
	err = NetProber{}.Probe(t.Context(), s)
	if err == nil || err.Error() != "probe "+where+": dial: connect: connection refused" {
		t.Errorf("Probe of nobody = %v", err)
	}
}

func TestRoutingRuleWishes(t *testing.T) {
	c := documents(t, "---\napiVersion: v1alpha1\nkind: RoutingRuleConfig\nname: 1000\nsrc: 10.5.0.0/24\ntable: 100\n---\napiVersion: v1alpha1\nkind: RoutingRuleConfig\nname: 1001\ntable: main\nfwMark: 5\n")
	var got []network.RoutingRuleSpec
	for _, e := range c.Set {
		got = append(got, routingRuleWishes(e.Value.(*netdoc.RoutingRuleConfig))...)
	}
	want := []network.RoutingRuleSpec{
		{Family: network.FamilyInet4, Src: netip.MustParsePrefix("10.5.0.0/24"), Table: 100, Priority: 1000, Action: network.RoutingRuleActionUnicast, Layer: config},
		{Family: network.FamilyInet4, Table: network.TableMain, Priority: 1001, Action: network.RoutingRuleActionUnicast, FwMark: 5, FwMask: ^uint32(0), Layer: config},
		{Family: network.FamilyInet6, Table: network.TableMain, Priority: 1001, Action: network.RoutingRuleActionUnicast, FwMark: 5, FwMask: ^uint32(0), Layer: config},
	}
	if d := cmp.Diff(want, got, equalPrefix); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
