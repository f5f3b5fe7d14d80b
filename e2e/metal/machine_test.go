package metal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/cli"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
	"talos.internal/internal/provision/qemu"
	"talos.internal/secret"
)

const switchArgument = "test-switch"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == switchArgument {
		if err := layer2.Run(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Machines outlive who made them: a test that is interrupted has no cleanup but this.
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(interrupted, func() {
		made.Range(func(destroy, _ any) bool {
			if err := destroy.(*destroyer).now(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			return true
		})
		os.Exit(1)
	})
	os.Exit(m.Run())
}

// made has a *destroyer for each cluster that is there.
var made sync.Map

// destroyer removes a cluster.
type destroyer struct {
	p    *qemu.Provisioner
	name string
}

func (d *destroyer) now() error {
	made.Delete(d)
	err := d.p.Destroy(context.Background(), d.name, nil)
	if errors.Is(err, fs.ErrNotExist) { // its create was refused
		return nil
	}
	return err
}

// bootLimit bounds a boot: 15 seconds by QEMU's translation on two cores, and a busy computer needs the rest.
const bootLimit = 8 * time.Minute

// secrets are those of all clusters: to make the RSA key takes seconds.
var secrets = sync.OnceValues(func() (*secret.Bundle, error) { return secret.NewBundle(time.Now().Add(-time.Hour), nil) })

// built returns the first of the files that is in the folder of built images.
func built(t *testing.T, names ...string) string {
	t.Helper()
	if os.Getenv("QEMU_TEST") == "" {
		t.Skip("QEMU_TEST is not set: make e2e-machine starts virtual machines")
	}
	dir := os.Getenv("TALOS_MACHINE")
	if dir == "" {
		dir, _ = filepath.Abs("../../_out/machine")
	}
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(dir, n)); err == nil {
			return filepath.Join(dir, n)
		}
	}
	t.Skipf("%s has none of %v: build them with make machine, or name the folder in TALOS_MACHINE", dir, names)
	return ""
}

// machine is a cluster of one machine of the control plane.
type machine struct {
	t       *testing.T
	p       *qemu.Provisioner
	cluster *provision.Cluster
	secrets *secret.Bundle
	config  []byte // the config that it has, or is to get
	worker  []byte // the config of a worker of its cluster
	dir     string // of the clusters
	network provision.NetworkRequest
	pause   time.Duration // between two looks
	limit   time.Duration // of a wait; 0 is bootLimit
}

// shape says what a cluster of a test is.
type shape struct {
	name, image string
	blank       bool // its disk is empty, and it has no config
	options     qemu.Options
	cpus        float64
	memory      int64 // of the machine of the control plane; 0 is 1 GiB
	documents   []string
	config      []byte // what the machine gets in place of a config, as it is
	// unconfigured says that it gets none.
	unconfigured bool
}

// leastWorker is the least memory of a worker that Kubernetes is to run on.
const leastWorker = 512 << 20

// withoutTimeServer is part of all configs: the switch leads nowhere, and the machines' clock is that of this computer.
const withoutTimeServer = "apiVersion: v1alpha1\nkind: TimeSyncConfig\nenabled: false\n"

// newMachine makes a machine, and removes it after the test. A test that failed shows the console. documents are merged into its config.
func newMachine(t *testing.T, name, image string, blank bool, o qemu.Options, documents ...string) *machine {
	t.Helper()
	return newCluster(t, shape{name: name, image: image, blank: blank, options: o, documents: append([]string{withoutTimeServer}, documents...)})
}

// direct are the options of a machine that QEMU starts without firmware, which is quicker.
func direct(t *testing.T) qemu.Options {
	t.Helper()
	line, err := os.ReadFile(built(t, "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	return qemu.Options{Kernel: built(t, "vmlinuz"), Initramfs: built(t, "initramfs"), Cmdline: strings.TrimSpace(string(line))}
}

// newCluster makes the machines of a shape.
func newCluster(t *testing.T, s shape) *machine {
	t.Helper()
	secrets, err := secrets()
	if err != nil {
		t.Fatal(err)
	}
	o := s.options
	// Not t.TempDir, which has the name of the test in it: the path of a socket is short.
	dir, err := os.MkdirTemp("", "metal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	o.Dir, o.Switch = filepath.Join(dir, "clusters"), []string{os.Args[0], switchArgument}
	p, err := qemu.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r := provision.ClusterRequest{
		Name: s.name, Image: s.image, Network: provision.NetworkRequest{CIDR: netip.MustParsePrefix("10.77.0.0/24"), MTU: 1500},
		KubernetesEndpoint: "https://10.77.0.2:6443",
	}
	in := generate.Input{ClusterName: s.name, Secrets: secrets, Discovery: true, ExtraSANs: []string{"127.0.0.1"}}
	if s.blank {
		in.InstallDisk = "/dev/vda"
	}
	if err := in.Endpoint.UnmarshalText([]byte(r.KubernetesEndpoint)); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, p: p, secrets: secrets, dir: o.Dir, network: r.Network, pause: 200 * time.Millisecond}
	m.config, m.worker = configText(t, in, schema.ControlPlane, s.documents), configText(t, in, schema.Worker, s.documents)
	memory := s.memory
	if memory == 0 {
		memory = 1 << 30
	}
	r.Nodes = []provision.NodeRequest{{
		Name: provision.NodeName(s.name, provision.ControlPlane, 1), Type: provision.ControlPlane, Address: r.Network.Address(0),
		CPUs: max(1, s.cpus), Memory: memory, Config: m.config,
	}}
	switch {
	case s.config != nil:
		r.Nodes[0].Config = s.config
	case s.blank, s.unconfigured:
		r.Nodes[0].Config = nil
	}
	mine := &destroyer{p, s.name}
	made.Store(mine, nil)
	t.Cleanup(func() {
		if t.Failed() && m.cluster != nil {
			for _, n := range m.cluster.Nodes {
				var text bytes.Buffer
				_ = p.Logs(context.Background(), s.name, n.Name, provision.LogOptions{Tail: 150}, &text)
				t.Logf("end of the console of %s:\n%s", n.Name, text.String())
			}
		}
		if err := mine.now(); err != nil {
			t.Error(err)
		}
	})
	if m.cluster, err = p.Create(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

// configText is the config of a machine, with documents merged into it.
func configText(t *testing.T, in generate.Input, role schema.Role, documents []string) []byte {
	t.Helper()
	c, err := in.Config(role)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range documents {
		change, err := patch.Parse(fmt.Sprintf("document %d of the test", i+1), []byte(d))
		if err != nil {
			t.Fatal(err)
		}
		if c, err = c.Patch(change); err != nil {
			t.Fatal(err)
		}
	}
	text, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (m *machine) node() provision.Node { return m.cluster.Nodes[0] }

// context returns the credentials of an administrator.
func (m *machine) context() *talosconfig.Context {
	m.t.Helper()
	pair, err := m.secrets.OS.Issue(secret.OSClient([]string{secret.RoleAdmin}, time.Hour), time.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	return talosconfig.NewContext([]string{m.node().Endpoint}, []string{m.node().Address.String()}, m.secrets.OS.CertificatePEM(), pair)
}

// until waits for f to succeed.
func (m *machine) until(what string, f func(ctx context.Context) error) {
	m.t.Helper()
	began, last := time.Now(), error(nil)
	limit := cmp.Or(m.limit, bootLimit)
	for time.Since(began) < limit {
		ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
		last = f(ctx)
		cancel()
		if last == nil {
			m.t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Millisecond))
			return
		}
		time.Sleep(m.pause)
	}
	m.t.Fatalf("waited %v for %s; last seen: %v", limit, what, last)
}

// answers waits until the API answers an administrator.
func (m *machine) answers() {
	m.t.Helper()
	c, err := client.New(client.Options{Context: m.context()})
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	m.until("the API to answer", func(ctx context.Context) error {
		_, err := client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
		return err
	})
}

// talosctl runs a command line with the real command tree, as an administrator.
func (m *machine) talosctl(ctx context.Context, args ...string) (string, error) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "talosconfig")
	c := &talosconfig.Config{Context: "test", Contexts: map[string]*talosconfig.Context{"test": m.context()}}
	if err := c.Save(file); err != nil {
		m.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	env := command.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now,
		Getenv: func(name string) string { return map[string]string{"TALOSCONFIG": file}[name] },
	}
	if code := cli.Run(ctx, env, args); code != 0 {
		return "", fmt.Errorf("talosctl %s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), nil
}

// shows waits until "talosctl get KIND" has all the texts. A kind may have an id behind it.
func (m *machine) shows(kind string, texts ...string) {
	m.t.Helper()
	m.until(fmt.Sprintf("%s to have %q", kind, texts), func(ctx context.Context) error {
		out, err := m.talosctl(ctx, append([]string{"get"}, append(strings.Fields(kind), "-o", "yaml")...)...)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(out, text) {
				return fmt.Errorf("it has no %q: %s", text, out)
			}
		}
		return nil
	})
}

// identity is what a machine makes once and keeps in STATE.
func (m *machine) identity() string {
	m.t.Helper()
	var id string
	m.until("an identity", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "get", "identities", "-o", "yaml")
		for line := range strings.Lines(out) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == "nodeId" {
				id = strings.TrimSpace(value)
			}
		}
		if err == nil && id == "" {
			err = fmt.Errorf("there is none: %s", out)
		}
		return err
	})
	return id
}

// survives kills a machine during writes, as a power failure does, and expects it to be what it was.
func (m *machine) survives() {
	m.t.Helper()
	before := m.identity()
	last := m.writeUntilKilled()
	m.start()
	m.answers()
	if got := m.written(); got < last {
		m.t.Errorf("after a kill during writes the config has change %d; %d was answered", got, last)
	}
	if after := m.identity(); after != before {
		m.t.Errorf("after a kill during writes the identity is %q; want %q", after, before)
	}
}

// seesItself wants of a machine with its system on a disk that it knows its disks and its network.
func (m *machine) seesItself() {
	m.t.Helper()
	m.shows("disks", "id: vda")
	m.shows("systemdisk", "vda")
	m.shows("discoveredvolumes", "EFI", "ROOT-A", "ROOT-B", "META", "STATE", "EPHEMERAL")
	for _, volume := range []string{"META", "STATE", "EPHEMERAL"} {
		m.shows("volumestatus "+volume, "phase: ready")
	}
	m.shows("links", "operationalState: up", "hardwareAddr: 02:")
	m.shows("addresses", m.node().Address.String()+"/24")
	m.shows("routes", "10.77.0.1")
}

func TestDiskImageBootsByFirmware(t *testing.T) {
	m := newMachine(t, "metal-disk", built(t, "talos.qcow2", "talos.raw"), false, qemu.Options{UEFI: true})
	m.answers()
	m.seesItself()
	m.survives()
}

func TestISOInstalls(t *testing.T) {
	m := newMachine(t, "metal-iso", built(t, "talos.iso"), true, qemu.Options{UEFI: true})
	m.maintains()
	// No disk is as the config wants it: the machine says so, and another config helps.
	right := m.config
	m.config = bytes.ReplaceAll(right, []byte("/dev/vda"), []byte("/dev/nvme7n1"))
	if bytes.Equal(m.config, right) {
		t.Fatalf("the config names no disk:\n%s", right)
	}
	m.gets()
	m.console("the system cannot be installed: no disk matches", "nvme7n1", "there is /dev/vda")
	m.answers()
	m.config = right
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, m.config, 0o600); err != nil {
		t.Fatal(err)
	}
	m.until("the right config to be taken", func(ctx context.Context) error {
		_, err := m.talosctl(ctx, "apply-config", "--file", file)
		return err
	})
	m.shows("systemdisk", "vda")
	m.seesItself()
	m.survives()
}
