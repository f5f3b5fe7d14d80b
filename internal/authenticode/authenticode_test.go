package authenticode

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"talos.internal/internal/pe"
	"talos.internal/internal/pkcs7"
)

// newKey makes a key with its certificate, which signer issues; nil is itself.
func newKey(t *testing.T, name string, signer *rsa.PrivateKey, issuer *x509.Certificate) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(1.1e9, 0),
		IsCA: issuer == nil, BasicConstraintsValid: true,
	}
	if issuer == nil {
		signer, issuer = key, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func program(t *testing.T) []byte {
	t.Helper()
	stub, err := os.ReadFile("../pe/testdata/stub.efi")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pe.Append(&b, stub, []pe.Part{{Name: ".cmdline", Data: []byte("quiet")}}); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), "symbols"...) // boot loaders have such behind their sections; no multiple of eight
}

func TestSignedProgramsAreVerified(t *testing.T) {
	key, cert := newKey(t, "owner", nil, nil)
	leafKey, leaf := newKey(t, "leaf", key, cert)
	_, rogue := newKey(t, "somebody", nil, nil)
	signed, err := Sign(program(t), key, cert)
	if err != nil {
		t.Fatal(err)
	}
	byLeaf, err := Sign(signed, leafKey, leaf)
	if err != nil {
		t.Fatal(err)
	}
	change := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	text := bytes.Index(signed, []byte("quiet"))
	for _, c := range []struct {
		name    string
		program []byte
		trusted []*x509.Certificate
		want    *x509.Certificate
		err     error
	}{
		{"whoever", signed, nil, cert, nil},
		{"trusted", signed, []*x509.Certificate{rogue, cert}, cert, nil},
		{"issued by one who is trusted", byLeaf, []*x509.Certificate{cert}, leaf, nil},
		{"signed by another", signed, []*x509.Certificate{rogue}, nil, pkcs7.ErrSignature},
		{"nobody is trusted", signed, []*x509.Certificate{}, nil, pkcs7.ErrSignature},
		{"unsigned", program(t), nil, nil, ErrUnsigned},
		{"one bit changed", change(signed, text), nil, nil, pkcs7.ErrSignature},
		{"one bit behind the sections changed", change(signed, len(program(t))-1), nil, nil, pkcs7.ErrSignature},
		{"no program", []byte("MZ"), nil, nil, pe.ErrFormat},
		{"bytes behind the signature", append(bytes.Clone(signed), 1, 2, 3, 4, 5, 6, 7, 8), nil, nil, pe.ErrFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, err := Signers(bytes.NewReader(c.program), int64(len(c.program)), c.trusted)
			if !errors.Is(err, c.err) || (c.err != nil) != (err != nil) {
				t.Fatalf("Signers = %v; want %v", err, c.err)
			}
			if c.want != nil && (len(who) != 1 || !who[0].Equal(c.want)) {
				t.Errorf("Signers = %v; want %v", who, c.want.Subject)
			}
		})
	}
}

func TestTheSameArgumentsGiveTheSameSignature(t *testing.T) {
	key, cert := newKey(t, "owner", nil, nil)
	var all [3][]byte
	for i := range all {
		in := program(t)
		if i == 2 { // signing again replaces
			in = all[0]
		}
		out, err := Sign(in, key, cert)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = out
	}
	if !bytes.Equal(all[0], all[1]) || !bytes.Equal(all[0], all[2]) {
		t.Error("signatures differ")
	}
}

// The program that others check such signatures with agrees. It is not on every machine.
func TestSbverifyAgrees(t *testing.T) {
	sbverify, err := exec.LookPath("sbverify")
	if err != nil {
		t.Skip("sbverify is not installed: Debian's package sbsigntool has it")
	}
	key, cert := newKey(t, "owner", nil, nil)
	signed, err := Sign(program(t), key, cert)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, certFile := filepath.Join(dir, "program.efi"), filepath.Join(dir, "cert.pem")
	err = errors.Join(os.WriteFile(file, signed, 0o600), os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), sbverify, "--cert", certFile, file).CombinedOutput(); err != nil {
		t.Errorf("sbverify: %v: %s", err, out)
	}
}
