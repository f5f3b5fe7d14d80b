package linkctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/internal/sys/wg"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// own is a Conn to a new network namespace with a veth pair, whose end "eth0" the kernel takes for no hardware. It ends with the test's
// thread.
func own(t *testing.T) *rtnl.Conn {
	t.Helper()
	goruntime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	c, err := rtnl.OpenAt(fmt.Sprintf("/proc/self/task/%d/ns/net", syscall.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.AddVeth(rtnl.Veth{Name: "eth0", Peer: "peer0"}); err != nil {
		t.Fatal(err)
	}
	l, err := c.LinkByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetUp(l.Index, true); err != nil {
		t.Fatal(err)
	}
	return c
}

// eth0gateway is another gateway.
var eth0gateway = netip.MustParseAddr("10.5.0.9")

// until waits until the kernel is as it should be.
func until(t *testing.T, k *rtnl.Conn, lines ...string) {
	t.Helper()
	slices.Sort(lines)
	deadline := time.Now().Add(20 * time.Second)
	var got []string
	for time.Now().Before(deadline) {
		if got = show(t, k); slices.Equal(got, lines) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the kernel has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
}

// TestKernel holds that what is true in memory is so with a kernel. Kinds of links that this kernel does not make are left out.
func TestKernel(t *testing.T) {
	k := own(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st := memstate.New(memstate.Options{})
	s := controller.New(st, slog.New(slog.NewTextHandler(t.Output(), nil)), controller.Options{})
	tunnel, err := wg.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.Close()
	for _, c := range chain(Deps{Kernel: k, Wireguard: tunnel}) {
		if err := s.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	set := func(documents ...string) {
		t.Helper()
		text := ""
		for _, d := range documents {
			text += "---\napiVersion: v1alpha1\n" + strings.TrimSpace(d) + "\n"
		}
		if _, err := state.Modify(ctx, st, machineconfig.Active, func(_ *resource.Metadata, c *machineconfig.Config) error {
			c.Text = text
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	idle := []string{"lo device up mtu 65536 127.0.0.1/8 ::1/128", "eth0 veth down mtu 1500", "peer0 veth up mtu 1500"}
	until(t, k, idle...)
	set(uplink, "kind: BlackholeRouteConfig\nname: 10.30.0.0/16\n", "kind: VethConfig\nname: a\npeer:\n    name: b\n", "kind: BridgeConfig\nname: br0\nlinks: [b]\nstp:\n    enabled: true\n",
		"kind: LinkConfig\nname: peer0\naddresses:\n    - address: 192.0.2.1/32\nroutes:\n    - destination: 198.51.100.0/24\n      gateway: 203.0.113.1\n")
	configured := []string{
		"lo device up mtu 65536 127.0.0.1/8 ::1/128", "eth0 veth up mtu 1400 10.5.0.2/24 fd00:5::2/64", "peer0 veth up mtu 1500 192.0.2.1/32",
		"a veth up mtu 1500", "b veth up mtu 1500 in br0", "br0 bridge up mtu 1500",
		"route 0.0.0.0/0 via 10.5.0.1 by eth0 metric 1024", "route 10.20.0.0/16 via 10.5.0.254 by eth0 metric 100 table 7",
		"route fd00:6::/64 via fd00:5::1 by eth0 metric 1024", "route 10.30.0.0/16 by  metric 1024",
		"route 198.51.100.0/24 via 203.0.113.1 by peer0 metric 1024 onlink",
	}
	until(t, k, configured...)

	eth0, err := k.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.SetUp(eth0.Index, false); err != nil { // takes the routes and the addresses of IPv6 along
		t.Fatal(err)
	}
	until(t, k, configured...)

	// A DHCP server that gives another gateway replaces the route; one that goes takes it away.
	route := network.RouteSpec{
		Family: network.FamilyInet4, OutLinkName: "eth0", Table: network.TableMain, Priority: 1024, Type: network.RouteTypeUnicast,
		Protocol: network.RouteProtocolDHCP, Layer: network.LayerOperator,
	}
	route.Gateway = eth0gateway
	if _, err := state.Create(ctx, st, network.LayeredID(network.LayerOperator, route.ID()), route, state.In(network.ConfigNamespace)); err != nil {
		t.Fatal(err)
	}
	set(strings.Replace(uplink, "    - gateway: 10.5.0.1\n", "", 1))
	until(t, k, "lo device up mtu 65536 127.0.0.1/8 ::1/128", "eth0 veth up mtu 1400 10.5.0.2/24 fd00:5::2/64", "peer0 veth up mtu 1500",
		"route 0.0.0.0/0 via 10.5.0.9 by eth0 metric 1024", "route 10.20.0.0/16 via 10.5.0.254 by eth0 metric 100 table 7",
		"route fd00:6::/64 via fd00:5::1 by eth0 metric 1024")
	if err := state.Destroy[network.RouteSpec](ctx, st, network.LayeredID(network.LayerOperator, route.ID()), state.In(network.ConfigNamespace)); err != nil {
		t.Fatal(err)
	}

	extra, want := optional(t, k)
	if len(extra) > 0 {
		set(extra...)
		until(t, k, append(want, "lo device up mtu 65536 127.0.0.1/8 ::1/128", "peer0 veth up mtu 1500")...)
	}
	set("kind: HostnameConfig\nhostname: a\nauto: \"off\"\n")
	eth0state := "up" // nobody has a wish for it now
	if slices.ContainsFunc(extra, func(d string) bool { return strings.Contains(d, "BondConfig") }) {
		eth0state = "down" // as a bond leaves its members
	}
	until(t, k, "lo device up mtu 65536 127.0.0.1/8 ::1/128", "eth0 veth "+eth0state+" mtu 1500", "peer0 veth up mtu 1500")
}

// optional returns documents and lines for the kinds of links that this kernel makes.
func optional(t *testing.T, k *rtnl.Conn) (documents, lines []string) {
	has := func(kind string) bool {
		err := k.AddLink(rtnl.NewLink{Name: "probe", Kind: kind, Table: 100})
		if err == nil {
			return k.RemoveLink("probe") == nil
		}
		if !errors.Is(err, syscall.EOPNOTSUPP) {
			t.Error(err)
		}
		return false
	}
	eth0 := "eth0 veth up mtu 1500"
	if has(network.KindDummy) {
		documents = append(documents, "kind: DummyLinkConfig\nname: dummy0\nhardwareAddr: \"02:00:00:00:00:0d\"\naddresses:\n    - address: 10.99.0.1/32\n")
		lines = append(lines, "dummy0 dummy up mtu 1500 10.99.0.1/32")
	}
	if has(network.KindBond) {
		documents = append(documents, "kind: BondConfig\nname: bond0\nlinks: [eth0]\nbondMode: active-backup\nmiimon: 100\nprimary: eth0\nnumPeerNotif: 3\naddresses:\n    - address: 10.5.0.2/24\n",
			"kind: VLANConfig\nname: bond0.100\nvlanID: 100\nparent: bond0\n")
		eth0 += " in bond0"
		lines = append(lines, "bond0 bond up mtu 1500 10.5.0.2/24", "bond0.100 vlan up mtu 1500 id 100 on bond0")
	}
	if has(network.KindVRF) {
		documents = append(documents, "kind: VRFConfig\nname: blue\nlinks: []\ntable: 100\n")
		lines = append(lines, "blue vrf up mtu 65575")
	}
	if has(network.KindWireguard) {
		documents = append(documents, "kind: WireguardConfig\nname: wg0\nprivateKey: aKrsoaIyJFl3HhmcUXRkAE7XgVfHcNgo0LTLJ2EvF2o=\nlistenPort: 51821\npeers:\n    - publicKey: 5RBVvAGW0JM8Nx3hk8cVJuwIFVjZaS2XN1mBdGSyjk4=\n      allowedIPs: [10.8.0.0/24]\naddresses:\n    - address: 10.8.0.2/24\n")
		lines = append(lines, "wg0 wireguard up mtu 1420 10.8.0.2/24")
	}
	return documents, append(lines, eth0)
}
