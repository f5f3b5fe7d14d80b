package secret

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Types of PEM blocks. The name for Ed25519 is the contract's own; the block holds PKCS #8.
const (
	blockCertificate = "CERTIFICATE"
	blockCSR         = "CERTIFICATE REQUEST"
	blockCSROld      = "NEW CERTIFICATE REQUEST" // RFC 7468 section 7: parsers may accept it
	blockPublicKey   = "PUBLIC KEY"
	blockEd25519     = "ED25519 PRIVATE KEY"
	blockPKCS8       = "PRIVATE KEY"
	blockEC          = "EC PRIVATE KEY"
	blockRSA         = "RSA PRIVATE KEY"

	// blockECParams is what `openssl ecparam -genkey` writes before the key. The key names its curve too.
	blockECParams = "EC PARAMETERS"
)

var pemBegin = []byte("-----BEGIN ")

// decodePEM returns all blocks of data in their order, each of which must be of a wanted type.
//
// what names the wanted thing in errors. Text before a block is skipped, as `openssl x509 -text` writes
// it; anything but white space after the last one is an error, and so is a block that cannot be decoded,
// which pem.Decode alone would skip in silence. Errors name the types that were found, never the content.
func decodePEM(data []byte, what string, want ...string) ([]*pem.Block, error) {
	var blocks []*pem.Block

	rest := data

	for {
		var block *pem.Block

		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}

		blocks = append(blocks, block)
	}

	if len(blocks) == 0 {
		return nil, fmt.Errorf("want %s in PEM; found %s", what, describeNonPEM(data))
	}

	if begun := bytes.Count(data, pemBegin); begun != len(blocks) {
		return nil, fmt.Errorf("want %s in PEM; %d of its %d blocks cannot be decoded", what, begun-len(blocks), begun)
	}

	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("want %s in PEM; found text after the block %s", what, blocks[len(blocks)-1].Type)
	}

	for _, block := range blocks {
		if err := checkBlock(block, what, want); err != nil {
			return nil, err
		}
	}

	return blocks, nil
}

func checkBlock(block *pem.Block, what string, want []string) error {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return fmt.Errorf("want %s in PEM; found an encrypted private key, which is not supported", what)
	}

	for _, t := range want {
		if block.Type == t {
			// RFC 7468 section 2 has no headers; crypto/x509's pools pass over such blocks in silence.
			if len(block.Headers) > 0 {
				return fmt.Errorf("want %s in PEM; found a block %s with headers", what, block.Type)
			}

			return nil
		}
	}

	return fmt.Errorf("want %s in PEM; found a block %q", what, block.Type)
}

// decodeOnePEM is decodePEM for exactly one block.
func decodeOnePEM(data []byte, what string, want ...string) (*pem.Block, error) {
	blocks, err := decodePEM(data, what, want...)
	if err != nil {
		return nil, err
	}

	if len(blocks) != 1 {
		return nil, fmt.Errorf("want one %s in PEM; found %d blocks", strings.TrimPrefix(what, "a "), len(blocks))
	}

	return blocks[0], nil
}

// describeNonPEM says what data without a PEM block looks like.
func describeNonPEM(data []byte) string {
	trimmed := bytes.TrimSpace(data)

	switch {
	case len(trimmed) == 0:
		return "nothing"
	case bytes.Contains(data, pemBegin):
		return "a PEM block that cannot be decoded"
	case bytes.HasPrefix(trimmed, []byte("LS0tLS1CRUdJTi")):
		return "base64 of PEM, which must be decoded first"
	case data[0] == 0x30:
		return "DER"
	default:
		return fmt.Sprintf("%d bytes without a PEM block", len(data))
	}
}

// ParseCertificate reads exactly one certificate in PEM.
//
// It checks form, not trust: neither validity nor signature.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	block, err := decodeOnePEM(data, "a certificate", blockCertificate)
	if err != nil {
		return nil, err
	}

	return parseDER(block.Bytes)
}

// ParseCertificates reads one or more certificates in PEM, such as a list of accepted authorities.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := decodePEM(data, "certificates", blockCertificate)
	if err != nil {
		return nil, err
	}

	certs := make([]*x509.Certificate, len(blocks))

	for i, block := range blocks {
		if certs[i], err = parseDER(block.Bytes); err != nil {
			return nil, fmt.Errorf("certificate %d of %d: %w", i+1, len(blocks), err)
		}
	}

	return certs, nil
}

// parseDER also refuses an empty signature algorithm or key, which crypto/x509 lets through as unknown.
func parseDER(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}

	if cert.PublicKey == nil {
		return nil, errors.New("parse certificate: its public key is of an unknown algorithm")
	}

	return cert, nil
}

// CertificatesPEM returns certs as concatenated PEM blocks, in their order. Without certs it is empty.
func CertificatesPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: cert.Raw})...)
	}

	return out
}
