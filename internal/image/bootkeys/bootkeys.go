package bootkeys

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"talos.internal/internal/gpt"
	"talos.internal/internal/uefi"
)

// Names of the files.
const (
	SigningKey     = "uki-signing-key.pem"
	SigningCert    = "uki-signing-cert.pem"
	SigningCertDER = "uki-signing-cert.der"
	PCRKey         = "pcr-signing-key.pem"
)

// File is a file of the folder.
type File struct {
	Name string
	Data []byte
}

// keyBits is the size of keys. Every firmware and every TPM knows this one, and not every one knows more.
const keyBits = 2048

// lifetime is how long certificates are valid. Firmware does not look at it, and a machine has to start for as long as it lasts.
const lifetime = 30 * 365 * 24 * time.Hour

// New makes the key that signs boot loader and kernel images, and its certificate.
func New(commonName string, now time.Time) ([]File, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make the key of Secure Boot: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make the certificate of Secure Boot: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of Secure Boot: %w", err)
	}
	return []File{
		{SigningKey, keyPEM(key)},
		{SigningCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})},
		{SigningCertDER, der},
	}, nil
}

// NewPCR makes the key that signs what PCR 11 will be.
func NewPCR() ([]File, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make the key of PCR signatures: %w", err)
	}
	return []File{{PCRKey, keyPEM(key)}}, nil
}

func keyPEM(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// variables are what firmware enrols, in the order in which it has to: with PK it leaves setup mode.
func variables() []uefi.Variable { return []uefi.Variable{uefi.DB, uefi.KEK, uefi.PK} }

// Update returns the name of the file with the update of a variable.
func Update(v uefi.Variable) string { return v.Name + ".auth" }

// Database makes what firmware enrols so that programs signed by one of the enrolled certificates start, and nothing else. The owner of
// the machine, as PK and KEK have it, is the signer.
func Database(enrolled []*x509.Certificate, s Signer, now time.Time) ([]File, error) {
	if len(enrolled) == 0 {
		return nil, fmt.Errorf("make the database of Secure Boot: no certificate is to be enrolled: %w", fs.ErrInvalid)
	}
	// The owner of an entry is whoever put it there. It is derived, so that the same certificates give the same lists.
	sum := sha256.Sum256(s.Certificate.Raw)
	owner := gpt.DeriveGUID(fmt.Sprintf("%x", sum), "owner of Secure Boot's keys")
	list := func(certs ...*x509.Certificate) []byte {
		var all uefi.Signatures
		for _, c := range certs {
			all = append(all, uefi.Certificate(owner, c))
		}
		return all.Encode()
	}
	var files []File
	for _, v := range variables() {
		value := list(s.Certificate)
		if v == uefi.DB {
			value = list(enrolled...)
		}
		u, err := uefi.SignUpdate(v, value, now, s.Key, s.Certificate)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Update(v), u.Encode()}, File{v.Name + ".esl", value})
	}
	return files, nil
}
