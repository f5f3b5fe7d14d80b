package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/golden"
	"talos.internal/internal/netconf"
	"talos.internal/internal/provision"
	"talos.internal/resource/network"
)

func TestCommandLines(t *testing.T) {
	m := machine{
		name: "lab-worker-1", uuid: "00000000-0000-8000-8000-000000000000", cpus: 1.5, memory: 512<<20 + 1, mac: "02:00:00:00:00:02",
		dir: "/lab/nodes/lab-worker-1", run: "/lab/run/2", console: "/lab/console.log", disk: "/lab/a,b/disk.qcow2", seed: "/lab/cidata.iso",
	}
	direct, uefi := m, m
	direct.kernel, direct.initramfs, direct.cmdline, direct.kvm = "/vmlinuz", "/initramfs", "console=ttyS0 quiet", true
	direct.cpus, direct.memory = 0, 0
	uefi.code, uefi.vars, uefi.tpm, uefi.drive = "/OVMF_CODE.fd", "/lab/vars.fd", "/lab/run/2.tpm", "/talos.iso"
	secure := uefi
	secure.secure = true
	secure.clock = "2001-02-03T04:05:06"
	uefi.incoming = "zstd -dc " + quoted("/lab/it's here")
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"disk", m.args()}, {"kernel", direct.args()}, {"uefi", uefi.args()}, {"secure", secure.args()},
		{"gateway", gatewayArgs("/lab/run/gateway", netip.MustParsePrefix("10.5.0.0/24"), netip.MustParseAddr("10.5.0.1"), netip.MustParseAddr("10.5.0.2"))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			for i, a := range tc.args {
				if i > 0 {
					b.WriteByte(' ')
					if strings.HasPrefix(a, "-") {
						b.WriteString("\\\n")
					}
				}
				b.WriteString(a)
			}
			golden.Check(t, tc.name+".args", b.String()+"\n")
		})
	}
}

func TestProcessesAreToldByTheirCommandLines(t *testing.T) {
	const run = "/lab/a/run"
	launcher := []string{"/bin/talosctl", "switch-launch"}
	tpm := []string{"swtpm", "socket", tpmPIDFlag, "file=/lab/a/run/2" + tpmPIDSuffix}
	m := machine{run: run + "/2"}
	for _, tc := range []struct {
		name string
		args []string
		want bool
	}{
		{"a machine", append([]string{"qemu"}, m.args()...), true},
		{"the gateway", append([]string{"qemu"}, gatewayArgs(run+"/gateway", netip.MustParsePrefix("10.5.0.0/29"), netip.Addr{}, netip.Addr{})...), true},
		{"a TPM", tpm, true},
		{"the switch", []string{"/bin/talosctl", "switch-launch", run}, true},
		{"the switch of a program that was moved", []string{"/old/talosctl", "switch-launch", run}, true},
		{"another cluster's switch", []string{"/bin/talosctl", "switch-launch", "/lab/ab/run"}, false},
		{"another cluster's machine", append([]string{"qemu"}, machine{run: "/lab/ab/run/2"}.args()...), false},
		{"a cluster whose name is longer", append([]string{"qemu"}, machine{run: "/lab/a/run2/2"}.args()...), false},
		{"somebody who looks", []string{"tail", "-f", run + "/switch.log"}, false},
		{"one that has ended", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := belongs(tc.args, run, launcher); got != tc.want {
				t.Errorf("belongs(%q) = %v; want %v", tc.args, got, tc.want)
			}
		})
	}
	if !runs(m.args(), run+"/2.pid") || runs(m.args(), run+"/22.pid") || runs(tpm, run+"/2.pid") {
		t.Error("machines are not told from each other")
	}
	if !hasTPM(tpm, run+"/2") || hasTPM(tpm, run+"/22") {
		t.Error("TPMs are not told from each other")
	}
}

func TestMediaAreRecognised(t *testing.T) {
	image, err := iso("cidata", nil)
	if err != nil {
		t.Fatal(err)
	}
	linux := make([]byte, 1024)
	copy(linux[0x202:], "HdrS")
	small := make([]byte, 32)
	copy(small, "QFI\xfb")
	binary.BigEndian.PutUint64(small[24:], 12<<20)
	broken := append([]byte("QFI\xfb"), make([]byte, 28)...)
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		data []byte
		want medium
		size int64
		err  error
	}{
		{"kernel", linux, kernelImage, 0, nil},
		{"ISO", image, isoImage, 0, nil},
		{"qcow2", small, qcow2Disk, 12 << 20, nil},
		{"raw", make([]byte, 1024), rawDisk, 1024, nil},
		{"nothing", nil, "", 0, provision.ErrInvalid},
		{"a text", []byte("#!/bin/sh\n"), "", 0, provision.ErrInvalid},
		{"qcow2 without a size", broken, "", 0, provision.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(dir, tc.name)
			if err := os.WriteFile(path, tc.data, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := look(path)
			if got.medium != tc.want || got.size != tc.size || !errors.Is(err, tc.err) {
				t.Errorf("look = %+v, %v; want %s of %d, %v", got, err, tc.want, tc.size, tc.err)
			}
		})
	}
	if _, err := look(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("look at what is not there = %v; want fs.ErrNotExist", err)
	}
}

func TestSeedIsACloudInitDisk(t *testing.T) {
	s := Seed{
		Name: "lab-worker-1", Config: []byte("version: v1alpha1\n"), MAC: "02:00:00:00:00:02", Address: netip.MustParsePrefix("10.5.0.2/24"),
		Gateway: netip.MustParseAddr("10.5.0.1"), MTU: 1450, Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.1")},
	}
	image, err := s.Image()
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Image()
	if err != nil || !bytes.Equal(image, again) {
		t.Errorf("the image of the same seed differs: %v", err)
	}
	if label := string(bytes.TrimRight(image[16*sector+40:16*sector+72], " ")); label != "cidata" {
		t.Errorf("label = %q", label)
	}
	var text strings.Builder
	for _, f := range directory(t, image) {
		text.WriteString("--- " + f.name + "\n" + string(f.data))
	}
	golden.Check(t, "seed.txt", text.String())
	s.Config = nil
	if image, err = s.Image(); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(directory(t, image), func(f isoFile) bool { return f.name == "USER-DATA.;1" }) {
		t.Error("a machine without a config gets one")
	}
	s.Address = netip.Prefix{} // the machine asks the network for one
	if image, err = s.Image(); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(directory(t, image), func(f isoFile) bool { return strings.HasPrefix(f.name, "NETWORK") }) {
		t.Error("a seed without an address has a network-config")
	}
}

// directory lists the root directory of an ISO.
func directory(t *testing.T, image []byte) []isoFile {
	t.Helper()
	extent := func(r []byte) []byte {
		at, size := binary.LittleEndian.Uint32(r[2:]), binary.LittleEndian.Uint32(r[10:])
		if binary.BigEndian.Uint32(r[6:]) != at || binary.BigEndian.Uint32(r[14:]) != size {
			t.Errorf("the two orders of bytes differ in %x", r[:18])
		}
		return image[at*sector : at*sector+size]
	}
	var out []isoFile
	for dir := extent(image[16*sector+156:]); len(dir) > 0 && dir[0] > 0; dir = dir[dir[0]:] {
		if name := string(dir[33 : 33+dir[32]]); name > "\x01" {
			out = append(out, isoFile{name, extent(dir)})
		}
	}
	return out
}

func TestISOsThatCannotBe(t *testing.T) {
	if _, err := iso(strings.Repeat("x", 33), nil); !errors.Is(err, provision.ErrInvalid) {
		t.Errorf("a long label: %v", err)
	}
	if _, err := iso("x", make([]isoFile, 100)); !errors.Is(err, provision.ErrInvalid) {
		t.Errorf("many files: %v", err)
	}
}

func TestForwardsOutliveTheState(t *testing.T) {
	n := uint16(40000)
	all, err := wanted(provision.StateNode{Name: "a", Type: provision.ControlPlane}, func() (uint16, error) { n++; return n, nil })
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, asked([]provision.Port{{HostPort: 80, NodePort: 30080, Protocol: "udp"}}, "a")...)
	text := formatForwards(all)
	const want = "tcp 127.0.0.1:40001 a 50000\ntcp 127.0.0.1:40002 a 6443\nudp 0.0.0.0:80 a 30080 fixed"
	if text != want {
		t.Errorf("forwards = %q; want %q", text, want)
	}
	again, err := parseForwards(text)
	if err != nil || !slices.Equal(again, all) {
		t.Errorf("parseForwards = %v, %v; want %v", again, err, all)
	}
	if got := all[1].rule(netip.MustParseAddr("10.5.0.2")); got != "tcp:127.0.0.1:40002-10.5.0.2:6443" {
		t.Errorf("rule = %s", got)
	}
	for _, bad := range []string{"tcp", "tcp x a 1", "tcp 127.0.0.1:1 a x", "tcp 127.0.0.1:1 a 1 fixed more"} {
		if _, err := parseForwards(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// fakeMonitor is QEMU's side of a conversation: it sends lines, each after a request but for the first.
func fakeMonitor(t *testing.T, lines ...string) (*monitor, *[]string, error) {
	t.Helper()
	near, far := net.Pipe()
	var got []string
	go func() {
		defer far.Close()
		in := json.NewDecoder(far)
		for i, l := range lines {
			if i > 0 {
				var r json.RawMessage
				if in.Decode(&r) != nil {
					return
				}
				got = append(got, string(r))
			}
			if _, err := far.Write([]byte(l + "\r\n")); err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	m, err := newMonitor(ctx, near)
	return m, &got, err
}

func TestMonitor(t *testing.T) {
	const greeting = `{"QMP": {"version": {}, "capabilities": ["oob"]}}`
	m, got, err := fakeMonitor(t, "{\"timestamp\": {}, \"event\": \"RESUME\"}\n"+greeting, `{"return": {}}`,
		"{\"timestamp\": {}, \"event\": \"STOP\"}\n{\"return\": {\"status\": \"paused\"}}", `{"error": {"class": "GenericError", "desc": "no such device"}}`,
		`{"return": "what a person reads\r\n"}`)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var status struct{ Status string }
	if err := m.run(t.Context(), "query-status", nil, &status); err != nil || status.Status != "paused" {
		t.Errorf("query-status = %+v, %v", status, err)
	}
	if err := m.run(t.Context(), "device_del", map[string]string{"id": "x"}, nil); err == nil || !strings.Contains(err.Error(), "device_del: it says: no such device") {
		t.Errorf("device_del = %v; want what QEMU said", err)
	}
	if text, err := m.human(t.Context(), "info usernet"); err != nil || text != "what a person reads" {
		t.Errorf("info usernet = %q, %v", text, err)
	}
	if err := m.run(t.Context(), "stop", nil, nil); err == nil {
		t.Error("a monitor that is gone is no error")
	}
	want := []string{`{"execute":"qmp_capabilities"}`, `{"execute":"query-status"}`, `{"arguments":{"id":"x"},"execute":"device_del"}`,
		`{"arguments":{"command-line":"info usernet"},"execute":"human-monitor-command"}`}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if _, _, err := fakeMonitor(t, `{"hello": 1}`); err == nil || !strings.Contains(err.Error(), `got a message with ["hello"]`) {
		t.Errorf("something that is no monitor = %v; want an error that says what came", err)
	}
}

func TestTheGatewaysSecondAddressIsTheLast(t *testing.T) {
	for network, want := range map[string]string{"10.5.0.0/24": "10.5.0.254", "10.5.0.8/29": "10.5.0.14", "10.0.0.0/8": "10.255.255.254"} {
		if got := reserved(netip.MustParsePrefix(network)); got.String() != want {
			t.Errorf("reserved(%s) = %s; want %s", network, got, want)
		}
	}
}

func TestConsoleHasLines(t *testing.T) {
	var b bytes.Buffer
	if n, err := (consoleText{&b}).Write([]byte("a\r\nb\r\r\n")); n != 7 || err != nil || b.String() != "a\nb\n" {
		t.Errorf("Write = %d, %v, %q", n, err, b.String())
	}
}

// The machine reads what is written here.
func TestNetworkConfigIsWhatMachinesRead(t *testing.T) {
	s := Seed{
		Name: "lab-worker-1", MAC: "02:00:00:00:00:02", Address: netip.MustParsePrefix("10.5.0.2/24"),
		Gateway: netip.MustParseAddr("10.5.0.1"), MTU: 1450, Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.1")},
	}
	image, err := s.Image()
	if err != nil {
		t.Fatal(err)
	}
	files := directory(t, image)
	i := slices.IndexFunc(files, func(f isoFile) bool { return f.name == "NETWORK-CONFIG.;1" })
	mac := network.HardwareAddr{2, 0, 0, 0, 0, 2}
	got, err := netconf.ReadNetworkConfig(files[i].data, []netconf.Link{
		{Name: "eth0", HardwareAddr: network.HardwareAddr{2, 0, 0, 0, 0, 1}}, {Name: "eth1", HardwareAddr: mac, PermanentAddr: mac},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Addresses) != 1 || got.Addresses[0].Address != s.Address || got.Addresses[0].LinkName != "eth1" {
		t.Errorf("addresses = %+v; want %s of eth1", got.Addresses, s.Address)
	}
	if len(got.Routes) != 1 || got.Routes[0].Gateway != s.Gateway {
		t.Errorf("routes = %+v; want one through %s", got.Routes, s.Gateway)
	}
	if len(got.Links) != 1 || got.Links[0].MTU != 1450 || !got.Links[0].Up {
		t.Errorf("links = %+v; want eth1 up with its MTU", got.Links)
	}
	if len(got.Resolvers) != 1 || !slices.Equal(got.Resolvers[0].DNSServers, s.Nameservers) {
		t.Errorf("resolvers = %+v; want %v", got.Resolvers, s.Nameservers)
	}
	if len(got.Operators) != 0 {
		t.Errorf("operators = %+v; want no DHCP", got.Operators)
	}
}
