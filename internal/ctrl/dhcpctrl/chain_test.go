package dhcpctrl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/ctrl/linkctrl"
	"talos.internal/internal/ctrl/netctrl"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

type host struct{}

func (host) SetHostname(string) error { return nil }

// world is a network with servers that answer.
type world struct {
	mu     sync.Mutex
	leases map[string]*Lease // by operator and link; of those that are not here nobody answers
	asked  []string
}

func (w *world) answer(who string) (*Lease, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, who)
	if l := w.leases[who]; l != nil {
		c := *l
		return &c, nil
	}
	return nil, errors.New("nobody is there")
}

func (w *world) times(who string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.asked {
		if a == who {
			n++
		}
	}
	return n
}

type worldClient struct {
	w   *world
	who string
}

func (c worldClient) Acquire(context.Context) (*Lease, error) { return c.w.answer(c.who) }
func (c worldClient) Extend(context.Context, *Lease, bool) (*Lease, error) {
	return c.w.answer(c.who + " again")
}

func (w *world) DHCP4(s Subject, _ network.DHCP4Operator) Client {
	return worldClient{w, "dhcp4 " + s.Link}
}

func (w *world) DHCP6(s Subject, _ network.DHCP6Operator) Client {
	return worldClient{w, "dhcp6 " + s.Link}
}

func machine(names ...string) *rtnl.Memory {
	links := []rtnl.Link{{Index: 1, Name: "lo", Kind: "device", HardwareType: uint16(network.LinkTypeLoopback), OperState: "down", MTU: 65536}}
	for i, n := range names {
		links = append(links, rtnl.Link{
			Index: i + 2, Name: n, Kind: "device", HardwareType: uint16(network.LinkTypeEther), OperState: "down", MTU: 1500, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)},
		})
	}
	return rtnl.NewMemory(links...)
}

func chain(k *rtnl.Memory, d Deps) []controller.Controller {
	return slices.Concat(netctrl.Controllers(netctrl.Deps{Kernel: k, Host: host{}, Cmdline: d.Cmdline}), linkctrl.Controllers(linkctrl.Deps{Kernel: k, Cmdline: d.Cmdline}), Controllers(d))
}

func configure(h *controllertest.Harness, documents ...string) {
	text := ""
	for _, d := range documents {
		text += "---\napiVersion: v1alpha1\n" + strings.TrimSpace(d) + "\n"
	}
	controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
	h.Advance(5 * time.Second)
}

// has reports whether the kernel has an address, and a default route by a gateway.
func has(k *rtnl.Memory, address, gateway string) bool {
	addresses, _ := k.Addresses()
	routes, _ := k.Routes()
	return slices.ContainsFunc(addresses, func(a rtnl.Address) bool { return a.Prefix.String() == address }) &&
		slices.ContainsFunc(routes, func(r rtnl.Route) bool {
			return r.Gateway.IsValid() && r.Gateway.String() == gateway && r.Destination.Bits() == 0
		})
}

func lab() *Lease {
	return &Lease{
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.5.0.1")}},
		Hostname: "node-1", Domain: "lab.example", Servers: []netip.Addr{netip.MustParseAddr("10.5.0.1")}, Search: []string{"lab.example"},
		TimeServers: []string{"10.5.0.3"}, MTU: 1400, Expire: time.Hour,
	}
}

func TestDHCPByDefault(t *testing.T) {
	k, w := machine("eth0", "eth1"), &world{leases: map[string]*Lease{"dhcp4 eth0": lab(), "dhcp4 eth0 again": lab()}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(10 * time.Second)
		if !has(k, "10.5.0.2/24", "10.5.0.1") {
			t.Error("eth0 has not got what DHCP gave")
		}
		if l, _ := k.LinkByName("eth0"); l.MTU != 1400 || !l.Up {
			t.Errorf("eth0 = %+v; want the MTU that DHCP gave", l)
		}
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1", Domainname: "lab.example"})
		controllertest.Want(h, network.TimeServerStatusID, network.TimeServerStatus{Servers: []string{"10.5.0.3"}})
		controllertest.WantThat(h, network.ResolverStatusID, "be those of DHCP", func(r *resource.Typed[network.ResolverStatus]) bool {
			return slices.Equal(r.Spec().DNSServers, lab().Servers) && slices.Equal(r.Spec().SearchDomains, []string{"lab.example"})
		})
		if w.times("dhcp4 eth1") < 3 {
			t.Error("eth1 does not ask again")
		}

		// The cable is pulled, and put in again: the address stays, and is asked for.
		l, _ := k.LinkByName("eth0")
		pulled := l
		pulled.OperState, pulled.Running = "down", false
		k.SetLink(pulled)
		h.Advance(5 * time.Second)
		if w.times("dhcp4 eth0 again") != 0 || !has(k, "10.5.0.2/24", "10.5.0.1") {
			t.Errorf("without the cable: asked %v", w.asked)
		}
		k.SetLink(l)
		h.Advance(5 * time.Second)
		if w.times("dhcp4 eth0 again") != 1 || w.times("dhcp4 eth0") != 1 || !has(k, "10.5.0.2/24", "10.5.0.1") {
			t.Errorf("after the link came back: asked %v", w.asked)
		}

		// The config gives the link an address: DHCP ends.
		configure(h, "kind: LinkConfig\nname: eth0\naddresses:\n    - address: 10.5.0.9/24\nroutes:\n    - gateway: 10.5.0.1\n")
		if !has(k, "10.5.0.9/24", "10.5.0.1") || has(k, "10.5.0.2/24", "10.5.0.1") {
			t.Error("the kernel has not what the config says")
		}
		if l, _ := k.LinkByName("eth0"); l.MTU != 1500 {
			t.Errorf("eth0 = %+v; want the MTU that it had", l)
		}
		controllertest.WantGone[network.OperatorSpec](h, "dhcp4/eth0")
		controllertest.WantThat(h, "dhcp4/eth1", "be there", func(*resource.Typed[network.OperatorSpec]) bool { return true })

		// It says both.
		configure(h, "kind: LinkConfig\nname: eth0\nmtu: 1300\n", "kind: DHCPv4Config\nname: eth0\nrouteMetric: 7\nignoreHostname: true\n", "kind: DHCPv6Config\nname: eth0\n")
		if l, _ := k.LinkByName("eth0"); l.MTU != 1300 || !has(k, "10.5.0.2/24", "10.5.0.1") {
			t.Errorf("eth0 = %+v; want DHCP with the MTU of the config", l)
		}
		controllertest.WantThat(h, "inet4/10.5.0.1//7", "be there", func(r *resource.Typed[network.RouteStatus]) bool {
			return r.Spec().Protocol == network.RouteProtocolDHCP && r.Spec().Source.String() == "10.5.0.2"
		})
		controllertest.WantThat(h, network.HostnameStatusID, "not be DHCP's", func(r *resource.Typed[network.HostnameStatus]) bool { return r.Spec().Hostname != "node-1" })
		if w.times("dhcp6 eth0") == 0 {
			t.Error("DHCPv6 is not asked")
		}
	}, chain(k, Deps{Clients: w})...)
}

func TestNoDHCPWhereSomebodyKnowsBetter(t *testing.T) {
	k, w := machine("eth0", "eth1", "eth2", "eth3"), &world{}
	controllertest.Run(t, func(h *controllertest.Harness) {
		configure(h, "kind: BondConfig\nname: bond0\nlinks: [eth2]\nbondMode: active-backup\nmiimon: 100\n")
		w.mu.Lock()
		w.asked = nil
		w.mu.Unlock()
		h.Advance(time.Minute)
		for _, who := range []string{"dhcp4 eth0", "dhcp4 eth1", "dhcp4 eth2", "dhcp4 bond0", "dhcp4 lo"} {
			if n := w.times(who); n != 0 {
				t.Errorf("%s asked %d times", who, n)
			}
		}
		if w.times("dhcp4 eth3") == 0 {
			t.Error("eth3 is not asked for")
		}
	}, chain(k, Deps{Clients: w, Cmdline: "ip=10.5.0.2:::24::eth0:off talos.network.interface.ignore=eth1"})...)
}

// turns is an election that the test decides.
type turns struct {
	begin, end chan struct{}
	key        string
}

func (e *turns) Hold(ctx context.Context, key string, had func(context.Context)) error {
	e.key = key
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.begin:
	}
	turn, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); had(turn) }()
	select {
	case <-e.end:
		cancel()
	case <-done:
	}
	<-done
	return errors.New("the turn is over")
}

func TestASharedAddress(t *testing.T) {
	k, w := machine("eth0"), &world{leases: map[string]*Lease{"dhcp4 eth0": lab()}}
	e := &turns{begin: make(chan struct{}), end: make(chan struct{})}
	shared := func() bool {
		all, _ := k.Addresses()
		return slices.ContainsFunc(all, func(a rtnl.Address) bool { return a.Prefix.String() == "10.5.0.100/32" })
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		e.begin, e.end = make(chan struct{}), make(chan struct{}) // of this bubble
		configure(h, "kind: Layer2VIPConfig\nname: 10.5.0.100\nlink: eth0\n")
		h.Advance(time.Minute)
		if shared() || !has(k, "10.5.0.2/24", "10.5.0.1") {
			t.Error("want DHCP's address, and not the shared one before its turn")
		}
		for range 2 {
			e.begin <- struct{}{}
			h.Advance(5 * time.Second)
			if !shared() || e.key != "talos:v1:vip:election:10.5.0.100" {
				t.Errorf("the shared address is not there at its turn (%s)", e.key)
			}
			controllertest.WantThat(h, network.LayeredID(network.LayerOperator, "vip/eth0/10.5.0.100/eth0/10.5.0.100/32"), "be announced", func(r *resource.Typed[network.AddressSpec]) bool {
				return r.Spec().AnnounceWithARP
			}, inConfig)
			e.end <- struct{}{}
			h.Advance(20 * time.Second)
			if shared() {
				t.Error("the shared address is there after its turn")
			}
		}
		e.begin <- struct{}{}
		h.Advance(5 * time.Second)
		configure(h, "kind: HostnameConfig\nhostname: a\nauto: \"off\"\n")
		if shared() {
			t.Error("the shared address is there although the config does not want it")
		}
	}, chain(k, Deps{Clients: w, Election: e})...)
}

var inConfig = state.In(network.ConfigNamespace)
