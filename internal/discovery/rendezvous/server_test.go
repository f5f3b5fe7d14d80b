package rendezvous

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/discoverypb"
)

var cluster1, cluster2 = clusterID(1), clusterID(2)

func clusterID(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, ClusterIDSize))
}

// serve serves over l until the test ends, and returns the server and a client.
func serve(t testing.TB, config Config, l net.Listener, dial func(context.Context, string) (net.Conn, error)) (*Server, discoverypb.ClusterClient) {
	t.Helper()
	s, g := New(config), grpc.NewServer(ServerOptions()...)
	discoverypb.RegisterClusterServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32 << 20))}
	if dial != nil {
		opts = append(opts, grpc.WithContextDialer(dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Close()
		g.Stop()
		<-served
	})
	return s, discoverypb.NewClusterClient(conn)
}

// buffered serves in memory: inside of a synctest bubble too.
func buffered(t testing.TB, config Config) (*Server, discoverypb.ClusterClient) {
	l := bufconn.Listen(1 << 16)
	return serve(t, config, l, func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
}

func put(t testing.TB, cc discoverypb.ClusterClient, id, data string, ttl time.Duration, endpoints ...string) {
	t.Helper()
	if _, err := cc.AffiliateUpdate(t.Context(), update(id, data, ttl, endpoints...)); err != nil {
		t.Fatal(err)
	}
}

// update makes a request; data "-" is none.
func update(id, data string, ttl time.Duration, endpoints ...string) *discoverypb.AffiliateUpdateRequest {
	req := &discoverypb.AffiliateUpdateRequest{ClusterId: cluster1, AffiliateId: id, Ttl: durationpb.New(ttl)}
	if data != "-" {
		req.AffiliateData = []byte(data)
	}
	for _, e := range endpoints {
		req.AffiliateEndpoints = append(req.AffiliateEndpoints, []byte(e))
	}
	return req
}

func text(all []*discoverypb.Affiliate) string {
	var out []string
	for _, a := range all {
		out = append(out, fmt.Sprintf("%s=%s%q", a.GetId(), a.GetData(), a.GetEndpoints()))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func list(t testing.TB, cc discoverypb.ClusterClient) string {
	t.Helper()
	res, err := cc.List(t.Context(), &discoverypb.ListRequest{ClusterId: cluster1})
	if err != nil {
		t.Fatal(err)
	}
	return text(res.GetAffiliates())
}

func TestTimeToLive(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, cc discoverypb.ClusterClient)
		want []string // after 0, 2, 4 … seconds
	}{
		{"data ends", func(t *testing.T, cc discoverypb.ClusterClient) { put(t, cc, "a", "1", 3*time.Second) }, []string{"a=1[]", "a=1[]", ""}},
		{"the last update counts, also if it is shorter", func(t *testing.T, cc discoverypb.ClusterClient) {
			put(t, cc, "a", "1", time.Minute)
			put(t, cc, "a", "1", time.Second)
		}, []string{"a=1[]", "", ""}},
		{"endpoints of others do not keep data", func(t *testing.T, cc discoverypb.ClusterClient) {
			put(t, cc, "a", "1", time.Second, "x")
			put(t, cc, "a", "-", time.Minute, "y")
		}, []string{`a=1["x" "y"]`, "", ""}},
		{"endpoints end one by one", func(t *testing.T, cc discoverypb.ClusterClient) {
			put(t, cc, "a", "1", time.Minute, "x")
			put(t, cc, "a", "-", time.Second, "y")
			put(t, cc, "a", "-", 3*time.Second, "z", "z")
		}, []string{`a=1["x" "y" "z"]`, `a=1["x" "z"]`, `a=1["x"]`}},
		{"endpoints before data", func(t *testing.T, cc discoverypb.ClusterClient) { put(t, cc, "a", "-", time.Second, "x") }, []string{`a=["x"]`, "", ""}},
		{"an update with nothing renews everything", func(t *testing.T, cc discoverypb.ClusterClient) {
			put(t, cc, "a", "1", time.Second, "x")
			put(t, cc, "a", "-", 3*time.Second)
		}, []string{`a=1["x"]`, `a=1["x"]`, ""}},
		{"data is replaced, endpoints are kept", func(t *testing.T, cc discoverypb.ClusterClient) {
			put(t, cc, "a", "1", time.Minute, "x")
			put(t, cc, "a", "2", time.Minute)
		}, []string{`a=2["x"]`}},
		{"empty data is data", func(t *testing.T, cc discoverypb.ClusterClient) { put(t, cc, "a", "", time.Second) }, []string{"a=[]", ""}},
		{"deleted, and added again", func(t *testing.T, cc discoverypb.ClusterClient) {
			put(t, cc, "a", "1", time.Second)
			put(t, cc, "b", "1", 3*time.Second)
			for range 2 {
				if _, err := cc.AffiliateDelete(t.Context(), &discoverypb.AffiliateDeleteRequest{ClusterId: cluster1, AffiliateId: "a"}); err != nil {
					t.Fatal(err)
				}
			}
			put(t, cc, "a", "2", 3*time.Second)
		}, []string{"a=2[] b=1[]", "a=2[] b=1[]", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, cc := buffered(t, Config{})
				tc.do(t, cc)
				for i, want := range tc.want {
					if got := list(t, cc); got != want {
						t.Errorf("after %d s: %s; want %s", 2*i, got, want)
					}
					time.Sleep(2 * time.Second)
				}
				time.Sleep(time.Minute)
				list(t, cc)
				if st := s.Stats(); st.Clusters != 0 || st.Bytes != 0 {
					t.Errorf("when all is over: %d clusters, %d bytes; want none", st.Clusters, st.Bytes)
				}
			})
		})
	}
}

// watch returns a function that waits for the next message of a watch.
func watch(t testing.TB, cc discoverypb.ClusterClient) func() string {
	t.Helper()
	stream, err := cc.Watch(t.Context(), &discoverypb.WatchRequest{ClusterId: cluster1})
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		m, err := stream.Recv()
		if err != nil {
			return status.Code(err).String()
		}
		return fmt.Sprintf("%s deleted=%t", text(m.GetAffiliates()), m.GetDeleted())
	}
}

func TestWatchersSeeEverythingThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cc := buffered(t, Config{})
		expect := func(next func() string, want string) {
			t.Helper()
			if got := next(); got != want {
				t.Errorf("message %s; want %s", got, want)
			}
		}
		empty := watch(t, cc)
		expect(empty, " deleted=false")
		put(t, cc, "a", "1", 3*time.Second)
		expect(empty, "a=1[] deleted=false")
		second := watch(t, cc)
		expect(second, "a=1[] deleted=false")
		// Renewing is not a change: the next thing that is said is about b.
		for range 100 {
			put(t, cc, "a", "1", 3*time.Second)
		}
		put(t, cc, "b", "1", time.Minute, "x")
		for _, next := range []func() string{empty, second} {
			expect(next, `b=1["x"] deleted=false`)
			// 3 s later a is over, by itself.
			expect(next, "a=[] deleted=true")
		}
		// Of what piled up, changes of a kind come in one message, in order.
		for i := range 5 {
			put(t, cc, "c", fmt.Sprint(i), time.Minute)
		}
		synctest.Wait()
		if got, want := s.Stats().Changes, uint64(7+1); got != want {
			t.Errorf("%d changes announced; want %d", got, want)
		}
		s.Close()
		for _, next := range []func() string{empty, second} {
			for got := next(); got != "Unavailable"; got = next() {
				if !strings.HasPrefix(got, "c=") {
					t.Fatalf("message %s; want changes of c, then Unavailable", got)
				}
			}
		}
		if _, err := cc.Hello(t.Context(), &discoverypb.HelloRequest{ClusterId: cluster1}); status.Code(err) != codes.Unavailable {
			t.Errorf("Hello after Close = %v; want Unavailable", err)
		}
	})
}

// A watcher that reads nothing is cut off, writers never wait for it, and one that reads gets all.
func TestASlowWatcherIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cc := buffered(t, Config{Limits: Limits{PeerRate: 1e9, PeerBurst: 1e9}})
		slow, err := cc.Watch(t.Context(), &discoverypb.WatchRequest{ClusterId: cluster1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := slow.Recv(); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		for i := range 100 {
			put(t, cc, "a", fmt.Sprint(i)+strings.Repeat("x", 8<<10), time.Minute)
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("writing took %v; want no waiting", took)
		}
		time.Sleep(SendTimeout + time.Second)
		if st := s.Stats(); st.SlowWatchers != 1 || st.Watchers != 0 {
			t.Errorf("%d slow watchers, %d watchers; want 1 and 0", st.SlowWatchers, st.Watchers)
		}
		var last error
		for last == nil {
			_, last = slow.Recv()
		}
		if status.Code(last) != codes.ResourceExhausted {
			t.Errorf("the slow watcher ends with %v; want ResourceExhausted", last)
		}
	})
}

func TestAWatcherThatWasOvertakenIsToldSo(t *testing.T) {
	c := newCluster("x", Limits{}.withDefaults(), &counters{})
	c.watchers = 1
	now := time.Now()
	for i := range 3*History + 7 {
		if err := c.update(update("a", fmt.Sprint(i), time.Hour), time.Hour, now); err != nil {
			t.Fatal(err)
		}
	}
	c.timer.Stop()
	if _, _, _, ok := c.since(0); ok {
		t.Error("since(0) after many changes is fine; want it overtaken")
	}
	if n := len(c.changes); n > History || n < History/2 {
		t.Errorf("%d changes kept; want at most %d and at least half of that", n, History)
	}
	pos, seen := c.first, 0
	for {
		out, next, _, ok := c.since(pos)
		if !ok {
			t.Fatal("a position in the history is not there")
		}
		if len(out) == 0 {
			break
		}
		for _, m := range out {
			seen += len(m.GetAffiliates())
		}
		pos = next
	}
	if seen != len(c.changes) {
		t.Errorf("read %d changes; want %d", seen, len(c.changes))
	}
}

func TestWhatIsRefused(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	hello := func(id string) func(context.Context, discoverypb.ClusterClient) error {
		return func(ctx context.Context, cc discoverypb.ClusterClient) error {
			_, err := cc.Hello(ctx, &discoverypb.HelloRequest{ClusterId: id})
			return err
		}
	}
	up := func(req *discoverypb.AffiliateUpdateRequest) func(context.Context, discoverypb.ClusterClient) error {
		return func(ctx context.Context, cc discoverypb.ClusterClient) error {
			_, err := cc.AffiliateUpdate(ctx, req)
			return err
		}
	}
	many := make([]string, MaxEndpoints+1)
	for i := range many {
		many[i] = fmt.Sprint("e", i)
	}
	other := update("a", "1", time.Minute)
	other.ClusterId = cluster2
	noTTL := update("new", "1", 0)
	noTTL.Ttl = nil
	for _, tc := range []struct {
		name string
		call func(context.Context, discoverypb.ClusterClient) error
		want codes.Code
	}{
		{"hello", hello(cluster1), codes.OK},
		{"cluster id in the other alphabet", hello(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32))), codes.OK},
		{"no cluster id", hello(""), codes.InvalidArgument},
		{"cluster id not base64", hello(strings.Repeat("!", 44)), codes.InvalidArgument},
		{"cluster id of 31 bytes", hello(base64.StdEncoding.EncodeToString(make([]byte, 31))), codes.InvalidArgument},
		{"no affiliate id", up(update("", "1", time.Minute)), codes.InvalidArgument},
		{"affiliate id with a space", up(update("a b", "1", time.Minute)), codes.InvalidArgument},
		{"long affiliate id", up(update(long(MaxAffiliateID+1), "1", time.Minute)), codes.InvalidArgument},
		{"no ttl is the longest", up(noTTL), codes.OK},
		{"ttl zero", up(update("a", "1", 0)), codes.InvalidArgument},
		{"ttl negative", up(update("a", "1", -1)), codes.InvalidArgument},
		{"ttl too long", up(update("a", "1", MaxTTL+1)), codes.InvalidArgument},
		{"longest ttl", up(update("a", "1", MaxTTL)), codes.OK},
		{"most data", up(update("a", long(MaxData), time.Minute)), codes.OK},
		{"too much data", up(update("a", long(MaxData+1), time.Minute)), codes.InvalidArgument},
		{"empty endpoint", up(update("a", "1", time.Minute, "")), codes.InvalidArgument},
		{"long endpoint", up(update("a", "1", time.Minute, long(MaxEndpointSize+1))), codes.InvalidArgument},
		{"many endpoints at once", up(update("a", "1", time.Minute, many...)), codes.InvalidArgument},
		{"many endpoints in the end", up(update("full", "-", time.Minute, "y")), codes.ResourceExhausted},
		{"known endpoint when full", up(update("full", "-", time.Minute, "e0")), codes.OK},
		{"nothing about nobody", up(update("b", "-", time.Minute)), codes.InvalidArgument},
		{"another cluster than allowed", up(other), codes.PermissionDenied},
		{"an authoriser's own code", hello(clusterID(3)), codes.Unauthenticated},
		{"more affiliates", up(update("fourth", "1", time.Minute)), codes.ResourceExhausted},
		{"more bytes", up(update("full", long(MaxData), time.Minute)), codes.ResourceExhausted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, cc := buffered(t, Config{Limits: Limits{Affiliates: 3, ClusterBytes: MaxData + 8<<10, Endpoints: 3},
				Authorize: func(_ context.Context, id string) error {
					switch id {
					case cluster2:
						return errors.New("not yours")
					case clusterID(3):
						return status.Error(codes.Unauthenticated, "who is it")
					}
					return nil
				}})
			put(t, cc, "full", "1", time.Minute, many[:3]...)
			put(t, cc, "a", long(10<<10), time.Minute)
			if tc.name == "more affiliates" {
				put(t, cc, "third", "1", time.Minute)
			}
			before := list(t, cc)
			err := tc.call(t.Context(), cc)
			if status.Code(err) != tc.want {
				t.Errorf("call = %v; want %v", err, tc.want)
			}
			st := s.Stats()
			if refused := st.Invalid + st.Denied + st.Limited; (refused == 1) != (tc.want != codes.OK) {
				t.Errorf("%d calls counted as refused", refused)
			}
			if after := list(t, cc); err != nil && after != before {
				t.Errorf("a refused call changed what is there: %s; want %s", after, before)
			}
		})
	}
}

func TestClustersAndWatchersAreLimited(t *testing.T) {
	_, cc := buffered(t, Config{Limits: Limits{Clusters: 1, Watchers: 1}})
	next := watch(t, cc)
	next()
	if got := watch(t, cc)(); got != "ResourceExhausted" {
		t.Errorf("second watcher: %s; want ResourceExhausted", got)
	}
	req := update("a", "1", time.Minute)
	req.ClusterId = cluster2
	if _, err := cc.AffiliateUpdate(t.Context(), req); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("second cluster: %v; want ResourceExhausted", err)
	}
}

func TestTheRateIsPerAddress(t *testing.T) {
	r := rates{rate: 2, burst: 3, peers: map[netip.Addr]*bucket{}}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := time.Now()
	for i, tc := range []struct {
		addr  netip.Addr
		after time.Duration
		want  bool
	}{{a, 0, true}, {a, 0, true}, {a, 0, true}, {a, 0, false}, {b, 0, true}, {a, 500 * time.Millisecond, true}, {a, 0, false},
		{a, time.Hour, true}, {a, 0, true}, {a, 0, true}, {a, 0, false}} {
		now = now.Add(tc.after)
		if got := r.allow(tc.addr, now); got != tc.want {
			t.Errorf("call %d of %v = %t; want %t", i, tc.addr, got, tc.want)
		}
	}
	for i := range maxPeers + 10 {
		r.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(r.peers) > maxPeers {
		t.Errorf("%d addresses kept; want at most %d", len(r.peers), maxPeers)
	}
	if r.allow(netip.MustParseAddr("192.0.2.3"), now) {
		t.Error("an address beyond the table is allowed")
	}
	if !r.allow(netip.MustParseAddr("192.0.2.3"), now.Add(time.Minute)) {
		t.Error("an address is refused although the table can be swept")
	}
	_, cc := buffered(t, Config{Limits: Limits{PeerRate: 1e-9, PeerBurst: 2}})
	var got []codes.Code
	for range 3 {
		_, err := cc.Hello(t.Context(), &discoverypb.HelloRequest{ClusterId: cluster1})
		got = append(got, status.Code(err))
	}
	if want := []codes.Code{codes.OK, codes.OK, codes.ResourceExhausted}; !slices.Equal(got, want) {
		t.Errorf("three calls = %v; want %v", got, want)
	}
}

func TestHelloSaysTheAddressOfTheClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, cc := serve(t, Config{}, l, nil)
	res, err := cc.Hello(t.Context(), &discoverypb.HelloRequest{ClusterId: cluster1, ClientVersion: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := res.GetClientIp(), []byte{127, 0, 0, 1}; !bytes.Equal(got, want) || res.GetRedirect() != nil {
		t.Errorf("Hello = client_ip %v, redirect %v; want %v and none", got, res.GetRedirect(), want)
	}
}

// fill puts n affiliates of size bytes.
func fill(b *testing.B, s *Server, n, size int) {
	b.Helper()
	for i := range n {
		if _, err := s.AffiliateUpdate(b.Context(), update(fmt.Sprintf("affiliate-%036d", i), strings.Repeat("x", size), MaxTTL)); err != nil {
			b.Fatal(err)
		}
	}
}

var unlimited = Config{Limits: Limits{PeerRate: 1e12, PeerBurst: 1e12}}

func BenchmarkRenew(b *testing.B) {
	s := New(unlimited)
	defer s.Close()
	fill(b, s, 1000, 540)
	req := update("affiliate-"+strings.Repeat("0", 36), strings.Repeat("x", 540), 5*time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.AffiliateUpdate(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFanOut changes one of 1000 affiliates, and 60 watchers over gRPC in memory receive it; the time is that of a change
// until the last watcher has it.
func BenchmarkFanOut(b *testing.B) {
	s, cc := buffered(b, unlimited)
	fill(b, s, 1000, 540)
	const watchers = 60 // a connection may have 64 calls
	got := make(chan int, 1024)
	for range watchers {
		stream, err := cc.Watch(b.Context(), &discoverypb.WatchRequest{ClusterId: cluster1})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			b.Fatal(err)
		}
		go func() {
			for {
				m, err := stream.Recv()
				if err != nil {
					return
				}
				got <- len(m.GetAffiliates())
			}
		}()
	}
	b.ReportAllocs()
	i, sent := 0, 0
	for b.Loop() {
		i++
		req := update(fmt.Sprintf("affiliate-%036d", i%1000), fmt.Sprint(i)+strings.Repeat("x", 540), MaxTTL)
		if _, err := s.AffiliateUpdate(b.Context(), req); err != nil {
			b.Fatal(err)
		}
		for sent += watchers; sent > 0; {
			sent -= <-got
		}
	}
	b.ReportMetric(float64(watchers*i)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkMemory measures the first round only: a timer that was stopped keeps its cluster until the runtime looks at it.
func BenchmarkMemory(b *testing.B) {
	const n = 10000
	perAffiliate := 0.0
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := New(Config{Limits: Limits{PeerRate: 1e12, PeerBurst: 1e12, ClusterBytes: 1 << 30, Affiliates: n}})
		fill(b, s, n, 540)
		runtime.GC()
		runtime.ReadMemStats(&after)
		s.Close()
		if perAffiliate == 0 {
			perAffiliate = (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / n
		}
	}
	b.ReportMetric(perAffiliate, "heap-B/affiliate")
}
