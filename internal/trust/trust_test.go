package trust

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"talos.internal/api/securitypb"
	"talos.internal/secret"
)

var loopback = secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, DNS: []string{"cp-1"}}

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// material makes what a server needs, of an authority of its own.
func material(t testing.TB) *Material {
	t.Helper()
	now := time.Now()
	ca, err := secret.NewAuthority(secret.OS, now)
	must(t, ca, err)
	pair, err := ca.Issue(secret.NodeServer("cp-1", loopback), now)
	must(t, pair, err)
	token, err := secret.NewToken(nil)
	return &Material{Issuing: ca, Server: pair, Token: must(t, token, err)}
}

// serve runs a server on a port of its own until the test ends, and returns where.
func serve(t testing.TB, o Options) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, ln, err)
	s, err := NewServer(o)
	must(t, s, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func source(m *Material) *Current {
	var c Current
	c.Set(m)
	return &c
}

func request(m *Material, endpoints ...string) Request {
	return Request{
		Endpoints: endpoints, Token: m.Token, Accepted: []*x509.Certificate{m.Issuing.Certificate()}, CommonName: "worker-1",
		SANs: secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("10.5.0.3")}, DNS: []string{"worker-1"}},
	}
}

func TestAWorkerGetsAServersCertificateAndNothingElse(t *testing.T) {
	m := material(t)
	pair, err := request(m, serve(t, Options{Source: source(m)})).Certificate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cert := pair.Certificate()
	for _, name := range []string{"worker-1", "10.5.0.3"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: m.Issuing.Pool(), DNSName: name}); err != nil {
			t.Errorf("as server %s: %v", name, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: m.Issuing.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("it can be shown as a client's")
	}
	if life := time.Until(cert.NotAfter); life > 24*time.Hour || life < 23*time.Hour {
		t.Errorf("it lives %s; want 24 h", life)
	}
	if cert.IsCA || len(cert.Subject.Organization) != 0 {
		t.Errorf("authority %v, organisation %q; want neither", cert.IsCA, cert.Subject.Organization)
	}
}

// call sends a request as it stands, with metadata as it stands.
func call(t testing.TB, m *Material, address string, csr []byte, md ...string) (*securitypb.CertificateResponse, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: m.Issuing.Pool(), ServerName: "cp-1"})))
	must(t, conn, err)
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return securitypb.NewSecurityServiceClient(conn).Certificate(metadata.AppendToOutgoingContext(ctx, md...), &securitypb.CertificateRequest{Csr: csr})
}

// csrOf makes a request of any form.
func csrOf(t testing.TB, template x509.CertificateRequest) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, key, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: must(t, der, err)})
}

var (
	wantsCA  = pkix.Extension{Id: extBasicConstraints, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}
	wantsLea = pkix.Extension{Id: extBasicConstraints, Value: []byte{0x30, 0x00}}
	wantsEKU = pkix.Extension{Id: extExtKeyUsage, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2}} // clientAuth
	wantsAny = pkix.Extension{Id: []int{2, 5, 29, 30}, Value: []byte{0x30, 0x00}}                                   // name constraints
)

func TestWhatIsRefused(t *testing.T) {
	m := material(t)
	address := serve(t, Options{Source: source(m), PerPeer: Rate{PerSecond: 1000, Burst: 1000}})
	good := x509.CertificateRequest{DNSNames: []string{"worker-1"}}
	with := func(change func(*x509.CertificateRequest)) []byte {
		c := good
		change(&c)
		return csrOf(t, c)
	}
	token := []string{TokenKey, m.Token.Reveal()}
	var many []string
	for range 300 {
		many = append(many, strings.Repeat("a", 20)+rand.Text()+".example.com")
	}
	tampered := csrOf(t, good)
	block, _ := pem.Decode(tampered)
	block.Bytes[len(block.Bytes)-1] ^= 1
	tests := []struct {
		name string
		csr  []byte
		md   []string
		code codes.Code
		text string
	}{
		{"no token", csrOf(t, good), nil, codes.Unauthenticated, "machine token"},
		{"an empty token", csrOf(t, good), []string{TokenKey, ""}, codes.Unauthenticated, "machine token"},
		{"another token", csrOf(t, good), []string{TokenKey, "abcdef.0123456789abcdef"}, codes.Unauthenticated, "machine token"},
		{"the token and another", csrOf(t, good), append([]string{TokenKey, "abcdef.0123456789abcdef"}, token...), codes.Unauthenticated, ""},
		{"the token under another key", csrOf(t, good), []string{"authorization", m.Token.Reveal()}, codes.Unauthenticated, ""},
		{"nothing", nil, token, codes.InvalidArgument, "certificate request"},
		{"garbage", []byte("garbage"), token, codes.InvalidArgument, "certificate request"},
		{"garbage in PEM", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), token, codes.InvalidArgument, "CSR"},
		{"a certificate", m.Server.CertificatePEM(), token, codes.InvalidArgument, ""},
		{"a request that its key did not sign", pem.EncodeToMemory(block), token, codes.InvalidArgument, "signature"},
		{"an authority", with(func(c *x509.CertificateRequest) { c.ExtraExtensions = []pkix.Extension{wantsCA} }), token, codes.InvalidArgument, "authority"},
		{"an extension", with(func(c *x509.CertificateRequest) { c.ExtraExtensions = []pkix.Extension{wantsAny} }), token, codes.InvalidArgument, "2.5.29.30"},
		{"an e-mail address", with(func(c *x509.CertificateRequest) { c.EmailAddresses = []string{"a@b.c"} }), token, codes.InvalidArgument, "other than"},
		{"a URI", with(func(c *x509.CertificateRequest) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }), token, codes.InvalidArgument, "other than"},
		{"no name", with(func(c *x509.CertificateRequest) { c.DNSNames = nil }), token, codes.InvalidArgument, "neither"},
		{"no DNS name", with(func(c *x509.CertificateRequest) { c.DNSNames = []string{"a b"} }), token, codes.InvalidArgument, "DNS name"},
		{"too many names", with(func(c *x509.CertificateRequest) { c.DNSNames = many }), token, codes.InvalidArgument, "256"},
		{"too large", bytes.Repeat([]byte("a"), MaxRequest+1), token, codes.ResourceExhausted, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply, err := call(t, m, address, tt.csr, tt.md...)
			if status.Code(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.text) {
				t.Errorf("Certificate = %v, %v; want %s with %q", reply, err, tt.code, tt.text)
			}
			if err != nil && strings.Contains(err.Error(), m.Token.Reveal()) {
				t.Error("the error has the token")
			}
		})
	}
}

func TestWhatIsAskedForBesidesNamesIsNotGranted(t *testing.T) {
	m := material(t)
	address := serve(t, Options{Source: source(m)})
	reply, err := call(t, m, address, csrOf(t, x509.CertificateRequest{
		Subject:         pkix.Name{CommonName: "w", Organization: []string{secret.RoleAdmin, secret.RoleImpersonator}},
		DNSNames:        []string{"w"},
		ExtraExtensions: []pkix.Extension{wantsEKU, wantsLea},
	}), TokenKey, m.Token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := secret.ParseCertificate(reply.GetCrt())
	must(t, cert, err)
	if roles := secret.Roles(cert); len(roles) != 0 {
		t.Errorf("roles = %q; want none", roles)
	}
	if want := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}; !slices.Equal(cert.ExtKeyUsage, want) {
		t.Errorf("usages = %v; want %v", cert.ExtKeyUsage, want)
	}
	if !bytes.Equal(reply.GetCa(), m.Issuing.CertificatePEM()) {
		t.Error("the reply has another authority than the one that signed")
	}
}

func TestWhoAsksTooOftenWaits(t *testing.T) {
	m := material(t)
	address := serve(t, Options{Source: source(m), PerPeer: Rate{PerSecond: 0.001, Burst: 3}})
	var got []codes.Code
	for range 5 {
		_, err := call(t, m, address, nil, TokenKey, "abcdef.0123456789abcdef")
		got = append(got, status.Code(err))
	}
	want := []codes.Code{codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.ResourceExhausted, codes.ResourceExhausted}
	if !slices.Equal(got, want) {
		t.Errorf("codes = %v; want %v", got, want)
	}
	if _, err := request(m, address).Certificate(t.Context()); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("Certificate with the token = %v; want that there are too many: the limit comes before the token", err)
	}
}

func TestTheClientSaysWhichEndpointSaidWhat(t *testing.T) {
	m, other := material(t), material(t)
	address := serve(t, Options{Source: source(m)})
	foreign := serve(t, Options{Source: source(other)})
	waiting := serve(t, Options{Source: &Current{}})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, closed, err)
	nobody := closed.Addr().String()
	_ = closed.Close()

	r := request(m, nobody, foreign, waiting, address)
	r.Token = other.Token
	_, err = r.Certificate(t.Context())
	if err == nil {
		t.Fatal("Certificate = nil; want an error")
	}
	for _, want := range []string{
		nobody + ": Unavailable: ", "connection refused", foreign + ": Unavailable: ", "unknown authority",
		waiting + ": Unavailable: ", address + ": Unauthenticated: the machine token",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Certificate = %v; want %q in it", err, want)
		}
	}
	r = request(m, nobody, foreign, waiting, address)
	if _, err := r.Certificate(t.Context()); err != nil {
		t.Errorf("Certificate with one good endpoint of four = %v; want nil", err)
	}
	if _, err := request(m).Certificate(t.Context()); err == nil {
		t.Error("Certificate without endpoints = nil; want an error")
	}
}

// evil answers with whatever it is given.
type evil struct {
	securitypb.UnimplementedSecurityServiceServer
	answer func(csr *x509.CertificateRequest) *x509.Certificate
}

func (e evil) Certificate(_ context.Context, req *securitypb.CertificateRequest) (*securitypb.CertificateResponse, error) {
	csr, err := secret.ParseCSR(req.GetCsr())
	if err != nil {
		return nil, err
	}
	return &securitypb.CertificateResponse{Crt: secret.CertificatesPEM(e.answer(csr))}, nil
}

func TestTheClientRefusesWhatItDidNotAskFor(t *testing.T) {
	m, other := material(t), material(t)
	now := time.Now()
	sign := func(ca *secret.Authority, csr *x509.CertificateRequest, p secret.CSRPolicy) *x509.Certificate {
		cert, err := ca.SignCSR(csr, p, now)
		return must(t, cert, err)
	}
	tests := []struct {
		name   string
		answer func(*x509.CertificateRequest) *x509.Certificate
		want   string
	}{
		{"another key", func(*x509.CertificateRequest) *x509.Certificate { return m.Server.Certificate() }, "does not belong"},
		{"another authority", func(c *x509.CertificateRequest) *x509.Certificate {
			return sign(other.Issuing, c, secret.TrustdPolicy())
		}, "no accepted authority"},
		{"a client's", func(c *x509.CertificateRequest) *x509.Certificate {
			return sign(m.Issuing, c, secret.CSRPolicy{Usage: secret.Client, TTL: time.Hour})
		}, "server alone"},
		{"other names", func(c *x509.CertificateRequest) *x509.Certificate {
			c.IPAddresses = nil
			return sign(m.Issuing, c, secret.TrustdPolicy())
		}, "lacks the address 10.5.0.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, ln, err)
			s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{m.Server.TLS()}})))
			securitypb.RegisterSecurityServiceServer(s, evil{answer: tt.answer})
			go func() { _ = s.Serve(ln) }()
			t.Cleanup(s.Stop)
			if _, err := request(m, ln.Addr().String()).Certificate(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Certificate = %v; want %q", err, tt.want)
			}
		})
	}
}

func TestOnlyTLS13(t *testing.T) {
	m := material(t)
	address := serve(t, Options{Source: source(m)})
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: m.Issuing.Pool(), MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	if err == nil {
		_ = conn.Close()
		t.Error("a handshake with TLS 1.2 succeeded")
	}
}

func TestARenewedCertificateIsShownToNewConnections(t *testing.T) {
	m := material(t)
	src := source(m)
	address := serve(t, Options{Source: src})
	renewed := *m
	pair, err := m.Issuing.Issue(secret.NodeServer("cp-2", loopback), time.Now())
	renewed.Server = must(t, pair, err)
	src.Set(&renewed)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: m.Issuing.Pool(), NextProtos: []string{"h2"}})
	must(t, conn, err)
	defer func() { _ = conn.Close() }()
	if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "cp-2" {
		t.Errorf("shown is the certificate of %s; want cp-2", got)
	}
}

func TestAPanicIsAnErrorOfItsCall(t *testing.T) {
	var log bytes.Buffer
	s, err := NewServer(Options{Source: &Current{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, s, err)
	_, err = s.survive(t.Context(), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { panic("secret detail") })
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret detail") || !strings.Contains(log.String(), "secret detail") {
		t.Errorf("a panic is %v to the caller and %q in the log; want Internal without, and the log with the detail", err, log.String())
	}
}

func TestMoreServicesShareThePort(t *testing.T) {
	m := material(t)
	registered := false
	serve(t, Options{Source: source(m), Register: func(s *grpc.Server) {
		registered = true
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "x.Y", HandlerType: (*any)(nil)}, struct{}{})
	}})
	if !registered {
		t.Error("Register was not called")
	}
	if _, err := NewServer(Options{}); err == nil {
		t.Error("NewServer without a source = nil; want an error")
	}
}

func TestLimiter(t *testing.T) {
	now := time.Now()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	l := newLimiter(Rate{PerSecond: 1, Burst: 2}, Rate{PerSecond: 1, Burst: 3}, now)
	steps := []struct {
		name  string
		after time.Duration
		addr  netip.Addr
		want  bool
	}{
		{"the first", 0, a, true},
		{"the burst", 0, a, true},
		{"over the peer's burst", 0, a, false},
		{"mapped, it is the same peer", 0, netip.MustParseAddr("::ffff:10.0.0.1"), false},
		{"another peer", 0, b, true},
		{"over the total", 0, b, false},
		{"the clock goes back", -time.Hour, a, false},
		{"refilled", time.Hour + 3*time.Second, a, true},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		if got := l.allow(s.addr, now); got != s.want {
			t.Errorf("%s: allow = %v; want %v", s.name, got, s.want)
		}
	}
	v6 := newLimiter(Rate{PerSecond: 1, Burst: 1}, Rate{PerSecond: 100, Burst: 1e6}, now)
	if !v6.allow(netip.MustParseAddr("fd00::1"), now) || v6.allow(netip.MustParseAddr("fd00::2"), now) || !v6.allow(netip.MustParseAddr("fd00:0:0:1::2"), now) {
		t.Error("the addresses of one /64 are not one peer, or those of two are")
	}
}

func TestTheLimiterForgets(t *testing.T) {
	now := time.Now()
	l := newLimiter(Rate{PerSecond: 1, Burst: 2}, Rate{PerSecond: 1000, Burst: 1000}, now)
	for i := range 100_000 {
		now = now.Add(time.Millisecond)
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if n := len(l.peers); n > 5000 {
		t.Errorf("%d peers are remembered; want those of the last seconds", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, inner, err)
	ln := limitConns(inner, 1)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		return must(t, c, err)
	}
	c1, c2 := dial(), dial()
	defer func() { _, _ = c1.Close(), c2.Close() }()
	first, err := ln.Accept()
	must(t, first, err)
	second := make(chan error, 2)
	accept := func() {
		c, err := ln.Accept()
		second <- err
		if err == nil {
			defer func() { _ = c.Close() }()
			_, err = ln.Accept()
			second <- err
		}
	}
	go accept()
	select {
	case err := <-second:
		t.Fatalf("a second Accept = %v while the first connection is open; want it to wait", err)
	case <-time.After(20 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close() // as HTTP servers do; it must not count twice
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := <-second; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener that is full = %v; want net.ErrClosed", err)
	}
}

func TestParseMaterial(t *testing.T) {
	m := material(t)
	good := Parts{
		IssuingCert: m.Issuing.CertificatePEM(), IssuingKey: m.Issuing.Key().PEM(),
		ServerCert: m.Server.CertificatePEM(), ServerKey: m.Server.Key().PEM(), Token: m.Token.Reveal(),
	}
	if _, err := ParseMaterial(good); err != nil {
		t.Error(err)
	}
	tests := []struct {
		name   string
		change func(*Parts)
		want   string
	}{
		{"no authority", func(p *Parts) { p.IssuingCert = nil }, "issuing authority"},
		{"key of another", func(p *Parts) { p.ServerKey = p.IssuingKey }, "own certificate"},
		{"no token", func(p *Parts) { p.Token = "" }, "machine token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			tt.change(&p)
			if _, err := ParseMaterial(p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseMaterial = %v; want %q", err, tt.want)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	tests := []struct{ endpoint, host, address string }{
		{"10.5.0.2", "10.5.0.2", "10.5.0.2:50001"},
		{"fd00::2", "fd00::2", "[fd00::2]:50001"},
		{"[fd00::2]", "fd00::2", "[fd00::2]:50001"},
		{"fe80::2%eth0", "fe80::2", "[fe80::2%eth0]:50001"},
		{"cp.example.com", "cp.example.com", "cp.example.com:50001"},
		{"cp.example.com:1", "cp.example.com", "cp.example.com:1"},
		{"[fd00::2]:1", "fd00::2", "[fd00::2]:1"},
	}
	for _, tt := range tests {
		if host, address := split(tt.endpoint); host != tt.host || address != tt.address {
			t.Errorf("split(%q) = %q, %q; want %q, %q", tt.endpoint, host, address, tt.host, tt.address)
		}
	}
}

// FuzzCertificate holds that whatever is signed is a server's, for the names that were asked for, and nothing else.
func FuzzCertificate(f *testing.F) {
	m := material(f)
	f.Add(csrOf(f, x509.CertificateRequest{DNSNames: []string{"worker-1"}, IPAddresses: []net.IP{net.IPv4(10, 5, 0, 3)}}))
	f.Add(csrOf(f, x509.CertificateRequest{DNSNames: []string{"a"}, ExtraExtensions: []pkix.Extension{wantsCA, wantsEKU}}))
	f.Add(csrOf(f, x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"os:admin"}}, URIs: []*url.URL{{Scheme: "a", Host: "b"}}}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		csr, err := readRequest(data)
		if err != nil {
			return
		}
		cert, err := m.Issuing.SignCSR(csr, secret.TrustdPolicy(), time.Now())
		if err != nil {
			return
		}
		if cert.IsCA || len(secret.Roles(cert)) > 0 || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
			t.Errorf("signed: authority %v, organisation %q, usages %v", cert.IsCA, cert.Subject.Organization, cert.ExtKeyUsage)
		}
		if len(cert.DNSNames)+len(cert.IPAddresses) == 0 || len(cert.URIs)+len(cert.EmailAddresses) > 0 {
			t.Errorf("signed names: %q %v %v %q", cert.DNSNames, cert.IPAddresses, cert.URIs, cert.EmailAddresses)
		}
	})
}
