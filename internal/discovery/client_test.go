package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/discoverypb"
	"talos.internal/internal/discovery/affiliate"
	"talos.internal/internal/discovery/rendezvous"
)

// small is a network without faults, in virtual time.
type small struct {
	t       *testing.T
	net     *simNet
	stops   []func()
	servers map[string]*rendezvous.Server
}

func newSmall(t *testing.T) *small {
	s := &small{t: t, net: newSimNet(1, time.Millisecond, 0), servers: map[string]*rendezvous.Server{}}
	return s
}

// close ends everything; the bubble then fails if a goroutine is left.
func (s *small) close() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
	s.net.close()
}

func (s *small) serve(host string, srv discoverypb.ClusterServer) {
	g := grpc.NewServer()
	discoverypb.RegisterClusterServer(g, srv)
	go g.Serve(s.net.listen(host))
	s.stops = append(s.stops, g.Stop)
}

func (s *small) rendezvous(host string, config rendezvous.Config) {
	srv := rendezvous.New(config)
	s.servers[host] = srv
	s.serve(host, srv)
	s.stops = append(s.stops, srv.Close)
}

// client starts a client; stop ends it, and is called by close at the latest.
func (s *small) client(id string, servers ...Server) (c *Client, stop func()) {
	s.t.Helper()
	c, err := New(Options{ClusterID: testCluster, Secret: testSecret, NodeID: id, Dial: s.net.dialer(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.SetServers(servers); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				s.t.Errorf("Run of %s = %v; want nil", id, err)
			}
		}
	}
	s.stops = append(s.stops, stop)
	return c, stop
}

func (s *small) publish(c *Client, host string) {
	s.t.Helper()
	if err := c.Publish(affiliate.Node{Hostname: host}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *small) expect(c *Client, want string) {
	s.t.Helper()
	if got := states(c.View()); got != want {
		s.t.Errorf("%s sees %q; want %q; servers %+v", c.opts.NodeID, got, want, c.View().Servers)
	}
}

func bubble(t *testing.T, f func(t *testing.T, s *small)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSmall(t)
		defer s.close()
		f(t, s)
	})
}

func TestNewWantsWhatItNeeds(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts Options
		ok   bool
	}{
		{"all", Options{ClusterID: testCluster, Secret: testSecret, NodeID: "a"}, true},
		{"short secret", Options{ClusterID: testCluster, Secret: testSecret[1:], NodeID: "a"}, false},
		{"no cluster", Options{Secret: testSecret, NodeID: "a"}, false},
		{"no node", Options{ClusterID: testCluster, Secret: testSecret}, false},
		{"node like a lease", Options{ClusterID: testCluster, Secret: testSecret, NodeID: "lease:a"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(tc.opts); (err == nil) != tc.ok {
				t.Errorf("New = %v; want ok %t", err, tc.ok)
			}
		})
	}
}

func TestServersChangeWhileItRuns(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{})
		s.rendezvous("two", rendezvous.Config{})
		a, _ := s.client("a", Server{Address: "one:1"})
		b, _ := s.client("b", Server{Address: "two:1"})
		s.publish(a, "a")
		s.publish(b, "b")
		time.Sleep(5 * time.Second)
		s.expect(a, "a alive")
		if err := b.SetServers([]Server{{Address: "one:1"}, {Address: "two:1"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.expect(a, "a alive, b alive")
		s.expect(b, "a alive, b alive")
		if err := b.SetServers([]Server{{Address: "one:1"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := s.servers["two"].Stats().Watchers; n != 0 {
			t.Errorf("%d watch the server that was taken away; want none", n)
		}
		s.expect(b, "a alive, b alive")
		for _, bad := range [][]Server{{{Address: "one"}}, {{Address: ":1"}}, {{Address: "one:1"}, {Address: "one:1"}}} {
			if err := b.SetServers(bad); err == nil || len(b.View().Servers) != 1 {
				t.Errorf("SetServers(%v) = %v with %d servers; want an error and no change", bad, err, len(b.View().Servers))
			}
		}
	})
}

func TestChangesArePublishedAndWakeReaders(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{})
		a, _ := s.client("a", Server{Address: "one:1"})
		b, _ := s.client("b", Server{Address: "one:1"})
		s.publish(a, "first")
		time.Sleep(10 * time.Second)
		s.expect(b, "a alive")
		rev := b.View().Revision
		updates := s.servers["one"].Stats().Changes
		s.publish(a, "first")
		s.publish(a, "second")
		begin := time.Now()
		v, err := b.Next(t.Context(), rev)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Members[0].Hostname; got != "second" || time.Since(begin) > time.Second {
			t.Errorf("after %v: %q; want the second name within a second", time.Since(begin), got)
		}
		if n := s.servers["one"].Stats().Changes - updates; n != 1 {
			t.Errorf("%d changes at the server; want 1: the same again is none, and neither is renewing", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.Next(ctx, v.Revision); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for members") {
			t.Errorf("Next without a change = %v; want the deadline, and what was waited for", err)
		}
		if err := a.Publish(affiliate.Node{ID: "b"}); err == nil {
			t.Error("a publishes b without an error")
		}
		if err := a.Publish(affiliate.Node{Hostname: "\xff"}); !errors.Is(err, affiliate.ErrContent) {
			t.Errorf("Publish of what cannot be sealed = %v; want %v", err, affiliate.ErrContent)
		}
		time.Sleep(2 * RecordTTL)
		s.expect(b, "a alive")
	})
}

// redirector sends clients elsewhere.
type redirector struct {
	discoverypb.UnimplementedClusterServer
	to string
}

func (r redirector) Hello(context.Context, *discoverypb.HelloRequest) (*discoverypb.HelloResponse, error) {
	return &discoverypb.HelloResponse{Redirect: &discoverypb.RedirectMessage{Endpoint: r.to}}, nil
}

func TestRedirectsAreFollowedUpToALimit(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{})
		s.serve("r1", redirector{to: "r2:1"})
		s.serve("r2", redirector{to: "r3:1"})
		s.serve("r3", redirector{to: "one:1"})
		s.serve("loop", redirector{to: "loop2:1"})
		s.serve("loop2", redirector{to: "loop:1"})
		s.serve("bad", redirector{to: "nowhere"})
		a, _ := s.client("a", Server{Address: "r1:1"})
		b, _ := s.client("b", Server{Address: "one:1"}, Server{Address: "loop:1"}, Server{Address: "bad:1", External: true}, Server{Address: "absent:1"})
		s.publish(a, "a")
		time.Sleep(10 * time.Second)
		s.expect(b, "a alive")
		for i, want := range []string{"connection refused", "it redirects: discovery server \"nowhere\"", "more than 3 redirects", ""} {
			st := b.View().Servers[i]
			if !strings.Contains(st.LastError, want) || (want == "") != (st.LastError == "") || st.Healthy != (want == "") {
				t.Errorf("%s: healthy %t, last error %q; want %q", st.Address, st.Healthy, st.LastError, want)
			}
			if (st.Waits == "") != st.Healthy || st.LastErrorAt.IsZero() != st.Healthy {
				t.Errorf("%s: waits for %q, last error at %v", st.Address, st.Waits, st.LastErrorAt)
			}
		}
	})
}

func TestARestartWithTheClockSetBackIsANewLife(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{})
		a, stop := s.client("a", Server{Address: "one:1"})
		b, _ := s.client("b", Server{Address: "one:1"})
		s.publish(a, "before")
		time.Sleep(5 * time.Second)
		stop()
		again, _ := s.client("a", Server{Address: "one:1"})
		again.mu.Lock()
		again.own.version.Incarnation = 1
		again.mu.Unlock()
		s.publish(again, "after")
		time.Sleep(5 * time.Second)
		v := b.View()
		if len(v.Members) != 1 || v.Members[0].Hostname != "after" || v.Members[0].State != Alive {
			t.Errorf("b sees %+v; want the name after the restart", v.Members)
		}
	})
}

// Two machines with one id are a mistake that must not become a storm.
func TestTwoMachinesWithOneIDDoNotOutdoEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{})
		a, _ := s.client("a", Server{Address: "one:1"})
		time.Sleep(time.Second) // a later life
		b, _ := s.client("a", Server{Address: "one:1"})
		s.publish(a, "one")
		s.publish(b, "other")
		time.Sleep(10 * time.Minute)
		// Each renewal puts the one lease in the place of the other: that is 800 in ten minutes.
		if n := s.servers["one"].Stats().Changes; n > 1000 {
			t.Errorf("%d changes in ten minutes; want leases, and at most two new lives a minute", n)
		}
	})
}

func TestForgetAndLeaveSayWhatIsWrong(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		a, _ := s.client("a", Server{Address: "absent:1"})
		s.publish(a, "a")
		time.Sleep(time.Second)
		if err := a.Forget(t.Context(), "a"); !errors.Is(err, ErrSelf) {
			t.Errorf("Forget(self) = %v; want %v", err, ErrSelf)
		}
		if err := a.Forget(t.Context(), "x"); !errors.Is(err, ErrUnknownNode) {
			t.Errorf("Forget(unknown) = %v; want %v", err, ErrUnknownNode)
		}
		if err := a.Leave(t.Context()); !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Leave without a server = %v; want %v and why", err, ErrNoServer)
		}
		time.Sleep(time.Second)
		s.expect(a, "")
		if err := a.Rejoin(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.expect(a, "a alive")

		s.rendezvous("one", rendezvous.Config{})
		if err := a.SetServers([]Server{{Address: "one:1"}}); err != nil {
			t.Fatal(err)
		}
		_, stop := s.client("b", Server{Address: "one:1"})
		b, _ := s.client("b", Server{Address: "one:1"})
		s.publish(b, "b")
		time.Sleep(5 * time.Second)
		s.expect(a, "a alive, b alive")
		stop()
		if err := a.SetServers(nil); err != nil {
			t.Fatal(err)
		}
		if err := a.Forget(t.Context(), "b"); !errors.Is(err, ErrNoServer) {
			t.Errorf("Forget without servers = %v; want %v", err, ErrNoServer)
		}
		time.Sleep(time.Second)
		if got := states(a.View()); !strings.Contains(got, "b ") {
			t.Errorf("after Forget was refused a sees %q; want b still", got)
		}
	})
}

// published is a published client as far as others see it: a record without version, and an endpoint beside the seal.
func published(t *testing.T, s *small, host, id string) {
	t.Helper()
	key, err := affiliate.NewKey(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.Seal(affiliate.Payload{Node: affiliate.Node{ID: id, Hostname: "published"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.servers[host].AffiliateUpdate(t.Context(), &discoverypb.AffiliateUpdateRequest{ClusterId: testCluster, AffiliateId: id,
		AffiliateData: sealed, AffiliateEndpoints: [][]byte{[]byte("an endpoint of somebody's making")}, Ttl: durationpb.New(RecordTTL)})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnExternalServerAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("ext", rendezvous.Config{})
		ext := Server{Address: "ext:1", External: true}
		a, _ := s.client("a", ext)
		b, _ := s.client("b", ext)
		s.publish(a, "a")
		s.publish(b, "b")
		published(t, s, "ext", "p")
		time.Sleep(time.Minute)
		s.expect(a, "a alive, b alive, p alive")
		st := s.servers["ext"].Stats()
		if st.Affiliates != 3 {
			t.Errorf("%d affiliates at an external server; want 3: no leases", st.Affiliates)
		}
		time.Sleep(20 * time.Minute)
		if n := s.servers["ext"].Stats().Updates - st.Updates; n > 4 {
			t.Errorf("%d updates in 20 min; want one or two of each", n)
		}
		if err := a.Forget(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.expect(a, "a alive")
		s.expect(b, "a alive")
		if n := s.servers["ext"].Stats().Affiliates; n != 1 {
			t.Errorf("%d affiliates at the external server; want 1: no tombstones", n)
		}
		published(t, s, "ext", "p")
		time.Sleep(time.Second)
		s.expect(a, "a alive, p alive")
	})
}

func TestForgetReachesExternalServersToo(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{})
		s.rendezvous("ext", rendezvous.Config{})
		both := []Server{{Address: "one:1"}, {Address: "ext:1", External: true}}
		a, _ := s.client("a", both...)
		c, _ := s.client("c", both[1])
		b, stop := s.client("b", both...)
		s.publish(a, "a")
		s.publish(b, "b")
		time.Sleep(5 * time.Second)
		stop()
		time.Sleep(10 * time.Second)
		s.expect(a, "a alive, b gone")
		s.expect(c, "a alive, b alive")
		if err := a.Forget(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.expect(a, "a alive")
		s.expect(c, "a alive")
	})
}

func TestARefusalIsNotedAndTheWatchGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, s *small) {
		s.rendezvous("one", rendezvous.Config{Limits: rendezvous.Limits{Affiliates: 2}})
		a, _ := s.client("a", Server{Address: "one:1"})
		s.publish(a, "a")
		time.Sleep(5 * time.Second)
		b, _ := s.client("b", Server{Address: "one:1"})
		s.publish(b, "b")
		time.Sleep(20 * time.Second)
		s.expect(b, "a alive, b alive")
		st := b.View().Servers[0]
		if !st.Healthy || !strings.Contains(st.LastError, "which is the limit") {
			t.Errorf("status %+v; want healthy, and the refusal as the last error", st)
		}
		if n := s.servers["one"].Stats().Watches; n != 2 {
			t.Errorf("%d watches; want 2: a refusal ends none", n)
		}
	})
}

func TestOverTLSAndLoopback(t *testing.T) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := rendezvous.New(rendezvous.Config{Authorize: func(_ context.Context, id string) error {
		if id != testCluster {
			return status.Error(codes.PermissionDenied, "another cluster")
		}
		return nil
	}})
	g := grpc.NewServer(append(rendezvous.ServerOptions(), grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv})))...)
	discoverypb.RegisterClusterServer(g, srv)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	defer func() {
		srv.Close()
		g.Stop()
		<-served
	}()

	run := func(id, cluster string, pool *x509.CertPool) *Client {
		c, err := New(Options{ClusterID: cluster, Secret: testSecret, NodeID: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetServers([]Server{{Address: l.Addr().String(), TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}); err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(affiliate.Node{Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
		return c
	}
	until := func(c *Client, what string, ok func(*View) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for v := c.View(); !ok(v); {
			if v, err = c.Next(ctx, v.Revision); err != nil {
				t.Fatalf("%s: %v; last seen %+v", what, err, c.View())
			}
		}
	}
	a, b := run("a", testCluster, roots), run("b", testCluster, roots)
	for _, c := range []*Client{a, b} {
		until(c, "both alive, with endpoints, the server healthy", func(v *View) bool {
			return states(v) == "a alive, b alive" && len(v.Members[0].Endpoints) == 1 && v.Servers[0].Healthy && v.Servers[0].ClientIP == "127.0.0.1"
		})
	}
	until(run("c", testCluster, x509.NewCertPool()), "a certificate error", func(v *View) bool {
		return len(v.Servers) == 1 && strings.Contains(v.Servers[0].LastError, "certificate")
	})
	until(run("d", strings.Replace(testCluster, "AQ", "AA", 1), roots), "a refusal", func(v *View) bool {
		return len(v.Servers) == 1 && strings.Contains(v.Servers[0].LastError, "another cluster")
	})
}
