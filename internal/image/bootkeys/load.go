package bootkeys

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"talos.internal/internal/uefi"
)

// Signer is a key with its certificate. The key may be anywhere: only its signatures are needed.
type Signer struct {
	Key         crypto.Signer
	Certificate *x509.Certificate
}

// Keys are what a signed image is made with.
type Keys struct {
	Signer
	// PCR signs what PCR 11 will be; nil if the folder has no such key: then nothing can be sealed to the image.
	PCR crypto.Signer
	// Enrol are the updates that firmware enrols, by the names of their files; empty if the folder has none.
	Enrol []File
}

// Load reads a folder of keys. It checks that they belong together: the key to the certificate, the updates to each other, and the
// certificate to what is enrolled, since no image would start else.
func Load(dir string) (*Keys, error) {
	k, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("read the keys of Secure Boot: %w", err)
	}
	return k, nil
}

func load(dir string) (*Keys, error) {
	keyText, err := os.ReadFile(filepath.Join(dir, SigningKey))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; make it with: talosctl gen secureboot uki -o %s", err, dir)
	}
	if err != nil {
		return nil, err
	}
	certText, err := os.ReadFile(filepath.Join(dir, SigningCert))
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	if k.Signer, err = ParseSigner(keyText, certText); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	pcrText, err := os.ReadFile(filepath.Join(dir, PCRKey))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if k.PCR, err = parseKey(pcrText); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, PCRKey), err)
		}
	}
	return k, k.updates(dir)
}

// updates reads what is to be enrolled: all of it or nothing.
func (k *Keys) updates(dir string) error {
	var all []uefi.Update
	var lists []uefi.Signatures
	for i, v := range variables() {
		name := filepath.Join(dir, Update(v))
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && i == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		u, err := uefi.ParseUpdate(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		list, err := uefi.ParseSignatures(u.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all, lists = append(all, u), append(lists, list)
		k.Enrol = append(k.Enrol, File{Name: Update(v), Data: data})
	}
	for i, v := range variables() { // each is signed by one whom the next one names, and the last one, PK, by itself
		if err := all[i].Verify(v, lists[min(i+1, len(lists)-1)].Certificates()); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, Update(v)), err)
		}
	}
	for _, c := range lists[0].Certificates() {
		if c.Equal(k.Certificate) || k.Certificate.CheckSignatureFrom(c) == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not enrol %s, so that no image signed by it would start; make it anew with: talosctl gen secureboot database -o %s",
		filepath.Join(dir, Update(uefi.DB)), k.Certificate.Subject, dir)
}

// ParseSigner reads a private key and a certificate in PEM that belong together.
func ParseSigner(key, cert []byte) (Signer, error) {
	k, err := parseKey(key)
	if err != nil {
		return Signer{}, err
	}
	c, err := ParseCertificate(cert)
	if err != nil {
		return Signer{}, err
	}
	if p, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(c.PublicKey) {
		return Signer{}, fmt.Errorf("the key is not that of the certificate of %s: %w", c.Subject, fs.ErrInvalid)
	}
	return Signer{k, c}, nil
}

// ParseCertificate reads a certificate in PEM or DER.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	if block, rest := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("a certificate: it is not one CERTIFICATE in PEM: %w", fs.ErrInvalid)
		}
		data = block.Bytes
	}
	c, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("a certificate: %w: %w", fs.ErrInvalid, err)
	}
	return c, nil
}

// parseKey reads an RSA key in PEM, as PKCS #1 or PKCS #8. Errors do not quote it.
func parseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("a private key: it is not one block of PEM: %w", fs.ErrInvalid)
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("a block %s", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("a private key: expected RSA PRIVATE KEY or PRIVATE KEY in PEM: %w: %w", fs.ErrInvalid, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key: it is %T: %w", key, fs.ErrInvalid)
	}
	return signer, nil
}
