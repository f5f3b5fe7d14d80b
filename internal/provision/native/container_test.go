//go:build linux

package native

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"talos.internal/internal/provision"
)

var update = flag.Bool("update", false, "write the golden files")

func TestSpecIsAsWritten(t *testing.T) {
	mode := os.FileMode(0o666)
	h := host{
		capabilities: []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}, openFiles: 1024, ipv6: true,
		devices: []specs.LinuxDevice{{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11, FileMode: &mode}},
	}
	c := container{
		node: provision.StateNode{
			Name: "lab-worker-1", Type: provision.Worker, Address: netip.MustParseAddr("10.5.0.3"), CPUs: 2, Memory: 2 << 30,
			Mounts: []provision.Mount{{Source: "/srv/data", Target: "/var/mnt/data"}},
		},
		config: []byte("version: v1alpha1\n"), root: "/cache/roots/sha256-00", dir: "/clusters/lab/nodes/lab-worker-1", images: "/images",
		group: "/talos-lab-01020304/lab-worker-1",
	}
	spec, err := c.spec(h)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "config.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("config.json (-want +got):\n%s", diff)
	}
}

// What stands on another mount has to come after it, and what a node must not see is not there.
func TestMountsStandOnWhatIsThere(t *testing.T) {
	c := container{dir: "/d", images: "/images"}
	seen := map[string]bool{"/": true}
	for _, m := range c.mounts() {
		for at := range seen {
			if strings.HasPrefix(at, m.Destination+"/") {
				t.Errorf("%s comes after %s, and hides it", m.Destination, at)
			}
		}
		seen[m.Destination] = true
	}
	without := container{dir: "/d"}
	for _, m := range without.mounts() {
		if m.Destination == ImageCache {
			t.Error("there is no image cache, and a mount of it")
		}
	}
}

func TestNameserversOfTheLoopbackAreLeftOut(t *testing.T) {
	got := nameservers("# comment\nsearch lab\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\nnameserver fe80::1%eth0\n" +
		"nameserver nonsense\nnameserver\n nameserver 2001:db8::1\n")
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("nameservers (-want +got):\n%s", diff)
	}
}

func TestNamesFitAndDiffer(t *testing.T) {
	long := strings.Repeat("a", 63)
	a, b := namesOf(long, "/root/.talos/clusters/"+long), namesOf(long, "/home/x/.talos/clusters/"+long)
	if a == b || a.bridge == b.bridge || a.table == b.table || a.group == b.group {
		t.Errorf("names of two users' clusters: %+v and %+v", a, b)
	}
	state := &provision.State{Data: a.data("root"), Network: provision.StateNetwork{CIDR: netip.MustParsePrefix("10.0.0.0/8")}}
	last := provision.StateNode{Address: netip.MustParseAddr("10.15.255.255")} // maxOffset
	for _, name := range []string{a.bridge, portOf(state, last)} {
		if len(name) > 15 {
			t.Errorf("link %s has %d bytes; a name has at most 15", name, len(name))
		}
	}
	if err := checkNode(provision.NodeRequest{Name: "n", Address: netip.MustParseAddr("10.16.0.0")},
		provision.NetworkRequest{CIDR: state.Network.CIDR}); !errors.Is(err, provision.ErrInvalid) {
		t.Errorf("an address too far from the start of the network: %v; want ErrInvalid", err)
	}
}
