package clusters

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"talos.internal/config"
	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/config/netdoc"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
	"talos.internal/internal/provision/native"
	"talos.internal/internal/provision/qemu"
	"talos.internal/secret"
)

func parseMachines(t *testing.T, args ...string) *machines {
	t.Helper()
	m, fl := &machines{}, pflag.NewFlagSet("create", pflag.ContinueOnError)
	m.bind(fl)
	if err := fl.Parse(args); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFlagsOfMachines(t *testing.T) {
	dir := t.TempDir()
	beside, alone := filepath.Join(dir, "built", "vmlinuz"), filepath.Join(dir, "vmlinuz")
	if err := os.Mkdir(filepath.Dir(beside), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"cmdline": "roothash=x\n", "talos.raw": ""} {
		if err := os.WriteFile(filepath.Join(dir, "built", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw := filepath.Join(dir, "built", "talos.raw")
	const size = diskSize << 20
	for _, tc := range []struct {
		name  string
		args  []string
		image string
		want  qemu.Options
		err   string
	}{
		{"the image that was built", nil, raw, qemu.Options{Disk: size, UEFI: true}, ""},
		{"an ISO, and a TPM", []string{"--iso-path", "x.iso", "--with-tpm2", "--disk", "10"}, "x.iso", qemu.Options{Disk: 10 << 20, UEFI: true, TPM: true}, ""},
		{"Secure Boot", []string{"--with-secureboot"}, raw, qemu.Options{Disk: size, UEFI: true, SecureBoot: true}, ""},
		{"without UEFI", []string{"--disk-image-path", "x.raw", "--with-uefi=false"}, "x.raw", qemu.Options{Disk: size}, ""},
		{"a kernel, with the command line beside it", []string{"--vmlinuz-path", beside, "--initrd-path", "i"}, beside,
			qemu.Options{Disk: size, Initramfs: "i", Cmdline: "roothash=x"}, ""},
		{"a kernel alone, and arguments", []string{"--vmlinuz-path", alone, "--extra-boot-kernel-args", "a=b"}, alone,
			qemu.Options{Disk: size, Cmdline: "talos.platform=metal console=ttyS0 a=b"}, ""},
		{"a kernel beside a disk", []string{"--vmlinuz-path", alone, "--disk-image-path", raw}, raw,
			qemu.Options{Disk: size, Kernel: alone, Cmdline: "talos.platform=metal console=ttyS0"}, ""},
		{"two images", []string{"--iso-path", "x", "--disk-image-path", "y"}, "", qemu.Options{}, "do not go together"},
		{"an initramfs without a kernel", []string{"--initrd-path", "x"}, "", qemu.Options{}, "are for a kernel"},
		{"no disk", []string{"--disk", "0"}, "", qemu.Options{}, "expected --disk"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := parseMachines(t, tc.args...)
			o, err := m.options()
			image := ""
			if err == nil {
				image, err = m.image(filepath.Join(dir, "built"))
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error = %v; want %q in it", err, tc.err)
				}
				return
			}
			if err != nil || image != tc.image {
				t.Errorf("image = %q, %v; want %q", image, err, tc.image)
			}
			if diff := cmp.Diff(tc.want, o); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := parseMachines(t).image(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make machine") {
		t.Errorf("no image = %v; want to be told how to make one", err)
	}
}

func TestOnlyMachinesAreInstalled(t *testing.T) {
	var errs bytes.Buffer
	b := &base{env: command.Env{Stderr: &errs}, images: "/none/images"}
	for _, tc := range []struct {
		name, provisioner string
		args              []string
		mode              schema.Mode
		install, image    string
	}{
		{"a container", native.Name, nil, schema.Container, "", "ref"},
		{"a disk image is installed", qemu.Name, []string{"--disk-image-path", "x"}, schema.Metal, "", "x"},
		{"an ISO is to be", qemu.Name, []string{"--iso-path", "x"}, schema.Metal, "/dev/vda", "x"},
		{"a kernel's disk is empty", qemu.Name, []string{"--vmlinuz-path", "x"}, schema.Metal, "/dev/vda", "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.machines = parseMachines(t, tc.args...)
			r := provision.ClusterRequest{Image: "ref"}
			mode, install, err := b.prepare(&r, tc.provisioner)
			if err != nil || mode != tc.mode || install != tc.install || r.Image != tc.image {
				t.Errorf("prepare = %s, %q, %v with image %q; want %s, %q, and %q", mode, install, err, r.Image, tc.mode, tc.install, tc.image)
			}
		})
	}
	if slow := qemu.Slow(); slow != "" && !strings.Contains(errs.String(), slow) {
		t.Errorf("nobody is told that machines are slow: %q", errs.String())
	}
}

// A laboratory without a way out has no time server; a person may want one all the same.
func TestVirtualMachinesHaveTheTimeOfThisComputer(t *testing.T) {
	secrets, err := secret.NewBundle(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := generate.Input{ClusterName: "x", Secrets: secrets, Kubernetes: defaults.Kubernetes}
	if err := in.Endpoint.UnmarshalText([]byte("https://10.5.0.2:6443")); err != nil {
		t.Fatal(err)
	}
	on, err := patch.Parse("own", []byte("machine: {time: {disabled: false, servers: [ntp.example.org]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		mode schema.Mode
		own  []patch.Patch
		off  bool
	}{
		{"a container", schema.Container, nil, false},
		{"a machine", schema.Metal, nil, true},
		{"a machine with a server", schema.Metal, []patch.Patch{on}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all, err := clock(tc.mode)
			if err != nil {
				t.Fatal(err)
			}
			c, err := makeConfigs(in, patches{all: append(all, tc.own...)}, false, tc.mode)
			if err != nil {
				t.Fatal(err)
			}
			for kind, text := range c.of {
				cfg, err := config.Load(kind, text)
				if err != nil {
					t.Fatal(err)
				}
				doc, there := schema.Find[*netdoc.TimeSyncConfig](cfg.Effective())
				if off := there && doc.Enabled != nil && !*doc.Enabled; off != tc.off {
					t.Errorf("%s: time is off: %t; want %t\n%s", kind, off, tc.off, text)
				}
			}
		})
	}
}

func TestPublishedPortsOfAnotherNode(t *testing.T) {
	node := func(name string, status provision.Status, ports map[uint16]string) provision.Node {
		return provision.Node{Name: name, Type: provision.ControlPlane, Status: status, Published: ports}
	}
	g := &grown{cluster: &provision.Cluster{Nodes: []provision.Node{
		node("off", provision.Stopped, map[uint16]string{6443: "127.0.0.1:1"}),
		node("a", provision.Running, map[uint16]string{6443: "127.0.0.1:2"}),
		node("b", provision.Running, map[uint16]string{6443: "127.0.0.1:3"}),
	}}}
	for but, want := range map[string]string{"": "https://127.0.0.1:2", "a": "https://127.0.0.1:3"} {
		if got := g.published(but); got != want {
			t.Errorf("published(%q) = %q; want %q", but, got, want)
		}
	}
	g.cluster.Nodes = []provision.Node{node("a", provision.Running, nil)}
	if got := g.published(""); got != "" {
		t.Errorf("published = %q; want nothing, where nodes are reached at their addresses", got)
	}
}

func TestLinks(t *testing.T) {
	dir, err := os.MkdirTemp("", "link") // a path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- layer2.Run(ctx, dir) }()
	c := layer2.Client{Path: filepath.Join(dir, layer2.Socket)}
	for _, err := c.Ports(ctx); err != nil && ctx.Err() == nil; _, err = c.Ports(ctx) {
		time.Sleep(10 * time.Millisecond)
	}
	for _, name := range []string{"a", "b"} {
		if err := c.Add(ctx, name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cut := layer2.Rule{Cut: true}
	if err := errors.Join(setLinks(ctx, c, cut, "a", "b", false), setLinks(ctx, c, layer2.Rule{Drop: 0.5}, "*", "a", true)); err != nil {
		t.Fatal(err)
	}
	if err := setLinks(ctx, c, cut, "a", "c", false); err == nil || !strings.Contains(err.Error(), "there are [a b]") {
		t.Errorf("a link to nobody = %v; want the names that there are", err)
	}
	rules, err := c.Rules(ctx)
	want := []layer2.Rule{{To: "a", Drop: 0.5}, {From: "a", To: "b", Cut: true}, {From: "b", To: "a", Cut: true}}
	if err != nil || !slices.Equal(rules, want) {
		t.Errorf("rules = %v, %v; want %v", rules, err, want)
	}
	ports, err := c.Ports(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := showLinks(&out, ports, rules); err != nil {
		t.Fatal(err)
	}
	const text = `PORT   CONNECTED   RECEIVED   SENT   LOST
a      false       0          0      0
b      false       0          0      0

RULES:
* -> a drop 0.5
a -> b cut
b -> a cut
`
	if diff := cmp.Diff(text, out.String()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
