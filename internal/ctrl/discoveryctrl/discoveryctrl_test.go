package discoveryctrl

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/discoverypb"
	"talos.internal/controller"
	"talos.internal/internal/discovery"
	"talos.internal/internal/discovery/rendezvous"
	"talos.internal/internal/trust"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var compareAddresses = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestServersOf(t *testing.T) {
	cp := func(id string, addrs ...string) cluster.Member {
		m := cluster.Member{NodeID: id, MachineType: machineconfig.TypeControlPlane}
		for _, a := range addrs {
			m.Addresses = append(m.Addresses, addr(a))
		}
		return m
	}
	for _, tc := range []struct {
		name      string
		config    cluster.DiscoveryConfig
		members   []cluster.Member
		endpoints map[string]kube.Endpoint
		want      string
	}{
		{"nothing is known", cluster.DiscoveryConfig{}, nil, nil, ""},
		{
			"a machine that has just started", cluster.DiscoveryConfig{}, nil,
			map[string]kube.Endpoint{kube.EndpointControlPlane: {Hosts: []string{"k8s.example.org", "fd00::1"}}},
			"k8s.example.org:50001, [fd00::1]:50001",
		},
		{
			"members, whatever their order, and no address of them twice", cluster.DiscoveryConfig{},
			[]cluster.Member{cp("b", "10.5.0.3"), cp("a", "10.5.0.2", "192.168.0.2"), {NodeID: "w", MachineType: machineconfig.TypeWorker, Addresses: []netip.Addr{addr("10.5.0.9")}}},
			map[string]kube.Endpoint{
				kube.EndpointControlPlane: {Addresses: []netip.Addr{addr("192.168.0.2"), addr("10.5.0.100")}},
				kube.EndpointAPIServer:    {Addresses: []netip.Addr{addr("10.5.0.3"), addr("10.5.0.4")}},
				kube.EndpointDiscovery:    {Addresses: []netip.Addr{addr("10.5.0.4"), addr("10.5.0.2")}},
			},
			"10.5.0.2:50001 of a, 10.5.0.3:50001 of b, 10.5.0.100:50001, 10.5.0.4:50001",
		},
		{
			"a service of the config", cluster.DiscoveryConfig{ServiceEndpoints: []cluster.ServiceEndpoint{
				{Name: "a", Endpoint: "discovery.example.org:443"}, {Name: "b", Endpoint: "10.0.0.1:3000", Insecure: true}, {Name: "c", Endpoint: "no port"},
			}}, nil, nil,
			"discovery.example.org:443 external, 10.0.0.1:3000 external insecure",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, s := range serversOf(tc.config, tc.members, tc.endpoints) {
				text := s.address
				if s.nodeID != "" {
					text += " of " + s.nodeID
				}
				if s.external {
					text += " external"
				}
				if s.insecure {
					text += " insecure"
				}
				got = append(got, text)
			}
			if g := strings.Join(got, ", "); g != tc.want {
				t.Errorf("serversOf = %s; want %s", g, tc.want)
			}
		})
	}
	many := kube.Endpoint{}
	for i := range 300 {
		many.Hosts = append(many.Hosts, fmt.Sprintf("host-%d", i))
	}
	if got := serversOf(cluster.DiscoveryConfig{}, nil, map[string]kube.Endpoint{kube.EndpointControlPlane: many}); len(got) != maxServers {
		t.Errorf("of 300 endpoints %d are taken; want %d", len(got), maxServers)
	}
}

func TestAnAffiliateSurvivesDiscovery(t *testing.T) {
	want := cluster.Affiliate{
		NodeID: "n", Addresses: []netip.Addr{addr("10.5.0.2"), addr("fd00::2")}, Hostname: "w.example.org", Nodename: "w",
		OperatingSystem: "Talos (v1)", MachineType: machineconfig.TypeControlPlane, State: cluster.MemberGone,
		KubeSpan: cluster.KubeSpanAffiliate{
			PublicKey: "key", Address: addr("fd7f::1"), AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
			Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.5.0.2:51820")},
		},
		ControlPlane: &cluster.ControlPlane{APIServerPort: 6443},
	}
	if d := cmp.Diff(want, affiliateOf(discovery.Member{Node: nodeOf(want), State: discovery.Gone}), compareAddresses); d != "" {
		t.Errorf("there and back (-want +got):\n%s", d)
	}
	if got := affiliateOf(discovery.Member{}); got.MachineType != machineconfig.TypeUnknown || got.State != "" {
		t.Errorf("of nothing: %+v", got)
	}
}

const (
	token     = "abcdef.0123456789abcdef"
	clusterID = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
)

// lab is a network of machines in one process, in virtual time: each has a state and the controller, those of the control plane trustd
// with discovery, over TLS.
type lab struct {
	t         *testing.T
	ca        *secret.Authority
	listeners map[string]*pipes
	nodes     map[string]*labNode
	mu        sync.Mutex
	down      map[string]bool
	conns     map[string][]net.Conn
}

type labNode struct {
	addr string
	st   state.State
	door *Door
	stop func()
}

func newLab(t *testing.T) *lab {
	ca, err := secret.NewAuthority(secret.OS, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, ca: ca, listeners: map[string]*pipes{}, nodes: map[string]*labNode{}, down: map[string]bool{}, conns: map[string][]net.Conn{}}
}

// pipes is a listener without a network.
type pipes struct {
	in   chan net.Conn
	done chan struct{}
	once sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects a machine to an address of another.
func (l *lab) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		to := strings.TrimSuffix(address, ":50001")
		l.mu.Lock()
		p := l.listeners[to]
		if l.down[from] || l.down[to] || p == nil {
			l.mu.Unlock()
			return nil, fmt.Errorf("dial %s: nobody there", address)
		}
		a, b := net.Pipe()
		l.conns[from], l.conns[to] = append(l.conns[from], a, b), append(l.conns[to], a, b)
		l.mu.Unlock()
		select {
		case p.in <- b:
			return a, nil
		case <-p.done:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// cut takes a machine off the network, and puts it back.
func (l *lab) cut(addr string, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down[addr] = down
	for _, c := range l.conns[addr] {
		c.Close()
	}
	l.conns[addr] = nil
}

// serve runs trustd with discovery on a machine; stop ends it.
func (l *lab) serve(address string) (stop func()) {
	own, err := l.ca.Issue(secret.NodeServer("cp", secret.SANs{IPs: []netip.Addr{addr(address)}}), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	tk, err := secret.ParseToken(token)
	if err != nil {
		l.t.Fatal(err)
	}
	var current trust.Current
	current.Set(&trust.Material{Issuing: l.ca, Server: own, Token: tk})
	meeting := rendezvous.New(rendezvous.Config{Authorize: func(ctx context.Context, id string) error {
		if !trust.TokenOf(ctx).Equal(tk) || id != clusterID {
			return status.Error(codes.Unauthenticated, "no")
		}
		return nil
	}})
	s, err := trust.NewServer(trust.Options{Source: &current, Register: func(s *grpc.Server) { discoverypb.RegisterClusterServer(s, meeting) }})
	if err != nil {
		l.t.Fatal(err)
	}
	p := &pipes{in: make(chan net.Conn), done: make(chan struct{})}
	l.mu.Lock()
	l.listeners[address] = p
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, p) }()
	return func() {
		meeting.Close()
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("trustd: %v", err)
		}
	}
}

// boot starts a machine, and gives it what other controllers would have found out. It knows the control plane at 10.5.0.1.
func (l *lab) boot(name, address string, kind machineconfig.MachineType) *labNode {
	l.t.Helper()
	n := &labNode{addr: address, st: memstate.New(memstate.Options{}), door: &Door{}}
	set(l.t, n.st, cluster.DiscoveryConfigID, cluster.DiscoveryConfig{
		DiscoveryEnabled: true, ServiceClusterID: clusterID, ServiceEncryptionKey: bytes.Repeat([]byte{7}, 32),
	})
	set(l.t, n.st, cluster.IdentityID, cluster.Identity{NodeID: "id-" + name})
	set(l.t, n.st, "id-"+name, cluster.Affiliate{NodeID: "id-" + name, Hostname: name, MachineType: kind, Addresses: []netip.Addr{addr(address)}})
	set(l.t, n.st, kube.EndpointControlPlane, kube.Endpoint{Hosts: []string{"10.5.0.1"}})
	set(l.t, n.st, secrets.OSRootID, secrets.OSRoot{Token: token, AcceptedCAs: []secrets.Certificate{{Crt: l.ca.CertificatePEM()}}})
	log := slog.New(slog.NewTextHandler(l.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", name)
	sched := controller.New(n.st, log, controller.Options{})
	for _, c := range Controllers(Deps{Door: n.door, Version: "test", Dial: l.dial(address)}) {
		if err := sched.Register(c); err != nil {
			l.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sched.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	l.nodes[name] = n
	return n
}

func set[S resource.Spec](t *testing.T, st state.State, id string, spec S) {
	t.Helper()
	if _, err := state.Modify(t.Context(), st, id, func(_ *resource.Metadata, s *S) error { *s = spec; return nil }); err != nil {
		t.Fatal(err)
	}
}

// sees returns what a machine has written down of others.
func (l *lab) sees(name string) string {
	l.t.Helper()
	list, err := state.List[cluster.Affiliate](l.t.Context(), l.nodes[name].st, state.In(cluster.RawNamespace))
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, a := range list {
		if got, want := a.Metadata().ID(), "service/"+a.Spec().NodeID; got != want {
			l.t.Errorf("an affiliate is called %s; want %s", got, want)
		}
		out = append(out, a.Spec().Hostname+" "+string(a.Spec().State))
	}
	return strings.Join(out, ", ")
}

func (l *lab) want(name, want string) {
	l.t.Helper()
	synctest.Wait()
	if got := l.sees(name); got != want {
		l.t.Errorf("after %v: %s sees %q; want %q", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), name, got, want)
	}
}

func inLab(t *testing.T, test func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		stop := l.serve("10.5.0.1")
		defer func() {
			for _, name := range slices.Sorted(maps.Keys(l.nodes)) {
				l.nodes[name].stop()
			}
			stop()
			for _, conns := range l.conns {
				for _, c := range conns {
					c.Close()
				}
			}
		}()
		test(l)
	})
}

func TestThreeMachinesSeeEachOtherAndWhoIsGone(t *testing.T) {
	inLab(t, func(l *lab) {
		cp := l.boot("cp", "10.5.0.1", machineconfig.TypeControlPlane)
		l.boot("w1", "10.5.0.2", machineconfig.TypeWorker)
		w2 := l.boot("w2", "10.5.0.3", machineconfig.TypeWorker)
		time.Sleep(2 * time.Second)
		l.want("cp", "w1 alive, w2 alive")
		l.want("w1", "cp alive, w2 alive")
		l.want("w2", "cp alive, w1 alive")

		// clusterctrl makes a member of what was heard, and so it is known which machine the server is on.
		set(l.t, w2.st, "cp", cluster.Member{NodeID: "id-cp", MachineType: machineconfig.TypeControlPlane, Addresses: []netip.Addr{addr("10.5.0.1")}})
		time.Sleep(time.Minute)
		l.want("w2", "cp alive, w1 alive")
		l.cut("10.5.0.3", true)
		time.Sleep(10 * time.Second)
		l.want("cp", "w1 alive, w2 gone")
		l.want("w1", "cp alive, w2 gone")
		l.want("w2", "cp gone, w1 suspect") // nobody is left who could tell of w1

		l.cut("10.5.0.3", false)
		time.Sleep(10 * time.Second)
		l.want("w1", "cp alive, w2 alive")
		l.want("w2", "cp alive, w1 alive")

		w2.stop() // the power is off
		time.Sleep(10 * time.Second)
		l.want("cp", "w1 alive, w2 gone")
		l.want("w1", "cp alive, w2 gone")
		if err := cp.door.Forget(l.t.Context(), "id-w2"); err != nil {
			l.t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.want("cp", "w1 alive")
		l.want("w1", "cp alive")

		l.boot("w2", "10.5.0.3", machineconfig.TypeWorker)
		time.Sleep(3 * time.Second)
		l.want("w1", "cp alive, w2 alive")
		if err := l.nodes["w2"].door.Leave(l.t.Context()); err != nil { // as a reset does
			l.t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.want("cp", "w1 alive")
	})
}

func TestAMachineThatWasForgottenWhileItRanIsToldSo(t *testing.T) {
	inLab(t, func(l *lab) {
		cp := l.boot("cp", "10.5.0.1", machineconfig.TypeControlPlane)
		l.boot("w1", "10.5.0.2", machineconfig.TypeWorker)
		time.Sleep(2 * time.Second)
		if err := cp.door.Forget(l.t.Context(), "id-w1"); err != nil {
			l.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		l.want("cp", "")
		client, err := l.nodes["w1"].door.get()
		if err != nil || !client.View().Forgotten {
			l.t.Errorf("w1 does not know that it was forgotten: %v", err)
		}
	})
}

func TestServersComeFromMembersAndCredentialsFromTheConfig(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.boot("w1", "10.5.0.2", machineconfig.TypeWorker)
		servers := func() string {
			l.t.Helper()
			synctest.Wait()
			client, err := n.door.get()
			if err != nil {
				return err.Error()
			}
			var out []string
			for _, s := range client.View().Servers {
				out = append(out, fmt.Sprintf("%s %t", s.Address, s.Healthy))
			}
			return strings.Join(out, ", ")
		}
		time.Sleep(time.Second)
		if got, want := servers(), "10.5.0.1:50001 true"; got != want {
			l.t.Errorf("at first: %s; want %s", got, want)
		}
		set(l.t, n.st, "cp-2", cluster.Member{NodeID: "id-2", Hostname: "cp-2", MachineType: machineconfig.TypeControlPlane, Addresses: []netip.Addr{addr("10.5.0.5")}})
		time.Sleep(time.Second)
		if got, want := servers(), "10.5.0.1:50001 true, 10.5.0.5:50001 false"; got != want {
			l.t.Errorf("with a member of the control plane: %s; want %s", got, want)
		}
		set(l.t, n.st, secrets.OSRootID, secrets.OSRoot{Token: "fedcba.fedcba9876543210", AcceptedCAs: []secrets.Certificate{{Crt: l.ca.CertificatePEM()}}})
		time.Sleep(20 * time.Second)
		if got, want := servers(), "10.5.0.1:50001 false, 10.5.0.5:50001 false"; got != want {
			l.t.Errorf("with another token: %s; want %s", got, want)
		}
		// Authorities that cannot be read change nothing.
		set(l.t, n.st, secrets.OSRootID, secrets.OSRoot{Token: token, AcceptedCAs: []secrets.Certificate{{Crt: l.ca.CertificatePEM()}}})
		time.Sleep(5 * time.Second)
		set(l.t, n.st, secrets.OSRootID, secrets.OSRoot{Token: token, AcceptedCAs: []secrets.Certificate{{Crt: []byte("nonsense")}}})
		time.Sleep(20 * time.Second)
		if got, want := servers(), "10.5.0.1:50001 true, 10.5.0.5:50001 false"; got != want {
			l.t.Errorf("with authorities that cannot be read: %s; want %s", got, want)
		}
		set(l.t, n.st, cluster.DiscoveryConfigID, cluster.DiscoveryConfig{})
		time.Sleep(time.Second)
		if got := servers(); got != ErrNoDiscovery.Error() {
			l.t.Errorf("with discovery off: %s", got)
		}
	})
}

func TestWhatWasHeardStaysUntilAServerAnswersAgain(t *testing.T) {
	inLab(t, func(l *lab) {
		n := l.boot("w1", "10.5.0.2", machineconfig.TypeWorker)
		l.boot("w2", "10.5.0.3", machineconfig.TypeWorker)
		time.Sleep(2 * time.Second)
		l.want("w1", "w2 alive")
		l.cut("10.5.0.2", true)
		// Another secret makes another client, which knows nobody and reaches nobody.
		set(l.t, n.st, cluster.DiscoveryConfigID, cluster.DiscoveryConfig{
			DiscoveryEnabled: true, ServiceClusterID: clusterID, ServiceEncryptionKey: bytes.Repeat([]byte{8}, 32),
		})
		time.Sleep(time.Minute)
		l.want("w1", "w2 alive")
		l.cut("10.5.0.2", false)
		time.Sleep(15 * time.Second)
		l.want("w1", "") // the seal does not open with this secret
	})
}
