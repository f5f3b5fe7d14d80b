package secrets

import (
	"fmt"

	"talos.internal/resource"
)

// CertificateAndKey is a certificate with its private key, both in PEM (RFC 7468); in YAML, base64 of that. It prints no key.
// (Message common.PEMEncodedCertificateAndKey.)
type CertificateAndKey struct {
	Crt resource.Base64 `yaml:"crt" proto:"1"`
	Key resource.Base64 `yaml:"key" proto:"2"`
}

// Format implements [fmt.Formatter]: no verb shows the key.
func (c CertificateAndKey) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "certificate of %d bytes, key of %d bytes", len(c.Crt), len(c.Key))
}

// Certificate is a certificate in PEM. (Message common.PEMEncodedCertificate.)
type Certificate struct {
	Crt resource.Base64 `yaml:"crt" proto:"1"`
}

// Key is a key in PEM. It does not print. (Message common.PEMEncodedKey.)
type Key struct {
	Key resource.Base64 `yaml:"key" proto:"1"`
}

// Format implements [fmt.Formatter]: no verb shows the key.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key of %d bytes", len(k.Key)) }
