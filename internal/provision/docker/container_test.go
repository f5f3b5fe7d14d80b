package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/network"

	"talos.internal/internal/golden"
	"talos.internal/internal/provision"
)

func testState() *provision.State {
	return &provision.State{
		Name: "lab", Image: "i:v1", Data: map[string]string{keyImages: "/images"},
		Network: provision.StateNetwork{
			Name: "lab", CIDR: netip.MustParsePrefix("10.5.0.0/24"), MTU: 1500, Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		},
	}
}

// What the daemon is asked for is the published command line for a node (contract.md, 7.1).
func TestRequestIsThePublishedCommandLine(t *testing.T) {
	n := node{
		StateNode: provision.StateNode{
			Name: "lab-controlplane-1", Type: provision.ControlPlane, Address: netip.MustParseAddr("10.5.0.2"), CPUs: 2, Memory: 2 << 30,
			Mounts: []provision.Mount{{Source: "/home/x", Target: "/var/x", ReadOnly: true}},
		},
		config: []byte("version: v1alpha1"),
		ports: []provision.Port{
			{Host: netip.MustParseAddr("127.0.0.1"), HostPort: 40001, NodePort: 50000, Protocol: "tcp"}, {HostPort: 8080, NodePort: 80, Protocol: "udp"},
		},
	}
	for _, tc := range []struct {
		name string
		host host
	}{
		{"privileged", host{local: true, api: "1.41", devices: []string{"/dev/kmsg"}}},
		{"lacking", host{local: true, api: "1.41", missing: []string{"CAP_SYS_RESOURCE", "CAP_BPF"}, devices: []string{"/dev/kmsg"}, noIPv6: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := n.request(testState(), "/home/x/.talos/clusters/lab", tc.host)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := string(text) + "\n"
			golden.Check(t, tc.name+".json", got)
		})
	}
}

func TestIPv6IsThereUnlessItIsNotWanted(t *testing.T) {
	for unwanted, want := range map[bool]string{false: "0", true: "1"} {
		state := testState()
		state.Network.NoIPv6 = unwanted
		r, err := node{}.request(state, "/d", host{api: "1.41"})
		if got := r.HostConfig.Sysctls["net.ipv6.conf.all.disable_ipv6"]; err != nil || got != want {
			t.Errorf("unwanted %v: disable_ipv6 = %q, %v; want %q", unwanted, got, err, want)
		}
	}
}

func TestCapabilitiesThatTheDaemonDoesNotKnowAreNotNamed(t *testing.T) {
	for _, tc := range []struct {
		name, api string
		missing   []string
		want      string // what is dropped; "" for a privileged container
	}{
		{"nothing is missing", "1.41", nil, ""},
		{"an old daemon knows it", "1.41", []string{"CAP_SYS_RESOURCE", "CAP_BPF"}, "CAP_SYS_RESOURCE"},
		{"what an old daemon gives to nobody", "1.41", []string{"CAP_BPF", "CAP_PERFMON"}, ""},
		{"a new one knows all", "1.42", []string{"CAP_BPF"}, "CAP_BPF"},
		{"the version is a number, not a text", "1.100", []string{"CAP_BPF"}, "CAP_BPF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := node{}.request(testState(), "/d", host{api: tc.api, missing: tc.missing})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.HostConfig.CapDrop, ","); got != tc.want || r.HostConfig.Privileged != (tc.want == "") {
				t.Errorf("dropped = %q, privileged = %v; want %q", got, r.HostConfig.Privileged, tc.want)
			}
		})
	}
}

func TestPublishedPorts(t *testing.T) {
	binding := func(host, port string) network.PortBinding {
		b := network.PortBinding{HostPort: port}
		if host != "" {
			b.HostIP = netip.MustParseAddr(host)
		}
		return b
	}
	got := published(network.PortMap{
		network.MustParsePort("50000/tcp"): {binding("127.0.0.1", "40001")},
		network.MustParsePort("80/tcp"):    {binding("", "8080"), binding("::", "8080")},
		network.MustParsePort("81/tcp"):    {binding("0.0.0.0", "8081")},
		network.MustParsePort("53/udp"):    {binding("", "53")},
		network.MustParsePort("82/tcp"):    {binding("", "")}, // the daemon chooses
		network.MustParsePort("83/tcp"):    nil,
	})
	want := map[uint16]string{50000: "127.0.0.1:40001", 80: "127.0.0.1:8080", 81: "127.0.0.1:8081"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

func TestAPIsOfTheControlPlaneArePublished(t *testing.T) {
	asked := []provision.Port{{HostPort: 8080, NodePort: 80, Protocol: "tcp"}}
	got, err := publish(provision.ControlPlane, asked)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != asked[0] || got[1].NodePort != portMachine || got[2].NodePort != portKubernetes || got[1].HostPort == got[2].HostPort {
		t.Errorf("publish = %+v; want both APIs at two ports", got)
	}
	for _, p := range got[1:] {
		if !p.Host.IsLoopback() || p.HostPort == 0 {
			t.Errorf("port %+v; want it on the loopback alone", p)
		}
	}
	if got, err := publish(provision.Worker, nil); err != nil || len(got) != 0 {
		t.Errorf("publish of a worker = %v, %v; want nothing", got, err)
	}
	for _, p := range []provision.Port{{HostPort: 1, Protocol: "tcp"}, {NodePort: 1, Protocol: "tcp"}, {HostPort: 1, NodePort: 1, Protocol: "icmp"}} {
		if err := checkPorts([]provision.Port{p}); !errors.Is(err, provision.ErrInvalid) {
			t.Errorf("checkPorts(%+v) = %v; want ErrInvalid", p, err)
		}
	}
}

func TestNetworkOfThisComputerIsTaken(t *testing.T) {
	cidr := netip.MustParsePrefix("10.5.0.0/24")
	for have, taken := range map[string]bool{"10.5.0.1/24": true, "10.5.0.77/32": true, "10.0.0.1/8": true, "10.6.0.1/24": false, "fe80::1/64": false} {
		ip, network, err := net.ParseCIDR(have)
		if err != nil {
			t.Fatal(err)
		}
		err = addressFree(cidr, "eth0", &net.IPNet{IP: ip, Mask: network.Mask})
		if errors.Is(err, provision.ErrInUse) != taken || taken && !strings.Contains(err.Error(), have) {
			t.Errorf("addressFree with %s = %v; want it taken: %v", have, err, taken)
		}
	}
	if err := addressesFree(netip.MustParsePrefix("203.0.113.0/24")); err != nil { // RFC 5737: nobody has it
		t.Errorf("addressesFree of a network that nobody has = %v", err)
	}
}

func TestDaemonIsThatOfTheChosenContext(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(name, text string) {
		sum := sha256.Sum256([]byte(name))
		write("contexts/meta/"+hex.EncodeToString(sum[:])+"/meta.json", text)
	}
	meta("desktop", `{"Name":"desktop","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///home/x/docker.sock","SkipTLSVerify":false}}}`)
	meta("other", `{"Endpoints":{"docker":{"Host":"tcp://192.0.2.1:2376"}}}`)
	write("config.json", `{"auths":{},"currentContext":"desktop"}`)
	for _, tc := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"the current context", nil, "unix:///home/x/docker.sock"},
		{"another one by name", map[string]string{"DOCKER_CONTEXT": "other"}, "tcp://192.0.2.1:2376"},
		{"the default", map[string]string{"DOCKER_CONTEXT": "default"}, ""},
		{"an address goes before", map[string]string{"DOCKER_HOST": "tcp://x"}, ""},
		{"no configuration", map[string]string{"DOCKER_CONFIG": filepath.Join(dir, "none")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := map[string]string{"DOCKER_CONFIG": dir}
			for k, v := range tc.env {
				env[k] = v
			}
			if got, err := contextHost(func(k string) string { return env[k] }); err != nil || got != tc.want {
				t.Errorf("contextHost = %q, %v; want %q", got, err, tc.want)
			}
		})
	}
	if _, err := contextHost(func(k string) string {
		return map[string]string{"DOCKER_CONFIG": dir, "DOCKER_CONTEXT": "lost"}[k]
	}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("contextHost of a context that there is not = %v; want fs.ErrNotExist", err)
	}
}
