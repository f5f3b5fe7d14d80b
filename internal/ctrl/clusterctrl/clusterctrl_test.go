package clusterctrl

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/effective"
	"talos.internal/internal/volume"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/cluster"
	"talos.internal/resource/files"
	"talos.internal/resource/kube"
	"talos.internal/resource/kubespan"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// compareAddresses lets cmp compare what has unexported fields.
var compareAddresses = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix     { return netip.MustParsePrefix(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	random := bytes.Repeat([]byte{0xff}, identityBytes)
	const id, machine = "O9AXjbdQa1Zh4rJxe8wUCiIqBTRzLsPnyF2WKVHOtuD", "ffffffffffffffffffffffffffffffff"
	var first string
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.WantNever[cluster.Identity](h, cluster.IdentityID) // there is nowhere to keep it
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r := controllertest.WantThat(h, cluster.IdentityID, "have an id", func(r *resource.Typed[cluster.Identity]) bool { return r.Spec().NodeID != "" })
		first = r.Spec().NodeID
		if len(first) != len(id) {
			t.Errorf("the id is %q; want %d digits", first, len(id))
		}
		controllertest.Want(h, "machine-id", files.EtcFileSpec{Contents: files.Contents(machine + "\n"), Mode: 0o444})
	}, NodeIdentityController{Dir: dir, Rand: &repeat{random}})
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, cluster.IdentityID, cluster.Identity{NodeID: first})
	}, NodeIdentityController{Dir: dir, Rand: &repeat{make([]byte, identityBytes)}})
	if i, err := os.Stat(filepath.Join(dir, IdentityFile)); err != nil || i.Mode() != 0o600 {
		t.Errorf("the file: %v, %v; want mode 0600", i, err)
	}
}

func TestIdentityWaitsForItsVolume(t *testing.T) {
	dir := t.TempDir()
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, volume.State, block.VolumeStatus{Phase: block.PhaseMissing})
		h.Advance(time.Minute)
		controllertest.WantNever[cluster.Identity](h, cluster.IdentityID)
		if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
			t.Errorf("something was written before the volume was there: %v, %v", entries, err)
		}
		controllertest.Create(h, volume.State, block.MountStatus{Target: dir})
		controllertest.WantThat(h, cluster.IdentityID, "have an id", func(r *resource.Typed[cluster.Identity]) bool { return r.Spec().NodeID != "" })
	}, NodeIdentityController{Dir: dir, Rand: &repeat{make([]byte, identityBytes)}, Volumes: true})
}

// repeat gives the same bytes for ever: an attempt that fails reads them too.
type repeat struct{ b []byte }

func (r *repeat) Read(p []byte) (int, error) { return copy(p, r.b), nil }

func TestDamagedIdentityStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, IdentityFile)
	if err := os.WriteFile(path, []byte("nodeId: \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(time.Minute)
		controllertest.WantNever[cluster.Identity](h, cluster.IdentityID)
		if s := h.Scheduler.Status()[0]; s.Err == nil || !strings.Contains(s.Err.Error(), path) {
			t.Errorf("the controller's error is %v; want the file in it", s.Err)
		}
	}, NodeIdentityController{Dir: dir, Rand: &repeat{make([]byte, identityBytes)}})
	if b, err := os.ReadFile(path); err != nil || string(b) != "nodeId: \"\"\n" {
		t.Errorf("the file has %q, %v; want it as it was", b, err)
	}
}

func TestParseIdentity(t *testing.T) {
	for _, tt := range []struct {
		text, want string
	}{
		{"nodeId: abcXYZ0189", "abcXYZ0189"}, {"nodeId: ''", ""}, {"", ""}, {"nodeId: a/b", ""}, {"nodeId: [1]", ""},
		{"nodeId: " + strings.Repeat("a", maxIdentityLen+1), ""}, {"\t", ""},
	} {
		got, err := parseIdentity([]byte(tt.text))
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("parseIdentity(%q) = %q, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add("nodeId: abc")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseIdentity([]byte(text))
		if err != nil {
			return
		}
		if m := machineID(id); len(m) != 32 {
			t.Errorf("machineID(%q) = %q; want 32 digits", id, m)
		}
	})
}

func TestMachineID(t *testing.T) {
	var b [identityBytes]byte
	for i := range b {
		b[i] = byte(i)
	}
	if got := machineID(encodeIdentity(b)); got != "000102030405060708090a0b0c0d0e0f" {
		t.Errorf("machineID = %s; want the first 16 bytes", got)
	}
	if got := encodeIdentity([identityBytes]byte{}); got != strings.Repeat("0", identityLen) {
		t.Errorf("encodeIdentity(0) = %s; want %d digits", got, identityLen)
	}
	if a, b := machineID(strings.Repeat("Z", 44)), machineID(strings.Repeat("Y", 44)); a == b || len(a) != 32 {
		t.Errorf("machineID of identities that are too long = %s, %s; want two different ones", a, b)
	}
}

const (
	root     = "version: v1alpha1\nmachine:\n  type: worker\n"
	names    = "---\napiVersion: v1alpha1\nkind: KubeClusterConfig\nclusterName: lab\nendpoint: https://10.5.0.2:6443\n"
	id64     = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	secret64 = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="
	identity = "---\napiVersion: v1alpha1\nkind: DiscoveryIdentityConfig\nclusterID: " + id64 + "\nclusterSecret: " + secret64 + "\n"
	old      = root + "cluster:\n  id: " + id64 + "\n  secret: " + secret64 + "\n"
)

func service(name, endpoint string) string {
	return "---\napiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: " + name + "\nendpoint: " + endpoint + "\n"
}

func TestDiscoveryConfig(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString(secret64)
	if err != nil {
		t.Fatal(err)
	}
	on := cluster.DiscoveryConfig{DiscoveryEnabled: true, ServiceClusterID: id64, ServiceEncryptionKey: key}
	with := func(endpoints ...cluster.ServiceEndpoint) cluster.DiscoveryConfig {
		c := on
		c.ServiceEndpoints, c.RegistryServiceEnabled = endpoints, true
		c.ServiceEndpoint, c.ServiceEndpointInsecure = endpoints[0].Endpoint, endpoints[0].Insecure
		return c
	}
	for _, tt := range []struct {
		name, text string
		want       cluster.DiscoveryConfig
	}{
		{"none", root, cluster.DiscoveryConfig{}},
		{"the control plane alone", root + identity, on},
		{"services", root + identity + service("a", "https://discovery.talos.dev/") + service("b", "http://[fd00::1]:3000"), with(
			cluster.ServiceEndpoint{Name: "a", Endpoint: "discovery.talos.dev:443"},
			cluster.ServiceEndpoint{Name: "b", Endpoint: "[fd00::1]:3000", Insecure: true})},
		{"without TLS and port", root + identity + service("a", "grpc://10.5.0.1"), with(cluster.ServiceEndpoint{Name: "a", Endpoint: "10.5.0.1:80", Insecure: true})},
		{"old, not mentioned", old, cluster.DiscoveryConfig{}},
		{"old, off", old + "  discovery:\n    enabled: false\n", cluster.DiscoveryConfig{}},
		{"old, on", old + "  discovery:\n    enabled: true\n", with(cluster.ServiceEndpoint{Name: "default", Endpoint: "discovery.talos.dev:443"})},
		{"old, without the service", old + "  discovery:\n    enabled: true\n    registries:\n      service:\n        disabled: true\n", on},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := effective.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, discoveryConfig(cfg)); diff != "" {
				t.Errorf("discoveryConfig (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClusterFollowsTheConfig(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.WantNever[cluster.Info](h, cluster.InfoID)
		set := func(text string) {
			controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
		}
		set(root + names + identity)
		controllertest.Want(h, cluster.InfoID, cluster.Info{ClusterID: id64, ClusterName: "lab"})
		controllertest.WantThat(h, cluster.DiscoveryConfigID, "be on", func(r *resource.Typed[cluster.DiscoveryConfig]) bool { return r.Spec().DiscoveryEnabled })
		set(root + names)
		controllertest.Want(h, cluster.InfoID, cluster.Info{ClusterName: "lab"})
		controllertest.Want(h, cluster.DiscoveryConfigID, cluster.DiscoveryConfig{})
		set(strings.TrimPrefix(names, "---\n")) // partial
		controllertest.WantGone[cluster.Info](h, cluster.InfoID)
		controllertest.WantGone[cluster.DiscoveryConfig](h, cluster.DiscoveryConfigID)
	}, InfoController{}, ConfigController{})
}

// node returns facts of a control-plane machine.
func node(change func(f *local)) local {
	f := local{
		config: &cluster.DiscoveryConfig{DiscoveryEnabled: true}, identity: &cluster.Identity{NodeID: "me"},
		machine: &machineconfig.Type{Type: machineconfig.TypeControlPlane}, hostname: &network.HostnameStatus{Hostname: "n1"},
		addresses: &network.NodeAddress{Addresses: []netip.Prefix{prefix("10.5.0.2/24"), prefix("fd00::2/64")}},
	}
	if change != nil {
		change(&f)
	}
	return f
}

func TestLocalAffiliate(t *testing.T) {
	base := func(change func(a *cluster.Affiliate)) *cluster.Affiliate {
		a := &cluster.Affiliate{
			NodeID: "me", Hostname: "n1", OperatingSystem: "Talos (v1)", MachineType: machineconfig.TypeControlPlane,
			Addresses: []netip.Addr{addr("10.5.0.2"), addr("fd00::2")},
		}
		if change != nil {
			change(a)
		}
		return a
	}
	meshSelf := &kubespan.Identity{Address: prefix("fd7f::1/128"), PublicKey: "key", PrivateKey: "secret"}
	for _, tt := range []struct {
		name  string
		facts local
		want  *cluster.Affiliate // nil: none
	}{
		{"nothing is known", local{}, nil},
		{"discovery is off", node(func(f *local) { f.config = &cluster.DiscoveryConfig{} }), nil},
		{"no identity", node(func(f *local) { f.identity = nil }), nil},
		{"no name", node(func(f *local) { f.hostname = nil }), nil},
		{"no address", node(func(f *local) { f.addresses = nil }), nil},
		{"before Kubernetes", node(nil), base(nil)},
		{"with Kubernetes", node(func(f *local) {
			f.hostname.Domainname = "lab.example"
			f.nodename, f.apiServer = &kube.Nodename{Name: "n1"}, &kube.APIServerConfig{LocalPort: 6443}
		}), base(func(a *cluster.Affiliate) {
			a.Hostname, a.Nodename, a.ControlPlane = "n1.lab.example", "n1", &cluster.ControlPlane{APIServerPort: 6443}
		})},
		{"a worker has no API server, and no node by intent", node(func(f *local) {
			f.machine = &machineconfig.Type{Type: machineconfig.TypeWorker}
			f.nodename, f.apiServer = &kube.Nodename{Name: "n1", SkipNodeRegistration: true}, &kube.APIServerConfig{LocalPort: 6443}
		}), base(func(a *cluster.Affiliate) { a.MachineType = machineconfig.TypeWorker })},
		{"KubeSpan is off", node(func(f *local) { f.mesh, f.meshSelf = &kubespan.Config{}, meshSelf }), base(nil)},
		{"KubeSpan", node(func(f *local) {
			f.mesh = &kubespan.Config{
				Enabled: true, AdvertiseKubernetesNetworks: true, EndpointFilters: []string{"0.0.0.0/0", "!192.168.0.0/16"},
				ExtraEndpoints:            []netip.AddrPort{addrPort("203.0.113.7:51820"), addrPort("10.5.0.2:51820")},
				ExcludeAdvertisedNetworks: []netip.Prefix{prefix("10.9.0.0/16")},
			}
			f.meshSelf = meshSelf
			f.addresses.Addresses = append(f.addresses.Addresses, prefix("fd7f::1/128"), prefix("192.168.1.2/24"))
			f.kubernetes = &network.NodeAddress{Addresses: []netip.Prefix{prefix("10.244.1.1/24"), prefix("10.244.1.2/24")}}
		}), base(func(a *cluster.Affiliate) {
			a.Addresses = append(a.Addresses, addr("192.168.1.2"))
			a.KubeSpan = cluster.KubeSpanAffiliate{
				PublicKey: "key", Address: addr("fd7f::1"), AdditionalAddresses: []netip.Prefix{prefix("10.244.1.0/24")},
				Endpoints:                 []netip.AddrPort{addrPort("10.5.0.2:51820"), addrPort("203.0.113.7:51820")},
				ExcludeAdvertisedNetworks: []netip.Prefix{prefix("10.9.0.0/16")},
			}
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := localAffiliate(tt.facts, "Talos (v1)")
			if ok != (tt.want != nil) {
				t.Fatalf("localAffiliate = %+v, %v; want %+v", got, ok, tt.want)
			}
			if !ok {
				return
			}
			if diff := cmp.Diff(*tt.want, got, compareAddresses); diff != "" {
				t.Errorf("localAffiliate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnnounced(t *testing.T) {
	for _, tt := range []struct {
		address string
		filters []string
		want    bool
	}{
		{"10.0.0.1", nil, true},
		{"10.0.0.1", []string{"!10.0.0.0/8"}, false},
		{"11.0.0.1", []string{"!10.0.0.0/8"}, true},
		{"10.0.0.1", []string{"10.0.0.0/8", "!10.0.0.1/32"}, false},
		{"10.0.0.1", []string{"!10.0.0.1/32", "10.0.0.0/8"}, false},
		{"fd00::1", []string{"0.0.0.0/0"}, false},
		{"fd00::1", []string{"0.0.0.0/0", "::/0"}, true},
		{"10.0.0.1", []string{"nonsense"}, true},
	} {
		if got := announced(addr(tt.address), tt.filters); got != tt.want {
			t.Errorf("announced(%s, %q) = %v; want %v", tt.address, tt.filters, got, tt.want)
		}
	}
}

func TestMergeAffiliates(t *testing.T) {
	raw := []cluster.Affiliate{
		{NodeID: "b", Hostname: "from-kubernetes", Nodename: "b", Addresses: []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2")}, MachineType: machineconfig.TypeWorker,
			KubeSpan: cluster.KubeSpanAffiliate{PublicKey: "old", Endpoints: []netip.AddrPort{addrPort("10.0.0.1:1")}}},
		{NodeID: "me", Hostname: "echo"},
		{Hostname: "without an id"},
		{NodeID: "a", Hostname: "a"},
		{NodeID: "b", Hostname: "b", Addresses: []netip.Addr{addr("10.0.0.2"), addr("10.0.0.3")}, MachineType: machineconfig.TypeControlPlane,
			ControlPlane: &cluster.ControlPlane{APIServerPort: 6443}, OperatingSystem: "Talos (v1)",
			KubeSpan: cluster.KubeSpanAffiliate{PublicKey: "new", Endpoints: []netip.AddrPort{addrPort("10.0.0.3:1")}}},
		{NodeID: "b"}, // says nothing more
	}
	want := []cluster.Affiliate{
		{NodeID: "a", Hostname: "a"},
		{NodeID: "b", Hostname: "b", Nodename: "b", Addresses: []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.3")},
			MachineType: machineconfig.TypeControlPlane, ControlPlane: &cluster.ControlPlane{APIServerPort: 6443}, OperatingSystem: "Talos (v1)",
			KubeSpan: cluster.KubeSpanAffiliate{PublicKey: "new", Endpoints: []netip.AddrPort{addrPort("10.0.0.1:1"), addrPort("10.0.0.3:1")}}},
	}
	if diff := cmp.Diff(want, mergeAffiliates(raw, "me"), compareAddresses); diff != "" {
		t.Errorf("mergeAffiliates (-want +got):\n%s", diff)
	}
}

func TestMembersOf(t *testing.T) {
	const worker = machineconfig.TypeWorker
	members, twice := membersOf([]cluster.Affiliate{
		{NodeID: "1", Nodename: "same", Hostname: "x", MachineType: worker},
		{NodeID: "2", Hostname: "same", MachineType: worker},
		{NodeID: "3", Hostname: "mine", MachineType: worker},
		{NodeID: "4", Hostname: "mine", MachineType: worker},
		{NodeID: "5", MachineType: worker},
		{NodeID: "6", Hostname: "no-type"},
		{NodeID: "7", Hostname: "again", MachineType: worker, State: cluster.MemberGone},
		{NodeID: "8", Hostname: "again", MachineType: worker, State: cluster.MemberAlive},
	}, "4")
	got := map[string]string{}
	for name, m := range members {
		got[name] = m.NodeID
	}
	if diff := cmp.Diff(map[string]string{"same": "1", "mine": "4", "again": "8"}, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"same": "2", "mine": "3", "again": "7"}, twice); diff != "" {
		t.Errorf("names that are there twice (-want +got):\n%s", diff)
	}
}

func TestFromAffiliatesToEndpoints(t *testing.T) {
	dir := t.TempDir()
	controllertest.Run(t, func(h *controllertest.Harness) {
		raw := state.In(cluster.RawNamespace)
		me := controllertest.WantThat(h, cluster.IdentityID, "have an id", func(r *resource.Typed[cluster.Identity]) bool { return r.Spec().NodeID != "" }).Spec().NodeID
		controllertest.Create(h, "service/cp", cluster.Affiliate{
			NodeID: "cp", Hostname: "cp", MachineType: machineconfig.TypeControlPlane, Addresses: []netip.Addr{addr("10.5.0.9"), addr("10.5.0.3")},
		}, raw)
		controllertest.Create(h, "service/me", cluster.Affiliate{NodeID: me, Hostname: "echo", MachineType: machineconfig.TypeWorker}, raw)
		controllertest.Want(h, "cp", cluster.Member{
			NodeID: "cp", Hostname: "cp", MachineType: machineconfig.TypeControlPlane, Addresses: []netip.Addr{addr("10.5.0.9"), addr("10.5.0.3")},
		})
		controllertest.WantNever[cluster.Member](h, "echo")
		endpoints := kube.Endpoint{Addresses: []netip.Addr{addr("10.5.0.3"), addr("10.5.0.9")}}
		controllertest.Want(h, kube.EndpointDiscovery, endpoints)

		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: root + names + identity})
		controllertest.Create(h, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeWorker})
		controllertest.Create(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "w"})
		controllertest.Create(h, network.NodeAddressRouted, network.NodeAddress{Addresses: []netip.Prefix{prefix("10.244.0.1/24"), prefix("10.5.0.2/24")}})
		controllertest.Create(h, network.Filtered(network.NodeAddressRouted, network.FilterNoK8s), network.NodeAddress{Addresses: []netip.Prefix{prefix("10.5.0.2/24")}})
		controllertest.Want(h, "w", cluster.Member{
			NodeID: me, Hostname: "w", MachineType: machineconfig.TypeWorker, Addresses: []netip.Addr{addr("10.5.0.2")}, OperatingSystem: "Talos (v1.15.0)",
			State: cluster.MemberAlive,
		})
		controllertest.Modify(h, "service/cp", func(a *cluster.Affiliate) { a.State = cluster.MemberGone }, raw)
		controllertest.WantThat(h, "cp", "be gone", func(r *resource.Typed[cluster.Member]) bool { return r.Spec().State == cluster.MemberGone })
		controllertest.Want(h, kube.EndpointDiscovery, endpoints) // it may come back

		h.Remove(state.RefOf[cluster.Affiliate]("service/cp", raw))
		controllertest.WantGone[cluster.Member](h, "cp")
		controllertest.WantGone[cluster.Affiliate](h, "cp")
		controllertest.Want(h, kube.EndpointDiscovery, endpoints) // what was right once is better than nothing
		controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = root + names })
		controllertest.WantGone[cluster.Member](h, "w")
	}, Controllers(Deps{StateDir: dir, Version: runtime.Version{Name: "Talos", Version: "v1.15.0"}})...)
}
