package install

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"

	"talos.internal/internal/authenticode"
	"talos.internal/internal/gpt"
	"talos.internal/internal/pe"
	"talos.internal/internal/uefi"
)

func TestWhatTheFirmwareTrusts(t *testing.T) {
	newKey := func(name string) (*rsa.PrivateKey, *x509.Certificate) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return key, cert
	}
	key, owner := newKey("owner")
	_, other := newKey("other")
	unsigned := program(".cmdline", "quiet")
	signed, err := authenticode.Sign(unsigned, key, owner)
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(signed)
	altered[bytes.Index(altered, []byte("quiet"))] = 'Q'
	f, err := pe.Read(bytes.NewReader(unsigned))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if err := f.Authenticode(sum, int64(len(unsigned))); err != nil {
		t.Fatal(err)
	}
	list := func(s ...uefi.Signature) []byte { return uefi.Signatures(s).Encode() }
	var me gpt.GUID
	both := list(uefi.Certificate(me, other), uefi.Certificate(me, owner))
	for _, c := range []struct {
		name string
		uki  []byte
		db   []byte
		want error
	}{
		{"signed by one of two", signed, both, nil},
		{"known by its hash", unsigned, list(uefi.Hash(me, [32]byte(sum.Sum(nil)))), nil},
		{"signed by another", signed, list(uefi.Certificate(me, other)), ErrUntrusted},
		{"unsigned", unsigned, both, ErrUntrusted},
		{"altered", altered, both, ErrUntrusted},
		{"nobody is trusted", signed, nil, ErrUntrusted},
		{"a broken variable", signed, both[1:], uefi.ErrFormat},
		{"no program", []byte("#!/bin/sh"), both, pe.ErrFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckTrust(blob(c.uki), c.db); !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Errorf("CheckTrust = %v; want %v", err, c.want)
			}
		})
	}
}
