//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/provision"
	"talos.internal/internal/provision/provisiontest"
	"talos.internal/internal/sys/rtnl"
)

// The tests run as root in a process of their own, in a network and a mount namespace of its own: nothing that they make, or
// forget, is on this computer. Groups are; their names come from a temporary folder.
const (
	isolatedVariable  = "NATIVE_TEST_ISOLATED"
	interruptVariable = "NATIVE_TEST_INTERRUPT" // N DIR IMAGES NAME: create, and die before the N-th thing
)

func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(isolatedVariable) == "" {
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), isolatedVariable+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		// Unsharing a mount namespace makes it private.
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		err := cmd.Run()
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "isolate the tests:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(interruptVariable); text != "" {
		if err := createAndDie(strings.Fields(text)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	_ = os.RemoveAll(layoutDir) // "" if no test needed it
	os.Exit(code)
}

// builtRunc is the runc that goes into the image, if it is built. Otherwise the tests take the computer's.
func builtRunc() string {
	name, err := filepath.Abs("../../../_out/components/runc/runc")
	if err != nil {
		return ""
	}
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

func createAndDie(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	p, err := open(Options{Dir: args[1], Images: args[2], Runc: builtRunc()})
	if err != nil {
		return err
	}
	p.trace = func(string) {
		if n--; n == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	_, err = p.Create(context.Background(), request(args[3]), nil)
	return err
}

const testImage = provisiontest.ImageRef

// layoutDir is where layout works.
var layoutDir string

// layout is an image cache with a node image whose PID 1 is that of the suite.
var layout = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "native-image-")
	if err != nil {
		return "", err
	}
	layoutDir = dir
	return provisiontest.Layout(dir)
})

func config(word string) []byte { return []byte("word: " + word) }

func request(name string) provision.ClusterRequest {
	r := provision.ClusterRequest{
		Name: name, Image: testImage, KubernetesEndpoint: "https://10.213.0.2:6443",
		Network: provision.NetworkRequest{
			CIDR: netip.MustParsePrefix("10.213.0.0/24"), MTU: 1500, Nameservers: []netip.Addr{netip.MustParseAddr("10.213.0.1")},
		},
	}
	for i, kind := range []string{provision.ControlPlane, provision.Worker} {
		node := provision.NodeName(name, kind, 1)
		r.Nodes = append(r.Nodes, provision.NodeRequest{
			Name: node, Type: kind, Address: r.Network.Address(i), CPUs: 1.5, Memory: 256 << 20, Config: config(node),
		})
	}
	return r
}

// lab is a folder for clusters and an image cache.
type lab struct {
	dir, images string
}

func newLab(t *testing.T) lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("nodes are made by root alone")
	}
	images, err := layout()
	if err != nil {
		t.Fatal(err)
	}
	return lab{filepath.Join(t.TempDir(), "clusters"), images}
}

func (l lab) provisioner(t *testing.T) *Provisioner {
	t.Helper()
	p, err := open(Options{Dir: l.dir, Images: l.images, Runc: builtRunc()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// left is what there is of clusters here beyond what there was before.
func left(t *testing.T, dir string, before []string) []string {
	t.Helper()
	now := here(t)
	now = slices.DeleteFunc(now, func(l string) bool { return slices.Contains(before, l) })
	err := filepath.WalkDir(filepath.Dir(dir), func(name string, d fs.DirEntry, err error) error {
		if err == nil && name != filepath.Dir(dir) && name != dir {
			now = append(now, "file "+name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return now
}

// here lists what this computer has, of groups and their processes those of the tests' clusters.
func here(t *testing.T) []string {
	t.Helper()
	all, err := provisiontest.Machine()
	if err != nil {
		t.Fatal(err)
	}
	return provisiontest.Of(all, "/talos-native-test")
}

func ask(ctx context.Context, n provision.Node, question string) (string, error) {
	return provisiontest.Ask(ctx, n.Endpoint, question)
}

func TestSuite(t *testing.T) {
	l := newLab(t)
	before := here(t)
	provisiontest.Suite{
		New:     func(t *testing.T) provision.Provisioner { return l.provisioner(t) },
		Request: request,
		Config:  config,
		Left:    func(t *testing.T) []string { return left(t, l.dir, before) },
		Interrupt: func(t *testing.T, name string, n int) bool {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s %s", interruptVariable, n, l.dir, l.images, name))
			out, err := cmd.CombinedOutput()
			exit := new(exec.ExitError)
			if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
				return false
			}
			if err != nil {
				t.Fatalf("create in another process: %v\n%s", err, out)
			}
			return true
		},
		Kill: func(t *testing.T, n provision.Node) {
			if err := syscall.Kill(n.PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
		Reach: func(ctx context.Context, n provision.Node) error {
			answer, err := ask(ctx, n, "hello")
			if err == nil && answer != "hello" {
				err = fmt.Errorf("it answered %q", answer)
			}
			return err
		},
	}.Run(t, "native-test")
}

func TestNodeIsWhatTheSystemNeeds(t *testing.T) {
	l := newLab(t)
	before := here(t)
	p := l.provisioner(t)
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "file"), []byte("shared"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := request("native-test")
	r.Nodes[0].Mounts = []provision.Mount{{Source: shared, Target: "/var/lab", ReadOnly: true}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := p.Create(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Destroy(context.Background(), r.Name, nil); err != nil {
			t.Error(err)
		}
		if left := left(t, l.dir, before); len(left) > 0 {
			t.Errorf("after Destroy there is:\n%s", strings.Join(left, "\n"))
		}
	})
	node, other := c.Nodes[0], c.Nodes[1]
	text := func(question string) string {
		t.Helper()
		answer, err := ask(ctx, node, question)
		if err != nil {
			t.Fatalf("%s: %v", question, err)
		}
		return answer
	}
	for _, tc := range []struct {
		name, question string
		want           string // in the answer; "" for an empty answer
	}{
		{"the host name is the node's", "hostname", node.Name},
		{"the mode is container", "env", "PLATFORM=container\n"},
		{"the sku is the limits", "env", "TALOSSKU=1.5CPU-256RAM\n"},
		{"the config is in the environment", "env", "USERDATA=d29yZDog"},
		{"the root is read-only", "mkdir /usr/x", "read-only file system"},
		{"the root of the image is, too, below a mount point", "mkdir /etc/x", "read-only file system"},
		{"/system takes files", "mkdir /system/x", ""},
		{"/run takes files", "mkdir /run/x", ""},
		{"/tmp takes files", "mkdir /tmp/x", ""},
		{"/var takes files", "mkdir /var/x", ""},
		{"/system/state takes files", "mkdir /system/state/x", ""},
		{"/opt takes files", "mkdir /opt/x", ""},
		{"/opt has what the image has there", "read /opt/cni/bin/plugin", "plugin"},
		{"/opt's can be replaced", "open /opt/cni/bin/plugin", ""},
		{"sysctls of the network can be set", "open /proc/sys/net/ipv4/ip_forward", ""},
		{"no path of proc is hidden", "read /proc/keys", ""},
		{"groups can be made", "mkdir " + filepath.Join("/sys/fs/cgroup", groupDir(t), "pods"), ""},
		{"the group is the root of what the node sees", "read /proc/1/cgroup", ":memory:/\n"},
		{"the image cache is there", "read " + ImageCache + "/index.json", testImage},
		{"the image cache is read-only", "mkdir " + ImageCache + "/x", "read-only file system"},
		{"all devices are allowed", "mknod /dev/lab", ""},
		{"and can be used", "open /dev/lab", ""},
		{"names are asked of the servers in the request", "read /etc/resolv.conf", "nameserver 10.213.0.1\n"},
		{"the node knows its name", "read /etc/hosts", "10.213.0.2\t" + node.Name + "\n"},
		{"/etc/hostname", "read /etc/hostname", node.Name + "\n"},
		{"addresses", "addresses", "10.213.0.2/24"},
		{"it may have as many open files as there can be", "openfiles", "true"},
		{"no seccomp filter", "read /proc/self/status", "Seccomp:\t0\n"},
		{"no_new_privs is not set", "read /proc/self/status", "NoNewPrivs:\t0\n"},
		{"a mount of this computer's", "read /var/lab/file", "shared"},
		{"which is read-only", "mkdir /var/lab/x", "read-only file system"},
		{"the other node is reached", "dial " + other.Address.String() + ":50000", "10.213.0.2:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := text(tc.question)
			if tc.question == "read /proc/keys" {
				if strings.Contains(got, "error") && !strings.Contains(got, "no such file") {
					t.Errorf("%s = %q", tc.question, got)
				}
				return
			}
			if !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("%s = %q; want %q in it", tc.question, got, tc.want)
			}
		})
	}
	t.Run("the capabilities are those of root here", func(t *testing.T) {
		mine, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		node := text("read /proc/self/status")
		for _, set := range []string{"CapBnd:", "CapEff:", "CapPrm:"} {
			if want, got := line(string(mine), "CapBnd:"), line(node, set); strings.TrimPrefix(got, set) != strings.TrimPrefix(want, "CapBnd:") {
				t.Errorf("node has %s; want those of %s", got, want)
			}
		}
	})
	t.Run("the group has the limits", func(t *testing.T) {
		want := map[string]string{"memory.limit_in_bytes": "268435456\n", "cpu.cfs_quota_us": "150000\n"}
		if p.tree.Version() == 2 {
			want = map[string]string{"memory.max": "268435456\n", "cpu.max": "150000 100000\n"}
		}
		for file, want := range want {
			controller, _, _ := strings.Cut(file, ".")
			dir := "/sys/fs/cgroup"
			if p.tree.Version() == 1 {
				dir = filepath.Join(dir, controller)
			}
			dir = filepath.Join(dir, groupOf(mustLoad(t, p, r.Name), node.Name))
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
				t.Errorf("%s = %q, %v; want %q", file, got, err, want)
			}
		}
	})
	t.Run("what the node shares of its root stays in it", func(t *testing.T) {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || strings.Contains(string(mounts), "/run/lab") || strings.Contains(string(mounts), l.dir) {
			t.Errorf("mounts of this computer: %v\n%s", err, mounts)
		}
	})
	t.Run("what goes out of the network has this computer's address", func(t *testing.T) { outside(t, ctx, node) })
}

// outside makes another network, which knows no way to the node's, and lets the node dial into it.
func outside(t *testing.T, ctx context.Context, node provision.Node) {
	t.Helper()
	sleeper := exec.Command("sleep", "60")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	here, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if err := here.AddVeth(rtnl.Veth{Name: "outside", MTU: 1500, Peer: "eth0", PeerPID: sleeper.Process.Pid}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = here.RemoveLink("outside") }()
	there, err := rtnl.OpenProcess(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	for _, end := range []struct {
		c             *rtnl.Conn
		name, address string
	}{{here, "outside", "192.0.2.1/24"}, {there, "eth0", "192.0.2.2/24"}} {
		l, err := end.c.LinkByName(end.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := end.c.AddAddress(rtnl.Address{Link: l.Index, Prefix: netip.MustParsePrefix(end.address)}); err != nil {
			t.Fatal(err)
		}
		if err := end.c.SetUp(l.Index, true); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.Command(os.Args[0], "-test.run=TestListener")
	server.Env = append(os.Environ(), listenerVariable+"=192.0.2.2:7")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in := exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(sleeper.Process.Pid) + "/ns/net", os.Args[0]}, server.Args[1:]...)...)
	in.Env = server.Env
	out, err := in.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Process.Kill(); _ = in.Wait() }()
	buf := make([]byte, 64)
	if _, err := out.Read(buf); err != nil { // "listening"
		t.Fatal(err)
	}
	if answer, err := ask(ctx, node, "dial 192.0.2.2:7"); err != nil || !strings.HasPrefix(answer, node.Address.String()) {
		t.Fatalf("dial = %q, %v; want a connection", answer, err)
	}
	n, err := out.Read(buf)
	if got := string(buf[:max(n, 0)]); err != nil || !strings.HasPrefix(got, "192.0.2.1:") {
		t.Errorf("the connection comes from %q, %v; want this computer's address 192.0.2.1", got, err)
	}
}

const listenerVariable = "NATIVE_TEST_LISTEN"

// TestListener is no test: it is the process on the other side of outside, in which it says who connects.
func TestListener(t *testing.T) {
	address := os.Getenv(listenerVariable)
	if address == "" {
		return
	}
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(c.RemoteAddr())
}

func groupDir(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		return "memory"
	}
	return ""
}

func line(text, prefix string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

func mustLoad(t *testing.T, p *Provisioner, name string) *provision.State {
	t.Helper()
	state, err := p.store.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestStubbornNodeIsEndedAfterItsTime(t *testing.T) {
	l := newLab(t)
	p := l.provisioner(t)
	p.grace = 200 * time.Millisecond
	r := request("native-test")
	r.Nodes = r.Nodes[:1]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := p.Create(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Destroy(context.Background(), r.Name, nil); err != nil {
			t.Error(err)
		}
	})
	if answer, err := ask(ctx, c.Nodes[0], "write /var/stubborn"); err != nil || answer != "" {
		t.Fatal(answer, err)
	}
	if err := p.StopNode(ctx, r.Name, c.Nodes[0].Name); err != nil {
		t.Errorf("StopNode: %v", err)
	}
	if c, err = p.Reflect(ctx, r.Name); err != nil || c.Nodes[0].Status != provision.Stopped {
		t.Errorf("Reflect = %+v, %v; want a stopped node", c, err)
	}
}

// After a restart of the computer there are the files and nothing else.
func TestNodesStartAgainAfterTheComputerDid(t *testing.T) {
	l := newLab(t)
	before := here(t)
	p := l.provisioner(t)
	r := request("native-test")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := p.Create(ctx, r, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Destroy(context.Background(), r.Name, nil); err != nil {
			t.Error(err)
		}
		if left := left(t, l.dir, before); len(left) > 0 {
			t.Errorf("after Destroy there is:\n%s", strings.Join(left, "\n"))
		}
	})
	state := mustLoad(t, p, r.Name)
	if err := errors.Join(p.tree.Group(state.Data[keyGroup]).Kill(ctx), p.sweep(ctx, state.Data[keyGroup]), p.removeNetwork(state)); err != nil {
		t.Fatal(err)
	}
	c, err := p.Reflect(ctx, r.Name)
	if err != nil || c.Nodes[0].Status != provision.Stopped || c.Nodes[1].Status != provision.Stopped {
		t.Fatalf("Reflect = %+v, %v; want two stopped nodes", c, err)
	}
	p.images = "" // as a program that is started elsewhere has it: what nodes get is remembered
	for _, n := range c.Nodes {
		if err := p.StartNode(ctx, r.Name, n.Name); err != nil {
			t.Fatal(err)
		}
		if answer, err := ask(ctx, n, "read /var/starts"); err != nil || answer != "2" {
			t.Errorf("starts of %s = %q, %v; want 2", n.Name, answer, err)
		}
		if answer, err := ask(ctx, n, "read "+ImageCache+"/index.json"); err != nil || !strings.Contains(answer, testImage) {
			t.Errorf("image cache of %s = %q, %v; want it to have %s", n.Name, answer, err, testImage)
		}
	}
}

func TestTwoClustersShareTheImageAndForwarding(t *testing.T) {
	l := newLab(t)
	before := here(t)
	p := l.provisioner(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, second := request("native-test-a"), request("native-test-b")
	second.Network.CIDR = netip.MustParsePrefix("10.214.0.0/24")
	for i := range second.Nodes {
		second.Nodes[i].Address = second.Network.Address(i)
	}
	for _, r := range []provision.ClusterRequest{first, second} {
		if _, err := p.Create(ctx, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	roots, err := os.ReadDir(p.cache)
	if err != nil || len(roots) != 1 {
		t.Errorf("unpacked images = %v, %v; want one", roots, err)
	}
	if err := p.Destroy(ctx, first.Name, nil); err != nil {
		t.Error(err)
	}
	c, err := p.Reflect(ctx, second.Name)
	if err != nil || c.Nodes[0].Status != provision.Running {
		t.Errorf("the other cluster = %+v, %v; want it to run", c, err)
	}
	if answer, err := ask(ctx, c.Nodes[0], "read /opt/cni/bin/plugin"); err != nil || answer != "plugin" {
		t.Errorf("a node of the other cluster answers %q, %v", answer, err)
	}
	if now := here(t); !slices.Contains(now, "sysctl net.ipv4.ip_forward 1") {
		t.Error("forwarding ended with the first cluster, which another one needs")
	}
	if err := p.Destroy(ctx, second.Name, nil); err != nil {
		t.Error(err)
	}
	if left := left(t, l.dir, before); len(left) > 0 {
		t.Errorf("after both are destroyed there is:\n%s", strings.Join(left, "\n"))
	}
	if diff := cmp.Diff(before, here(t)); diff != "" {
		t.Errorf("this computer (-before +after):\n%s", diff)
	}
}
