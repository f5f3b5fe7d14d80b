package secret

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// KeyKind names an algorithm with its size, as a person reads it.
type KeyKind string

// The kinds of key that [GenerateKey] makes. A parsed key may be of others: "RSA 2048", "ECDSA P-384".
const (
	Ed25519   KeyKind = "Ed25519"
	ECDSAP256 KeyKind = "ECDSA P-256"
	RSA4096   KeyKind = "RSA 4096"
)

// Sizes of RSA keys that are taken from outside. Below the first a key is weak (NIST SP 800-131A);
// above the second one signature costs so much that a CSR with it is an attack.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is a private key. The zero Key is none: only IsZero, Equal and Kind may be called on it.
// It is immutable and safe for concurrent use. See the package comment for how it is kept from leaking.
type Key struct {
	redacted
	get func() *privateKey // a function hides it: see redacted
}

type privateKey struct {
	signer crypto.Signer
	kind   KeyKind
	pem    []byte
}

// GenerateKey makes a key of one of the three kinds above from crypto/rand. RSA takes seconds.
func GenerateKey(kind KeyKind) (Key, error) {
	var (
		signer crypto.Signer
		err    error
	)

	switch kind {
	case Ed25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case ECDSAP256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA4096:
		signer, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		return Key{}, fmt.Errorf("generate key: unknown kind %q", string(kind))
	}

	if err != nil {
		return Key{}, fmt.Errorf("generate %s key: %w", kind, err)
	}

	return newKey(signer)
}

// ParseKey reads exactly one private key in PEM.
//
// It accepts ED25519 PRIVATE KEY (which holds PKCS #8), PRIVATE KEY (PKCS #8), EC PRIVATE KEY (SEC 1,
// also with EC PARAMETERS before it) and RSA PRIVATE KEY (PKCS #1); of algorithms Ed25519, ECDSA on
// P-256, P-384 or P-521, and RSA with 2048 to 8192 bits. Errors name the block that was found.
func ParseKey(data []byte) (Key, error) {
	const what = "a private key"

	blocks, err := decodePEM(data, what, blockEd25519, blockPKCS8, blockEC, blockRSA, blockECParams)
	if err != nil {
		return Key{}, err
	}

	if len(blocks) == 2 && blocks[0].Type == blockECParams && blocks[1].Type == blockEC {
		blocks = blocks[1:]
	}

	if len(blocks) != 1 {
		return Key{}, fmt.Errorf("want one private key in PEM; found %d blocks", len(blocks))
	}

	signer, err := parseSigner(blocks[0])
	if err != nil {
		return Key{}, err
	}

	return newKey(signer)
}

func parseSigner(block *pem.Block) (crypto.Signer, error) {
	var (
		parsed any
		err    error
	)

	switch block.Type {
	case blockEC:
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case blockRSA:
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case blockEd25519, blockPKCS8:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("want a private key in PEM; found a block %q", block.Type)
	}

	if err != nil {
		// The cause is left out: it might one day quote what it could not parse.
		return nil, fmt.Errorf("parse private key: the block %s does not hold one of that form", block.Type)
	}

	if _, ok := parsed.(ed25519.PrivateKey); !ok && block.Type == blockEd25519 {
		return nil, fmt.Errorf("parse private key: the block %s holds a key of another algorithm", block.Type)
	}

	signer, ok := parsed.(crypto.Signer)
	if !ok { // X25519: agrees on keys, cannot sign
		return nil, errors.New("parse private key: the key cannot sign")
	}

	return signer, nil
}

// newKey checks the algorithm and fixes the PEM form.
func newKey(signer crypto.Signer) (Key, error) {
	kind, err := checkPublicKey(signer.Public())
	if err != nil {
		return Key{}, fmt.Errorf("private key: %w", err)
	}

	var block pem.Block

	switch k := signer.(type) {
	case ed25519.PrivateKey:
		block.Type = blockEd25519
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(k)
	case *ecdsa.PrivateKey:
		block.Type = blockEC
		block.Bytes, err = x509.MarshalECPrivateKey(k)
	case *rsa.PrivateKey:
		block.Type = blockRSA
		block.Bytes = x509.MarshalPKCS1PrivateKey(k)
	default:
		return Key{}, fmt.Errorf("private key: unknown type %T", signer)
	}

	if err != nil {
		return Key{}, fmt.Errorf("encode %s private key: %w", kind, err)
	}

	key := &privateKey{signer: signer, kind: kind, pem: pem.EncodeToMemory(&block)}

	return Key{get: func() *privateKey { return key }}, nil
}

// checkPublicKey names the kind of a public key and refuses weak, enormous and unknown ones.
func checkPublicKey(pub crypto.PublicKey) (KeyKind, error) {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return Ed25519, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return KeyKind("ECDSA " + k.Curve.Params().Name), nil
		default:
			return "", fmt.Errorf("ECDSA on curve %s is not accepted", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if bits < minRSABits || bits > maxRSABits {
			return "", fmt.Errorf("RSA with %d bits is not accepted; want %d to %d", bits, minRSABits, maxRSABits)
		}

		return KeyKind(fmt.Sprintf("RSA %d", bits)), nil
	default:
		return "", fmt.Errorf("algorithm of type %T is not accepted", pub)
	}
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.get == nil }

// Kind names the algorithm and its size. It is empty for the zero Key.
func (k Key) Kind() KeyKind {
	if k.IsZero() {
		return ""
	}

	return k.get().kind
}

// Public returns the public half; nil for the zero Key.
func (k Key) Public() crypto.PublicKey {
	if k.IsZero() {
		return nil
	}

	return k.get().signer.Public()
}

// Signer returns the private key for use in signatures and TLS; nil for the zero Key. Do not log it: it
// is the standard library's type, which prints itself.
func (k Key) Signer() crypto.Signer {
	if k.IsZero() {
		return nil
	}

	return k.get().signer
}

// PEM returns the private key as the contract writes it: Ed25519 in a block ED25519 PRIVATE KEY,
// ECDSA in EC PRIVATE KEY, RSA in RSA PRIVATE KEY. The result is the caller's; nil for the zero Key.
func (k Key) PEM() []byte {
	if k.IsZero() {
		return nil
	}

	return append([]byte(nil), k.get().pem...)
}

// PublicPEM returns the public half in a block PUBLIC KEY (PKIX), as kube-apiserver reads it from
// --service-account-key-file.
func (k Key) PublicPEM() ([]byte, error) {
	if k.IsZero() {
		return nil, errors.New("encode public key: no key")
	}

	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}

	return pem.EncodeToMemory(&pem.Block{Type: blockPublicKey, Bytes: der}), nil
}

// Equal reports whether both are the same key. Two zero keys are equal. The standard library compares
// private parts in constant time.
func (k Key) Equal(other Key) bool {
	if k.IsZero() || other.IsZero() {
		return k.IsZero() && other.IsZero()
	}

	same, ok := k.get().signer.(interface{ Equal(crypto.PrivateKey) bool })

	return ok && same.Equal(other.get().signer)
}

// matches reports whether pub is the public half of k.
func (k Key) matches(pub crypto.PublicKey) bool {
	own, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool })

	return ok && own.Equal(pub)
}
