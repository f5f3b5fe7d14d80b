package netconf

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/internal/golden"
	"talos.internal/resource/network"
)

func mac(t testing.TB, text string) (a network.HardwareAddr) {
	t.Helper()
	if err := a.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return a
}

// machine has two links of the hardware and one of its own making.
func machine(t testing.TB) []Link {
	return []Link{
		{Name: "lo", Kind: "loopback"},
		{Name: "enp1s0", HardwareAddr: mac(t, "02:00:00:00:00:01"), Driver: "virtio_net"},
		{Name: "enp2s0", HardwareAddr: mac(t, "02:00:00:00:00:99"), PermanentAddr: mac(t, "02:00:00:00:00:02"), Driver: "virtio_net"},
		{Name: "bond0", HardwareAddr: mac(t, "02:00:00:00:00:01"), Kind: "bond"},
	}
}

// render shows wishes as people read them.
func render(t *testing.T, c network.PlatformConfig) []byte {
	t.Helper()
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNetworkConfigGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".in.yaml")
		t.Run(base, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadNetworkConfig(text, machine(t))
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, base+".out.yaml", render(t, got))
		})
	}
}

func TestNetworkConfigThatIsWrong(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no YAML", "{", "did not find"},
		{"no version", "ethernets: {}", "expected version: 1 or 2, got none"},
		{"a version of later", "version: 3", "got 3"},
		{"an address", "version: 2\nethernets: {a: {addresses: [10.5.0.300/24]}}", `ethernets.a: addresses[0]: expected an address with the length of its network, got "10.5.0.300/24"`},
		{"a default route to nowhere", "version: 2\nethernets: {a: {routes: [{to: default}]}}", "ethernets.a: routes[0]: expected via"},
		{"two families", "version: 2\nethernets: {a: {routes: [{to: 10.0.0.0/8, via: 'fd00::1'}]}}", "expected a gateway of the family of 10.0.0.0/8"},
		{"a bond's mode", "version: 2\nbonds: {b: {parameters: {mode: fast}}}", `bonds.b: bond option mode: "fast" is none of`},
		{"a bond's number", "version: 2\nbonds: {b: {parameters: {mii-monitor-interval: often}}}", `bond option miimon: expected a number`},
		{"a VLAN's number", "version: 2\nvlans: {v: {id: 5000, link: a}}", "vlans.v: expected a link and an id from 1 to 4094"},
		{"version 1: a netmask", "version: 1\nconfig: [{type: physical, name: a, subnets: [{type: static, address: 10.0.0.1, netmask: 255.0.255.0}]}]",
			`config[0] (physical a): subnets[0]: address: expected a netmask such as 255.255.255.0 or 24, got "255.0.255.0"`},
		{"version 1: a nameless link", "version: 1\nconfig: [{type: physical}]", "config[0]: expected a name or mac_address"},
		{"version 1: a route that no link has", "version: 1\nconfig: [{type: route, destination: 10.0.0.0/8, gateway: 192.0.2.1}]", "no link before this entry"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ReadNetworkConfig([]byte(tc.text), machine(t))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ReadNetworkConfig(%q) = %+v, %v; want an error with %q", tc.text, got, err, tc.want)
			}
		})
	}
}

func TestNetworkConfigThatSaysNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "version: 1\nconfig: disabled\n", "version: 2\n", "network: {version: 1, config: []}"} {
		got, err := ReadNetworkConfig([]byte(text), machine(t))
		if d := cmp.Diff(network.PlatformConfig{}, got); err != nil || d != "" {
			t.Errorf("ReadNetworkConfig(%q) = %v:\n%s", text, err, d)
		}
	}
}

func TestSeed(t *testing.T) {
	s := Seed{Platform: "nocloud", MetaData: []byte("instance-id: i-1\nlocal-hostname: node-1.lab.example\n"), NetworkConfig: []byte("version: 2\nethernets: {enp1s0: {dhcp4: true}}")}
	got, err := s.Config(machine(t))
	if err != nil || got.Metadata.InstanceID != "i-1" || got.Metadata.Platform != "nocloud" || len(got.Operators) != 1 {
		t.Errorf("Config() = %+v, %v", got, err)
	}
	want := []network.HostnameSpec{{Hostname: "node-1", Domainname: "lab.example", Layer: network.LayerPlatform}}
	if d := cmp.Diff(want, got.Hostnames); d != "" {
		t.Errorf("Hostnames (-want +got):\n%s", d)
	}
	s.NetworkConfig = []byte("version: 9")
	got, err = s.Config(machine(t))
	if err == nil || len(got.Hostnames) != 1 || len(got.Operators) != 0 || !strings.Contains(err.Error(), "read the network-config of platform nocloud") {
		t.Errorf("Config() of a broken network-config = %+v, %v; want the name and an error", got, err)
	}
}

func TestCmdline(t *testing.T) {
	at := func(link, p string) network.AddressSpec {
		return Address(network.LayerCmdline, link, netip.MustParsePrefix(p))
	}
	by := func(link, via string) network.RouteSpec {
		return Route(network.LayerCmdline, link, netip.Prefix{}, netip.MustParseAddr(via), 0)
	}
	up := func(link string) network.LinkSpec {
		return network.LinkSpec{Name: link, Up: true, Layer: network.LayerCmdline}
	}
	resolvers := func(list ...string) []network.ResolverSpec {
		s := network.ResolverSpec{Layer: network.LayerCmdline}
		for _, a := range list {
			s.DNSServers = append(s.DNSServers, netip.MustParseAddr(a))
			s.NameServers = append(s.NameServers, network.NameServer{Addr: netip.MustParseAddr(a)})
		}
		return []network.ResolverSpec{s}
	}
	named := func(host, domain string) []network.HostnameSpec {
		return []network.HostnameSpec{{Hostname: host, Domainname: domain, Layer: network.LayerCmdline}}
	}
	dhcp := DHCP4(network.LayerCmdline, "enp1s0", 0)
	for _, tc := range []struct {
		name, text string
		want       network.PlatformConfig
		ignored    []string
	}{
		{"others' arguments", "console=ttyS0 quiet roothash=00 ip", network.PlatformConfig{}, nil},
		{"all of it", "ip=10.5.0.2:10.5.0.7:10.5.0.1:255.255.255.0:node-1.lab:enp2s0:off:10.5.0.1:1.1.1.1:10.5.0.3", network.PlatformConfig{
			Links: []network.LinkSpec{up("enp2s0")}, Addresses: []network.AddressSpec{at("enp2s0", "10.5.0.2/24")}, Routes: []network.RouteSpec{by("enp2s0", "10.5.0.1")},
			Hostnames: named("node-1", "lab"), Resolvers: resolvers("10.5.0.1", "1.1.1.1"),
			TimeServers: []network.TimeServerSpec{{Servers: []string{"10.5.0.3"}, Layer: network.LayerCmdline}},
		}, nil},
		{"the first link", "ip=10.5.0.2::10.5.0.1:24", network.PlatformConfig{
			Links: []network.LinkSpec{up("enp1s0")}, Addresses: []network.AddressSpec{at("enp1s0", "10.5.0.2/24")}, Routes: []network.RouteSpec{by("enp1s0", "10.5.0.1")},
		}, nil},
		{"IPv6", "ip=[2001:db8::2]::[2001:db8::1]:64::enp1s0", network.PlatformConfig{
			Links: []network.LinkSpec{up("enp1s0")}, Addresses: []network.AddressSpec{at("enp1s0", "2001:db8::2/64")}, Routes: []network.RouteSpec{by("enp1s0", "2001:db8::1")},
		}, nil},
		{"DHCP on the first link", "ip=dhcp", network.PlatformConfig{Links: []network.LinkSpec{up("enp1s0")}, Operators: []network.OperatorSpec{dhcp}}, nil},
		{"DHCP on a link", "ip=enp1s0:dhcp", network.PlatformConfig{Links: []network.LinkSpec{up("enp1s0")}, Operators: []network.OperatorSpec{dhcp}}, nil},
		{"DHCP as the kernel has it", "ip=:::::enp1s0:dhcp", network.PlatformConfig{Links: []network.LinkSpec{up("enp1s0")}, Operators: []network.OperatorSpec{dhcp}}, nil},
		{"a link by its address", "ip=enx020000000001:dhcp:1400 talos.network.interface.ignore=enx020000000002", network.PlatformConfig{
			Links: []network.LinkSpec{{Name: "enp1s0", Up: true, MTU: 1400, Layer: network.LayerCmdline}}, Operators: []network.OperatorSpec{dhcp},
		}, []string{"enp2s0"}},
		{"name and server", "talos.hostname=a.b.c nameserver=10.5.0.1 nameserver=[fd00::1]", network.PlatformConfig{Hostnames: named("a", "b.c"), Resolvers: resolvers("10.5.0.1", "fd00::1")}, nil},
		{"VLAN", "vlan=enp1s0.0005:enp1s0", network.PlatformConfig{Links: []network.LinkSpec{{
			Name: "enp1s0.0005", Up: true, Logical: true, Kind: "vlan", Type: network.LinkTypeEther, ParentName: "enp1s0",
			VLAN: &network.VLANSpec{VID: 5, Protocol: network.VLAN8021Q}, Layer: network.LayerCmdline,
		}}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ReadCmdline(tc.text, machine(t))
			if d := cmp.Diff(Cmdline{tc.want, tc.ignored}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); err != nil || d != "" {
				t.Errorf("ReadCmdline(%q): %v (-want +got):\n%s", tc.text, err, d)
			}
		})
	}
}

func TestCmdlineBond(t *testing.T) {
	got, err := ReadCmdline("bond=bond1:enp1s0,enp2s0:mode=active-backup,miimon=200,primary=enp2s0:9000", machine(t))
	if err != nil || len(got.Links) != 3 {
		t.Fatalf("ReadCmdline = %+v, %v", got, err)
	}
	b := got.Links[0]
	if b.Name != "bond1" || b.MTU != 9000 || b.BondMaster.Mode != network.BondActiveBackup || b.BondMaster.MIIMon != 200 || b.BondMaster.Primary != "enp2s0" {
		t.Errorf("bond1 = %+v", b)
	}
	if m := got.Links[2]; m.Name != "enp2s0" || *m.BondSlave != (network.BondSlave{MasterName: "bond1", SlaveIndex: 1}) {
		t.Errorf("enp2s0 = %+v", m)
	}
}

func TestCmdlineThatIsWrong(t *testing.T) {
	got, err := ReadCmdline("ip=10.5.0.300::10.5.0.1 vlan=vlan5000:a bond=b:a:mode=x nameserver=n ip=10.0.0.1:::24::enp1s0:sometimes talos.hostname=a", machine(t))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"kernel argument ip=10.5.0.300::10.5.0.1: expected an address", "kernel argument vlan=", "kernel argument bond=", "kernel argument nameserver=n", "in the seventh place"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q; want %q in it", err, want)
		}
	}
	if len(got.Hostnames) != 1 {
		t.Errorf("what is right does not count: %+v", got)
	}
}

// FuzzSeed holds that no text is more than an error, and that what is read can be written.
func FuzzSeed(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.in.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "ip=dhcp")
	}
	f.Add("", "ip=10.5.0.2::10.5.0.1:24 bond=:a:mode=1: vlan=5:")
	links := machine(f)
	f.Fuzz(func(t *testing.T, text, args string) {
		if c, err := ReadNetworkConfig([]byte(text), links); err == nil {
			if _, err := yaml.Marshal(c); err != nil {
				t.Error(err)
			}
		}
		_, _ = ReadCmdline(args, links)
	})
}
