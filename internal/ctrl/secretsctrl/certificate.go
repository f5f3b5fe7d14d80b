package secretsctrl

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

// reasonToIssue says why a certificate will not do any more where leaf is wanted of one of issuers at now; empty if it will do. It is
// the text of a log line.
func reasonToIssue(cert *x509.Certificate, issuers []*x509.Certificate, leaf secret.Leaf, now time.Time) string {
	if cert == nil {
		return "there is none"
	}
	if cert.Subject.CommonName != leaf.CommonName {
		return fmt.Sprintf("it is for %q; now it is %q", cert.Subject.CommonName, leaf.CommonName)
	}
	if !slices.Equal(slices.Sorted(slices.Values(cert.Subject.Organization)), slices.Sorted(slices.Values(leaf.Organization))) {
		return fmt.Sprintf("its organisation is %q; now it is %q", cert.Subject.Organization, leaf.Organization)
	}
	if usageOf(cert) != leaf.Usage {
		return "it is for another usage"
	}
	have, want := namesOf(cert), namesOfLeaf(leaf)
	if missing := difference(want, have); len(missing) > 0 {
		return "it lacks " + strings.Join(missing, ", ")
	}
	if extra := difference(have, want); len(extra) > 0 {
		return "it is also valid for " + strings.Join(extra, ", ")
	}
	issuer := issuerOf(cert, issuers)
	switch {
	case issuer == nil:
		return "the authority that issued it has been replaced"
	case now.After(cert.NotAfter):
		return fmt.Sprintf("it has expired at %s", cert.NotAfter.Format(time.RFC3339))
	case now.Before(cert.NotBefore) || cert.NotAfter.After(now.Add(leaf.TTL+secret.Backdate)): // trustd's clock may be ahead
		return "it lives longer than one that is issued now: the clock or the lifetime has been set back"
	case !now.Before(renewAt(cert, issuer)):
		return fmt.Sprintf("about half of its life is over; it ends at %s", cert.NotAfter.Format(time.RFC3339))
	}
	return ""
}

// renewAt is when a certificate is due because of its age: about at half-life. One that lives as long as its issuer is not renewed
// before that ends, since a new one would not live longer.
func renewAt(cert, issuer *x509.Certificate) time.Time {
	if !cert.NotAfter.Before(issuer.NotAfter) {
		return cert.NotAfter
	}
	return secret.HalfLife(cert).Add(-early(cert))
}

// early is by how much a certificate is renewed before its half-life: up to a twentieth of its life, always the same for the same
// certificate.
func early(cert *x509.Certificate) time.Duration {
	sum := sha256.Sum256(cert.Raw)
	fraction := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return time.Duration(fraction * float64(cert.NotAfter.Sub(cert.NotBefore)) / 20)
}

func issuerOf(cert *x509.Certificate, issuers []*x509.Certificate) *x509.Certificate {
	for _, ca := range issuers {
		if cert.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

func usageOf(cert *x509.Certificate) (u secret.Usage) {
	for _, e := range cert.ExtKeyUsage {
		switch e {
		case x509.ExtKeyUsageServerAuth:
			u |= secret.Server
		case x509.ExtKeyUsageClientAuth:
			u |= secret.Client
		}
	}
	return u
}

func namesOf(cert *x509.Certificate) map[string]bool {
	names := map[string]bool{}
	for _, n := range cert.DNSNames {
		names[n] = true
	}
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			names[addr.Unmap().String()] = true
		}
	}
	return names
}

func namesOfLeaf(leaf secret.Leaf) map[string]bool {
	names := map[string]bool{}
	for _, n := range leaf.SANs.DNS {
		names[n] = true
	}
	for _, ip := range leaf.SANs.IPs {
		names[ip.Unmap().WithZone("").String()] = true
	}
	return names
}

// difference returns what of a is not in b, in order.
func difference(a, b map[string]bool) []string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(a)) {
		if !b[n] {
			out = append(out, n)
		}
	}
	return out
}

// issuing is the work on the certificates of one resource at one time.
type issuing struct {
	log *slog.Logger
	now time.Time
	// next is when the first of the certificates is due because of its age.
	next time.Time
}

// keep returns have if it will do as a certificate for leaf of the authority ca, and issues one otherwise. What names it in the log.
func (i *issuing) keep(what string, have secrets.CertificateAndKey, ca *secret.Authority, leaf secret.Leaf) (secrets.CertificateAndKey, error) {
	pair, _ := parsePair(have)
	pair, err := i.keepPair(what, pair, ca, leaf)
	return encodePair(pair), err
}

func (i *issuing) keepPair(what string, have secret.Pair, ca *secret.Authority, leaf secret.Leaf) (secret.Pair, error) {
	issuers := []*x509.Certificate{ca.Certificate()}
	if reason := reasonToIssue(have.Certificate(), issuers, leaf, i.now); reason != "" {
		var err error
		if have, err = ca.Issue(leaf, i.now); err != nil {
			return secret.Pair{}, fmt.Errorf("certificate of %s: %w", what, err)
		}
		i.log.Info("issued a certificate", "for", what, "because", reason, "until", have.Certificate().NotAfter.Format(time.RFC3339))
	}
	i.note(have.Certificate(), ca.Certificate())
	return have, nil
}

// note takes into account when a certificate is due.
func (i *issuing) note(cert, issuer *x509.Certificate) {
	if at := renewAt(cert, issuer); i.next.IsZero() || at.Before(i.next) {
		i.next = at
	}
}

func encodePair(p secret.Pair) secrets.CertificateAndKey {
	if p.IsZero() {
		return secrets.CertificateAndKey{}
	}
	return secrets.CertificateAndKey{Crt: p.CertificatePEM(), Key: p.Key().PEM()}
}

// parsePair returns the zero Pair for what is empty or not well formed, such as a resource that is not there yet.
func parsePair(c secrets.CertificateAndKey) (secret.Pair, error) {
	if len(c.Crt) == 0 {
		return secret.Pair{}, nil
	}
	return secret.ParsePair(c.Crt, c.Key)
}

// parseAuthority reads an issuing authority out of a root. What names it in the error.
func parseAuthority(what string, c secrets.CertificateAndKey) (*secret.Authority, error) {
	ca, err := secret.ParseAuthority(c.Crt, c.Key)
	if err != nil {
		return nil, fmt.Errorf("%s of the machine config: %w", what, err)
	}
	return ca, nil
}

// parseCAs reads accepted authorities out of a root.
func parseCAs(list []secrets.Certificate) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, c := range list {
		certs, err := secret.ParseCertificates(c.Crt)
		if err != nil {
			return nil, fmt.Errorf("accepted authorities of the machine config: %w", err)
		}
		out = append(out, certs...)
	}
	return out, nil
}
