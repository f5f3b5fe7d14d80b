package secret

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// AuthorityTTL is how long the authorities of a new cluster live: ten years of 365 days, as the
	// public client makes them.
	AuthorityTTL = 10 * 365 * 24 * time.Hour

	// Backdate is how long before its making a certificate becomes valid.
	//
	// Nodes mint certificates before and after they have learned the time. A clock that runs in local
	// summer time, or a lab machine without NTP, is off by up to an hour; a certificate that is not yet
	// valid would lock such a peer out of the very API that could repair it. A certificate is none the
	// weaker for it: the end of its validity does not move.
	Backdate = time.Hour
)

// ErrClock is wrapped by the errors about a time at which an authority is not valid: either it has
// expired or the clock is wrong.
var ErrClock = errors.New("authority is not valid at this time")

// AuthorityKind is one of the four authorities of a cluster.
type AuthorityKind int

// The authorities of a cluster.
const (
	OS         AuthorityKind = iota + 1 // machine API; Ed25519, O=talos
	Etcd                                // etcd members and clients; ECDSA P-256, O=etcd
	Kubernetes                          // API server and its clients; ECDSA P-256, O=kubernetes
	FrontProxy                          // API aggregation; ECDSA P-256, empty subject
)

// AuthoritySpec says what a new authority shall be.
type AuthoritySpec struct {
	// Organization may be empty.
	Organization string
	Key          KeyKind
	// TTL counts from the making and must be positive.
	TTL time.Duration
}

// Spec is what [NewAuthority] makes for k. For an unknown kind it is empty.
func (k AuthorityKind) Spec() AuthoritySpec {
	switch k {
	case OS:
		return AuthoritySpec{Organization: "talos", Key: Ed25519, TTL: AuthorityTTL}
	case Etcd:
		return AuthoritySpec{Organization: "etcd", Key: ECDSAP256, TTL: AuthorityTTL}
	case Kubernetes:
		return AuthoritySpec{Organization: "kubernetes", Key: ECDSAP256, TTL: AuthorityTTL}
	case FrontProxy:
		return AuthoritySpec{Key: ECDSAP256, TTL: AuthorityTTL}
	default:
		return AuthoritySpec{}
	}
}

// Authority is a CA certificate with its private key. It is immutable and safe for concurrent use.
type Authority struct {
	pair Pair
}

// NewAuthority makes an authority of a cluster at the time now.
func NewAuthority(kind AuthorityKind, now time.Time) (*Authority, error) {
	return NewCustomAuthority(kind.Spec(), now)
}

// NewCustomAuthority makes a self-signed authority, valid from Backdate before now until TTL after it.
func NewCustomAuthority(spec AuthoritySpec, now time.Time) (*Authority, error) {
	if spec.TTL <= 0 {
		return nil, fmt.Errorf("new authority: TTL %s is not positive", spec.TTL)
	}

	key, err := GenerateKey(spec.Key)
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}

	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}

	// No path length: the public client sets none, and an authority that an organisation
	// puts above its clusters may sign ours.
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject("", []string{spec.Organization}),
		NotBefore:             notBefore(now),
		NotAfter:              seconds(now.Add(spec.TTL)),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}

	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key.Signer())
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}

	cert, err := parseDER(der)
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}

	return authorityOf(cert, key)
}

// ParseAuthority reads a CA certificate and its private key, each in PEM.
//
// It fails if there is not exactly one of each, if they do not belong together, or if the certificate is
// not that of an authority. It does not check the validity in time: see [Authority.CheckTime]. The
// certificate need not be self-signed, since whoever trusts it trusts it as it stands.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	pair, err := ParsePair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}

	return authorityOf(pair.cert, pair.key)
}

func authorityOf(cert *x509.Certificate, key Key) (*Authority, error) {
	if err := CheckAuthority(cert); err != nil {
		return nil, err
	}

	pair, err := NewPair(cert, key)
	if err != nil {
		return nil, err
	}

	return &Authority{pair: pair}, nil
}

// CheckAuthority reports whether cert may sign other certificates, by RFC 5280 section 4.2.1.9 (basic
// constraints) and 4.2.1.3 (key usage), and whether its key is of an accepted kind.
func CheckAuthority(cert *x509.Certificate) error {
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return fmt.Errorf("the certificate (%s) is not that of an authority: basic constraints lack CA:TRUE", describe(cert))
	}

	// No key usage extension at all means that every usage is allowed.
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("the certificate (%s) is not that of an authority: key usage lacks certificate signing", describe(cert))
	}

	if _, err := checkPublicKey(cert.PublicKey); err != nil {
		return fmt.Errorf("the certificate (%s) of the authority: %w", cert.Subject, err)
	}

	return nil
}

// Pair returns the certificate and the key.
func (a *Authority) Pair() Pair { return a.pair }

// Certificate returns the CA certificate, which is shared and must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.pair.cert }

// CertificatePEM returns the CA certificate in PEM.
func (a *Authority) CertificatePEM() []byte { return a.pair.CertificatePEM() }

// Key returns the private key of the authority.
func (a *Authority) Key() Key { return a.pair.key }

// Fingerprint identifies the CA certificate.
func (a *Authority) Fingerprint() Fingerprint { return CertificateFingerprint(a.pair.cert) }

// String describes the CA certificate; the key is left out.
func (a *Authority) String() string { return "authority (" + a.pair.String() + ")" }

// Pool returns a new pool with the CA certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.pair.cert)

	return pool
}

// CheckTime returns an error that wraps ErrClock if the authority is not valid at now.
func (a *Authority) CheckTime(now time.Time) error {
	cert := a.pair.cert

	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the clock says %s, but %s is valid from %s only: %w",
			stamp(now), a, stamp(cert.NotBefore), ErrClock)
	case now.After(cert.NotAfter):
		return fmt.Errorf("the clock says %s, but %s was valid until %s: %w",
			stamp(now), a, stamp(cert.NotAfter), ErrClock)
	default:
		return nil
	}
}

// newSerial returns 128 random bits, never zero (RFC 5280 section 4.1.2.2 wants a positive number of at
// most 20 octets).
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}

	return serial.Add(serial, big.NewInt(1)), nil
}

// subject leaves out empty entries, so that an empty organisation gives an empty subject.
func subject(commonName string, organization []string) pkix.Name {
	name := pkix.Name{CommonName: commonName}

	for _, o := range organization {
		if o != "" {
			name.Organization = append(name.Organization, o)
		}
	}

	return name
}

func notBefore(now time.Time) time.Time { return seconds(now.Add(-Backdate)) }

// seconds is the resolution of X.509.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
