package secret

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"time"
)

// NewCSR makes a certificate signing request in PEM for key. Of leaf it takes CommonName, Organization
// and SANs: usage and lifetime are for the authority to decide.
func NewCSR(key Key, leaf Leaf) ([]byte, error) {
	if key.IsZero() {
		return nil, fmt.Errorf("make CSR: no private key")
	}

	dns, ips, err := leaf.SANs.normalise()
	if err != nil {
		return nil, fmt.Errorf("make CSR: %w", err)
	}

	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     subject(leaf.CommonName, leaf.Organization),
		DNSNames:    dns,
		IPAddresses: ips,
	}, key.Signer())
	if err != nil {
		return nil, fmt.Errorf("make CSR: %w", err)
	}

	return pem.EncodeToMemory(&pem.Block{Type: blockCSR, Bytes: der}), nil
}

// ParseCSR reads exactly one certificate signing request in PEM. It checks the signature, by which the
// sender proves to hold the private key, and refuses the keys that [ParseKey] refuses.
func ParseCSR(data []byte) (*x509.CertificateRequest, error) {
	block, err := decodeOnePEM(data, "a certificate request", blockCSR, blockCSROld)
	if err != nil {
		return nil, err
	}

	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse CSR: %w", err)
	}

	if err := checkCSR(csr); err != nil {
		return nil, fmt.Errorf("parse CSR: %w", err)
	}

	return csr, nil
}

func checkCSR(csr *x509.CertificateRequest) error {
	// The key first: a signature of an enormous RSA key is costly to check.
	if _, err := checkPublicKey(csr.PublicKey); err != nil {
		return fmt.Errorf("public key: %w", err)
	}

	if err := csr.CheckSignature(); err != nil {
		return fmt.Errorf("signature: %w", err)
	}

	return nil
}

// CSRPolicy is what the authority decides about a request, whatever the request says.
type CSRPolicy struct {
	// Usage replaces the extended key usages.
	Usage Usage
	// TTL counts from the time of issue and must be positive.
	TTL time.Duration
	// KeepOrganization takes over the organisation, and with it the roles. The zero value blanks it.
	KeepOrganization bool
}

// TrustdPolicy is the one under which a control plane signs the API certificates of workers: server only
// and without organisation, so that whoever holds the machine token cannot make himself an administrator.
func TrustdPolicy() CSRPolicy { return CSRPolicy{Usage: Server, TTL: NodeTTL} }

// SignCSR issues a certificate for a request under a policy.
//
// From the request it takes the public key, the common name, DNS names and addresses, and the
// organisation if the policy says so. All else is dropped: other parts of the subject, e-mail addresses,
// URIs, and every other extension that was asked for. Which names a sender may ask for is for the caller
// to judge beforehand. It checks the signature again, and fails as [Authority.Issue] does.
func (a *Authority) SignCSR(csr *x509.CertificateRequest, policy CSRPolicy, now time.Time) (*x509.Certificate, error) {
	if err := checkCSR(csr); err != nil {
		return nil, fmt.Errorf("sign CSR: %w", err)
	}

	leaf := Leaf{
		CommonName: csr.Subject.CommonName,
		SANs:       SANs{DNS: csr.DNSNames},
		Usage:      policy.Usage,
		TTL:        policy.TTL,
	}

	if policy.KeepOrganization {
		leaf.Organization = csr.Subject.Organization
	}

	for _, ip := range csr.IPAddresses {
		addr, _ := netip.AddrFromSlice(ip) // an invalid one is refused with the other names
		leaf.SANs.IPs = append(leaf.SANs.IPs, addr)
	}

	cert, err := a.issueFor(csr.PublicKey, leaf, now)
	if err != nil {
		return nil, fmt.Errorf("sign CSR: %w", err)
	}

	return cert, nil
}
