package pcrsig

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// ErrFormat is the error for what are no signatures, or no public key.
var ErrFormat = errors.New("not in the format of TPM policy signatures")

// Signature says that the owner of a key allows what is sealed to it to be unsealed while a policy holds.
type Signature struct {
	PCRs   []int  // the registers of the policy
	Key    []byte // SHA-256 of the key: see [Fingerprint]
	Policy []byte // digest of the policy: see [PolicyPCR]
	// Signature is by RSASSA-PKCS1-v1_5 with SHA-256, over the SHA-256 of Policy: so a TPM's PolicyAuthorize wants it, without policyRef.
	Signature []byte
}

// Signatures are those of an image, by the names of the banks: sha256, sha384, sha512, and what others may have signed for.
type Signatures map[string][]Signature

type signatureJSON struct {
	PCRs      []int  `json:"pcrs"`
	Key       string `json:"pkfp"`
	Policy    string `json:"pol"`
	Signature []byte `json:"sig"`
}

// MarshalJSON implements [json.Marshaler].
func (s Signature) MarshalJSON() ([]byte, error) {
	return json.Marshal(signatureJSON{s.PCRs, hex.EncodeToString(s.Key), hex.EncodeToString(s.Policy), s.Signature})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Signature) UnmarshalJSON(text []byte) error {
	var j signatureJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	key, errKey := hex.DecodeString(j.Key)
	policy, errPolicy := hex.DecodeString(j.Policy)
	*s = Signature{j.PCRs, key, policy, j.Signature}
	return errors.Join(errKey, errPolicy)
}

// PublicKey returns the section .pcrpkey for a key: PEM. Only RSA with 2048 bits is taken, as every TPM knows it; else it fails with
// fs.ErrInvalid.
func PublicKey(key crypto.PublicKey) ([]byte, error) {
	if k, ok := key.(*rsa.PublicKey); !ok || k.N.BitLen() != 2048 || k.E != 65537 {
		return nil, fmt.Errorf("the key for PCR signatures has to be RSA with 2048 bits and the exponent 65537: %w", fs.ErrInvalid)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// ParsePublicKey reads what PublicKey returns, also with a zero or white space behind it. It fails with ErrFormat.
func ParsePublicKey(text []byte) (*rsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.Trim(rest, "\x00 \r\n\t")) > 0 {
		return nil, fmt.Errorf("parse the public key for PCR signatures: not one PUBLIC KEY in PEM: %w", ErrFormat)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the public key for PCR signatures: %w: %w", ErrFormat, err)
	}
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("parse the public key for PCR signatures: it is %T, not of RSA: %w", key, ErrFormat)
	}
	return k, nil
}

// Fingerprint is the SHA-256 of a key in the form of PKCS #1.
func Fingerprint(key *rsa.PublicKey) [sha256.Size]byte {
	return sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
}

// Sign signs, for each bank and each path of phases, the policy of an image with these sections. The section with the key has to be
// among them, since it is measured: see [PublicKey].
func Sign(key crypto.Signer, sections []Section, paths ...[]string) (Signatures, error) {
	text, err := PublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("sign PCR policies: %w", err)
	}
	if i := slices.IndexFunc(sections, func(s Section) bool { return s.Name == SectionKey }); i < 0 || !bytes.Equal(sections[i].Data, text) {
		return nil, fmt.Errorf("sign PCR policies: the image has not the signer's key as its section %s: %w", SectionKey, fs.ErrInvalid)
	}
	print := Fingerprint(key.Public().(*rsa.PublicKey)) // PublicKey takes no other
	all := Signatures{}
	for _, b := range banks {
		for _, phases := range paths {
			policy, err := PolicyPCR(b.hash, Predict(b.hash, sections, phases))
			if err != nil {
				return nil, err
			}
			sum := sha256.Sum256(policy)
			signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
			if err != nil {
				return nil, fmt.Errorf("sign the PCR policy of %s: %w", path(phases), err)
			}
			all[b.name] = append(all[b.name], Signature{[]int{PCR}, print[:], policy, signature})
		}
	}
	return all, nil
}

// Encode returns the section .pcrsig. The same signatures give the same bytes.
func (s Signatures) Encode() ([]byte, error) { return json.Marshal(s) }

// maxSignatures bounds what is read, in bytes: one signature has 600.
const maxSignatures = 1 << 20

// Parse reads signatures, also with a zero behind them. What they are of was not checked: a TPM does that. It fails with ErrFormat.
func Parse(text []byte) (Signatures, error) {
	if len(text) > maxSignatures {
		return nil, fmt.Errorf("parse PCR signatures: %d bytes; at most %d: %w", len(text), maxSignatures, ErrFormat)
	}
	var s Signatures
	if err := json.Unmarshal(bytes.TrimRight(text, "\x00"), &s); err != nil {
		return nil, fmt.Errorf("parse PCR signatures: %w: %w", ErrFormat, err)
	}
	return s, nil
}

// Find returns the signature by a key of the policy that PCR 11 has a value in a bank. The error says what there is instead, and wraps
// fs.ErrNotExist: this start has been measured otherwise, or has gone on to a phase in which nothing may be unsealed.
func (s Signatures) Find(bank crypto.Hash, value []byte, key *rsa.PublicKey) (Signature, error) {
	policy, err := PolicyPCR(bank, value)
	if err != nil {
		return Signature{}, err
	}
	name := ""
	for _, b := range banks {
		if b.hash == bank {
			name = b.name
		}
	}
	print := Fingerprint(key)
	all := s[name]
	for _, one := range all {
		if slices.Equal(one.PCRs, []int{PCR}) && bytes.Equal(one.Policy, policy) && bytes.Equal(one.Key, print[:]) {
			return one, nil
		}
	}
	return Signature{}, fmt.Errorf("find the signature for PCR %d = %x in the bank %s: the image has %d signatures for that bank, and none for this value by the key %x: %w",
		PCR, value, name, len(all), print[:8], fs.ErrNotExist)
}

// Verify checks a signature as a TPM would.
func (s Signature) Verify(key *rsa.PublicKey) error {
	sum := sha256.Sum256(s.Policy)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], s.Signature); err != nil {
		return fmt.Errorf("verify a PCR signature: %w", err)
	}
	return nil
}
