package netctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/files"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// host records the names that it was given, and can refuse.
type host struct {
	mu    sync.Mutex
	names []string
	err   error
}

func (h *host) SetHostname(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	h.names = append(h.names, name)
	return nil
}

// prober answers with err, and counts.
type prober struct {
	mu    sync.Mutex
	err   error
	count int
}

func (p *prober) Probe(context.Context, network.ProbeSpec) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return p.err
}

func (p *prober) answer(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// counting counts what is asked of a kernel.
type counting struct {
	*rtnl.Memory
	mu    sync.Mutex
	lists int
}

func (c *counting) Routes() ([]rtnl.Route, error) {
	c.mu.Lock()
	c.lists++
	c.mu.Unlock()
	return c.Memory.Routes()
}

// container is a namespace as a container has it: lo and the end of a veth pair.
func container(t *testing.T) *rtnl.Memory {
	t.Helper()
	m := rtnl.NewMemory(
		rtnl.Link{Index: 1, Name: "lo", Kind: "device", HardwareType: uint16(network.LinkTypeLoopback), OperState: "unknown", Flags: uint32(network.LinkUp), MTU: 65536},
		rtnl.Link{Index: 7, Name: "eth0", Kind: "veth", HardwareType: uint16(network.LinkTypeEther), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 7}, MTU: 1500},
	)
	err := errors.Join(m.SetUp(7, true), m.AddAddress(rtnl.Address{Link: 1, Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: rtnl.ScopeHost}),
		m.AddAddress(rtnl.Address{Link: 7, Prefix: netip.MustParsePrefix("10.5.0.2/24")}),
		m.AddRoute(rtnl.Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.5.0.1"), Link: 7}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func deps(k Kernel, h *host) Deps {
	return Deps{Kernel: k, Host: h, Platform: Container{Hostname: "node-1", ResolvConf: "nameserver 127.0.0.11\n", SKU: "2CPU-2048RAM"}.Config(), Prober: &prober{}}
}

func configure(h *controllertest.Harness, text string) {
	controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
}

// etc stands for the controller that puts files in place.
func etc(h *controllertest.Harness) {
	for _, name := range []string{etcHosts, etcResolvConf} {
		controllertest.Create(h, name, files.EtcFileStatus{SpecVersion: "1"})
	}
}

func TestAContainerBeforeItHasAConfig(t *testing.T) {
	h0 := &host{}
	controllertest.Run(t, func(h *controllertest.Harness) {
		etc(h)
		controllertest.Want(h, network.StatusID, network.Status{AddressReady: true, ConnectivityReady: true, HostnameReady: true, EtcFilesReady: true})
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1"})
		controllertest.Want(h, network.ResolverStatusID, network.ResolverStatus{
			DNSServers: addrs("127.0.0.11"), NameServers: []network.NameServer{{Addr: netip.MustParseAddr("127.0.0.11")}}})
		controllertest.Want(h, network.TimeServerStatusID, network.TimeServerStatus{Servers: []string{"time.cloudflare.com"}})
		controllertest.Want(h, network.NodeAddressDefault, network.NodeAddress{Addresses: prefixes("10.5.0.2/24")})
		controllertest.Want(h, network.FirstHardwareAddressID, network.HardwareAddress{Name: "eth0", HardwareAddr: network.HardwareAddr{2, 0, 0, 0, 0, 7}})
		controllertest.Want(h, etcHostname, files.EtcFileSpec{Contents: files.Contents("node-1\n"), Mode: 0o644})
		controllertest.Want(h, etcResolvConf, files.EtcFileSpec{Contents: files.Contents("nameserver 127.0.0.11\n"), Mode: 0o644})
		controllertest.Want(h, "node-1", network.StaticHost{Addresses: addrs("10.5.0.2")})
		controllertest.Want(h, runtime.PlatformMetadataID, runtime.PlatformMetadata{Platform: "container", Hostname: "node-1", InstanceType: "2CPU-2048RAM"})
		controllertest.WantThat(h, "eth0", "be a veth that is up", func(r *resource.Typed[network.LinkStatus]) bool {
			s := r.Spec()
			return s.Kind == "veth" && s.LinkState && s.OperationalState == network.OperUp && s.Duplex == network.DuplexUnknown
		})
		controllertest.WantThat(h, "lo", "have no kind", func(r *resource.Typed[network.LinkStatus]) bool { return r.Spec().Kind == "" })
		controllertest.WantThat(h, "inet4/10.5.0.1//0", "be the default route", func(r *resource.Typed[network.RouteStatus]) bool {
			return !r.Spec().Destination.IsValid() && r.Spec().OutLinkName == "eth0"
		})
		controllertest.WantThat(h, "eth0/10.5.0.2/24", "be permanent", func(r *resource.Typed[network.AddressStatus]) bool {
			return r.Spec().Flags == network.AddressPermanent && r.Spec().Family == network.FamilyInet4
		})
	}, Controllers(deps(container(t), h0))...)
	if !slices.Equal(h0.names, []string{"node-1"}) {
		t.Errorf("names = %v", h0.names)
	}
}

func TestTheConfigGoesBeforeThePlatform(t *testing.T) {
	h0 := &host{}
	controllertest.Run(t, func(h *controllertest.Harness) {
		const text = `---
apiVersion: v1alpha1
kind: HostnameConfig
hostname: db.lab.example
---
apiVersion: v1alpha1
kind: ResolverConfig
nameservers:
    - address: 10.5.0.1
---
apiVersion: v1alpha1
kind: KubeNetworkConfig
podSubnets: [10.244.0.0/16]
serviceSubnets: [10.96.0.0/12]
---
apiVersion: v1alpha1
kind: StaticHostConfig
name: 10.5.0.9
hostnames: [registry]
`
		configure(h, text)
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "db", Domainname: "lab.example"})
		controllertest.WantThat(h, network.ResolverStatusID, "be those of the config", func(r *resource.Typed[network.ResolverStatus]) bool {
			return slices.Equal(r.Spec().DNSServers, addrs("10.5.0.1")) && slices.Equal(r.Spec().SearchDomains, []string{"lab.example"})
		})
		controllertest.WantThat(h, etcHosts, "name the machine and the registry", func(r *resource.Typed[files.EtcFileSpec]) bool {
			return string(r.Spec().Contents) == "127.0.0.1 localhost\n10.5.0.2 db.lab.example db\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n10.5.0.9 registry\n"
		})
		noK8s := network.Filtered(network.NodeAddressRouted, network.FilterNoK8s)
		controllertest.Want(h, noK8s, network.NodeAddress{Addresses: prefixes("10.5.0.2/24")})
		controllertest.Create(h, kube.NodenameID, kube.Nodename{Name: "db"})
		controllertest.Create(h, "db", kube.NodeStatus{PodCIDRs: prefixes("10.244.3.0/24", "10.7.0.0/24")})
		controllertest.Want(h, network.FilterOnlyK8s, network.NodeAddressFilter{IncludeSubnets: prefixes("10.244.0.0/16", "10.96.0.0/12", "10.7.0.0/24")})

		// Without its documents all is as the platform has it.
		configure(h, "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\n")
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1"})
		controllertest.WantGone[network.NodeAddressFilter](h, network.FilterNoK8s)
		controllertest.WantGone[network.NodeAddress](h, noK8s)
		controllertest.WantGone[network.StaticHost](h, "registry")
	}, Controllers(deps(container(t), h0))...)
	if want := []string{"node-1", "db", "node-1"}; !slices.Equal(h0.names, want) {
		t.Errorf("names = %v; want %v", h0.names, want)
	}
}

func TestAMachineNamesItself(t *testing.T) {
	h0 := &host{}
	d := deps(container(t), h0)
	d.Platform = network.PlatformConfig{}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "talos-10-5-0-2"})
		configure(h, "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n")
		controllertest.WantGone[network.HostnameStatus](h, network.HostnameStatusID)
		controllertest.Create(h, cluster.IdentityID, cluster.Identity{NodeID: "a"})
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "talos-1rz-zsl"})
		controllertest.WantNever[network.PlatformConfig](h, network.PlatformConfigActive)
	}, Controllers(d)...)
}

func TestAHostThatRefusesItsNameIsAskedAgain(t *testing.T) {
	h0 := &host{err: fs.ErrPermission}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.WantNever[network.HostnameStatus](h, network.HostnameStatusID)
		h0.mu.Lock()
		h0.err = nil
		h0.mu.Unlock()
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1"})
	}, Controllers(deps(container(t), h0))...)
}

func TestAddressesComeAndGo(t *testing.T) {
	k := container(t)
	controllertest.Run(t, func(h *controllertest.Harness) {
		want := func(id string, list ...string) {
			t.Helper()
			controllertest.Want(h, id, network.NodeAddress{Addresses: prefixes(list...)})
		}
		second := rtnl.Address{Link: 7, Prefix: netip.MustParsePrefix("10.4.0.2/24")}
		want(network.NodeAddressDefault, "10.5.0.2/24")
		if err := k.AddAddress(second); err != nil {
			t.Fatal(err)
		}
		want(network.NodeAddressCurrent, "10.4.0.2/24", "10.5.0.2/24")
		want(network.NodeAddressDefault, "10.5.0.2/24")
		if err := k.RemoveAddress(rtnl.Address{Link: 7, Prefix: netip.MustParsePrefix("10.5.0.2/24")}); err != nil {
			t.Fatal(err)
		}
		want(network.NodeAddressDefault, "10.4.0.2/24")
		want(network.NodeAddressAccumulative, "10.4.0.2/24", "10.5.0.2/24")
		controllertest.WantGone[network.AddressStatus](h, "eth0/10.5.0.2/24")
		k.RemoveLink(7)
		controllertest.WantGone[network.LinkStatus](h, "eth0")
		controllertest.WantGone[network.NodeAddress](h, network.NodeAddressDefault)
		controllertest.WantThat(h, network.StatusID, "have no address", func(r *resource.Typed[network.Status]) bool {
			return !r.Spec().AddressReady && !r.Spec().ConnectivityReady
		})
	}, Controllers(deps(k, &host{}))...)
}

func TestExternalAddressesOfThePlatform(t *testing.T) {
	d := deps(container(t), &host{})
	d.Platform.ExternalIPs = addrs("203.0.113.7")
	d.Platform.Resolvers = append(d.Platform.Resolvers, network.ResolverSpec{DNSServers: addrs("10.5.0.3")})
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, network.NodeAddressCurrent, network.NodeAddress{Addresses: prefixes("10.5.0.2/24", "203.0.113.7/32")})
		controllertest.Want(h, network.NodeAddressRouted, network.NodeAddress{Addresses: prefixes("10.5.0.2/24")})
		controllertest.WantThat(h, network.ResolverStatusID, "be both of the platform", func(r *resource.Typed[network.ResolverStatus]) bool {
			return slices.Equal(r.Spec().DNSServers, addrs("127.0.0.11", "10.5.0.3"))
		})
	}, Controllers(d)...)
}

func TestHostDNSIsWhatTheNodeAsks(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, network.HostDNSConfigID, network.HostDNSConfig{Enabled: true, ListenAddresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")}})
		controllertest.Want(h, etcResolvConf, files.EtcFileSpec{Contents: files.Contents("nameserver 127.0.0.53\n"), Mode: 0o644})
	}, Controllers(deps(container(t), &host{}))...)
}

func TestProbesDecideOnConnectivity(t *testing.T) {
	p := &prober{err: errors.New("refused")}
	d := deps(container(t), &host{})
	d.Prober = p
	controllertest.Run(t, func(h *controllertest.Harness) {
		ready := func(want bool) {
			t.Helper()
			controllertest.WantThat(h, network.StatusID, fmt.Sprintf("be connected: %t", want), func(r *resource.Typed[network.Status]) bool { return r.Spec().ConnectivityReady == want })
		}
		ready(true)
		configure(h, "---\napiVersion: v1alpha1\nkind: TCPProbeConfig\nname: proxy\nendpoint: 10.5.0.1:3128\ninterval: 5s\nfailureThreshold: 1\n")
		controllertest.Want(h, "proxy", network.ProbeStatus{LastError: "refused"})
		ready(false)
		p.answer(nil)
		controllertest.Want(h, "proxy", network.ProbeStatus{Success: true})
		ready(true)
		h.Advance(time.Second)
		p.mu.Lock()
		before := p.count
		p.mu.Unlock()
		p.answer(errors.New("lost"))
		h.Advance(5 * time.Second)
		ready(true) // one failure is allowed
		h.Advance(5 * time.Second)
		ready(false)
		p.mu.Lock()
		if got := p.count - before; got != 2 {
			t.Errorf("%d attempts in ten seconds; want 2", got)
		}
		p.mu.Unlock()
		configure(h, "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\n")
		controllertest.WantGone[network.ProbeStatus](h, "proxy")
		ready(true)
	}, Controllers(d)...)
}

func TestNothingIsWrittenWithoutAChange(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		etc(h)
		controllertest.WantThat(h, network.StatusID, "be ready", func(r *resource.Typed[network.Status]) bool { return r.Spec().EtcFilesReady })
		h.Advance(time.Minute)
		versions := func() map[string]string {
			out := map[string]string{}
			for _, typ := range slices.Concat(network.Types(), files.Types()) {
				for _, ns := range []string{typ.Kind().Namespace, network.ConfigNamespace} {
					list, err := h.State.List(t.Context(), resource.Kind{Namespace: ns, Type: typ.Name()}, resource.Query{})
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range list {
						out[r.Metadata().Ref().String()] = r.Metadata().Version().String()
					}
				}
			}
			return out
		}
		before := versions()
		controllertest.Create(h, "poke", network.LinkRefresh{Generation: 1})
		h.Advance(time.Hour)
		after := versions()
		delete(after, state.RefOf[network.LinkRefresh]("poke").String())
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("resources changed:\n%v\n%v", before, after)
		}
	}, Controllers(deps(container(t), &host{}))...)
}

func TestAFloodOfTheKernelIsAPassNowAndThen(t *testing.T) {
	k := &counting{Memory: container(t)}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(time.Second)
		k.mu.Lock()
		k.lists = 0
		k.mu.Unlock()
		for i := range 1000 {
			if err := k.AddRoute(rtnl.Route{Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(i % 250)}), 32), Link: 7}); err != nil {
				t.Fatal(err)
			}
			h.Advance(time.Millisecond)
		}
		h.Advance(time.Second)
		k.mu.Lock()
		if k.lists > 15 {
			t.Errorf("routes were listed %d times in a second; want about ten", k.lists)
		}
		k.mu.Unlock()
		controllertest.WantThat(h, "inet4//172.16.3.249/32/0", "be there", func(*resource.Typed[network.RouteStatus]) bool { return true })
	}, Controllers(deps(k, &host{}))...)
}

func TestAnOutputThatIsStillNeededComesBackWhenItIsLetGo(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		set := func(mtu uint32) {
			controllertest.Modify(h, "configuration/eth0", func(s *network.LinkSpec) {
				*s = network.LinkSpec{Name: "eth0", MTU: mtu, Layer: network.LayerMachineConfiguration}
			}, state.In(network.ConfigNamespace))
		}
		set(1400)
		r := controllertest.Want(h, "eth0", network.LinkSpec{Name: "eth0", MTU: 1400, Layer: network.LayerMachineConfiguration})
		if err := state.AddFinalizer(t.Context(), h.State, r.Metadata().Ref(), "applier"); err != nil {
			t.Fatal(err)
		}
		h.Remove(resource.Ref{Namespace: network.ConfigNamespace, Type: r.Metadata().Type(), ID: "configuration/eth0"})
		controllertest.WantThat(h, "eth0", "be torn down", func(r *resource.Typed[network.LinkSpec]) bool { return r.Metadata().Phase() == resource.TearingDown })
		set(1300)
		h.Advance(time.Minute)
		controllertest.WantThat(h, "eth0", "be torn down still", func(r *resource.Typed[network.LinkSpec]) bool { return r.Spec().MTU == 1400 })
		if err := state.RemoveFinalizer(t.Context(), h.State, r.Metadata().Ref(), "applier"); err != nil {
			t.Fatal(err)
		}
		controllertest.Want(h, "eth0", network.LinkSpec{Name: "eth0", MTU: 1300, Layer: network.LayerMachineConfiguration})
	}, mergeLinks())
}

// stream keeps the events that were published.
type stream struct {
	mu     sync.Mutex
	events []string
}

func (s *stream) Publish(m proto.Message, _ string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := m.(*machinepb.AddressEvent)
	s.events = append(s.events, fmt.Sprint(e.GetHostname(), e.GetAddresses()))
	return "", nil
}

func TestNewAddressesAreAnEvent(t *testing.T) {
	d, s := deps(container(t), &host{}), &stream{}
	d.Events = s
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1"})
		configure(h, "---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: db\n")
		h.Advance(time.Minute)
	}, Controllers(d)...)
	if want := []string{"node-1[10.5.0.2]", "db[10.5.0.2]"}; !slices.Equal(s.events, want) {
		t.Errorf("events = %v; want %v", s.events, want)
	}
}

func TestHTTPProbe(t *testing.T) {
	code := http.StatusFound
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(code)
	}))
	defer s.Close()
	url, err := resource.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	probe := func() error {
		return NetProber{}.Probe(t.Context(), network.ProbeSpec{HTTP: &network.HTTPProbe{URL: url}})
	}
	if err := probe(); err != nil {
		t.Errorf("an answer below 400 = %v", err)
	}
	code = http.StatusServiceUnavailable
	if err := probe(); err == nil {
		t.Error("503 is a success")
	}
}
