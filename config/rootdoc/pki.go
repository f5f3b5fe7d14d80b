package rootdoc

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"regexp"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// CertAndKey is a certificate and its private key, each a PEM block encoded in base64.
type CertAndKey struct {
	// Cert is the certificate.
	Cert scalar.EncodedCert `yaml:"crt"`
	// Key is the private key; empty where only the certificate is known, as on workers.
	Key scalar.EncodedKey `yaml:"key" encode:"always" secret:"true"`
}

// Cert is a certificate without a key.
type Cert struct {
	// Cert is the certificate, a PEM block encoded in base64.
	Cert scalar.EncodedCert `yaml:"crt" required:"true"`
}

// Key is a private key without a certificate.
type Key struct {
	// Key is the private key, a PEM block encoded in base64.
	Key scalar.EncodedKey `yaml:"key" encode:"always" secret:"true"`
}

// Validate implements [schema.Validator]: the key must be the certificate's.
func (p *CertAndKey) Validate(r *schema.Reporter) {
	if p.Key == "" {
		return
	}
	if p.Cert == "" {
		r.At("crt").Hintf("a key alone is of no use", "the key \"crt\" is required beside key")
		return
	}
	if !matches(p.Cert, p.Key) {
		r.At("key").Hintf("take both from the same secrets", "the key does not belong to the certificate in crt")
	}
}

// checkAuthority reports certificates that cannot sign others.
func (p *CertAndKey) checkAuthority(r *schema.Reporter) { checkIsCA(r.At("crt"), p.Cert) }

func checkIsCA(r *schema.Reporter, c scalar.EncodedCert) {
	certs, err := scalar.CertPEM(c).Certificates()
	if err != nil {
		return // the type has reported it
	}
	for i, cert := range certs {
		if !cert.IsCA {
			r.Hintf("it is the certificate of a client or server", "certificate %d is not that of an authority", i+1)
		}
	}
}

func checkAccepted(r *schema.Reporter, cas []Cert) {
	for i, ca := range cas {
		checkIsCA(r.Item(i).At("crt"), ca.Cert)
	}
}

// matches reports whether key is the private key of the first certificate in cert. Both are parsed PEM.
func matches(cert scalar.EncodedCert, key scalar.EncodedKey) bool {
	certs, err := scalar.CertPEM(cert).Certificates()
	if err != nil || len(certs) == 0 {
		return false
	}
	public, ok := publicKey(string(key))
	if !ok {
		return false
	}
	got, err := x509.MarshalPKIXPublicKey(public)
	return err == nil && bytes.Equal(got, certs[0].RawSubjectPublicKeyInfo)
}

// publicKey returns the public half of the private key in text, PEM in any of the forms that [scalar.KeyPEM] takes.
func publicKey(text string) (crypto.PublicKey, bool) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, false
	}
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
				return nil, false
			}
		}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, false
	}
	return signer.Public(), true
}

var tokenSyntax = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

// checkToken reports a token of another form. The token is a secret: the message does not show it.
func checkToken(r *schema.Reporter, token string) {
	if token != "" && !tokenSyntax.MatchString(token) {
		r.Errorf("expected a token: 6 and 16 lower-case letters and digits with a dot between them")
	}
}

// checkSANs reports what a certificate cannot be valid for.
func checkSANs(r *schema.Reporter, sans []string) {
	for i, san := range sans {
		if _, err := netip.ParseAddr(san); err == nil {
			continue
		}
		if scalar.ValidHostname(strings.TrimPrefix(san, "*.")) {
			continue
		}
		hint := ""
		if strings.Contains(san, "://") || strings.Contains(san, ":") {
			hint = "leave scheme and port out"
		}
		r.Item(i).Hintf(hint, "expected a DNS name such as node1.example.com or *.example.com, or an IP address, got %q", san)
	}
}
