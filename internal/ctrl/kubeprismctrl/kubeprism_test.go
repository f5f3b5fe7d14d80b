package kubeprismctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/effective"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
)

func TestChoose(t *testing.T) {
	const ms = time.Millisecond
	near := candidate{"near", healthy, 2 * ms}
	near2 := candidate{"near2", healthy, 8 * ms}
	far := candidate{"far", healthy, 60 * ms}
	dead := candidate{"dead", gone, 1 * ms}
	starting := candidate{"starting", unready, 1 * ms}
	fresh := candidate{"fresh", unknown, 0}
	for _, tt := range []struct {
		name string
		list []candidate
		turn uint64
		want string
	}{
		{"none", nil, 7, ""},
		{"one that is dead is still tried", []candidate{dead}, 1, "dead"},
		{"the healthy before all, the nearest first", []candidate{dead, fresh, starting, far, near}, 0, "near far fresh starting dead"},
		{"another one of the nearest each turn", []candidate{near, near2, far}, 0, "near near2 far"},
		{"another one of the nearest each turn (2)", []candidate{near, near2, far}, 2, "near2 near far"},
		{"those that nobody asked yet take turns", []candidate{fresh, {"fresh2", unknown, 0}}, 1, "fresh2 fresh"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(choose(tt.list, tt.turn), " "); got != tt.want {
				t.Errorf("choose = %q; want %q", got, tt.want)
			}
		})
	}
}

// TestLoadIsSpread holds that each of the nearest servers gets its part.
func TestLoadIsSpread(t *testing.T) {
	list := []candidate{{"a", healthy, 2e6}, {"b", healthy, 3e6}, {"c", healthy, 4e6}, {"d", gone, 0}}
	first := map[string]int{}
	for turn := range uint64(400) {
		first[choose(list, turn)[0]]++
	}
	for _, name := range []string{"a", "b", "c"} {
		if first[name] < 80 {
			t.Errorf("%s was first %d times of 400: %v", name, first[name], first)
		}
	}
}

func TestAFailureIsCheckedSoon(t *testing.T) {
	last := time.Duration(0)
	for failures := 1; failures < 12; failures++ {
		d := nextCheck(failures)
		if failures == 1 && d > time.Second || d < last || d > checkInterval {
			t.Errorf("nextCheck(%d) = %v after %v", failures, d, last)
		}
		last = d
	}
	if nextCheck(0) != checkInterval {
		t.Errorf("nextCheck(0) = %v", nextCheck(0))
	}
}

// server answers each connection with its name, then echoes.
type server struct {
	net.Listener
	name string
}

func serve(t testing.TB, name string) server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, name+"\n")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return server{l, name}
}

func (s server) address() string { return s.Addr().String() }

// testBalancer is a balancer with a check that connects.
func testBalancer(t testing.TB, deps Deps) *balancer {
	t.Helper()
	if deps.Dial == nil {
		deps.Dial = (&net.Dialer{}).DialContext
	}
	if deps.Check == nil {
		deps.Check = func(ctx context.Context, address string) error {
			c, err := deps.Dial(ctx, "tcp", address)
			if err == nil {
				_ = c.Close()
			}
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBalancer(l, deps, slog.New(slog.DiscardHandler), func() {})
	t.Cleanup(b.close)
	return b
}

// ask connects and returns who answered.
func ask(t testing.TB, b *balancer) (string, net.Conn, error) {
	t.Helper()
	c, err := net.Dial("tcp", b.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var name []byte
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(c, one); err != nil {
			return string(name), c, err
		}
		if one[0] == '\n' {
			return string(name), c, nil
		}
		name = append(name, one[0])
	}
}

func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 5 s not: %s", what)
		}
	}
}

func TestBytesGoBothWaysAndEndOneByOne(t *testing.T) {
	b := testBalancer(t, Deps{})
	s := serve(t, "a")
	b.set([]string{s.address()})
	_, c, err := ask(t, b)
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789", 100_000)
	var got []byte
	var reading sync.WaitGroup
	reading.Go(func() { got, err = io.ReadAll(c) })
	_, _ = io.WriteString(c, big)
	_ = c.(*net.TCPConn).CloseWrite()
	reading.Wait()
	if err != nil || string(got) != big {
		t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(big))
	}
}

// TestADeadServerIsPassedOver holds that clients do not notice: neither a refusal nor silence.
func TestADeadServerIsPassedOver(t *testing.T) {
	refusing := serve(t, "gone")
	_ = refusing.Close()
	alive := serve(t, "alive")
	dial := (&net.Dialer{}).DialContext
	b := testBalancer(t, Deps{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "192.0.2.1:6443" { // silent: no packet comes back
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return dial(ctx, network, address)
	}, Check: func(context.Context, string) error { return nil }}) // checks find nothing wrong
	b.set([]string{refusing.address(), "192.0.2.1:6443", alive.address()})
	for range 6 {
		begin := time.Now()
		name, c, err := ask(t, b)
		if err != nil || name != "alive" {
			t.Fatalf("answer = %q, %v", name, err)
		}
		if took := time.Since(begin); took > 4*stagger {
			t.Errorf("a connection took %v", took)
		}
		_ = c.Close()
	}
}

func TestAServerThatComesBackIsUsed(t *testing.T) {
	b := testBalancer(t, Deps{Hold: 50 * time.Millisecond})
	s := serve(t, "a")
	address := s.address()
	_ = s.Close()
	b.set([]string{address})
	if name, _, err := ask(t, b); err == nil {
		t.Errorf("answer without a server = %q", name)
	}
	if b.healthy() {
		t.Error("healthy without a server")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "back\n")
			_ = c.Close()
		}
	}()
	if name, _, err := ask(t, b); err != nil || name != "back" {
		t.Errorf("answer = %q, %v; want that of the server that is back", name, err)
	}
	eventually(t, "healthy", b.healthy)
}

// TestAConnectionWaitsForTheFirstServer holds that a client which comes before the first API server need not come again.
func TestAConnectionWaitsForTheFirstServer(t *testing.T) {
	var ready atomic.Bool
	b := testBalancer(t, Deps{Hold: 5 * time.Second, Check: func(context.Context, string) error {
		if !ready.Load() {
			return ErrNotReady
		}
		return nil
	}})
	s := serve(t, "a")
	begin := time.Now()
	time.AfterFunc(100*time.Millisecond, func() { b.set([]string{s.address()}) })
	time.AfterFunc(time.Second, func() { ready.Store(true) })
	name, _, err := ask(t, b)
	if took := time.Since(begin); err != nil || name != "a" || took < time.Second || took > time.Second+5*checkHeld {
		t.Errorf("answer = %q, %v after %v; want that of the server when it is ready, within %v", name, err, took, checkHeld)
	}
}

// TestConnectionsToAServerThatIsGoneAreCut holds that their owners come again instead of waiting.
func TestConnectionsToAServerThatIsGoneAreCut(t *testing.T) {
	var down atomic.Bool
	b := testBalancer(t, Deps{Check: func(context.Context, string) error {
		if down.Load() {
			return errors.New("no route to host")
		}
		return nil
	}})
	s := serve(t, "a")
	b.set([]string{s.address()})
	_, c, err := ask(t, b)
	if err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	b.suspect(s.address(), false)
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("read = %v; want the end of the connection", err)
	}
}

func TestAServerThatIsNotReadyIsTheLastChoice(t *testing.T) {
	status := atomic.Int64{}
	status.Store(http.StatusInternalServerError)
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer api.Close()
	check := newProbe((&net.Dialer{}).DialContext)
	address := api.Listener.Addr().String()
	if err := check(t.Context(), address); !errors.Is(err, ErrNotReady) {
		t.Errorf("check of a server with 500 = %v; want ErrNotReady", err)
	}
	for _, ok := range []int64{200, 401, 403} {
		status.Store(ok)
		if err := check(t.Context(), address); err != nil {
			t.Errorf("check of a server with %d = %v", ok, err)
		}
	}
	api.Close()
	if err := check(t.Context(), address); err == nil || errors.Is(err, ErrNotReady) {
		t.Errorf("check of no server = %v", err)
	}
}

// root is the least that a machine of a role has.
func root(role string) string {
	return "version: v1alpha1\nmachine:\n  type: " + role + "\n  token: abcdef.0123456789abcdef\n"
}

const documents = `---
apiVersion: v1alpha1
kind: KubePrismConfig
port: 7445
---
apiVersion: v1alpha1
kind: KubeClusterConfig
clusterName: lab
endpoint: https://k8s.example.com
`

const apiServer = "---\napiVersion: v1alpha1\nkind: KubeAPIServerConfig\nimage: registry.k8s.io/kube-apiserver:v1.37.2\napiPort: 7443\n"

func TestEndpoints(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	members := []cluster.Member{
		{Addresses: addrs("10.5.0.2", "fd00::2", "fe80::1"), ControlPlane: &cluster.ControlPlane{APIServerPort: 6443}},
		{Addresses: addrs("10.5.0.3"), ControlPlane: &cluster.ControlPlane{}},
		{Addresses: addrs("10.5.0.4")},
	}
	for _, tt := range []struct{ name, config, want string }{
		{"worker", root("worker") + documents, "k8s.example.com:443 10.5.0.2:6443 fd00::2:6443"},
		{"control plane", root("controlplane") + documents + apiServer, "k8s.example.com:443 localhost:7443 10.5.0.2:6443 fd00::2:6443"},
		{"off", root("worker"), ""},
	} {
		c, err := effective.Parse(tt.config)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range endpointsOf(c.Set, members) {
			got = append(got, fmt.Sprintf("%s:%d", e.Host, e.Port))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: endpoints = %s; want %s", tt.name, s, tt.want)
		}
	}
}

// never is a listener to which nobody comes.
type never struct {
	address string
	done    chan struct{}
	once    sync.Once
}

func (n *never) Accept() (net.Conn, error) { <-n.done; return nil, net.ErrClosed }
func (n *never) Close() error              { n.once.Do(func() { close(n.done) }); return nil }
func (n *never) Addr() net.Addr            { return &net.UnixAddr{Name: n.address} }

func TestFromTheConfigToTheStatus(t *testing.T) {
	var listening []string
	var up atomic.Bool
	deps := Deps{
		Listen: func(_ context.Context, _, address string) (net.Listener, error) {
			listening = append(listening, address)
			return &never{address: address, done: make(chan struct{})}, nil
		},
		Check: func(context.Context, string) error {
			if !up.Load() {
				return errors.New("connection refused")
			}
			return nil
		},
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: root("worker") + documents})
		controllertest.Want(h, kube.KubePrismConfigID, kube.KubePrismConfig{
			Host: "127.0.0.1", Port: 7445, Endpoints: []kube.KubePrismEndpoint{{Host: "k8s.example.com", Port: 443}},
		})
		controllertest.Want(h, kube.KubePrismStatusID, kube.KubePrismStatus{Host: "127.0.0.1:7445"})
		up.Store(true)
		controllertest.Want(h, kube.KubePrismStatusID, kube.KubePrismStatus{Host: "127.0.0.1:7445", Healthy: true})
		up.Store(false)
		controllertest.Want(h, kube.KubePrismStatusID, kube.KubePrismStatus{Host: "127.0.0.1:7445"})
		controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = root("worker") })
		controllertest.WantGone[kube.KubePrismStatus](h, kube.KubePrismStatusID)
		if diff := cmp.Diff([]string{"127.0.0.1:7445"}, listening); diff != "" {
			t.Errorf("listened (-want +got):\n%s", diff)
		}
	}, Controllers(deps)...)
}

// BenchmarkConnect is what a connection costs beside one without the balancer.
func BenchmarkConnect(b *testing.B) {
	s := serve(b, "a")
	bal := testBalancer(b, Deps{})
	bal.set([]string{s.address()})
	for _, bb := range []struct{ name, address string }{{"direct", s.address()}, {"balanced", bal.l.Addr().String()}} {
		b.Run(bb.name, func(b *testing.B) {
			one := make([]byte, 2)
			for b.Loop() {
				c, err := net.Dial("tcp", bb.address)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, one); err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
			}
		})
	}
}

// BenchmarkThroughput carries bytes to a server and back.
func BenchmarkThroughput(b *testing.B) {
	s := serve(b, "a")
	bal := testBalancer(b, Deps{})
	bal.set([]string{s.address()})
	c, err := net.Dial("tcp", bal.l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		b.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := c.Write(chunk); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, chunk); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	list := make([]candidate, 6)
	for i := range list {
		list[i] = candidate{fmt.Sprint(i), healthy, time.Duration(i) * time.Millisecond}
	}
	for i := uint64(0); b.Loop(); i++ {
		choose(list, i)
	}
}
