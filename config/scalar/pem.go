package scalar

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// CertPEM is one or more certificates in PEM (RFC 7468 §5), as they were written.
type CertPEM string

// Expects implements [schema.Text].
func (CertPEM) Expects() string { return "certificates in PEM (-----BEGIN CERTIFICATE-----)" }

// UnmarshalText checks that each block of text is a certificate.
func (c *CertPEM) UnmarshalText(text []byte) error {
	if _, err := parseCerts(text); err != nil {
		return err
	}
	*c = CertPEM(text)
	return nil
}

// MarshalText prints c.
func (c CertPEM) MarshalText() ([]byte, error) { return []byte(c), nil }

// Certificates returns the certificates of c; an empty c has none.
func (c CertPEM) Certificates() ([]*x509.Certificate, error) {
	if c == "" {
		return nil, nil
	}
	return parseCerts([]byte(c))
}

func parseCerts(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := text
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is a %q", len(certs)+1, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	switch {
	case len(certs) == 0:
		return nil, errors.New("there is no PEM block in it")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("there is something other than PEM blocks in it")
	}
	return certs, nil
}

// KeyPEM is a private key in PEM. Format verbs print it redacted; convert it to string to get at the key.
type KeyPEM string

// Expects implements [schema.Text].
func (KeyPEM) Expects() string { return "a private key in PEM (-----BEGIN … PRIVATE KEY-----)" }

// UnmarshalText checks that text is one private key: PKCS #8, or SEC 1 or PKCS #1 under their own labels. It accepts
// PKCS #8 under any label, as "ED25519 PRIVATE KEY" is used by the published system.
func (k *KeyPEM) UnmarshalText(text []byte) error {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return errors.New("there is no PEM block in it")
	case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return fmt.Errorf("the PEM block is a %q", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return errors.New("something follows the PEM block")
	}
	_, err8 := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, errEC := x509.ParseECPrivateKey(block.Bytes)
	_, err1 := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err8 != nil && errEC != nil && err1 != nil {
		return fmt.Errorf("the %s does not parse", block.Type)
	}
	*k = KeyPEM(text)
	return nil
}

// MarshalText prints k in clear.
func (k KeyPEM) MarshalText() ([]byte, error) { return []byte(k), nil }

// Format implements [fmt.Formatter]: no verb shows the key.
func (k KeyPEM) Format(f fmt.State, _ rune) { redact(f, k == "") }

func redact(f fmt.State, empty bool) {
	if empty {
		return
	}
	_, _ = f.Write([]byte("[redacted]"))
}

// EncodedCert is [CertPEM] written in base64, as the root document has it. An empty string is allowed: it is not set.
type EncodedCert string

// Expects implements [schema.Text].
func (EncodedCert) Expects() string { return "certificates in PEM, encoded in base64" }

// UnmarshalText decodes and checks text.
func (c *EncodedCert) UnmarshalText(text []byte) error {
	b, err := decodePEM(text)
	if err != nil || len(b) == 0 {
		return err
	}
	var p CertPEM
	if err := p.UnmarshalText(b); err != nil {
		return err
	}
	*c = EncodedCert(p)
	return nil
}

// MarshalText encodes c.
func (c EncodedCert) MarshalText() ([]byte, error) { return encode64(string(c)), nil }

// EncodedKey is [KeyPEM] written in base64, as the root document has it. An empty string is allowed: it is not set.
type EncodedKey string

// Expects implements [schema.Text].
func (EncodedKey) Expects() string { return "a private key in PEM, encoded in base64" }

// UnmarshalText decodes and checks text.
func (k *EncodedKey) UnmarshalText(text []byte) error {
	b, err := decodePEM(text)
	if err != nil || len(b) == 0 {
		return err
	}
	var p KeyPEM
	if err := p.UnmarshalText(b); err != nil {
		return err
	}
	*k = EncodedKey(p)
	return nil
}

// MarshalText encodes k.
func (k EncodedKey) MarshalText() ([]byte, error) { return encode64(string(k)), nil }

// Format implements [fmt.Formatter]: no verb shows the key.
func (k EncodedKey) Format(f fmt.State, _ rune) { redact(f, k == "") }

func decodePEM(text []byte) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		if strings.Contains(string(text), "-----BEGIN") {
			return nil, errors.New("it is PEM as it is; encode it in base64")
		}
		return nil, errors.New("it is not base64")
	}
	return b, nil
}

func encode64(s string) []byte {
	return base64.StdEncoding.AppendEncode(nil, []byte(s))
}
