package linkctrl

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/ctrl/netctrl"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/internal/sys/wg"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
)

// host has a name that does not matter here.
type host struct{}

func (host) SetHostname(string) error { return nil }

// tunnels records how WireGuard links were configured.
type tunnels struct {
	mu  sync.Mutex
	all map[string]wg.Config
	n   int
}

func (w *tunnels) Configure(name string, c wg.Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]wg.Config{}
	}
	w.all[name] = c
	w.n++
	return nil
}

// announced records addresses that were announced.
type announced struct {
	mu   sync.Mutex
	list []string
}

func (a *announced) Announce(link string, addr netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, link+" "+addr.String())
	return nil
}

// hardware is a machine with a loopback and links of the hardware, all of them down.
func hardware(names ...string) *rtnl.Memory {
	links := []rtnl.Link{{Index: 1, Name: "lo", Kind: "device", HardwareType: uint16(network.LinkTypeLoopback), OperState: "down", MTU: 65536}}
	for i, n := range names {
		links = append(links, rtnl.Link{
			Index: i + 2, Name: n, Kind: "device", HardwareType: uint16(network.LinkTypeEther), OperState: "down", MTU: 1500,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)},
		})
	}
	return rtnl.NewMemory(links...)
}

// chain is everything from a config to the kernel.
func chain(d Deps) []controller.Controller {
	return append(netctrl.Controllers(netctrl.Deps{Kernel: d.Kernel, Host: host{}, Cmdline: d.Cmdline}), Controllers(d)...)
}

func configure(h *controllertest.Harness, documents ...string) {
	text := ""
	for _, d := range documents {
		text += "---\napiVersion: v1alpha1\n" + strings.TrimSpace(d) + "\n"
	}
	controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
	h.Advance(5 * time.Second)
}

// show is a namespace as lines: of links, of their addresses, and of routes that the kernel did not make itself.
func show(t testing.TB, k Kernel) []string {
	t.Helper()
	links, err := k.Links()
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := k.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	routes, err := k.Routes()
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var out []string
	for _, l := range links {
		line := fmt.Sprintf("%s %s %s mtu %d", l.Name, l.Kind, map[bool]string{true: "up", false: "down"}[l.Up], l.MTU)
		if l.Master != 0 {
			line += " in " + names[l.Master]
		}
		if l.VLAN.ID != 0 {
			line += fmt.Sprintf(" id %d on %s", l.VLAN.ID, names[l.Parent])
		}
		for _, a := range addresses {
			if a.Link == l.Index && !a.Prefix.Addr().IsLinkLocalUnicast() {
				line += " " + a.Prefix.String()
			}
		}
		out = append(out, line)
	}
	for _, r := range routes {
		if r.Protocol == 2 || r.Destination.Addr().IsMulticast() {
			continue
		}
		line := "route " + r.Destination.String()
		if r.Gateway.IsValid() {
			line += " via " + r.Gateway.String()
		}
		line += fmt.Sprintf(" by %s metric %d", names[r.Link], r.Priority)
		if r.Table != 254 {
			line += fmt.Sprintf(" table %d", r.Table)
		}
		if r.Flags&onLink != 0 {
			line += " onlink"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func want(t testing.TB, k Kernel, lines ...string) {
	t.Helper()
	slices.Sort(lines)
	if d := cmp.Diff(lines, show(t, k)); d != "" {
		t.Errorf("the kernel (-want +got):\n%s", d)
	}
}

func TestAMachineWithoutAConfigHasItsLinksUp(t *testing.T) {
	k := hardware("eth0", "eth1")
	k.SetLink(rtnl.Link{Index: 9, Name: "veth9", Kind: "veth", HardwareType: 1, MTU: 1500})
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(5 * time.Second)
		want(t, k, "lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500", "eth1 device up mtu 1500", "veth9 veth down mtu 1500")
		k.SetLink(rtnl.Link{Index: 7, Name: "eth2", Kind: "device", HardwareType: 1, MTU: 1500}) // its driver comes late
		h.Advance(5 * time.Second)
		want(t, k, "lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500", "eth1 device up mtu 1500", "eth2 device up mtu 1500", "veth9 veth down mtu 1500")
	}, chain(Deps{Kernel: k})...)
}

func TestTheCommandLine(t *testing.T) {
	k := hardware("eth0", "eth1")
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(5 * time.Second)
		want(t, k, "lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500 10.5.0.2/24", "eth1 device down mtu 1500",
			"vlan5 vlan up mtu 1500 id 5 on eth0", "route 0.0.0.0/0 via 10.5.0.1 by eth0 metric 1024")
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1"})
	}, chain(Deps{Kernel: k, Cmdline: "ip=10.5.0.2::10.5.0.1:24:node-1:eth0:off vlan=vlan5:eth0 talos.network.interface.ignore=eth1"})...)
}

const uplink = `
kind: LinkConfig
name: eth0
mtu: 1400
addresses:
    - address: 10.5.0.2/24
    - address: fd00:5::2/64
      routePriority: 512
routes:
    - gateway: 10.5.0.1
    - destination: 10.20.0.0/16
      gateway: 10.5.0.254
      metric: 100
      table: 7
    - destination: fd00:6::/64
      gateway: fd00:5::1
`

func TestALinkOfTheConfig(t *testing.T) {
	k := hardware("eth0")
	before := []string{"lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500"}
	configured := []string{
		"lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1400 10.5.0.2/24 fd00:5::2/64", "route 0.0.0.0/0 via 10.5.0.1 by eth0 metric 1024",
		"route 10.20.0.0/16 via 10.5.0.254 by eth0 metric 100 table 7", "route fd00:6::/64 via fd00:5::1 by eth0 metric 1024",
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		configure(h, uplink)
		want(t, k, configured...)
		t.Run("is mended when somebody breaks it", func(t *testing.T) {
			routes, _ := k.Routes()
			for _, r := range routes {
				if r.Protocol != 2 {
					if err := k.RemoveRoute(r); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := k.RemoveAddress(rtnl.Address{Link: 2, Prefix: netip.MustParsePrefix("10.5.0.2/24")}); err != nil {
				t.Fatal(err)
			}
			if err := k.SetUp(2, false); err != nil {
				t.Fatal(err)
			}
			h.Advance(5 * time.Second)
			slices.Sort(configured)
			got := show(t, k)
			for i := range got { // the order of addresses is that in which they came
				got[i] = strings.Replace(got[i], "fd00:5::2/64 10.5.0.2/24", "10.5.0.2/24 fd00:5::2/64", 1)
			}
			if d := cmp.Diff(configured, got); d != "" {
				t.Errorf("the kernel (-want +got):\n%s", d)
			}
		})
		t.Run("leaves alone what others make", func(t *testing.T) {
			theirs := rtnl.Route{Destination: netip.MustParsePrefix("10.244.1.0/24"), Gateway: netip.MustParseAddr("10.5.0.3"), Link: 2}
			if err := k.AddRoute(theirs); err != nil {
				t.Fatal(err)
			}
			if err := k.AddAddress(rtnl.Address{Link: 2, Prefix: netip.MustParsePrefix("10.9.0.1/32")}); err != nil {
				t.Fatal(err)
			}
			configure(h, "kind: LinkConfig\nname: eth0\naddresses:\n    - address: 10.5.0.3/24\n")
			want(t, k, "lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500 10.9.0.1/32 10.5.0.3/24", "route 10.244.1.0/24 via 10.5.0.3 by eth0 metric 0")
			if err := k.RemoveRoute(theirs); err != nil {
				t.Fatal(err)
			}
			if err := k.RemoveAddress(rtnl.Address{Link: 2, Prefix: netip.MustParsePrefix("10.9.0.1/32")}); err != nil {
				t.Fatal(err)
			}
		})
		configure(h, "kind: HostnameConfig\nhostname: a\nauto: \"off\"\n")
		want(t, k, before...)
	}, chain(Deps{Kernel: k})...)
}

func TestStackedLinks(t *testing.T) {
	k := hardware("eth0", "eth1", "eth2")
	w := &tunnels{}
	bond := `
kind: BondConfig
name: bond0
links: [eth1, eth0]
bondMode: active-backup
miimon: %d
primary: eth0
mtu: 9000
`
	stack := []string{
		"kind: VLANConfig\nname: bond0.100\nvlanID: 100\nparent: bond0\naddresses:\n    - address: 10.6.0.2/24\n",
		"kind: BridgeConfig\nname: br0\nlinks: [bond0.100, eth2]\nstp:\n    enabled: true\n",
		"kind: DummyLinkConfig\nname: dummy0\naddresses:\n    - address: 10.99.0.1/32\n",
		"kind: VRFConfig\nname: blue\nlinks: [dummy0]\ntable: 100\n",
		"kind: VethConfig\nname: y\npeer:\n    name: x\n    addresses:\n        - address: 10.7.0.1/30\n",
		"kind: WireguardConfig\nname: wg0\nprivateKey: aKrsoaIyJFl3HhmcUXRkAE7XgVfHcNgo0LTLJ2EvF2o=\npeers:\n    - publicKey: 5RBVvAGW0JM8Nx3hk8cVJuwIFVjZaS2XN1mBdGSyjk4=\n      endpoint: 192.0.2.10:51821\n",
	}
	all := []string{
		"lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500 in bond0", "eth1 device up mtu 1500 in bond0", "eth2 device up mtu 1500 in br0",
		"bond0 bond up mtu 9000", "bond0.100 vlan up mtu 1500 in br0 id 100 on bond0 10.6.0.2/24", "br0 bridge up mtu 1500", "dummy0 dummy up mtu 1500 in blue 10.99.0.1/32",
		"blue vrf up mtu 1500", "x veth up mtu 1500 10.7.0.1/30", "y veth up mtu 1500", "wg0 wireguard up mtu 1500",
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		configure(h, append(stack, fmt.Sprintf(bond, 100))...)
		want(t, k, all...)
		b, err := k.LinkByName("bond0")
		if err != nil || b.Bond.Mode != 1 || b.Bond.Options[rtnl.BondMIIMon] != 100 || b.Bond.Primary != 2 {
			t.Errorf("bond0 = %+v, %v", b.Bond, err)
		}
		if len(b.Bond.Options) != 1 {
			t.Errorf("options = %v; want none but the one that is not as usual", b.Bond.Options)
		}
		if c := w.all["wg0"]; len(c.Peers) != 1 || c.Peers[0].Endpoint.String() != "192.0.2.10:51821" || w.n != 1 {
			t.Errorf("wg0 = %+v, configured %d times", c, w.n)
		}
		controllertest.WantThat(h, "bond0", "be a bond", func(r *resource.Typed[network.LinkStatus]) bool {
			return r.Spec().BondMaster != nil && r.Spec().BondMaster.Mode == network.BondActiveBackup
		})

		// Another option makes the bond anew, and what is on it.
		configure(h, append(stack, fmt.Sprintf(bond, 200))...)
		want(t, k, all...)
		if b, err = k.LinkByName("bond0"); err != nil || b.Bond.Options[rtnl.BondMIIMon] != 200 || b.Bond.Primary != 2 {
			t.Errorf("bond0 = %+v, %v", b.Bond, err)
		}

		// A bridge changes in place; a port leaves it.
		before, _ := k.LinkByName("br0")
		configure(h, append(stack[2:], stack[0], "kind: BridgeConfig\nname: br0\nlinks: [bond0.100]\n", fmt.Sprintf(bond, 200))...)
		if br, err := k.LinkByName("br0"); err != nil || br.Index != before.Index || br.Bridge.STP {
			t.Errorf("br0 = %+v, %v; want the same without STP", br, err)
		}
		if l, _ := k.LinkByName("eth2"); l.Master != 0 {
			t.Errorf("eth2 = %+v; want it out of the bridge", l)
		}

		configure(h, "kind: HostnameConfig\nhostname: a\nauto: \"off\"\n")
		want(t, k, "lo device up mtu 65536 127.0.0.1/8", "eth0 device up mtu 1500", "eth1 device up mtu 1500", "eth2 device up mtu 1500")
	}, chain(Deps{Kernel: k, Wireguard: w})...)
}

func TestAliases(t *testing.T) {
	k := hardware("enp1s0", "enp2s0")
	const one = "kind: LinkAliasConfig\nname: uplink\nselector:\n    match: mac(link.hardware_addr) == \"02:00:00:00:00:02\"\n"
	controllertest.Run(t, func(h *controllertest.Harness) {
		configure(h, one, strings.Replace(uplink, "eth0", "uplink", 1))
		controllertest.Want(h, "enp2s0", network.LinkAliasSpec{Alias: "uplink"})
		controllertest.WantThat(h, "enp2s0", "be called uplink", func(r *resource.Typed[network.LinkStatus]) bool { return r.Spec().Alias == "uplink" })
		controllertest.WantThat(h, "enp2s0/10.5.0.2/24", "be there", func(*resource.Typed[network.AddressStatus]) bool { return true })
		configure(h, "kind: LinkAliasConfig\nname: net%d\nselector:\n    match: glob(\"02:*\", mac(link.hardware_addr))\n")
		controllertest.Want(h, "enp1s0", network.LinkAliasSpec{Alias: "net0"})
		controllertest.Want(h, "enp2s0", network.LinkAliasSpec{Alias: "net1"})
		configure(h, "kind: LinkAliasConfig\nname: any\nselector:\n    match: \"true\"\n")
		controllertest.WantGone[network.LinkAliasSpec](h, "enp1s0")
		if l, _ := k.LinkByName("enp1s0"); l.Alias != "" {
			t.Errorf("enp1s0 is still called %q", l.Alias)
		}
	}, chain(Deps{Kernel: k})...)
}

func TestRoutingRules(t *testing.T) {
	k := hardware("eth0")
	if err := k.AddRule(rtnl.Rule{Priority: 32766, Table: 254}); err != nil {
		t.Fatal(err)
	}
	priorities := func() (out []string) {
		all, _ := k.Rules()
		for _, r := range all {
			out = append(out, fmt.Sprintf("%d table %d from %v", r.Priority, r.Table, r.Source))
		}
		return out
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		for _, tc := range []struct {
			doc  string
			want []string
		}{
			{"kind: RoutingRuleConfig\nname: \"1000\"\nsrc: 10.5.0.0/16\ntable: \"7\"\n", []string{"1000 table 7 from 10.5.0.0/16", "32766 table 254 from invalid Prefix"}},
			{"kind: RoutingRuleConfig\nname: \"1000\"\nsrc: 10.6.0.0/16\ntable: \"8\"\n", []string{"1000 table 8 from 10.6.0.0/16", "32766 table 254 from invalid Prefix"}},
			{"kind: HostnameConfig\nhostname: a\nauto: \"off\"\n", []string{"32766 table 254 from invalid Prefix"}},
		} {
			configure(h, tc.doc)
			if d := cmp.Diff(tc.want, priorities()); d != "" {
				t.Errorf("rules after %s (-want +got):\n%s", tc.doc, d)
			}
		}
	}, chain(Deps{Kernel: k})...)
}

func TestAnAddressThatMovesIsAnnounced(t *testing.T) {
	k, a := hardware("eth0"), &announced{}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, "eth0/10.5.0.100/32", network.AddressSpec{
			Address: netip.MustParsePrefix("10.5.0.100/32"), LinkName: "eth0", Family: network.FamilyInet4, AnnounceWithARP: true, Layer: network.LayerOperator,
		})
		h.Advance(5 * time.Second)
		if d := cmp.Diff([]string{"eth0 10.5.0.100"}, a.list); d != "" {
			t.Errorf("announced (-want +got):\n%s", d)
		}
	}, Controllers(Deps{Kernel: k, Announcer: a})...)
}

// The kernel gives the loopback 127.0.0.1/8 when it comes up, between the look and the step.
func TestAnAddressThatIsThereMeanwhileIsNoError(t *testing.T) {
	k := hardware()
	address := netip.MustParsePrefix("127.0.0.1/8")
	links, err := k.Links()
	if err != nil {
		t.Fatal(err)
	}
	steps := planAddresses(links, nil, kept[network.AddressSpec]{want: []network.AddressSpec{{Address: address, LinkName: "lo"}}}, nil)
	if err := k.AddAddress(rtnl.Address{Link: 1, Prefix: address}); err != nil {
		t.Fatal(err)
	}
	if len(steps) != 1 {
		t.Fatalf("planAddresses() = %v; want one step", steps)
	}
	if err := steps[0].do(k); err != nil {
		t.Errorf("%s: %v; want nil", steps[0].text, err)
	}
}
