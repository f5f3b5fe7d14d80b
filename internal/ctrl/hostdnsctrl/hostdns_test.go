package hostdnsctrl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/effective"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// zone is a DNS server for tests: for a name it has records, an NXDOMAIN with SOA for others.
type zone struct {
	at    netip.AddrPort
	asked atomic.Int64
	mute  atomic.Bool
	code  atomic.Int64
}

const soa = "example.com. 600 IN SOA ns.example.com. root.example.com. 1 3600 600 86400 60"

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (z *zone) answer(t testing.TB, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Rcode = int(z.code.Load())
	switch name := strings.ToLower(q.Question[0].Name); {
	case name == "." || m.Rcode != 0:
	case name == "www.example.com." && q.Question[0].Qtype == dns.TypeA:
		m.Answer = append(m.Answer, rr(t, q.Question[0].Name+" 300 IN A 192.0.2.7"))
	case name == "large.example.com.":
		for i := range 100 {
			m.Answer = append(m.Answer, rr(t, fmt.Sprintf("%s 300 IN A 192.0.2.%d", q.Question[0].Name, i)))
		}
	case name == "www.example.com.":
		m.Ns = append(m.Ns, rr(t, soa))
	default:
		m.Rcode = dns.RcodeNameError
		m.Ns = append(m.Ns, rr(t, soa))
	}
	return m
}

// ServeDNS implements [dns.Handler]. It counts what is no probe.
func (z *zone) serve(t testing.TB) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name != "." {
			z.asked.Add(1)
		}
		if z.mute.Load() {
			return
		}
		m := z.answer(t, q)
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(udpSize)
		}
		_ = w.WriteMsg(m)
	}
}

// start starts a server on UDP and TCP of a port.
func start(t testing.TB) *zone {
	t.Helper()
	z := &zone{at: freePort(t)}
	for _, proto := range []string{"udp", "tcp"} {
		l, err := listen(t.Context(), proto, z.at, z.serve(t), slog.New(slog.DiscardHandler), func() {})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.stop)
	}
	return z
}

// freePort returns a port of the loopback that is free for UDP and TCP.
func freePort(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 20 {
		p, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := netip.MustParseAddrPort(p.LocalAddr().String())
		l, err := net.Listen("tcp", at.String())
		_ = p.Close()
		if err == nil {
			_ = l.Close()
			return at
		}
	}
	t.Fatal("no port is free for both UDP and TCP")
	return netip.AddrPort{}
}

// engineOn returns an engine with these servers.
func engineOn(t testing.TB, zones ...*zone) *engine {
	t.Helper()
	e := newEngine()
	e.mu.Lock()
	for _, z := range zones {
		u := newUpstream(network.NameServer{Addr: z.at.Addr()}, z.at.Port())
		e.upstreams = append(e.upstreams, u)
		e.start(u)
	}
	e.mu.Unlock()
	t.Cleanup(e.rest)
	return e
}

func query(name string, qtype uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	return q
}

func ask(e *engine, name string, qtype uint16) *dns.Msg {
	return e.answer(context.Background(), query(name, qtype))
}

func TestAnswersAreRemembered(t *testing.T) {
	z := start(t)
	e := engineOn(t, z)
	for _, name := range []string{"www.example.com.", "WWW.example.COM."} {
		a := ask(e, name, dns.TypeA)
		if a.Rcode != dns.RcodeSuccess || len(a.Answer) != 1 || a.Question[0].Name != name || !a.RecursionAvailable {
			t.Errorf("answer for %s = %v", name, a)
		}
	}
	// That there is nothing is remembered, too: no such name, and no such type.
	for range 2 {
		if a := ask(e, "nothing.example.com.", dns.TypeA); a.Rcode != dns.RcodeNameError {
			t.Errorf("answer = %v; want NXDOMAIN", a)
		}
		if a := ask(e, "www.example.com.", dns.TypeTXT); a.Rcode != dns.RcodeSuccess || len(a.Answer) != 0 {
			t.Errorf("answer = %v; want nothing", a)
		}
	}
	if n := z.asked.Load(); n != 3 {
		t.Errorf("the server was asked %d times; want 3", n)
	}
}

func TestTimePassesForWhatIsRemembered(t *testing.T) {
	c, now := newCache(), time.Unix(1000, 0)
	m := new(dns.Msg)
	m.SetReply(query("a.", dns.TypeA))
	m.Answer = []dns.RR{rr(t, "a. 300 IN CNAME b."), rr(t, "b. 30 IN A 192.0.2.1")}
	k := key{name: "a.", qtype: dns.TypeA}
	c.put(k, m, now)
	got := c.get(k, now.Add(20*time.Second))
	if got == nil || got.Answer[0].Header().Ttl != 280 || got.Answer[1].Header().Ttl != 10 {
		t.Errorf("after 20 s = %v; want lifetimes of 280 and 10", got)
	}
	if got := c.get(k, now.Add(30*time.Second)); got != nil {
		t.Errorf("after 30 s = %v; want nothing", got)
	}
	if c.order.Len() != 0 || c.bytes != 0 {
		t.Errorf("%d entries, %d bytes are left", c.order.Len(), c.bytes)
	}
}

func TestWhatMayBeRemembered(t *testing.T) {
	answer := func(code int, answer, ns string) *dns.Msg {
		m := new(dns.Msg)
		m.SetReply(query("a.", dns.TypeA))
		m.Rcode = code
		if answer != "" {
			m.Answer = []dns.RR{rr(t, answer)}
		}
		if ns != "" {
			m.Ns = []dns.RR{rr(t, ns)}
		}
		return m
	}
	for _, tt := range []struct {
		name string
		m    *dns.Msg
		want time.Duration
	}{
		{"an answer", answer(0, "a. 20 IN A 192.0.2.1", ""), 20 * time.Second},
		{"for no more than an hour", answer(0, "a. 864000 IN A 192.0.2.1", ""), time.Hour},
		{"an answer without a lifetime", answer(0, "a. 0 IN A 192.0.2.1", ""), 0},
		{"nothing, by the SOA", answer(dns.RcodeNameError, "", soa), time.Minute},
		{"nothing, for at most five minutes", answer(0, "", strings.TrimSuffix(soa, " 60")+" 9000"), 5 * time.Minute},
		{"nothing, and nobody says for how long", answer(dns.RcodeNameError, "", ""), 0},
		{"a failure", answer(dns.RcodeServerFailure, "", soa), 0},
	} {
		if got := lifetime(tt.m); got != tt.want {
			t.Errorf("%s: lifetime = %v; want %v", tt.name, got, tt.want)
		}
	}
}

func TestTheCacheHasBounds(t *testing.T) {
	c, now := newCache(), time.Unix(1000, 0)
	for i := range 3 * mostEntries {
		name := fmt.Sprintf("%d.example.com.", i)
		m := new(dns.Msg)
		m.SetReply(query(name, dns.TypeTXT))
		m.Answer = []dns.RR{rr(t, name+" 300 IN TXT "+strings.Repeat("x", i%250))}
		c.put(key{name: name}, m, now)
	}
	if c.order.Len() > mostEntries || c.bytes > mostBytes || len(c.entries) != c.order.Len() {
		t.Errorf("%d entries, %d bytes", c.order.Len(), c.bytes)
	}
	if c.get(key{name: fmt.Sprintf("%d.example.com.", 3*mostEntries-1)}, now) == nil || c.get(key{name: "0.example.com."}, now) != nil {
		t.Error("the oldest should go first")
	}
}

func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 10 s not: %s", what)
		}
	}
}

// TestAServerThatIsSilentIsPassedOver holds that callers wait for it at most once, and that it is used again when it is back.
func TestAServerThatIsSilentIsPassedOver(t *testing.T) {
	first, second := start(t), start(t)
	first.mute.Store(true)
	e := engineOn(t, first, second)
	if a := ask(e, "www.example.com.", dns.TypeA); len(a.Answer) != 1 {
		t.Errorf("answer = %v", a)
	}
	eventually(t, "the first is silent, the second healthy", func() bool {
		return e.upstreams[0].is() == silent && e.upstreams[1].is() == healthy
	})
	begin := time.Now()
	if a := ask(e, "b.example.com.", dns.TypeA); a.Rcode != dns.RcodeNameError {
		t.Errorf("answer = %v", a)
	}
	if took := time.Since(begin); took > tryLimit/2 {
		t.Errorf("it took %v, though the server is known to be silent", took)
	}
	first.mute.Store(false)
	eventually(t, "the first is healthy", func() bool { return e.upstreams[0].is() == healthy })
}

// TestWithoutServersTheAnswerComesAtOnce is a lab without a network.
func TestWithoutServersTheAnswerComesAtOnce(t *testing.T) {
	for name, e := range map[string]*engine{"no server": engineOn(t), "one that refuses": engineOn(t, &zone{at: freePort(t)})} {
		begin := time.Now()
		a := ask(e, "www.example.com.", dns.TypeA)
		if took := time.Since(begin); a.Rcode != dns.RcodeServerFailure || took > time.Second {
			t.Errorf("%s: answer = %v after %v; want SERVFAIL at once", name, a, took)
		}
	}
}

func TestAServerThatCannotSayLetsOthers(t *testing.T) {
	first, second := start(t), start(t)
	first.code.Store(dns.RcodeRefused)
	e := engineOn(t, first, second)
	if a := ask(e, "www.example.com.", dns.TypeA); len(a.Answer) != 1 {
		t.Errorf("answer = %v; want that of the second", a)
	}
	second.code.Store(dns.RcodeServerFailure)
	if a := ask(e, "c.example.com.", dns.TypeA); a.Rcode != dns.RcodeServerFailure {
		t.Errorf("answer = %v; want what the last said", a)
	}
}

// TestOneQuestionForAll holds that many who ask the same make one question.
func TestOneQuestionForAll(t *testing.T) {
	z := start(t)
	e := engineOn(t, z)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if a := ask(e, "www.example.com.", dns.TypeA); len(a.Answer) != 1 {
				t.Errorf("answer = %v", a)
			}
		})
	}
	all.Wait()
	if n := z.asked.Load(); n > 5 {
		t.Errorf("the server was asked %d times for 100 askers", n)
	}
}

func TestNamesThatNeedNoServer(t *testing.T) {
	e := engineOn(t)
	e.know(map[string][]netip.Addr{"node.lab.": {netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("10.5.0.3")}})
	for _, tt := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"NODE.lab.", dns.TypeA, "10.5.0.2 10.5.0.3"}, {"node.lab.", dns.TypeAAAA, ""}, {"node.lab.", dns.TypeMX, ""},
		{"localhost.", dns.TypeA, "127.0.0.1"}, {"a.localhost.", dns.TypeAAAA, "::1"},
	} {
		a := ask(e, tt.name, tt.qtype)
		var got []string
		for _, rr := range a.Answer {
			got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		if s := strings.Join(got, " "); a.Rcode != dns.RcodeSuccess || s != tt.want {
			t.Errorf("%s %s = %q, %s; want %q", tt.name, dns.TypeToString[tt.qtype], s, dns.RcodeToString[a.Rcode], tt.want)
		}
	}
	for code, q := range map[int]*dns.Msg{
		dns.RcodeFormatError:    {},
		dns.RcodeNotImplemented: {MsgHdr: dns.MsgHdr{Opcode: dns.OpcodeNotify}},
		dns.RcodeRefused:        query("a.", dns.TypeAXFR),
	} {
		if a := e.answer(t.Context(), q); a.Rcode != code {
			t.Errorf("answer to %v = %v; want %s", q, a, dns.RcodeToString[code])
		}
	}
}

// TestEncryptedServers asks over TLS and over HTTPS, and is not deceived by another name.
func TestEncryptedServers(t *testing.T) {
	z := &zone{}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if err := q.Unpack(body); err != nil || r.URL.Path != "/dns-query" {
			t.Errorf("asked %s: %v", r.URL, err)
			return
		}
		data, _ := z.answer(t, q).Pack()
		_, _ = w.Write(data)
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	dotListener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	dot := &dns.Server{Listener: dotListener, Handler: z.serve(t)}
	go func() { _ = dot.ActivateAndServe() }()
	defer func() { _ = dot.Shutdown() }()
	for _, tt := range []struct {
		protocol network.DNSProtocol
		at       string
	}{{network.DNSDoT, dotListener.Addr().String()}, {network.DNSDoH, web.Listener.Addr().String()}} {
		for _, name := range []string{"example.com", "other.test"} { // the certificate of httptest is for example.com
			at := netip.MustParseAddrPort(tt.at)
			u := newUpstream(network.NameServer{Addr: at.Addr(), Protocol: tt.protocol, TLSServerName: name}, at.Port())
			u.roots = roots
			m, err := u.ask(t.Context(), query("www.example.com.", dns.TypeA))
			u.close()
			if good := name == "example.com"; (err == nil) != good || good && len(m.Answer) != 1 {
				t.Errorf("%v as %s = %v, %v", tt.protocol, name, m, err)
			}
		}
	}
}

// TestTheResolverOnItsSockets runs the controllers in real time, with what a client sends.
func TestTheResolverOnItsSockets(t *testing.T) {
	z, at := start(t), freePort(t)
	st := memstate.New(memstate.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	e := engineOn(t, z)
	scheduler := controller.New(st, slog.New(slog.NewTextHandler(t.Output(), nil)), controller.Options{})
	if err := scheduler.Register(&CacheController{engine: e}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- scheduler.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	_, err1 := state.Create(ctx, st, network.HostDNSConfigID, network.HostDNSConfig{
		Enabled: true, ListenAddresses: []netip.AddrPort{at}, ResolveMemberNames: true,
	})
	_, err2 := state.Create(ctx, st, "cp-1", cluster.Member{Hostname: "cp-1.lab.example", Addresses: []netip.Addr{netip.MustParseAddr("10.5.0.2")}})
	_, err3 := state.Create(ctx, st, "static.lab", network.StaticHost{Addresses: []netip.Addr{netip.MustParseAddr("10.5.0.9")}})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"udp", "tcp"} {
		id := proto + "-" + at.String()
		eventually(t, id+" runs", func() bool {
			r, err := state.Get[network.DNSResolveCache](ctx, st, id)
			return err == nil && r.Spec().Status == "running"
		})
		client := &dns.Client{Net: proto, Timeout: 5 * time.Second}
		for name, want := range map[string]int{
			"www.example.com.": 1, "cp-1.": 1, "cp-1.lab.example.": 1, "static.lab.": 1, "nothing.example.com.": 0,
		} {
			var a *dns.Msg
			eventually(t, name, func() (ok bool) {
				a, _, _ = client.Exchange(query(name, dns.TypeA), at.String())
				return a != nil && len(a.Answer) == want
			})
			if a.Rcode != dns.RcodeSuccess && want > 0 {
				t.Errorf("%s over %s = %v", name, proto, a)
			}
		}
	}
	// What is too large for a packet comes over TCP, whole.
	small, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(query("large.example.com.", dns.TypeA), at.String())
	if small != nil {
		small.Compress = true // as it came
	}
	if err != nil || !small.Truncated || small.Len() > dns.MinMsgSize {
		t.Errorf("large over UDP = %v, %v; want it cut to 512 bytes", small, err)
	}
	large, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(query("large.example.com.", dns.TypeA), at.String())
	if err != nil || large.Truncated || len(large.Answer) != 100 {
		t.Errorf("large over TCP = %v", err)
	}
	if _, err := state.Modify(ctx, st, network.HostDNSConfigID, func(_ *resource.Metadata, s *network.HostDNSConfig) error { s.Enabled = false; return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing listens", func() bool {
		l, err := net.Listen("tcp", at.String())
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	})
}

const configText = "apiVersion: v1alpha1\nkind: ResolverConfig\nhostDNS:\n    enabled: true\n    forwardKubeDNSToHost: true\n    resolveMemberNames: true\n"

const networkText = "---\napiVersion: v1alpha1\nkind: KubeNetworkConfig\npodSubnets: [%s]\nserviceSubnets: [%s]\n"

func TestConfig(t *testing.T) {
	listening := func(list ...string) (out []netip.AddrPort) {
		for _, a := range list {
			out = append(out, netip.MustParseAddrPort(a))
		}
		return out
	}
	const pod6 = "fd54:616c:6f73::204f:5320:444e:531"
	for _, tt := range []struct {
		name, text string
		want       network.HostDNSConfig
	}{
		{"off", "apiVersion: v1alpha1\nkind: ResolverConfig\nhostDNS:\n    enabled: false\n", network.HostDNSConfig{}},
		{"for the node alone", "apiVersion: v1alpha1\nkind: ResolverConfig\nhostDNS:\n    enabled: true\n", network.HostDNSConfig{
			Enabled: true, ListenAddresses: listening("127.0.0.53:53"),
		}},
		{"for pods", configText, network.HostDNSConfig{
			Enabled: true, ResolveMemberNames: true, ListenAddresses: listening("127.0.0.53:53", "169.254.116.108:53"),
			ServiceHostDNSAddress: podAddress4,
		}},
		{"for pods with IPv6 alone", configText + fmt.Sprintf(networkText, "fc00:db8:10::/56", "fc00:db8:20::/112"), network.HostDNSConfig{
			Enabled: true, ResolveMemberNames: true, ListenAddresses: listening("127.0.0.53:53", "["+pod6+"]:53"),
			ServiceHostDNSAddressV6: podAddress6,
		}},
		{"for pods with both", configText + fmt.Sprintf(networkText, "10.244.0.0/16, 'fc00:db8:10::/56'", "10.96.0.0/12, 'fc00:db8:20::/112'"), network.HostDNSConfig{
			Enabled: true, ResolveMemberNames: true, ListenAddresses: listening("127.0.0.53:53", "169.254.116.108:53", "["+pod6+"]:53"),
			ServiceHostDNSAddress: podAddress4, ServiceHostDNSAddressV6: podAddress6,
		}},
	} {
		c, err := effective.Parse(tt.text)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(fmt.Sprint(tt.want), fmt.Sprint(configOf(c.Set))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFromTheConfigToAddressesAndFiles(t *testing.T) {
	root := t.TempDir()
	kernel := rtnl.NewMemory(rtnl.Link{Index: 1, Name: "lo", Loopback: true, Up: true})
	file := func() string {
		b, err := os.ReadFile(filepath.Join(root, PodResolvConf))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, network.HostDNSConfigID, network.HostDNSConfig{})
		server := func(a string, p network.DNSProtocol) network.NameServer {
			return network.NameServer{Addr: netip.MustParseAddr(a), Protocol: p}
		}
		controllertest.Create(h, network.ResolverStatusID, network.ResolverStatus{
			NameServers:   []network.NameServer{server("127.0.0.11", 0), server("10.5.0.1", 0), server("1.1.1.1", network.DNSDoT)},
			SearchDomains: []string{"lab.example"},
		})
		h.Settle()
		if got, want := file(), "nameserver 10.5.0.1\n\nsearch lab.example\n"; got != want {
			t.Errorf("resolv.conf of pods = %q; want %q", got, want)
		}
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: configText})
		h.Settle()
		if got, want := file(), "nameserver 169.254.116.108\n\nsearch lab.example\n"; got != want {
			t.Errorf("resolv.conf of pods = %q; want %q", got, want)
		}
		controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text += "# once more\n" })
		h.Settle()
		addresses, err := kernel.Addresses()
		if err != nil || len(addresses) != 1 || addresses[0].Prefix.String() != "169.254.116.108/32" {
			t.Errorf("addresses = %v, %v", addresses, err)
		}
	}, &ConfigController{Kernel: kernel}, &PodResolvConfController{Root: root})
}

// TestOnAMachineTheAddressIsAWish holds that controllers of addresses carry it out where there are some.
func TestOnAMachineTheAddressIsAWish(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: configText})
		controllertest.Want(h, "configuration/lo/169.254.116.108/32", network.AddressSpec{
			Address: netip.MustParsePrefix("169.254.116.108/32"), LinkName: "lo", Family: network.FamilyInet4, Scope: network.ScopeHost,
			Flags: network.AddressPermanent, Layer: network.LayerMachineConfiguration,
		}, state.In(network.ConfigNamespace))
		controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = "apiVersion: v1alpha1\nkind: ResolverConfig\n" })
		controllertest.WantGone[network.AddressSpec](h, "configuration/lo/169.254.116.108/32", state.In(network.ConfigNamespace))
	}, &ConfigController{})
}

func TestTheResolverDoesNotAskItself(t *testing.T) {
	c := network.HostDNSConfig{Enabled: true, ListenAddresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53")}}
	a, b := network.NameServer{Addr: netip.MustParseAddr("127.0.0.53")}, network.NameServer{Addr: netip.MustParseAddr("10.5.0.1")}
	if got := serversOf(c, network.ResolverStatus{NameServers: []network.NameServer{a, b, b}}); len(got) != 1 || got[0] != b {
		t.Errorf("serversOf = %v; want %v", got, b)
	}
}

// FuzzAnswer asks what comes as bytes.
func FuzzAnswer(f *testing.F) {
	good, _ := query("www.example.com.", dns.TypeA).Pack()
	f.Add(good)
	e := newEngine()
	f.Fuzz(func(t *testing.T, data []byte) {
		q := new(dns.Msg)
		if q.Unpack(data) != nil {
			return
		}
		a := e.answer(t.Context(), q)
		if a.Id != q.Id || !a.Response {
			t.Errorf("answer to %v = %v", q, a)
		}
		a.Truncate(dns.MinMsgSize)
	})
}

func BenchmarkFromTheCache(b *testing.B) {
	e := engineOn(b, start(b))
	q := query("www.example.com.", dns.TypeA)
	e.answer(b.Context(), q)
	for b.Loop() {
		e.answer(b.Context(), q)
	}
}
