package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"talos.internal/api/securitypb"
	"talos.internal/secret"
)

const (
	// Port is where trustd listens.
	Port = 50001

	// TokenKey is the key of the gRPC metadata that has the machine token. (The published contract says that the token travels in
	// the metadata and does not name the key.)
	TokenKey = "token"

	// MaxRequest is the size of the largest certificate signing request in bytes: 256 names and an RSA key fit in.
	MaxRequest = 64 << 10
)

const (
	maxStreams       = 64
	handshakeTimeout = 10 * time.Second
	idleTimeout      = time.Minute
	grace            = 3 * time.Second
)

// Options are for [NewServer].
type Options struct {
	// Source gives authority, token and certificate. Required.
	Source Source
	// Log is where the server says what it signed and what it refused. Nil means nowhere.
	Log *slog.Logger
	// Register registers more services on the server, which share port, certificate and limits on connections, and look after
	// themselves otherwise. May be nil.
	Register func(*grpc.Server)
	// PerPeer and Total bound the calls for a certificate; zero means the defaults.
	PerPeer, Total Rate
	// Now is the clock. Nil means the machine's.
	Now func() time.Time
}

// Server is trustd. It is safe for concurrent use.
type Server struct {
	securitypb.UnimplementedSecurityServiceServer

	source Source
	log    *slog.Logger
	now    func() time.Time
	limit  *limiter
	grpc   *grpc.Server
}

// NewServer makes a server, which does nothing until [Server.Serve].
func NewServer(o Options) (*Server, error) {
	if o.Source == nil {
		return nil, errors.New("trustd: no source of its authority and token")
	}
	s := &Server{source: o.Source, log: o.Log, now: o.Now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.PerPeer == (Rate{}) {
		o.PerPeer = DefaultPerPeer
	}
	if o.Total == (Rate{}) {
		o.Total = DefaultTotal
	}
	s.limit = newLimiter(o.PerPeer, o.Total, s.now())
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.certificate})),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(MaxRequest),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: idleTimeout, Timeout: handshakeTimeout}),
		grpc.ChainUnaryInterceptor(s.survive),
	)
	securitypb.RegisterSecurityServiceServer(s.grpc, s)
	if o.Register != nil {
		o.Register(s.grpc)
	}
	return s, nil
}

// Serve answers on ln, which it closes, until ctx ends, which is no error. Calls that are under way then have three seconds.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.grpc.Serve(limitConns(ln, maxConns)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve trustd on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	cut := time.AfterFunc(grace, s.grpc.Stop)
	defer cut.Stop()
	s.grpc.GracefulStop()
	<-done
	return nil
}

func (s *Server) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m, err := s.source.Material()
	if err != nil {
		return nil, err
	}
	cert := m.Server.TLS()
	return &cert, nil
}

// survive turns a panic of a handler into an error of that call.
func (s *Server) survive(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("a call panicked", "method", info.FullMethod, "panic", v, "stack", string(debug.Stack()))
			reply, err = nil, status.Error(codes.Internal, "internal error; trustd's log has more")
		}
	}()
	return handler(ctx, req)
}

// Certificate implements securitypb.SecurityServiceServer.
//
// The reply has the authority that signed and the certificate, each in PEM. Codes: ResourceExhausted if the peer, or all of them
// together, ask too often; Unauthenticated without the right token; Unavailable while the node has no authority or its clock is
// outside of that one's validity; InvalidArgument for a request that is not signed.
func (s *Server) Certificate(ctx context.Context, req *securitypb.CertificateRequest) (*securitypb.CertificateResponse, error) {
	addr := peerAddr(ctx)
	log := s.log.With("peer", addr.String())
	if !s.limit.allow(addr, s.now()) {
		log.Debug("refused a request for a certificate: too many")
		return nil, status.Error(codes.ResourceExhausted, "too many requests for certificates; try again later")
	}
	m, err := s.source.Material()
	if err != nil {
		return nil, status.Error(codes.Unavailable, ErrNoMaterial.Error())
	}
	if !TokenOf(ctx).Equal(m.Token) {
		log.Warn("refused a request for a certificate: no token, or not the machine token of this cluster")
		return nil, status.Error(codes.Unauthenticated, "the machine token is missing or is not that of this cluster; compare machine.token of both configs")
	}
	csr, err := readRequest(req.GetCsr())
	if err != nil {
		log.Warn("refused a request for a certificate", "err", err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	cert, err := m.Issuing.SignCSR(csr, secret.TrustdPolicy(), s.now())
	if err != nil {
		code := codes.InvalidArgument
		if errors.Is(err, secret.ErrClock) {
			code = codes.Unavailable
		}
		log.Warn("refused a request for a certificate", "err", err)
		return nil, status.Error(code, err.Error())
	}
	log.Info("issued a certificate", "name", cert.Subject.CommonName, "dns", cert.DNSNames, "ips", cert.IPAddresses,
		"until", cert.NotAfter.Format(time.RFC3339))
	return &securitypb.CertificateResponse{Ca: m.Issuing.CertificatePEM(), Crt: secret.CertificatesPEM(cert)}, nil
}

// TokenOf returns the token that the caller of a call shows; zero, which equals nothing, unless there is exactly one that can be one.
func TokenOf(ctx context.Context) secret.Token {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(TokenKey)
	if len(values) != 1 {
		return secret.Token{}
	}
	t, err := secret.ParseToken(values[0])
	if err != nil {
		return secret.Token{}
	}
	return t
}

func peerAddr(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return netip.Addr{}
	}
	if tcp, ok := p.Addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}

// Extensions that a request may ask for (RFC 5280 section 4.2.1). Others are refused rather than dropped, so that nobody believes
// that he has them. The usages are accepted, since ours replace them; so is being no authority.
var (
	extSAN              = asn1.ObjectIdentifier{2, 5, 29, 17}
	extBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	extKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	extExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// readRequest reads a certificate signing request and checks that it asks for what trustd issues: a certificate with addresses and
// DNS names.
func readRequest(data []byte) (*x509.CertificateRequest, error) {
	if len(data) > MaxRequest {
		return nil, fmt.Errorf("the request has %d bytes; at most %d are read", len(data), MaxRequest)
	}
	csr, err := secret.ParseCSR(data)
	if err != nil {
		return nil, err
	}
	if len(csr.DNSNames)+len(csr.IPAddresses) == 0 {
		return nil, errors.New("the request has neither addresses nor DNS names: the certificate would be no server's")
	}
	if len(csr.EmailAddresses)+len(csr.URIs) > 0 {
		return nil, errors.New("the request has names other than addresses and DNS names")
	}
	for _, e := range csr.Extensions {
		switch {
		case e.Id.Equal(extBasicConstraints):
			var c struct {
				CA  bool `asn1:"optional"`
				Max int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(e.Value, &c); err != nil || len(rest) > 0 || c.CA {
				return nil, errors.New("the request is for the certificate of an authority")
			}
		case !slices.ContainsFunc([]asn1.ObjectIdentifier{extSAN, extKeyUsage, extExtKeyUsage}, e.Id.Equal):
			return nil, fmt.Errorf("the request asks for the extension %s", e.Id)
		}
	}
	return csr, nil
}
