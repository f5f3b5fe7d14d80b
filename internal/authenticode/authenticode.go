// Package authenticode signs UEFI programs and checks their signatures, as firmware with Secure Boot does (Microsoft's "Windows
// Authenticode Portable Executable Signature Format", UEFI specification 2.10, section 32.2.4).
//
// A signature is over the hash of the file without its checksum and its signatures: see [pe.File.Authenticode]. Certificates of
// firmware have no times that count, and there are none in the signatures.
//
// The package is pure; what makes images and what installs them may import it.
package authenticode

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"

	"talos.internal/internal/pe"
	"talos.internal/internal/pkcs7"
)

// ErrUnsigned is the error for a program that has no signature at all.
var ErrUnsigned = errors.New("the program is not signed")

// OIDs of Microsoft's: SpcIndirectDataContent and SpcPeImageData; and SHA-256.
var (
	oidIndirectData = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImage      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
	oidSHA256       = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

type indirectData struct {
	Data   imageData
	Digest digestInfo
}

type imageData struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type digestInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Digest    []byte
}

// noImageInfo is SpcPeImageData without flags and with an empty name of a file: nobody looks at it, and it has to be there.
var noImageInfo = []byte{0x30, 0x09, 0x03, 0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00}

// Sign returns a copy of the program with a signature by an RSA key, with SHA-256, in the place of those that it has. The same
// arguments give the same bytes.
func Sign(program []byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	unsigned, err := pe.WithCertificates(program)
	if err != nil {
		return nil, fmt.Errorf("sign a program: %w", err)
	}
	sum, err := digest(bytes.NewReader(unsigned), int64(len(unsigned)))
	if err != nil {
		return nil, fmt.Errorf("sign a program: %w", err)
	}
	content, err := asn1.Marshal(indirectData{
		imageData{oidPEImage, asn1.RawValue{FullBytes: noImageInfo}},
		digestInfo{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum},
	})
	if err != nil {
		return nil, fmt.Errorf("sign a program: %w", err)
	}
	signature, err := pkcs7.Sign(oidIndirectData, content, key, cert)
	if err != nil {
		return nil, fmt.Errorf("sign a program: %w", err)
	}
	return pe.WithCertificates(unsigned, signature)
}

// digest returns the SHA-256 of what a signature covers.
func digest(r io.ReaderAt, size int64) ([]byte, error) {
	f, err := pe.Read(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	if err := f.Authenticode(sum, size); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}

// Signers returns the certificates of those who have signed a program of that size and are among trusted, or whose certificates were
// issued by one of them; without trusted, of all who have signed it, whoever they are.
//
// It fails with [ErrUnsigned], with [pkcs7.ErrSignature] if no signature is valid, and with pe.ErrFormat and pkcs7.ErrFormat.
func Signers(program io.ReaderAt, size int64, trusted []*x509.Certificate) ([]*x509.Certificate, error) {
	who, err := signers(program, size, trusted)
	if err != nil {
		return nil, fmt.Errorf("verify a program: %w", err)
	}
	return who, nil
}

func signers(program io.ReaderAt, size int64, trusted []*x509.Certificate) ([]*x509.Certificate, error) {
	f, err := pe.Read(program)
	if err != nil {
		return nil, err
	}
	signatures, err := f.Certificates()
	if err != nil {
		return nil, err
	}
	if len(signatures) == 0 {
		return nil, ErrUnsigned
	}
	sum, err := digest(program, size)
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	var bad []error
	for _, s := range signatures {
		who, err := verify(s, sum, trusted)
		if err != nil {
			bad = append(bad, err)
		}
		all = append(all, who...)
	}
	if len(all) == 0 {
		return nil, errors.Join(bad...)
	}
	return all, nil
}

// verify checks one signature of a program with that SHA-256.
func verify(signature, sum []byte, trusted []*x509.Certificate) ([]*x509.Certificate, error) {
	m, err := pkcs7.Parse(signature)
	if err != nil {
		return nil, err
	}
	var content indirectData
	if rest, err := asn1.Unmarshal(m.Content, &content); err != nil || len(rest) > 0 || !m.Type.Equal(oidIndirectData) {
		return nil, fmt.Errorf("it is no signature of a program: %w", pkcs7.ErrFormat)
	}
	if !content.Digest.Algorithm.Algorithm.Equal(oidSHA256) {
		return nil, fmt.Errorf("the digest's algorithm is %v; expected SHA-256: %w", content.Digest.Algorithm.Algorithm, pkcs7.ErrFormat)
	}
	if !bytes.Equal(content.Digest.Digest, sum) {
		return nil, fmt.Errorf("%w: it is of another program, or the program was changed", pkcs7.ErrSignature)
	}
	return m.Verify(m.Signed, trusted)
}
