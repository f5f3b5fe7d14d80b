package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"talos.internal/internal/proxy/authz"
)

// errRefused is all that the server's part of a handshake says: TLS turns it into the alert bad_certificate.
var errRefused = errors.New("client certificate refused")

// acceptor makes the server's part of TLS.
//
// Client certificates are verified here and not by crypto/tls, for three reasons: crypto/tls would take a certificate
// without any extended key usage; it would tell the client by different alerts whether the authority, the time or the
// usage was wrong; and it would send the list of authorities before it knows the client.
type acceptor struct {
	ids     Identities
	mode    authz.Mode
	now     func() time.Time
	refused *refusals
}

func (a *acceptor) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: a.configFor,
	}
}

// configFor is asked at every handshake: so a new certificate needs no new listener, and no connection ends for it.
func (a *acceptor) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	var remote net.Addr
	if hello.Conn != nil {
		remote = hello.Conn.RemoteAddr()
	}

	id, err := a.ids.Identity()
	if err != nil {
		a.refused.log(remote, err)

		return nil, errRefused
	}

	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{id.server},
		// A resumed session would keep alive what the first handshake believed: an authority that has been removed since.
		SessionTicketsDisabled: true,
	}

	if a.mode == authz.Maintenance {
		cfg.ClientAuth = tls.NoClientCert

		return cfg, nil
	}

	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyClient(state.PeerCertificates, id.trusted, a.now()); err != nil {
			a.refused.log(remote, err)

			return errRefused
		}

		return nil
	}

	return cfg, nil
}

// connectTo is the client's part of TLS towards the proxy of the target, an address or a DNS name. The target's
// certificate must be from one of the cluster's authorities, for servers, and have the target among its names.
func connectTo(id *Identity, target string) (*tls.Config, error) {
	switch {
	case id.client == nil:
		return nil, errors.New("this node has no certificate to forward calls with")
	case id.trusted == nil:
		return nil, errors.New("this node has no authority to verify other nodes with")
	}

	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: target,
		RootCAs:    id.trusted,
		NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.client, nil
		},
	}, nil
}

// refusals logs why handshakes were refused, which the client is not told. Anybody can cause them, hence at most one line
// in an interval, with the number of those that had none.
type refusals struct {
	logger *slog.Logger

	mu     sync.Mutex
	next   time.Time
	silent int
}

const refusalInterval = time.Second

func (r *refusals) log(remote net.Addr, err error) {
	now := time.Now()

	r.mu.Lock()

	if now.Before(r.next) {
		r.silent++
		r.mu.Unlock()

		return
	}

	silent := r.silent
	r.silent = 0
	r.next = now.Add(refusalInterval)
	r.mu.Unlock()

	peer := "unknown"
	if remote != nil {
		peer = remote.String()
	}

	// A subject is the peer's text, hence bounded and, by slog, quoted.
	reason := []byte(err.Error())
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}

	r.logger.Warn("connection refused", "peer", peer, "reason", string(reason), "refused_without_log", silent)
}

// leafOf returns the certificate that the peer has shown, or nil.
func leafOf(state tls.ConnectionState) *x509.Certificate {
	if len(state.PeerCertificates) == 0 {
		return nil
	}

	return state.PeerCertificates[0]
}
