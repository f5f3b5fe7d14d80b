package doctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"
)

// material are PEM blocks made for this run, by the names under which the cases use them in double-quoted YAML strings.
var material = sync.OnceValues(func() (*strings.Replacer, error) {
	m := maker{}
	ca := m.ecdsa(elliptic.P256())
	other := m.ecdsa(elliptic.P256())
	leaf := m.ecdsa(elliptic.P384())
	weak := m.rsa(1024)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	m.keep(err)
	caCert := m.cert(ca, true, x509.KeyUsageCertSign)
	pairs := []string{
		"${CA}", m.pem("CERTIFICATE", caCert),
		"${CAKEY}", m.key(ca),
		"${OTHERKEY}", m.key(other),
		"${LEAF}", m.pem("CERTIFICATE", m.cert(leaf, false, x509.KeyUsageDigitalSignature)),
		"${LEAFKEY}", m.key(leaf),
		"${NOSIGN}", m.pem("CERTIFICATE", m.cert(ca, true, x509.KeyUsageCRLSign)),
		"${WEAKKEY}", m.key(weak),
		"${EDKEY}", m.key(ed),
		"${P224KEY}", m.key(m.ecdsa(elliptic.P224())),
		"${PUBLIC}", m.public(ca.Public()),
		"${EDPUBLIC}", m.public(ed.Public()),
		"${WEAKPUBLIC}", m.public(weak.Public()),
		"${RSAPUBLIC}", m.pem("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&m.rsa(2048).PublicKey)),
	}
	return strings.NewReplacer(pairs...), m.err
})

// Material replaces ${CA} and the like by PEM blocks that were made for this run.
func Material(t *testing.T) *strings.Replacer {
	t.Helper()
	r, err := material()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// maker makes keys and certificates and keeps the first error.
type maker struct{ err error }

func (m *maker) keep(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *maker) ecdsa(c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	m.keep(err)
	return k
}

func (m *maker) rsa(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	m.keep(err)
	return k
}

func (m *maker) cert(k *ecdsa.PrivateKey, isCA bool, usage x509.KeyUsage) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: usage,
	}
	parent, signer := template, k
	if !isCA {
		// Signed by another key, so that it is not self-signed.
		parent, signer = &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "parent"}}, m.ecdsa(elliptic.P256())
	}
	b, err := x509.CreateCertificate(rand.Reader, template, parent, k.Public(), signer)
	m.keep(err)
	return b
}

func (m *maker) key(k crypto.Signer) string {
	b, err := x509.MarshalPKCS8PrivateKey(k)
	m.keep(err)
	return m.pem("PRIVATE KEY", b)
}

func (m *maker) public(k crypto.PublicKey) string {
	b, err := x509.MarshalPKIXPublicKey(k)
	m.keep(err)
	return m.pem("PUBLIC KEY", b)
}

// pem returns the block as it stands in a double-quoted YAML string.
func (m *maker) pem(label string, b []byte) string {
	return strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: b})), "\n", `\n`)
}
