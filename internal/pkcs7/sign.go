package pkcs7

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io/fs"
	"slices"
)

// Sign returns a message with the content and a signature over it by an RSA key with SHA-256, in ContentInfo. content is one element
// in DER, of the type kind; what is signed is that without its tag and length. The certificate is in the message. There is no time in
// it: the same arguments give the same bytes.
func Sign(kind asn1.ObjectIdentifier, content []byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	m, err := sign(kind, content, key, cert)
	if err != nil {
		return nil, fmt.Errorf("sign by %s: %w", cert.Subject, err)
	}
	return m, nil
}

func sign(kind asn1.ObjectIdentifier, content []byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	var e asn1.RawValue
	if rest, err := asn1.Unmarshal(content, &e); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("the content is not one element of DER: %w", fs.ErrInvalid)
	}
	sum := sha256.Sum256(e.Bytes)
	attributes, err := attributes(kind, sum[:])
	if err != nil {
		return nil, err
	}
	explicit, err := element(asn1.ClassContextSpecific, 0, content)
	if err != nil {
		return nil, err
	}
	data, err := assemble(contentInfo{kind, explicit}, attributes, sum, key, cert)
	if err != nil {
		return nil, err
	}
	inner, err := element(asn1.ClassContextSpecific, 0, data)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(contentInfo{oidSignedData, inner})
}

// SignDetached returns a signature over data that is not in the message, by an RSA key with SHA-256. As the UEFI specification has it
// for variables (2.10, section 8.2.2), it is SignedData without ContentInfo around it and without attributes.
func SignDetached(data []byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	m, err := assemble(contentInfo{Type: oidData}, nil, sha256.Sum256(data), key, cert)
	if err != nil {
		return nil, fmt.Errorf("sign by %s: %w", cert.Subject, err)
	}
	return m, nil
}

// assemble signs: the attributes, or without these what has the sum.
func assemble(content contentInfo, attributes []byte, sum [sha256.Size]byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	public, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T; firmware knows RSA: %w", key.Public(), fs.ErrInvalid)
	}
	if !public.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("the key is not that of the certificate: %w", fs.ErrInvalid)
	}
	s := signerInfo{
		Version: 1, Digest: algorithm(digests[0].oid), Encryption: algorithm(oidRSA),
		Signer: issuerAndSerial{asn1.RawValue{FullBytes: cert.RawIssuer}, cert.SerialNumber},
	}
	var err error
	if attributes != nil {
		set, err := element(asn1.ClassUniversal, asn1.TagSet, attributes) // it is signed as a set and written as [0]
		if err != nil {
			return nil, err
		}
		sum = sha256.Sum256(set.FullBytes)
		if s.Attributes, err = element(asn1.ClassContextSpecific, 0, attributes); err != nil {
			return nil, err
		}
	}
	if s.Signature, err = key.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
		return nil, err
	}
	d := signedData{Version: 1, Digests: []pkix.AlgorithmIdentifier{s.Digest}, Content: content, Signers: []signerInfo{s}}
	if d.Certificates, err = element(asn1.ClassContextSpecific, 0, cert.Raw); err != nil {
		return nil, err
	}
	return asn1.Marshal(d)
}

// attributes encodes what a signature with attributes has to have, without the set around them.
func attributes(kind asn1.ObjectIdentifier, sum []byte) ([]byte, error) {
	var all [][]byte
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{{oidContentType, kind}, {oidMessageDigest, sum}} {
		value, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, err
		}
		values, err := element(asn1.ClassUniversal, asn1.TagSet, value)
		if err != nil {
			return nil, err
		}
		text, err := asn1.Marshal(attribute{a.oid, values})
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	slices.SortFunc(all, bytes.Compare) // the order of a set in DER
	return bytes.Join(all, nil), nil
}
