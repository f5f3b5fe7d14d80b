package provision

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var network = NetworkRequest{CIDR: netip.MustParsePrefix("10.5.0.0/24"), MTU: 1500}

func nodes() []NodeRequest {
	return []NodeRequest{
		{Name: "lab-controlplane-1", Type: ControlPlane, Address: network.Address(0), CPUs: 2, Memory: 2 << 30, Config: []byte("x")},
		{Name: "lab-worker-1", Type: Worker, Address: network.Address(1), Config: []byte("x")},
	}
}

func TestAddressesAreTheSecondAndUpwards(t *testing.T) {
	if got := network.Gateway().String(); got != "10.5.0.1" {
		t.Errorf("Gateway = %s", got)
	}
	small := NetworkRequest{CIDR: netip.MustParsePrefix("10.5.0.0/29")}
	for i, want := range []string{"10.5.0.2", "10.5.0.3", "10.5.0.4", "10.5.0.5", "10.5.0.6", "invalid IP", "invalid IP"} {
		if got := small.Address(i).String(); got != want {
			t.Errorf("Address(%d) = %s; want %s", i, got, want)
		}
	}
	c := Cluster{Name: "lab", Network: Network{CIDR: small.CIDR}}
	for i := range 5 {
		c.Nodes = append(c.Nodes, Node{Name: NodeName("lab", Worker, i+1), Address: small.Address(i)})
	}
	if got := c.FreeAddress(); got.IsValid() {
		t.Errorf("FreeAddress of a full network = %s", got)
	}
	c.Nodes = append(c.Nodes[:1], c.Nodes[2:]...)
	if got := c.FreeAddress().String(); got != "10.5.0.3" {
		t.Errorf("FreeAddress = %s; want that of the node that went", got)
	}
	if got := c.FreeName(Worker); got != "lab-worker-2" {
		t.Errorf("FreeName = %s; want that of the node that went", got)
	}
}

func TestCheckSaysAllThatIsWrong(t *testing.T) {
	good := func() ClusterRequest {
		return ClusterRequest{Name: "lab", Network: network, Image: "i:v1", Nodes: nodes()}
	}
	if err := good().Check(); err != nil {
		t.Fatalf("Check of a good request = %v", err)
	}
	blank := good()
	blank.Nodes[0].Config = nil
	if err := blank.Check(); err != nil {
		t.Errorf("Check of a request for a node in maintenance = %v", err)
	}
	for _, tc := range []struct {
		name   string
		change func(*ClusterRequest)
		want   []string
	}{
		{"names", func(r *ClusterRequest) { r.Name, r.Nodes[0].Name = "Lab", "a/b" }, []string{`"Lab"`, `"a/b"`}},
		{"long names", func(r *ClusterRequest) { r.Name = strings.Repeat("a", 64) }, []string{"1 to 63 lower-case"}},
		{"hyphens", func(r *ClusterRequest) { r.Name = "lab-" }, []string{`"lab-"`}},
		{"IPv6", func(r *ClusterRequest) { r.Network.CIDR = netip.MustParsePrefix("fd00::/64") }, []string{"one of IPv4"}},
		{"no room", func(r *ClusterRequest) { r.Network.CIDR = netip.MustParsePrefix("10.5.0.0/30") }, []string{"no room"}},
		{"MTU", func(r *ClusterRequest) { r.Network.MTU = 500 }, []string{"MTU 500"}},
		{"two names", func(r *ClusterRequest) { r.Nodes[1].Name = r.Nodes[0].Name }, []string{"two nodes have the name"}},
		{"two addresses", func(r *ClusterRequest) { r.Nodes[1].Address = r.Nodes[0].Address }, []string{"another node has the address 10.5.0.2"}},
		{"the network's address", func(r *ClusterRequest) { r.Nodes[1].Address = netip.MustParseAddr("10.5.0.0") }, []string{"10.5.0.0 is none"}},
		{"the broadcast address", func(r *ClusterRequest) { r.Nodes[1].Address = netip.MustParseAddr("10.5.0.255") }, []string{"10.5.0.255 is none"}},
		{"no address", func(r *ClusterRequest) { r.Nodes[1].Address = netip.Addr{} }, []string{"is none for a node"}},
		{"type", func(r *ClusterRequest) { r.Nodes[0].Type = "init" }, []string{`"init" is neither`}},
		{"limits", func(r *ClusterRequest) { r.Nodes[0].CPUs, r.Nodes[1].Memory = -1, -1 }, []string{"-1 CPUs", "-1 bytes"}},
		{"mounts", func(r *ClusterRequest) { r.Nodes[0].Mounts = []Mount{{Source: "x", Target: "/a/../b"}} }, []string{"absolute and clean"}},
		{"nothing", func(r *ClusterRequest) { *r = ClusterRequest{} }, []string{"name", "network", "image", "nodes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := good()
			tc.change(&r)
			err := r.Check()
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("Check = %v; want ErrInvalid", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Check = %v; want %q in it", err, want)
				}
			}
		})
	}
}

func TestStateIsReadAsItWasWritten(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	want := &State{
		Provisioner: "native", Name: "lab", Phase: Creating, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Image: "i:v1",
		Network: StateNetwork{Name: "talos01", CIDR: network.CIDR, Gateway: network.Gateway(), MTU: 1500, Nameservers: []netip.Addr{network.Gateway()}},
		Nodes:   []StateNode{{Name: "lab-worker-1", Type: Worker, Address: network.Address(1), CPUs: 1.5, Memory: 1 << 30, Mounts: []Mount{{"/a", "/b", true}}}},
		Data:    map[string]string{"bridge": "talos01"}, KubernetesEndpoint: "https://10.5.0.2:6443",
	}
	if _, err := s.Load("lab"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of no cluster = %v; want fs.ErrNotExist", err)
	}
	if err := os.Mkdir(s.Path("lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load("lab"); got != nil || err != nil {
		t.Errorf("Load of a folder without a state = %v, %v; want nothing", got, err)
	}
	if err := s.Save(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load("lab")
	equal := []cmp.Option{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, equal...); err != nil || diff != "" {
		t.Errorf("Load: %v (-saved +loaded):\n%s", err, diff)
	}
	if names, err := s.Names(); err != nil || len(names) != 1 || names[0] != "lab" {
		t.Errorf("Names = %v, %v; want lab", names, err)
	}
	info, err := os.Stat(s.Path("lab", stateFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state's file: %v, %v; want mode 0600", info.Mode(), err)
	}
	// A state that was moved, or that a newer version wrote, is not taken for another one.
	for name, text := range map[string]string{"another name": "name: other\n", "an unknown field": "name: lab\nnew: 1\n", "no YAML": "{"} {
		if err := os.WriteFile(s.Path("lab", stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load("lab"); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), stateFile) {
			t.Errorf("Load of a state with %s = %v, %v; want an error that names the file", name, got, err)
		}
	}
	if _, err := s.Load("../lab"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Load of a name that leads away = %v; want ErrInvalid", err)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte("name: lab\nnetwork: {cidr: 10.5.0.0/24, gateway: 10.5.0.1}\nnodes: [{name: a, address: 10.5.0.2}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		state, err := parseState(text)
		if (state == nil) == (err == nil) {
			t.Errorf("parseState(%q) = %v, %v", text, state, err)
		}
	})
}

func TestProgressOfNobody(t *testing.T) {
	want := errors.New("x")
	if err := Progress(nil).Do("step", func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do = %v; want %v", err, want)
	}
	var said []string
	p := Progress(func(step string) func(error) {
		said = append(said, step)
		return func(err error) { said = append(said, err.Error()) }
	})
	if err := p.Do("step", func() error { return want }); !errors.Is(err, want) || strings.Join(said, " ") != "step x" {
		t.Errorf("Do = %v, said %q; want %v and both", err, said, want)
	}
}
