package secret

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Pair is a certificate with its private key, which belong together. The zero Pair is none.
// It is immutable and safe for concurrent use; the certificate must not be changed.
type Pair struct {
	cert *x509.Certificate
	key  Key
}

// NewPair joins a certificate and its key. It fails if the key is not that of the certificate.
func NewPair(cert *x509.Certificate, key Key) (Pair, error) {
	switch {
	case cert == nil:
		return Pair{}, errors.New("no certificate")
	case key.IsZero():
		return Pair{}, errors.New("no private key")
	case !key.matches(cert.PublicKey):
		return Pair{}, fmt.Errorf("the private key (%s) does not belong to the certificate (%s)",
			key.Kind(), describe(cert))
	}

	return Pair{cert: cert, key: key}, nil
}

// ParsePair reads a certificate and its private key, each in PEM, and checks that they belong together.
func ParsePair(certPEM, keyPEM []byte) (Pair, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return Pair{}, err
	}

	key, err := ParseKey(keyPEM)
	if err != nil {
		return Pair{}, err
	}

	return NewPair(cert, key)
}

// IsZero reports whether there is no pair.
func (p Pair) IsZero() bool { return p.cert == nil }

// Certificate returns the certificate, which is shared and must not be changed; nil for the zero Pair.
func (p Pair) Certificate() *x509.Certificate { return p.cert }

// Key returns the private key.
func (p Pair) Key() Key { return p.key }

// CertificatePEM returns the certificate in PEM; empty for the zero Pair.
func (p Pair) CertificatePEM() []byte {
	if p.IsZero() {
		return nil
	}

	return CertificatesPEM(p.cert)
}

// TLS returns the pair for a tls.Config. The chain is the certificate alone: peers know the authority.
func (p Pair) TLS() tls.Certificate {
	if p.IsZero() {
		return tls.Certificate{}
	}

	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key.Signer(), Leaf: p.cert}
}

// String describes the certificate; the key is left out.
func (p Pair) String() string {
	if p.IsZero() {
		return "no certificate"
	}

	return describe(p.cert)
}

// describe names a certificate for errors: algorithm and subject.
func describe(cert *x509.Certificate) string {
	kind, err := checkPublicKey(cert.PublicKey)
	if err != nil {
		kind = KeyKind(cert.PublicKeyAlgorithm.String())
	}

	if len(cert.Subject.Names) == 0 {
		return string(kind) + ", empty subject"
	}

	return fmt.Sprintf("%s, %s", kind, cert.Subject)
}

// HalfLife is the time at which a certificate is to be renewed: the middle of its validity.
func HalfLife(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2)
}

// A Fingerprint is the SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` has it.
type Fingerprint [sha256.Size]byte

// CertificateFingerprint computes the fingerprint of cert.
func CertificateFingerprint(cert *x509.Certificate) Fingerprint { return sha256.Sum256(cert.Raw) }

// ParseFingerprint reads 64 hexadecimal digits of either case, with or without colons between bytes.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint

	digits := s
	if strings.Contains(s, ":") {
		if len(s) != 3*len(f)-1 {
			return f, fmt.Errorf("fingerprint: want %d bytes in hexadecimal, each followed by a colon but the last", len(f))
		}

		for i := 2; i < len(s); i += 3 {
			if s[i] != ':' {
				return f, fmt.Errorf("fingerprint: want a colon at character %d", i+1)
			}
		}

		digits = strings.ReplaceAll(s, ":", "")
	}

	if len(digits) != 2*len(f) {
		return f, fmt.Errorf("fingerprint: want %d hexadecimal digits; found %d", 2*len(f), len(digits))
	}

	if _, err := hex.Decode(f[:], []byte(digits)); err != nil {
		return Fingerprint{}, fmt.Errorf("fingerprint: %w", err)
	}

	return f, nil
}

// String returns upper-case hexadecimal with colons, as openssl prints it.
func (f Fingerprint) String() string {
	var b strings.Builder

	for i, octet := range f {
		if i > 0 {
			b.WriteByte(':')
		}

		fmt.Fprintf(&b, "%02X", octet)
	}

	return b.String()
}
