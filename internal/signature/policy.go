package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Rule says what is asked of the images that a pattern matches: one of Skip, Deny, Key and Identity is set.
type Rule struct {
	// Pattern is matched with an image's full name without its tag, with it, and with its digest if it is asked for by that. A *
	// stands for any characters. A pattern that ends in a tag, or in :*, does not match an image that is asked for by its digest.
	Pattern string
	Skip    bool   // nothing is asked
	Deny    bool   // it is refused
	Key     string // who signed it: a public key, or a certificate with one, in PEM
	// Identity is who signed it, for messages. Such signatures are not verified here.
	Identity string
}

// Policy is rules in their order. Its zero value lets every image be used.
type Policy []Rule

// find returns the rule for an image, and its place from 1; 0 if there is none.
//
// Beside a digest a tag says nothing: anybody can write one. It is therefore no reason to ask for no signature.
func (p Policy) find(ref reference.Named) (Rule, int) {
	sure := []string{ref.Name()}
	tag := ""
	if t, ok := ref.(reference.Tagged); ok {
		tag = ref.Name() + ":" + t.Tag()
	}
	if d, ok := ref.(reference.Digested); ok {
		sure = append(sure, ref.Name()+"@"+d.Digest().String())
	} else {
		sure = append(sure, tag)
	}
	for i, r := range p {
		matches := func(name string) bool { return match(r.Pattern, name) }
		if slices.ContainsFunc(sure, matches) || !r.Skip && tag != "" && matches(tag) {
			return r, i + 1
		}
	}
	return Rule{}, 0
}

// match reports whether name has the form of a pattern, in which * stands for any characters, also none.
func match(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		// The first place will do: what comes after it can only be longer.
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}

// verifier checks a signature of a message.
type verifier func(message, signature []byte) error

var errSignature = errors.New("the signature is not by the key of the rule")

// parseKey reads a public key, alone or in a certificate.
func parseKey(text string) (verifier, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the key of the rule is not in PEM")
	}
	var key crypto.PublicKey
	var err error
	if block.Type == "CERTIFICATE" {
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	} else {
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of the rule: %w", err)
	}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return func(message, signature []byte) error {
			if sum := sha256.Sum256(message); !ecdsa.VerifyASN1(key, sum[:], signature) {
				return errSignature
			}
			return nil
		}, nil
	case *rsa.PublicKey:
		return func(message, signature []byte) error {
			sum := sha256.Sum256(message)
			if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
				return errSignature
			}
			return nil
		}, nil
	case ed25519.PublicKey:
		return func(message, signature []byte) error {
			if !ed25519.Verify(key, message, signature) {
				return errSignature
			}
			return nil
		}, nil
	}
	return nil, fmt.Errorf("the key of the rule is a %T, which verifies no signatures", key)
}
