package etcdctrl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/registryd"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
	"talos.internal/resource"
	"talos.internal/resource/catalog"
	"talos.internal/resource/clock"
	"talos.internal/resource/etcd"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/service"
	"talos.internal/secret"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

const etcdImage = "registry.k8s.io/etcd:v0.0.0-test"

// component returns a program that "make components" builds.
func component(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TALOS_COMPONENTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "_out", "components")
	}
	p, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the component %s is missing: %v", name, err)
		}
		t.Skipf("%v: build it with \"make components\"", err)
	}
	return p
}

// serveImage serves an image of etcd, and returns the directory of hosts files by which it is found.
func serveImage(t testing.TB, program string) string {
	t.Helper()
	dir := t.TempDir()
	var tree rootfs.Tree
	file, err := rootfs.Host("usr/local/bin/etcd", 0o755, program)
	if err == nil {
		err = tree.Add(file, rootfs.Symlink("usr/local/bin/etcdutl", "etcd"))
	}
	if err != nil {
		t.Fatal(err)
	}
	layer, err := oci.NewLayer(&tree, dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.NewImage(etcdImage, oci.Config{Arch: "amd64", User: "60:60"}, []*oci.Layer{layer}, []string{"etcd"})
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout")
	if err := oci.WriteLayout(layout, []oci.Image{img}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- registryd.New(slog.New(slog.DiscardHandler), layout).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	hosts := filepath.Join(dir, "hosts", "_default")
	if err := os.MkdirAll(hosts, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = %q\n", "http://"+l.Addr().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(hosts)
}

// liveNode is a control-plane node as far as etcd needs one.
type liveNode struct {
	addr netip.Addr
	dir  string
	st   state.State
	sup  *supervise.Supervisor
	logs *logring.Set
	door *Door
	op   etcdop.Operator
}

func newLiveNode(t testing.TB, name, addr string, ca *secret.Authority, hosts string) *liveNode {
	t.Helper()
	program, runc := component(t, "containerd/containerd"), component(t, "runc/runc")
	dir, err := os.MkdirTemp("", "etcd") // short: the paths of sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	n := &liveNode{addr: netip.MustParseAddr(addr), dir: dir}
	file := func(name string) string { return filepath.Join(dir, name) }
	conf := fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[plugins."io.containerd.server.v1.grpc"]
  address = %q
[plugins."io.containerd.server.v1.ttrpc"]
  address = %q
`, file("root"), file("state"), file("c.sock"), file("t.sock"))
	if err := os.WriteFile(file("config.toml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", file("config.toml"))
	cmd.Env = []string{"PATH=" + filepath.Dir(program) + ":" + filepath.Dir(runc)}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := container.New(container.Options{Socket: file("c.sock"), Hosts: hosts, RuncRoot: file("runc")})
	if n.logs, err = logring.NewSet(0); err != nil {
		t.Fatal(err)
	}
	n.sup = supervise.New(n.logs)
	n.door = NewDoor(n.sup, file("data"), file("snapshot"))
	n.op = etcdop.Operator{PKI: file("pki"), Local: etcdop.Endpoint(n.addr)}
	writePKI(t, file("pki"), ca, n.addr)

	ctx, cancel := context.WithCancel(context.Background())
	n.st = memstate.New(memstate.Options{})
	for _, ns := range catalog.Namespaces() {
		if err := state.RegisterNamespace(ctx, n.st, ns.Name, ns.Description); err != nil {
			t.Fatal(err)
		}
	}
	sched := controller.New(n.st, slog.New(slog.NewTextHandler(testWriter{t, name}, nil)), controller.Options{})
	for _, c := range []controller.Controller{
		&ServiceController{Services: n.sup, Client: client, Door: n.door, PKI: n.op.PKI, Cgroup: defaultCgroup + "-" + name, Operator: n.op},
		MemberController{n.op}, AdvertisedPeerController{n.op}, PromotionController{n.op},
	} {
		if err := sched.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 2)
	go func() { done <- sched.Run(ctx) }()
	go func() { done <- n.mirror(ctx) }()
	if err := n.sup.Load(supervise.Service{ID: "containerd", Runner: supervise.Func(func(ctx context.Context, _ io.Writer) error {
		<-ctx.Done()
		return nil
	})}); err != nil {
		t.Fatal(err)
	}
	if err := n.sup.Start("containerd"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.sup.Shutdown(context.Background(), 20*time.Second)
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := errors.Join(client.Close(), cmd.Process.Signal(os.Interrupt)); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("something is left: %v\n%s", err, log.String())
		}
	})
	create(t, n.st, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeControlPlane})
	create(t, n.st, clock.TimeStatusID, clock.TimeStatus{Synced: true})
	create(t, n.st, network.NodeAddressCurrent, network.NodeAddress{Addresses: []netip.Prefix{netip.PrefixFrom(n.addr, 32)}})
	create(t, n.st, kube.EndpointDiscovery, kube.Endpoint{Addresses: addrs("127.77.0.1", "127.77.0.2")})
	create(t, n.st, etcd.SpecID, etcd.Spec{
		Name: name, Image: etcdImage, AdvertisedAddresses: []netip.Addr{n.addr}, ListenPeerAddresses: []netip.Addr{n.addr}, ListenClientAddresses: []netip.Addr{n.addr},
	})
	create(t, n.st, etcd.PKIStatusID, etcd.PKIStatus{Ready: true, Version: "1"})
	return n
}

// mirror keeps the service's resource, as servicectrl does on a node.
func (n *liveNode) mirror(ctx context.Context) error {
	for {
		s, err := n.sup.Status(ServiceID)
		if err == nil {
			_, err = state.Modify(ctx, n.st, ServiceID, func(_ *resource.Metadata, r *service.Service) error {
				*r = service.Service{Running: s.State == supervise.Running, Healthy: s.Health.Healthy, HealthUnknown: s.Health.Unknown}
				return nil
			})
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, supervise.ErrNotFound) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func create[S resource.Spec](t testing.TB, st state.State, id string, spec S) {
	t.Helper()
	if _, err := state.Create(context.Background(), st, id, spec); err != nil {
		t.Fatal(err)
	}
}

type testWriter struct {
	t    testing.TB
	name string
}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s: %s", w.name, strings.TrimSpace(string(p)))
	return len(p), nil
}

func writePKI(t testing.TB, dir string, ca *secret.Authority, addr netip.Addr) {
	t.Helper()
	now := time.Now()
	// A member looks at where a connection of another comes from, which on loopback is this.
	sans := secret.SANs{IPs: []netip.Addr{addr, netip.MustParseAddr("127.0.0.1")}}
	files := map[string][]byte{"ca.crt": ca.CertificatePEM()}
	for name, leaf := range map[string]secret.Leaf{"server": secret.EtcdServer("node", sans), "peer": secret.EtcdPeer("node", sans), "admin": secret.EtcdClient("admin")} {
		pair, err := ca.Issue(leaf, now)
		if err != nil {
			t.Fatal(err)
		}
		files[name+".crt"], files[name+".key"] = pair.CertificatePEM(), pair.Key().PEM()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o400); err != nil {
			t.Fatal(err)
		}
		if err := own(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := own(dir); err != nil {
		t.Fatal(err)
	}
	// The container reaches the directories below the test's own, which is root's alone.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (n *liveNode) until(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s, _ := n.sup.Status(ServiceID)
			t.Fatalf("waited for %s; last: %v. The service is %s, %q; its log:\n%s", what, err, s.State, s.Message, strings.Join(n.logs.Tail(ServiceID, 30), "\n"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *liveNode) client(t testing.TB) *clientv3.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(n.op.PKI, "admin.crt"), filepath.Join(n.op.PKI, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(n.op.PKI, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{n.op.Local}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func voters(n *liveNode, want int) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		m, err := n.op.Members(ctx, false)
		if err != nil {
			return err
		}
		got := 0
		for _, m := range m {
			if !m.Learner && m.Name != "" {
				got++
			}
		}
		if got != want || len(m) != want {
			return fmt.Errorf("members %+v", m)
		}
		return nil
	}
}

// TestEtcdLives takes etcd through its life on two nodes, each with a containerd: it waits, is bootstrapped, is joined, left, and
// recovered from a snapshot.
func TestEtcdLives(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	program := component(t, "etcd/etcd")
	ca, err := secret.NewAuthority(secret.Etcd, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	hosts := serveImage(t, program)
	a, b := newLiveNode(t, "a", "127.77.0.1", ca, hosts), newLiveNode(t, "b", "127.77.0.2", ca, hosts)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	a.until(t, "etcd to say what it waits for", func(context.Context) error {
		s, err := a.sup.Status(ServiceID)
		if err == nil && (s.State != supervise.Waiting || !strings.Contains(s.Message, "talosctl bootstrap")) {
			err = fmt.Errorf("%s, %q", s.State, s.Message)
		}
		return err
	})
	if err := a.door.Bootstrap(ctx, a.st, Order{}); err != nil {
		t.Fatal(err)
	}
	a.until(t, "the first member", voters(a, 1))
	a.until(t, "its resource", func(ctx context.Context) error {
		_, err := state.Get[etcd.Member](ctx, a.st, etcd.MemberID)
		return err
	})
	if err := a.door.Bootstrap(ctx, a.st, Order{}); !errors.Is(err, ErrBootstrapped) {
		t.Errorf("Bootstrap again = %v; want ErrBootstrapped", err)
	}
	b.until(t, "the second member to vote", voters(a, 2))

	c := a.client(t)
	if _, err := c.Put(ctx, "key", "value"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	var snapshot bytes.Buffer
	if err := a.op.Snapshot(ctx, &snapshot); err != nil {
		t.Fatal(err)
	}

	if err := b.door.Leave(ctx, b.op); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(b.door.data); err != nil || len(entries) != 0 {
		t.Errorf("after it has left there is data: %v, %v", entries, err)
	}
	a.until(t, "the first member to be alone", voters(a, 1))

	// The cluster is lost, and recovered on another node.
	if err := a.sup.Stop(ctx, ServiceID); err != nil {
		t.Fatal(err)
	}
	if err := b.door.SaveSnapshot(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := b.door.Bootstrap(ctx, b.st, Order{Recover: true}); err != nil {
		t.Fatal(err)
	}
	b.until(t, "the recovered cluster", voters(b, 1))
	c = b.client(t)
	defer func() { _ = c.Close() }()
	if r, err := c.Get(ctx, "key"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "value" {
		t.Errorf("after the recovery the key is %v, %v; want value", r, err)
	}
	if _, err := os.Stat(b.door.snapshot); err == nil {
		t.Error("the snapshot is there still")
	}
}
