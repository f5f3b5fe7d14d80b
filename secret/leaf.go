package secret

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Usage says in which part of a TLS connection a certificate may be shown. It is a set of bits.
type Usage uint8

// The usages of a leaf.
const (
	Server Usage = 1 << iota // TLS server authentication
	Client                   // TLS client authentication
)

// maxSANs keeps a certificate within what TLS peers take, whoever asks for it.
const maxSANs = 256

// SANs are the subject alternative names of a server: what a client may call it.
type SANs struct {
	IPs []netip.Addr
	DNS []string
}

// ParseSANs sorts a mixed list, as configs have it, into addresses and names. It keeps the order.
// Every entry that is neither is reported, joined into one error.
func ParseSANs(entries []string) (SANs, error) {
	var (
		sans SANs
		errs []error
	)

	for _, entry := range entries {
		if ip, err := netip.ParseAddr(entry); err == nil {
			sans.IPs = append(sans.IPs, ip)
		} else if err := checkDNSName(entry); err == nil {
			sans.DNS = append(sans.DNS, entry)
		} else {
			errs = append(errs, err)
		}
	}

	return sans, errors.Join(errs...)
}

// Leaf says what an end-entity certificate shall be.
type Leaf struct {
	CommonName string
	// Organization carries roles or groups. Empty entries are dropped.
	Organization []string
	// SANs is for servers. Duplicates and the zones of addresses are dropped.
	SANs SANs
	// Usage must not be zero.
	Usage Usage
	// TTL counts from the time of issue and must be positive.
	TTL time.Duration
	// Key is the kind of key to make; empty means ECDSA P-256. It is not used for a CSR.
	Key KeyKind
}

// Issue makes a key and a certificate for it.
//
// The certificate is valid from Backdate before now until TTL after it, but not longer than the
// authority. Issue fails with ErrClock if the authority is not valid at now, and if a peer that trusts
// the authority would refuse the result, for instance because of name constraints.
func (a *Authority) Issue(leaf Leaf, now time.Time) (Pair, error) {
	kind := leaf.Key
	if kind == "" {
		kind = ECDSAP256
	}

	key, err := GenerateKey(kind)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate: %w", err)
	}

	cert, err := a.issueFor(key.Public(), leaf, now)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate: %w", err)
	}

	return NewPair(cert, key)
}

func (a *Authority) issueFor(pub crypto.PublicKey, leaf Leaf, now time.Time) (*x509.Certificate, error) {
	if err := a.CheckTime(now); err != nil {
		return nil, err
	}

	template, err := leaf.template(now)
	if err != nil {
		return nil, err
	}

	if template.NotAfter.After(a.pair.cert.NotAfter) {
		template.NotAfter = a.pair.cert.NotAfter
	}

	// Only RSA key exchange of TLS 1.2 encrypts with the key (RFC 5246 section 7.4.2); for the others the
	// bit would be wrong (RFC 8410 section 5, RFC 5480 section 3).
	if _, ok := pub.(*rsa.PublicKey); ok && leaf.Usage&Server != 0 {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}

	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}

	der, err := x509.CreateCertificate(rand.Reader, template, a.pair.cert, pub, a.pair.key.Signer())
	if err != nil {
		return nil, err
	}

	cert, err := parseDER(der)
	if err != nil {
		return nil, err
	}

	if err := a.selfCheck(cert, now); err != nil {
		return nil, err
	}

	return cert, nil
}

// selfCheck verifies a new certificate as a peer would, so that constraints of an imported authority show
// here, not in every handshake.
func (a *Authority) selfCheck(cert *x509.Certificate, now time.Time) error {
	for _, usage := range cert.ExtKeyUsage {
		_, err := cert.Verify(x509.VerifyOptions{
			Roots:       a.Pool(),
			CurrentTime: now,
			KeyUsages:   []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return fmt.Errorf("%s cannot vouch for this certificate: %w", a, err)
		}
	}

	return nil
}

// template is everything of the certificate that depends neither on the key nor on the authority.
func (l Leaf) template(now time.Time) (*x509.Certificate, error) {
	var errs []error

	if l.TTL <= 0 {
		errs = append(errs, fmt.Errorf("TTL %s is not positive", l.TTL))
	}

	if l.Usage == 0 || l.Usage&^(Server|Client) != 0 {
		errs = append(errs, errors.New("usage is neither server nor client"))
	}

	dns, ips, err := l.SANs.normalise()
	if err != nil {
		errs = append(errs, err)
	}

	name := subject(l.CommonName, l.Organization)
	if name.CommonName == "" && len(name.Organization) == 0 && len(dns)+len(ips) == 0 {
		errs = append(errs, errors.New("it would name nobody: no common name, organisation, address or DNS name"))
	}

	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	template := &x509.Certificate{
		Subject:               name,
		NotBefore:             notBefore(now),
		NotAfter:              seconds(now.Add(l.TTL)),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: false, // as the public client writes leaves: no extension, hence no authority
		DNSNames:              dns,
		IPAddresses:           ips,
	}

	if l.Usage&Server != 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}

	if l.Usage&Client != 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}

	return template, nil
}

func (s SANs) normalise() (dns []string, ips []net.IP, err error) {
	var errs []error

	if n := len(s.DNS) + len(s.IPs); n > maxSANs {
		return nil, nil, fmt.Errorf("%d subject alternative names are more than %d", n, maxSANs)
	}

	seenIP := map[netip.Addr]bool{}
	for _, ip := range s.IPs {
		ip = ip.Unmap().WithZone("") // a zone has meaning on one machine only

		switch {
		case !ip.IsValid():
			errs = append(errs, errors.New("an address of the subject alternative names is empty"))
		case !seenIP[ip]:
			seenIP[ip] = true

			ips = append(ips, ip.AsSlice())
		}
	}

	seenDNS := map[string]bool{}
	for _, name := range s.DNS {
		if err := checkDNSName(name); err != nil {
			errs = append(errs, err)
		} else if !seenDNS[name] {
			seenDNS[name] = true

			dns = append(dns, name)
		}
	}

	return dns, ips, errors.Join(errs...)
}

// checkDNSName accepts letters, digits, hyphens and (as real hosts have them) underscores in labels of up
// to 63 characters, 253 in all, with * for the whole first label (RFC 1035 section 2.3.4, RFC 6125
// section 6.4.3). Digits and dots only are a mistyped address; digits alone are a possible host name.
func checkDNSName(name string) error {
	if name == "" || len(name) > 253 {
		return fmt.Errorf("DNS name %.64q: want 1 to 253 characters", name)
	}

	letters := false

	for i, label := range strings.Split(name, ".") {
		if i == 0 && label == "*" && len(name) > 1 {
			continue
		}

		if label == "" || len(label) > 63 {
			return fmt.Errorf("DNS name %.64q: want labels of 1 to 63 characters", name)
		}

		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '-':
				letters = true
			case c >= '0' && c <= '9':
			default:
				return fmt.Errorf("DNS name %.64q: character %q is not allowed", name, c)
			}
		}
	}

	if !letters && strings.Contains(name, ".") {
		return fmt.Errorf("DNS name %.64q: only digits and dots", name)
	}

	return nil
}
