package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"talos.internal/secret"
)

// Identity is what a node shows to others, and whom it believes, at one time. It is immutable; a change is a new Identity.
type Identity struct {
	server  tls.Certificate
	client  *tls.Certificate
	trusted *x509.CertPool // nil: nobody
}

// NewIdentity makes an Identity from the server's certificate, the certificate with which calls are forwarded (zero for a
// node that does not forward), and the authorities whose certificates are believed, of clients and of other nodes.
//
// While an authority is replaced there are two of them. Without any, only a proxy in maintenance mode can serve with it.
func NewIdentity(server, client secret.Pair, authorities ...*x509.Certificate) (*Identity, error) {
	if server.IsZero() {
		return nil, errors.New("identity of the proxy: no server certificate")
	}

	id := &Identity{server: server.TLS()}

	if !client.IsZero() {
		cert := client.TLS()
		id.client = &cert
	}

	for _, authority := range authorities {
		if err := secret.CheckAuthority(authority); err != nil {
			return nil, fmt.Errorf("identity of the proxy: %w", err)
		}

		if id.trusted == nil {
			id.trusted = x509.NewCertPool()
		}

		id.trusted.AddCert(authority)
	}

	return id, nil
}

// Identities gives the Identity of now. It is asked at every handshake and before every call that is forwarded, by many
// goroutines at once: it must be quick, must not block, and must return the same pointer as long as nothing has changed,
// since connections to other nodes are made anew for a new one.
type Identities interface {
	Identity() (*Identity, error)
}

// Current is an Identities whose Identity can be replaced at any time. Connections that exist go on; those that are made
// after that show the new one. The zero Current has none yet, and handshakes fail. It is safe for concurrent use.
type Current struct {
	id atomic.Pointer[Identity]
}

var _ Identities = (*Current)(nil)

// Set replaces the Identity.
func (c *Current) Set(id *Identity) { c.id.Store(id) }

// Identity returns what was set last.
func (c *Current) Identity() (*Identity, error) {
	id := c.id.Load()
	if id == nil {
		return nil, errors.New("this node has no certificate for its API yet")
	}

	return id, nil
}

// caller is who calls, as far as the connection proves it.
type caller struct {
	// roles are those of the certificate, but os:impersonator.
	roles []string
	// impersonator: the caller may speak for others.
	impersonator bool
}

func callerOf(cert *x509.Certificate) caller {
	var c caller

	for _, role := range secret.Roles(cert) {
		if role == secret.RoleImpersonator {
			c.impersonator = true
		} else {
			c.roles = append(c.roles, role)
		}
	}

	return c
}

// verifyClient checks the certificates that a client has shown, the leaf first.
//
// The leaf must say that it is for clients: a node's server certificate, or one that says nothing of its use, is refused,
// although its authority is right. It does not read names: a client is its roles.
func verifyClient(shown []*x509.Certificate, trusted *x509.CertPool, now time.Time) error {
	switch {
	case len(shown) == 0:
		return errors.New("no client certificate")
	case trusted == nil: // x509 would take the authorities of the system
		return errors.New("no authority to verify client certificates with")
	}

	leaf := shown[0]
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return fmt.Errorf("certificate (%s): not made for clients", leaf.Subject)
	}

	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}

	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         trusted,
		Intermediates: between,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("certificate (%s): %w", leaf.Subject, err)
	}

	return nil
}
