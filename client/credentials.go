package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"talos.internal/secret"
)

// tls decides whom to trust and what to show.
func (o Options) tls() (*tls.Config, error) {
	switch {
	case o.Maintenance != nil:
		return o.Maintenance.tls(), nil
	case o.TLS != nil:
		config := o.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS13)

		return config, nil
	case o.Context == nil:
		return nil, errors.New("there is no context of a talosconfig, and so no credentials")
	}

	var errs []error

	if auth := o.Context.Auth; auth != nil && auth.SideroV1 != nil {
		errs = append(errs, errors.New("auth.siderov1: signing requests is not supported"))
	}

	if o.Context.Auth.HasBasic() {
		errs = append(errs, errors.New("auth.basic: is not supported"))
	}

	if o.Context.ProxyURL != "" && o.Dialer == nil {
		errs = append(errs, errors.New("proxy-url: connecting through a proxy is not supported"))
	}

	material, err := o.Context.Material()

	switch {
	case err != nil:
		errs = append(errs, err)
	case material.Client.IsZero():
		errs = append(errs, errors.New("crt, key: the context has no client certificate"))
	}

	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("context of the talosconfig: %w", err)
	}

	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{material.Client.TLS()}}

	// What crypto/tls does with Certificates is to show none if the server names other authorities. The server then says
	// that a certificate is required, and a person with credentials of another cluster looks for the wrong mistake.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &config.Certificates[0], nil
	}

	if material.CA != nil {
		config.RootCAs = x509.NewCertPool()
		for _, ca := range material.CA {
			config.RootCAs.AddCert(ca)
		}
	}

	return config, nil
}

func (m *Maintenance) tls() *tls.Config {
	pins, tell := slices.Clone(m.Fingerprints), m.Unpinned

	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // There is nobody to vouch for the server; the pins are checked below.
		VerifyConnection: func(state tls.ConnectionState) error {
			got := secret.CertificateFingerprint(state.PeerCertificates[0])

			if len(pins) == 0 {
				if tell != nil {
					tell(got)
				}

				return nil
			}

			if !slices.Contains(pins, got) {
				return &fingerprintError{got: got}
			}

			return nil
		},
	}
}

// fingerprintError says that a server has another certificate than the pinned ones.
type fingerprintError struct{ got secret.Fingerprint }

func (e *fingerprintError) Error() string {
	return "the certificate has the fingerprint " + e.got.String()
}

// clientCertificate is the certificate that config shows, if it has one of its own; else nil. Its leaf is parsed anew
// where it has to be.
func clientCertificate(config *tls.Config) *x509.Certificate {
	if len(config.Certificates) == 0 {
		return nil
	}

	c := config.Certificates[0]
	if c.Leaf != nil || len(c.Certificate) == 0 {
		return c.Leaf
	}

	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil // crypto/tls will say so when it uses it
	}

	return leaf
}

// alertWait is for an alert that is under way when its connection has ended already. It is there or it never will be.
const alertWait = time.Second

// endpointKey is under which an address for gRPC carries its endpoint.
type endpointKey struct{}

// watchedCredentials are TLS credentials that write down why a handshake ended. gRPC keeps of that only a text.
type watchedCredentials struct {
	credentials.TransportCredentials

	attempts *attempts
}

func newCredentials(config *tls.Config, a *attempts) credentials.TransportCredentials {
	return &watchedCredentials{TransportCredentials: credentials.NewTLS(config), attempts: a}
}

func (w *watchedCredentials) Clone() credentials.TransportCredentials {
	return &watchedCredentials{TransportCredentials: w.TransportCredentials.Clone(), attempts: w.attempts}
}

func (w *watchedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	endpoint, _ := credentials.ClientHandshakeInfoFromContext(ctx).Attributes.Value(endpointKey{}).(string)

	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		w.attempts.failed(endpoint, err)

		return nil, nil, err
	}

	return &watchedConn{Conn: conn, endpoint: endpoint, attempts: w.attempts}, info, nil
}

// watchedConn waits for the first byte of the server. In TLS 1.3 the client's handshake is over before the server has
// seen the client's certificate (RFC 8446 section 2): a refusal comes as the first thing to be read.
type watchedConn struct {
	net.Conn

	endpoint string
	attempts *attempts
	decided  atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)

	// An end that this side made is no answer: Write may still find the real one.
	switch {
	case n == 0 && (err == nil || errors.Is(err, net.ErrClosed)):
	case !c.decided.CompareAndSwap(false, true):
	case n > 0:
		c.attempts.connected(c.endpoint)
	default:
		c.attempts.failed(c.endpoint, err)
	}

	return n, err
}

// Write looks for what the server has said if it cannot be written any more: that it hung up is only the consequence of
// its refusal, and gRPC closes the connection at once, so that its own reader may never see the reason.
//
// The reader may be reading at the same time. That does no harm: an alert is the last thing on a TLS connection, and
// crypto/tls gives it to everybody who reads from then on.
func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || c.decided.Load() {
		return n, err
	}

	why := err

	if c.SetReadDeadline(time.Now().Add(alertWait)) == nil {
		if m, errRead := c.Conn.Read(make([]byte, 1)); m == 0 && errRead != nil && !errors.Is(errRead, os.ErrDeadlineExceeded) {
			why = errRead
		}
	}

	if c.decided.CompareAndSwap(false, true) {
		c.attempts.failed(c.endpoint, why)
	}

	return n, err
}
