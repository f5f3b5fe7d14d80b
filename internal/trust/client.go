package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"talos.internal/api/securitypb"
	"talos.internal/secret"
)

const (
	// attemptTimeout is how long one control-plane node has to answer, connection included.
	attemptTimeout = 10 * time.Second
	// headStart is how long one has before the next is asked as well.
	headStart = 2 * time.Second
	// maxReply is the size of the largest reply in bytes.
	maxReply = 256 << 10
)

// Request is what a worker asks a control plane for.
type Request struct {
	// Endpoints are the control-plane nodes, each an address or a DNS name, with a port or without, which means [Port]. They are
	// asked in their order.
	Endpoints []string
	// Token is the machine token.
	Token secret.Token
	// Accepted are the authorities by which the server is known, and of which one must have signed the certificate.
	Accepted []*x509.Certificate
	// CommonName and SANs are what the certificate shall say.
	CommonName string
	SANs       secret.SANs
	// Now is the time for checking certificates. Zero means the machine's.
	Now time.Time
	// Dial connects to host:port. Nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Certificate makes a key and has a certificate for it signed.
//
// It begins with the first endpoint; whenever one has failed, or not answered for two seconds, the next is asked too, and the first
// good answer counts. Each has ten seconds, and ctx bounds all of it. The error has a part for each endpoint, with its name and
// what it said. The certificate has been checked: it is of our key, has the names, is a server's, and is signed by one of
// r.Accepted.
func (r Request) Certificate(ctx context.Context) (secret.Pair, error) {
	if len(r.Endpoints) == 0 {
		return secret.Pair{}, errors.New("ask the control plane for a certificate: no control-plane node is known")
	}
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	key, err := secret.GenerateKey(secret.Ed25519)
	if err != nil {
		return secret.Pair{}, fmt.Errorf("ask the control plane for a certificate: %w", err)
	}
	csr, err := secret.NewCSR(key, secret.Leaf{CommonName: r.CommonName, SANs: r.SANs})
	if err != nil {
		return secret.Pair{}, fmt.Errorf("ask the control plane for a certificate: %w", err)
	}
	cert, err := r.race(ctx, func(ctx context.Context, endpoint string) (*x509.Certificate, error) {
		cert, err := r.ask(ctx, endpoint, csr)
		if err != nil {
			return nil, err
		}
		return cert, r.check(cert, key)
	})
	if err != nil {
		return secret.Pair{}, fmt.Errorf("ask the control plane for a certificate: %w", err)
	}
	return secret.NewPair(cert, key)
}

type ask func(ctx context.Context, endpoint string) (*x509.Certificate, error)

// race asks the endpoints one after the other, without waiting long for one, and returns the first certificate.
func (r Request) race(ctx context.Context, one ask) (*x509.Certificate, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		i    int
		cert *x509.Certificate
		err  error
	}
	answers := make(chan answer, len(r.Endpoints)) // so that those who lose the race can end
	errs := make([]error, len(r.Endpoints))
	asked, pending := 0, 0
	next := func() {
		i := asked
		asked++
		pending++
		go func() {
			ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
			defer cancel()
			cert, err := one(ctx, r.Endpoints[i])
			if err != nil {
				err = fmt.Errorf("%s: %w", r.Endpoints[i], err)
			}
			answers <- answer{i, cert, err}
		}()
	}
	next()
	start := time.NewTimer(headStart)
	defer start.Stop()
	for {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.cert, nil
			}
			errs[a.i] = a.err
			if pending--; pending == 0 && asked == len(r.Endpoints) {
				return nil, errors.Join(errs...)
			}
		case <-start.C:
		}
		if asked < len(r.Endpoints) {
			next()
			start.Reset(headStart)
		}
	}
}

// ask has one endpoint sign csr.
func (r Request) ask(ctx context.Context, endpoint string, csr []byte) (*x509.Certificate, error) {
	host, address := split(endpoint)
	roots := x509.NewCertPool()
	for _, ca := range r.Accepted {
		roots.AddCert(ca)
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: roots, Time: func() time.Time { return r.Now },
		})),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			dial := r.Dial
			if dial == nil {
				dial = dialTCP
			}
			return dial(ctx, address)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
		grpc.WithNoProxy(), // the control plane is in the cluster; a proxy for the Internet does not lead there
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // nothing is sent or expected any more
	reply, err := securitypb.NewSecurityServiceClient(conn).Certificate(
		metadata.AppendToOutgoingContext(ctx, TokenKey, r.Token.Reveal()), &securitypb.CertificateRequest{Csr: csr})
	if err != nil {
		s := status.Convert(err)
		return nil, fmt.Errorf("%s: %s", s.Code(), s.Message())
	}
	cert, err := secret.ParseCertificate(reply.GetCrt())
	if err != nil {
		return nil, fmt.Errorf("its reply: %w", err)
	}
	return cert, nil
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// split returns the name by which the server is to be known, and host:port to connect to.
func split(endpoint string) (host, address string) {
	if addr, err := netip.ParseAddr(strings.Trim(endpoint, "[]")); err == nil {
		return addr.WithZone("").String(), net.JoinHostPort(addr.String(), strconv.Itoa(Port))
	}
	if host, _, err := net.SplitHostPort(endpoint); err == nil {
		return host, endpoint
	}
	return endpoint, net.JoinHostPort(endpoint, strconv.Itoa(Port))
}

// check reports why a certificate is not the one that was asked for. A server that answers with one is not believed.
func (r Request) check(cert *x509.Certificate, key secret.Key) error {
	if _, err := secret.NewPair(cert, key); err != nil {
		return fmt.Errorf("its reply: %w", err)
	}
	if cert.IsCA || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		return errors.New("its reply: the certificate is not one of a server alone")
	}
	roots := x509.NewCertPool()
	for _, ca := range r.Accepted {
		roots.AddCert(ca)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: r.Now}); err != nil {
		return fmt.Errorf("its reply: no accepted authority vouches for it: %w", err)
	}
	for _, name := range r.SANs.DNS {
		if !slices.Contains(cert.DNSNames, name) {
			return fmt.Errorf("its reply: the certificate lacks the name %q", name)
		}
	}
	for _, ip := range r.SANs.IPs {
		want := net.IP(ip.Unmap().WithZone("").AsSlice())
		if !slices.ContainsFunc(cert.IPAddresses, want.Equal) {
			return fmt.Errorf("its reply: the certificate lacks the address %s", ip)
		}
	}
	return nil
}
