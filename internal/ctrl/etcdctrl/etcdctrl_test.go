package etcdctrl

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/container"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/arguments"
	"talos.internal/resource/clock"
	"talos.internal/resource/etcd"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
)

var update = flag.Bool("update", false, "write the golden files")

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range list {
		out = append(out, netip.MustParsePrefix(a))
	}
	return out
}

func TestHowEtcdStarts(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    facts
		want way
		text string
	}{
		{"data wins over all", facts{data: true, order: &Order{Recover: true}, found: true}, goOn, "goes on"},
		{"an order wins over a cluster", facts{order: &Order{}, found: true}, begin, "begins a cluster, as ordered"},
		{"an order to recover", facts{order: &Order{Recover: true}}, recovery, "out of a snapshot"},
		{"a cluster", facts{found: true}, join, "joins"},
		{"nothing", facts{}, wait, `run "talosctl bootstrap" on one control-plane node`},
	} {
		if w, why := decide(tc.f); w != tc.want || !strings.Contains(why, tc.text) {
			t.Errorf("%s: decide = %v, %q; want %v, %q", tc.name, w, why, tc.want, tc.text)
		}
	}
}

func TestCommandLines(t *testing.T) {
	s := etcd.Spec{
		Name: "cp-1", AdvertisedAddresses: addrs("10.5.0.2", "fd00::2"), ListenPeerAddresses: addrs("::"), ListenClientAddresses: addrs("127.0.0.1", "10.5.0.2"),
		ExtraArgs: map[string]arguments.Values{"election-timeout": arguments.Of("5000"), "feature-gates": arguments.Of("A=true"), "host-whitelist": arguments.Of("a", "b")},
	}
	got := strings.Join(args(s, DefaultData, DefaultPKI, alone(s), false), "\n") + "\n\n" +
		strings.Join(args(etcd.Spec{Name: "cp-2", AdvertisedAddresses: addrs("10.5.0.3"), ListenPeerAddresses: addrs("0.0.0.0"), ListenClientAddresses: addrs("0.0.0.0")},
			DefaultData, DefaultPKI, "cp-1=https://10.5.0.2:2380,cp-2=https://10.5.0.3:2380", true), "\n") + "\n\n" +
		strings.Join(restoreArgs(s, "/snapshot", DefaultData+"/restore", true), "\n") + "\n"
	const golden = "testdata/args.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("command lines differ from %s (-want +got):\n%s", golden, d)
	}
}

func TestAddressesOfASpec(t *testing.T) {
	four, both := prefixes("10.5.0.2/24", "192.168.1.2/24"), prefixes("10.5.0.2/24", "192.168.1.2/24", "fd00::2/64")
	for _, tc := range []struct {
		name                      string
		c                         etcd.Config
		have                      []netip.Prefix
		advertise, peers, clients []netip.Addr
	}{
		{"no subnets", etcd.Config{}, four, addrs("10.5.0.2"), addrs("0.0.0.0"), addrs("0.0.0.0")},
		{"no subnets, both families", etcd.Config{}, both, addrs("10.5.0.2"), addrs("::"), addrs("::")},
		{"advertised", etcd.Config{AdvertiseValidSubnets: []string{"192.168.0.0/16", "fd00::/8"}}, both, addrs("192.168.1.2", "fd00::2"), addrs("::"), addrs("::")},
		{"excluded", etcd.Config{AdvertiseExcludeSubnets: []string{"10.0.0.0/8"}}, four, addrs("192.168.1.2"), addrs("0.0.0.0"), addrs("0.0.0.0")},
		{"listen", etcd.Config{ListenValidSubnets: []string{"192.168.0.0/16"}}, four, addrs("10.5.0.2"), addrs("192.168.1.2"), addrs("127.0.0.1", "192.168.1.2")},
		{"nothing fits", etcd.Config{AdvertiseValidSubnets: []string{"172.16.0.0/12"}}, four, nil, addrs("0.0.0.0"), addrs("0.0.0.0")},
	} {
		s, err := specOf(tc.c, "cp-1", tc.have)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !slices.Equal(s.AdvertisedAddresses, tc.advertise) || !slices.Equal(s.ListenPeerAddresses, tc.peers) || !slices.Equal(s.ListenClientAddresses, tc.clients) {
			t.Errorf("%s: specOf = %v, %v, %v; want %v, %v, %v", tc.name, s.AdvertisedAddresses, s.ListenPeerAddresses, s.ListenClientAddresses, tc.advertise, tc.peers, tc.clients)
		}
	}
	if _, err := specOf(etcd.Config{AdvertiseValidSubnets: []string{"x"}}, "cp-1", four); err == nil {
		t.Error("specOf of a bad subnet = nil error")
	}
}

// services records what is ordered.
type services struct {
	mu     sync.Mutex
	loaded map[string]supervise.Service
	log    []string
}

func (s *services) note(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
	return nil
}

func (s *services) Load(list ...supervise.Service) error {
	for _, l := range list {
		s.mu.Lock()
		s.loaded[l.ID] = l
		s.mu.Unlock()
	}
	return s.note("load")
}

func (s *services) Start(...string) error                 { return s.note("start") }
func (s *services) Restart(context.Context, string) error { return s.note("restart") }
func (s *services) Stop(context.Context, ...string) error { return s.note("stop") }
func (s *services) Unload(_ context.Context, ids ...string) error {
	s.mu.Lock()
	for _, id := range ids {
		delete(s.loaded, id)
	}
	s.mu.Unlock()
	return s.note("unload")
}

func (s *services) Status(id string) (supervise.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.loaded[id]; !ok {
		return supervise.Status{}, supervise.ErrNotFound
	}
	return supervise.Status{ID: id, State: supervise.Running}, nil
}

func (s *services) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.log
	s.log = nil
	return out
}

const config = `version: v1alpha1
machine:
    type: controlplane
cluster:
    etcd:
        extraArgs:
            election-timeout: "5000"
        advertisedSubnets:
            - 10.0.0.0/8
            - "!10.9.0.0/16"
`

func TestTheServiceFollowsConfigAddressesAndCertificates(t *testing.T) {
	dir := t.TempDir()
	s := &services{loaded: map[string]supervise.Service{}}
	door := NewDoor(s, filepath.Join(dir, "etcd"), filepath.Join(dir, "etcd.snapshot"))
	all := Controllers(Deps{Services: s, Client: container.New(container.Options{}), Door: door, PKI: filepath.Join(dir, "pki")})
	for _, c := range all {
		if p, ok := c.(*PKIController); ok {
			p.Owner = os.Getuid() // 0, or what may be given
		}
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "cp-1"})
		controllertest.Create(h, etcdAddresses, network.NodeAddress{Addresses: prefixes("192.168.1.2/24", "10.9.0.2/24", "10.5.0.2/24")})
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: config})
		controllertest.WantNever[etcd.Config](h, etcd.ConfigID) // its type is not known: a worker has none
		controllertest.Create(h, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeControlPlane})
		got := controllertest.WantThat(h, etcd.ConfigID, "a config", func(*resource.Typed[etcd.Config]) bool { return true }).Spec()
		want := etcd.Config{
			Image: got.Image, AdvertiseValidSubnets: []string{"10.0.0.0/8"}, AdvertiseExcludeSubnets: []string{"10.9.0.0/16"},
			ListenValidSubnets: []string{"10.0.0.0/8"}, ListenExcludeSubnets: []string{"10.9.0.0/16"},
			ExtraArgs: map[string]arguments.Values{"election-timeout": arguments.Of("5000")},
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || !strings.HasPrefix(got.Image, "registry.k8s.io/etcd:v3.") {
			t.Errorf("etcd.Config (-want +got):\n%s", d)
		}
		controllertest.WantThat(h, etcd.SpecID, "the address that fits", func(r *resource.Typed[etcd.Spec]) bool {
			return slices.Equal(r.Spec().AdvertisedAddresses, addrs("10.5.0.2")) && r.Spec().Name == "cp-1"
		})
		h.Settle()
		if got := s.take(); len(got) != 0 {
			t.Errorf("orders without certificates = %q; want none", got)
		}

		pair := func(name string) secrets.CertificateAndKey {
			return secrets.CertificateAndKey{Crt: []byte(name + " crt"), Key: []byte(name + " key")}
		}
		controllertest.Create(h, secrets.EtcdRootID, secrets.EtcdRoot{EtcdCA: pair("ca")})
		controllertest.Create(h, secrets.EtcdID, secrets.Etcd{Server: pair("server"), Peer: pair("peer"), Admin: pair("admin")})
		controllertest.Want(h, etcd.PKIStatusID, etcd.PKIStatus{Ready: true, Version: "1"})
		h.Settle()
		if got := s.take(); !slices.Equal(got, []string{"load", "start"}) {
			t.Errorf("orders = %q; want that it is loaded and started", got)
		}
		for name, want := range map[string]string{"ca.crt": "ca crt", "server.key": "server key", "peer.crt": "peer crt", "admin.key": "admin key"} {
			b, err := os.ReadFile(filepath.Join(dir, "pki", name))
			if err != nil || string(b) != want {
				t.Errorf("%s = %q, %v; want %q", name, b, err, want)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "pki", "ca.key")); err == nil {
			t.Error("the authority's key is in the files, and nobody needs it there")
		}

		// A renewed certificate is a file, another address is a restart.
		controllertest.Modify(h, secrets.EtcdID, func(e *secrets.Etcd) { e.Server = pair("renewed") })
		controllertest.Want(h, etcd.PKIStatusID, etcd.PKIStatus{Ready: true, Version: "2"})
		h.Settle()
		if b, err := os.ReadFile(filepath.Join(dir, "pki", "server.crt")); err != nil || string(b) != "renewed crt" {
			t.Errorf("server.crt = %q, %v; want the renewed one", b, err)
		}
		if got := s.take(); len(got) != 0 {
			t.Errorf("orders after a renewal = %q; want none", got)
		}
		controllertest.Modify(h, etcdAddresses, func(a *network.NodeAddress) { a.Addresses = prefixes("10.5.0.7/24") })
		h.Settle()
		if got := s.take(); !slices.Equal(got, []string{"restart"}) {
			t.Errorf("orders after another address = %q; want a restart", got)
		}
		// An address that is away for a moment changes nothing.
		controllertest.Modify(h, etcdAddresses, func(a *network.NodeAddress) { a.Addresses = nil })
		h.Settle()
		if got := s.take(); len(got) != 0 {
			t.Errorf("orders without an address = %q; want none", got)
		}
		controllertest.Modify(h, machineconfig.TypeID, func(x *machineconfig.Type) { x.Type = machineconfig.TypeWorker })
		controllertest.WantGone[etcd.Spec](h, etcd.SpecID)
		h.Settle()
		if got := s.take(); !slices.Equal(got, []string{"unload"}) {
			t.Errorf("orders on a worker = %q; want that it is unloaded", got)
		}
	}, all...)
}

func TestMembersAreLookedForAtTheControlPlaneAndNotHere(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, network.NodeAddressCurrent, network.NodeAddress{Addresses: prefixes("10.5.0.2/24")})
		controllertest.Create(h, kube.EndpointDiscovery, kube.Endpoint{Addresses: addrs("10.5.0.2", "10.5.0.3")})
		controllertest.Create(h, kube.EndpointControlPlane, kube.Endpoint{Addresses: addrs("10.5.0.3", "fd00::4")})
		got, err := endpointsOf(h.T.Context(), h.State)
		if want := []string{"https://10.5.0.3:2379", "https://[fd00::4]:2379"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("endpointsOf = %q, %v; want %q", got, err, want)
		}
	})
}

func TestOrdersAreRefusedWhereTheyMustBe(t *testing.T) {
	dir := t.TempDir()
	s := &services{loaded: map[string]supervise.Service{}}
	data := filepath.Join(dir, "etcd")
	d := NewDoor(s, data, filepath.Join(dir, "snapshot"))
	controllertest.Run(t, func(h *controllertest.Harness) {
		ctx := h.T.Context()
		refused := func(what string, o Order, want error) {
			t.Helper()
			if err := d.Bootstrap(ctx, h.State, o); !errors.Is(err, want) {
				t.Errorf("%s: Bootstrap = %v; want %v", what, err, want)
			}
		}
		refused("without a config", Order{}, ErrNotControlPlane)
		controllertest.Create(h, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeWorker})
		refused("on a worker", Order{}, ErrNotControlPlane)
		controllertest.Modify(h, machineconfig.TypeID, func(x *machineconfig.Type) { x.Type = machineconfig.TypeControlPlane })
		refused("before the clock is right", Order{}, ErrClock)
		controllertest.Create(h, clock.TimeStatusID, clock.TimeStatus{Synced: true})
		refused("without a snapshot", Order{Recover: true}, ErrNoSnapshot)
		if err := d.SaveSnapshot(bytes.NewReader([]byte("snapshot"))); err != nil {
			t.Fatal(err)
		}
		_, changed := d.pending()
		if err := d.Bootstrap(ctx, h.State, Order{Recover: true}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told of the order")
		}
		if o, _ := d.pending(); o == nil || !o.Recover {
			t.Errorf("the order is %+v; want to recover", o)
		}
		refused("again", Order{}, ErrBootstrapped)
		wal := filepath.Join(data, "member", "wal")
		if err := os.MkdirAll(wal, 0o700); err != nil {
			t.Fatal(err)
		}
		if o, _ := d.pending(); o == nil {
			t.Error("a start that did not get far has ended the order")
		}
		if err := os.WriteFile(filepath.Join(wal, "0.wal"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if o, _ := d.pending(); o != nil {
			t.Errorf("with data the order is %+v; want none", o)
		}
		refused("with data", Order{}, ErrBootstrapped)
		if err := d.Wipe(); err != nil {
			t.Fatal(err)
		}
		// After a leave the service is stopped: an order starts it.
		s.loaded[ServiceID] = supervise.Service{ID: ServiceID}
		if err := d.Bootstrap(ctx, h.State, Order{}); err != nil || !slices.Equal(s.take(), []string{"start"}) {
			t.Errorf("Bootstrap after a leave = %v; want that etcd is started", err)
		}
	})
}

func TestASnapshotThatBreaksOffIsNone(t *testing.T) {
	dir := t.TempDir()
	d := NewDoor(nil, dir, filepath.Join(dir, "snapshot"))
	if err := d.SaveSnapshot(strings.NewReader("first")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := d.SaveSnapshot(brokenReader{broken}); !errors.Is(err, broken) {
		t.Errorf("SaveSnapshot = %v; want broken", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "snapshot")); err != nil || string(b) != "first" {
		t.Errorf("the snapshot is %q, %v; want the first", b, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("files left: %v, %v", list, err)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read(p []byte) (int, error) { return copy(p, "half"), b.err }

var _ Services = (*supervise.Supervisor)(nil)
