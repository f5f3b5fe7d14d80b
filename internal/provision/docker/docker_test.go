//go:build linux

package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

	"github.com/moby/moby/client"

	"talos.internal/internal/provision"
	"talos.internal/internal/provision/provisiontest"
)

// The tests run as root in a process of their own, in a network and a mount namespace of its own, with a daemon of their own that
// has its files in a temporary folder. Groups are on this computer; the daemon makes them below one of the tests'.
const (
	isolatedVariable  = "DOCKER_TEST_ISOLATED"
	interruptVariable = "DOCKER_TEST_INTERRUPT" // N DIR IMAGES NAME: create, and die before the N-th thing
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
	if err := endDaemon(); err != nil {
		fmt.Fprintln(os.Stderr, "end the tests' daemon:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func createAndDie(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	p, err := open(context.Background(), Options{Dir: args[1], Images: args[2]})
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

// daemon is the tests' own, and the folder with all that it has.
var daemon *provisiontest.Docker

var start = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "dockerd-")
	if err != nil {
		return "", err
	}
	// In memory: the daemon writes through to the disk a lot. The mount is in the tests' namespace.
	if err := syscall.Mount("dockerd", dir, "tmpfs", 0, "mode=0711"); err != nil {
		return "", fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	if daemon, err = provisiontest.StartDocker(dir, "talos-docker-test"); err != nil {
		return "", err
	}
	if err := os.Setenv("DOCKER_HOST", daemon.Host); err != nil {
		return "", err
	}
	return provisiontest.Layout(daemon.Dir)
})

func endDaemon() error {
	if daemon == nil {
		return nil
	}
	return daemon.End()
}

func config(word string) []byte { return []byte("word: " + word) }

func request(name string) provision.ClusterRequest {
	r := provision.ClusterRequest{
		Name: name, Image: provisiontest.ImageRef, KubernetesEndpoint: "https://10.215.0.2:6443",
		Network: provision.NetworkRequest{
			CIDR: netip.MustParsePrefix("10.215.0.0/24"), MTU: 1450, Nameservers: []netip.Addr{netip.MustParseAddr("10.215.0.1")},
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
	before      []string
}

func newLab(t *testing.T) lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a daemon is run by root alone")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("there is no dockerd; install Debian's docker.io")
	}
	images, err := start()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{dir: filepath.Join(t.TempDir(), "clusters"), images: images}
	l.before = l.here(t)
	return l
}

func (l lab) provisioner(t *testing.T) *Provisioner {
	t.Helper()
	p, err := open(context.Background(), Options{Dir: l.dir, Images: l.images}) // cleanups look, too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.c.Close() })
	return p
}

// here lists what this computer and the daemon have: of groups and their processes those of the tests' containers. Mounts of
// the daemon are in its own namespace.
func (l lab) here(t *testing.T) []string {
	t.Helper()
	all, err := provisiontest.Machine()
	if err != nil {
		t.Fatal(err)
	}
	all = provisiontest.Of(all, "/talos-docker-test/")
	p := l.provisioner(t)
	ctx := context.Background()
	containers, err := p.c.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers.Items {
		all = append(all, fmt.Sprintf("container %v", c.Names))
	}
	networks, err := p.c.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks.Items {
		all = append(all, "network "+n.Name)
	}
	volumes, err := p.c.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Items {
		all = append(all, "volume "+v.Name)
	}
	return all
}

// left is what there is of clusters beyond what there was before.
func (l lab) left(t *testing.T) []string {
	t.Helper()
	now := slices.DeleteFunc(l.here(t), func(line string) bool { return slices.Contains(l.before, line) })
	err := filepath.WalkDir(filepath.Dir(l.dir), func(name string, _ fs.DirEntry, err error) error {
		if err == nil && name != filepath.Dir(l.dir) && name != l.dir {
			now = append(now, "file "+name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return now
}

func ask(ctx context.Context, n provision.Node, question string) (string, error) {
	return provisiontest.Ask(ctx, n.Endpoint, question)
}

func TestSuite(t *testing.T) {
	l := newLab(t)
	provisiontest.Suite{
		New:     func(t *testing.T) provision.Provisioner { return l.provisioner(t) },
		Request: request,
		Config:  config,
		Left:    l.left,
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
	}.Run(t, "docker-test")
}

// made creates a cluster that is destroyed, without a trace, after the test.
func (l lab) made(t *testing.T, r provision.ClusterRequest) (*Provisioner, *provision.Cluster, context.Context) {
	t.Helper()
	p := l.provisioner(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c, err := p.Create(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.provisioner(t).Destroy(context.Background(), r.Name, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if left := l.left(t); len(left) > 0 {
			t.Errorf("after Destroy there is:\n%s", strings.Join(left, "\n"))
		}
	})
	return p, c, ctx
}

func TestNodeIsWhatTheSystemNeeds(t *testing.T) {
	l := newLab(t)
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "file"), []byte("shared"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := request("docker-test")
	r.Nodes[0].Mounts = []provision.Mount{{Source: shared, Target: "/var/lab", ReadOnly: true}}
	_, c, ctx := l.made(t, r)
	node, other := c.Nodes[0], c.Nodes[1]
	for _, tc := range []struct {
		name, question string
		want           string // in the answer; "" for an empty answer
	}{
		{"the host name is the node's", "hostname", node.Name},
		{"the mode is container", "env", "PLATFORM=container\n"},
		{"the sku is the limits", "env", "TALOSSKU=1.5CPU-256RAM\n"},
		{"the config is in the environment", "env", "USERDATA=d29yZDog"},
		{"the root is read-only", "mkdir /usr/x", "read-only file system"},
		{"/system takes files", "mkdir /system/x", ""},
		{"/run takes files", "mkdir /run/x", ""},
		{"/tmp takes files", "mkdir /tmp/x", ""},
		{"/var takes files", "mkdir /var/x", ""},
		{"/system/state takes files", "mkdir /system/state/x", ""},
		{"/opt takes files", "mkdir /opt/x", ""},
		{"/opt has what the image has there", "read /opt/cni/bin/plugin", "plugin"},
		{"sysctls of the network can be set", "open /proc/sys/net/ipv4/ip_forward", ""},
		{"the group is the root of what the node sees", "read /proc/1/cgroup", ":memory:/\n"},
		{"the image cache is there", "read " + provision.ImageCache + "/index.json", provisiontest.ImageRef},
		{"the image cache is read-only", "mkdir " + provision.ImageCache + "/x", "read-only file system"},
		{"all devices are allowed", "mknod /dev/lab", ""},
		{"and can be used", "open /dev/lab", ""},
		{"the node knows its name", "read /etc/hosts", "10.215.0.2\t" + node.Name + "\n"},
		{"addresses", "addresses", "10.215.0.2/24"},
		{"no seccomp filter", "read /proc/self/status", "Seccomp:\t0\n"},
		{"a mount of this computer's", "read /var/lab/file", "shared"},
		{"which is read-only", "mkdir /var/lab/x", "read-only file system"},
		{"the MTU is the network's", "read /sys/class/net/eth0/mtu", "1450"},
		{"the other node is reached", "dial " + other.Address.String() + ":50000", "10.215.0.2:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ask(ctx, node, tc.question)
			if err != nil {
				t.Fatalf("%s: %v", tc.question, err)
			}
			if !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("%s = %q; want %q in it", tc.question, got, tc.want)
			}
		})
	}
	t.Run("the capabilities are those of root here, but for those that the daemon does not know", func(t *testing.T) {
		mine, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		status, err := ask(ctx, node, "read /proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		const recentBits = 7 << 38 // CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE
		want, got := bounding(t, string(mine)), bounding(t, status)
		if want|recentBits != got|recentBits {
			t.Errorf("node has the capabilities %x; want those of root here, %x", got, want)
		}
	})
}

func bounding(t *testing.T, status string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(status, "CapBnd:")
	set, err := strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPortsArePublishedAndStayTheSame(t *testing.T) {
	l := newLab(t)
	r := request("docker-test")
	r.Ports = []provision.Port{{HostPort: 18080, NodePort: 50000, Protocol: "tcp"}}
	p, c, ctx := l.made(t, r)
	first := c.Nodes[0]
	if !strings.HasPrefix(first.Endpoint, "127.0.0.1:") || first.Published[portMachine] != first.Endpoint || first.Published[portKubernetes] == "" {
		t.Errorf("node = %+v; want its APIs at this computer's loopback", first)
	}
	if worker := c.Nodes[1]; len(worker.Published) != 0 || worker.Endpoint != worker.Address.String() {
		t.Errorf("worker = %+v; want it at its address alone", worker)
	}
	if err := p.StopNode(ctx, r.Name, first.Name); err != nil {
		t.Fatal(err)
	}
	if err := p.StartNode(ctx, r.Name, first.Name); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{first.Endpoint, "127.0.0.1:18080"} {
		for {
			answer, err := provisiontest.Ask(ctx, at, "hello")
			if err == nil && answer == "hello" {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s answers %q, %v after the node has started again", at, answer, err)
			}
			time.Sleep(50 * time.Millisecond) // the daemon takes connections before the node does
		}
	}
}

// As the published tutorial does it: docker run with the USERDATA of another node, and docker rm.
func TestNodesThatAPersonAddsAndRemoves(t *testing.T) {
	l := newLab(t)
	p, c, ctx := l.made(t, request("docker-test"))
	worker := c.Nodes[1]
	full, err := p.c.ContainerInspect(ctx, worker.Name, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	docker := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	args := []string{
		"run", "--name", "docker-test-worker-2", "--hostname", "docker-test-worker-2", "--read-only", "--cpus=2", "--memory=256m",
		"--mount", "type=tmpfs,destination=/run", "--mount", "type=tmpfs,destination=/system", "--mount", "type=tmpfs,destination=/tmp",
		"--mount", "type=volume,destination=/var", "--mount", "type=volume,destination=/system/state", "--mount", "type=volume,destination=/opt",
		"--network", "docker-test", "--env", "PLATFORM=container", "--env", full.Container.Config.Env[2],
		"--label", "talos.cluster.name=docker-test", "--label", "talos.owned=true", "--label", "talos.type=worker", "--detach",
	}
	// What --privileged is where root has all capabilities.
	args = append(args, provisiontest.DockerPrivileges(full.Container.HostConfig.CapDrop)...)
	docker(append(args, provisiontest.ImageRef)...)

	reflected := func() *provision.Cluster {
		t.Helper()
		c, err := p.Reflect(ctx, "docker-test")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c = reflected()
	if len(c.Nodes) != 3 {
		t.Fatalf("nodes = %+v; want the one that was added, too", c.Nodes)
	}
	added := c.Nodes[2]
	if added.Name != "docker-test-worker-2" || added.Type != provision.Worker || added.Address.String() != "10.215.0.4" ||
		added.Status != provision.Running || added.CPUs != 2 || added.Memory != 256<<20 {
		t.Errorf("added node = %+v", added)
	}
	if text, err := p.Config(ctx, "docker-test", added.Name); err != nil || string(text) != "word: "+worker.Name {
		t.Errorf("Config of the added node = %q, %v; want that of the other", text, err)
	}
	if got := c.FreeAddress().String(); got != "10.215.0.5" {
		t.Errorf("FreeAddress = %s; want one that nobody has", got)
	}
	if err := errors.Join(p.KillNode(ctx, "docker-test", added.Name), p.StartNode(ctx, "docker-test", added.Name)); err != nil {
		t.Errorf("kill and start the added node: %v", err)
	}
	if got := reflected().Nodes[2].Status; got != provision.Running {
		t.Errorf("the added node is %s", got)
	}

	docker("rm", "-f", worker.Name)
	if n := reflected().Nodes[1]; n.Name != worker.Name || n.Status != provision.Missing {
		t.Errorf("a node that was removed = %+v; want it to be missing", n)
	}
	for what, err := range map[string]error{
		"StopNode": p.StopNode(ctx, "docker-test", worker.Name), "KillNode": p.KillNode(ctx, "docker-test", worker.Name),
	} {
		if err != nil {
			t.Errorf("%s of a node that was removed = %v; it does not run", what, err)
		}
	}
	if err := p.StartNode(ctx, "docker-test", worker.Name); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "add it again") {
		t.Errorf("StartNode of a node that was removed = %v; want fs.ErrNotExist, and what to do", err)
	}
	for _, name := range []string{worker.Name, added.Name} {
		if err := p.RemoveNode(ctx, "docker-test", name, nil); err != nil {
			t.Errorf("RemoveNode %s: %v", name, err)
		}
	}
	if c := reflected(); len(c.Nodes) != 1 {
		t.Errorf("nodes = %+v; want the first alone", c.Nodes)
	}
	// What else is in the network goes on without it. The test's end sees that nothing is left, the volumes of the removed
	// node included.
	docker("run", "--name", "stranger", "--network", "docker-test", "--detach", "--env", "USERDATA=d29yZDogeA==", "--cap-add", "SYS_ADMIN", "--tmpfs", "/run", provisiontest.ImageRef)
	if err := p.Destroy(ctx, "docker-test", nil); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if got := docker("inspect", "-f", "{{.State.Running}}", "stranger"); got != "true\n" {
		t.Errorf("running = %q for a container that is none of the cluster", got)
	}
	docker("rm", "-f", "-v", "stranger")
}

func TestClustersOfOneNameInTwoFolders(t *testing.T) {
	l := newLab(t)
	_, _, ctx := l.made(t, request("docker-test"))
	other, err := open(ctx, Options{Dir: filepath.Join(t.TempDir(), "clusters"), Images: l.images})
	if err != nil {
		t.Fatal(err)
	}
	defer other.c.Close()
	if _, err := other.Create(ctx, request("docker-test"), nil); !errors.Is(err, provision.ErrInUse) || !strings.Contains(err.Error(), l.dir) {
		t.Errorf("Create = %v; want ErrInUse, and whose it is", err)
	}
	// A create that was interrupted before the other one began leaves a state.
	if err := os.MkdirAll(other.store.Path("docker-test"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := request("docker-test")
	state := &provision.State{Provisioner: Name, Name: "docker-test", Network: provision.StateNetwork{Name: "docker-test", CIDR: r.Network.CIDR, Gateway: r.Network.Gateway()}}
	if err := other.store.Save(state); err != nil {
		t.Fatal(err)
	}
	if err := other.Destroy(ctx, "docker-test", nil); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	c, err := l.provisioner(t).Reflect(ctx, "docker-test")
	if err != nil || c.Nodes[0].Status != provision.Running || c.Nodes[1].Status != provision.Running {
		t.Errorf("the other cluster = %+v, %v; want it to run", c, err)
	}
}

// An image of the same name that was built anew replaces the old one.
func TestImageOfTheCacheIsTheOneThatRuns(t *testing.T) {
	l := newLab(t)
	p := l.provisioner(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.ensureImage(ctx, provisiontest.ImageRef, nil); err != nil {
		t.Fatal(err)
	}
	ours, err := p.c.ImageInspect(ctx, provisiontest.ImageRef)
	if err != nil {
		t.Fatal(err)
	}
	// Another image gets the name.
	tag := func() {
		t.Helper()
		made := exec.CommandContext(ctx, "docker", "import", "-", provisiontest.ImageRef)
		made.Stdin = strings.NewReader(strings.Repeat("\x00", 1024)) // an empty archive
		if out, err := made.CombinedOutput(); err != nil {
			t.Fatalf("docker import: %v\n%s", err, out)
		}
	}
	tag()
	other, err := p.c.ImageInspect(ctx, provisiontest.ImageRef)
	if err != nil || other.ID == ours.ID {
		t.Fatalf("image = %s, %v; want another one", other.ID, err)
	}
	var said []string
	say := func(step string) func(error) {
		said = append(said, step)
		return func(error) {}
	}
	for range 2 {
		if err := p.ensureImage(ctx, provisiontest.ImageRef, say); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := p.c.ImageInspect(ctx, provisiontest.ImageRef); err != nil || again.ID != ours.ID {
		t.Errorf("image = %s, %v; want that of the cache, %s", again.ID, err, ours.ID)
	}
	if len(said) != 1 {
		t.Errorf("steps = %q; want it to be loaded once", said)
	}
	if _, err := p.c.ImageInspect(ctx, other.ID); err == nil {
		t.Error("the image that lost its name is still there")
	}
}
