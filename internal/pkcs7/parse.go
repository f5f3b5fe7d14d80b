package pkcs7

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Message is SignedData. What it says was not checked: see [Message.Verify].
type Message struct {
	Type asn1.ObjectIdentifier // of the content
	// Content is the content as one element in DER, with tag and length; nil if it is not in the message.
	Content []byte
	// Signed is the content without its tag and length, as it is signed.
	Signed       []byte
	Certificates []*x509.Certificate // those that can be read

	signers []signerInfo
}

// limits keep hostile messages cheap.
const (
	maxSigners      = 16
	maxCertificates = 64
)

// Parse reads SignedData, with ContentInfo around it or without. Zeros behind it are allowed, as alignment makes them; else all of der
// has to be the message. Errors wrap [ErrFormat].
func Parse(der []byte) (*Message, error) {
	m, err := parse(der)
	if err != nil {
		return nil, fmt.Errorf("parse a signature: %w", err)
	}
	return m, nil
}

func parse(der []byte) (*Message, error) {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return nil, fmt.Errorf("%d bytes behind it: %w", len(rest), ErrFormat)
	}
	data := outer.FullBytes
	var info contentInfo
	if rest, err := asn1.Unmarshal(data, &info); err == nil && len(rest) == 0 && info.Type.Equal(oidSignedData) {
		data = info.Content.Bytes
	}
	var d signedData
	if rest, err := asn1.Unmarshal(data, &d); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("no SignedData: %w", ErrFormat)
	}
	if len(d.Signers) == 0 || len(d.Signers) > maxSigners {
		return nil, fmt.Errorf("%d signers: %w", len(d.Signers), ErrFormat)
	}
	m := &Message{Type: d.Content.Type, signers: d.Signers}
	if content := d.Content.Content.Bytes; len(content) > 0 {
		var e asn1.RawValue
		if rest, err := asn1.Unmarshal(content, &e); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("the content is not one element: %w", ErrFormat)
		}
		m.Content, m.Signed = content, e.Bytes
	}
	for rest := d.Certificates.Bytes; len(rest) > 0; {
		var e asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &e); err != nil || len(m.Certificates) == maxCertificates {
			return nil, fmt.Errorf("broken or too many certificates: %w", ErrFormat)
		}
		// One of a kind that Go does not know may still be there for others.
		if c, err := x509.ParseCertificate(e.FullBytes); err == nil {
			m.Certificates = append(m.Certificates, c)
		}
	}
	return m, nil
}

// Verify checks that the message is a signature over data, which is m.Signed for a message that has its content, and returns the
// certificates of those who signed: those whose certificate is among trusted, or was issued by one of them, with the message's
// other certificates in between. Without trusted it returns all who signed, whoever they are.
//
// As firmware does, it does not look at times and key usages. It fails with [ErrSignature] if nobody is left.
func (m *Message) Verify(data []byte, trusted []*x509.Certificate) ([]*x509.Certificate, error) {
	var who []*x509.Certificate
	var bad []error
	for _, s := range m.signers {
		cert, err := m.verify(s, data)
		if err == nil && trusted != nil {
			err = chain(cert, m.Certificates, trusted)
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		who = append(who, cert)
	}
	if len(who) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrSignature, errors.Join(bad...))
	}
	return who, nil
}

// verify checks what one has signed.
func (m *Message) verify(s signerInfo, data []byte) (*x509.Certificate, error) {
	cert := m.find(s.Signer)
	if cert == nil {
		return nil, fmt.Errorf("the certificate with the serial number %v is not in the message", s.Signer.Serial)
	}
	public, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s has no RSA key", cert.Subject)
	}
	hash := crypto.Hash(0)
	for _, d := range digests {
		if s.Digest.Algorithm.Equal(d.oid) && (s.Encryption.Algorithm.Equal(oidRSA) || s.Encryption.Algorithm.Equal(d.rsa)) {
			hash = d.hash
		}
	}
	if hash == 0 {
		return nil, fmt.Errorf("%s signed by the algorithms %v and %v; expected RSA with SHA-2", cert.Subject, s.Digest.Algorithm, s.Encryption.Algorithm)
	}
	sum := digest(hash, data)
	if len(s.Attributes.FullBytes) > 0 {
		if err := m.attributes(s.Attributes.Bytes, sum); err != nil {
			return nil, fmt.Errorf("%s: %w", cert.Subject, err)
		}
		set := bytes.Clone(s.Attributes.FullBytes)
		set[0] = asn1.TagSet | 0x20 // it is written as [0] and signed as a set
		sum = digest(hash, set)
	}
	if err := rsa.VerifyPKCS1v15(public, hash, sum, s.Signature); err != nil {
		return nil, fmt.Errorf("%s has not signed this: %w", cert.Subject, err)
	}
	return cert, nil
}

// attributes checks that signed attributes are about this content.
func (m *Message) attributes(list, sum []byte) error {
	var kind asn1.ObjectIdentifier
	var digest []byte
	for len(list) > 0 {
		var a attribute
		var err error
		if list, err = asn1.Unmarshal(list, &a); err != nil {
			return fmt.Errorf("broken attributes: %w", ErrFormat)
		}
		switch {
		case a.Type.Equal(oidContentType) && kind == nil:
			_, err = asn1.Unmarshal(a.Values.Bytes, &kind)
		case a.Type.Equal(oidMessageDigest) && digest == nil:
			_, err = asn1.Unmarshal(a.Values.Bytes, &digest)
		}
		if err != nil {
			return fmt.Errorf("broken attribute %v: %w", a.Type, ErrFormat)
		}
	}
	if !kind.Equal(m.Type) {
		return fmt.Errorf("it is a signature of a content of type %v; the message has %v", kind, m.Type)
	}
	if !bytes.Equal(digest, sum) {
		return errors.New("it is a signature of another content")
	}
	return nil
}

func (m *Message) find(s issuerAndSerial) *x509.Certificate {
	for _, c := range m.Certificates {
		if bytes.Equal(c.RawIssuer, s.Issuer.FullBytes) && s.Serial != nil && c.SerialNumber.Cmp(s.Serial) == 0 {
			return c
		}
	}
	return nil
}

func digest(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// chain checks that cert is one of trusted, or issued by one of them.
func chain(cert *x509.Certificate, between, trusted []*x509.Certificate) error {
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range trusted {
		if c.Equal(cert) {
			return nil
		}
		roots.AddCert(c)
	}
	for _, c := range between {
		others.AddCert(c)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: cert.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
