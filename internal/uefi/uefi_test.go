package uefi

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/gpt"
	"talos.internal/internal/pkcs7"
)

var update = flag.Bool("update", false, "write the files in testdata anew, with a new key")

type signer struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
	err  error
}

var owner = sync.OnceValue(func() (s signer) {
	if s.key, s.err = rsa.GenerateKey(rand.Reader, 2048); s.err != nil {
		return s
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "owner"}}
	var der []byte
	if der, s.err = x509.CreateCertificate(rand.Reader, t, t, s.key.Public(), s.key); s.err != nil {
		return s
	}
	s.cert, s.err = x509.ParseCertificate(der)
	return s
})

func theOwner(t testing.TB) signer {
	t.Helper()
	s := owner()
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s
}

var me = mustGUID("12345678-9abc-def0-1122-334455667788")

func TestGUIDsOfThePackageAreRight(t *testing.T) {
	for _, g := range []gpt.GUID{TypeX509, TypeSHA256, globalVendor, imageVendor, typePKCS7, me} {
		if g.IsZero() {
			t.Error("a GUID of the package cannot be parsed")
		}
	}
	if got := wire(me); got != (gpt.GUID{0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88}) {
		t.Errorf("wire = %x", got)
	}
	if got := DB.File(); got != "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f" {
		t.Errorf("File = %s", got)
	}
}

func TestListsAreWrittenAndRead(t *testing.T) {
	o := theOwner(t)
	want := Signatures{
		Hash(me, sha256.Sum256([]byte("a"))), Hash(me, sha256.Sum256([]byte("b"))), Certificate(me, o.cert), Certificate(me, o.cert),
	}
	b := want.Encode()
	if n := 28 + 2*48 + 2*(28+16+len(o.cert.Raw)); len(b) != n {
		t.Errorf("%d bytes; want %d: one list of two hashes and two of a certificate", len(b), n)
	}
	got, err := ParseSignatures(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	if c := got.Certificates(); len(c) != 2 || !c[0].Equal(o.cert) {
		t.Errorf("certificates %v; want the owner's twice", c)
	}
	for n := range b {
		if _, err := ParseSignatures(b[:n]); err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("the first %d bytes: %v; want ErrFormat", n, err)
		}
	}
}

func TestUpdatesAreSignedAndVerified(t *testing.T) {
	o := theOwner(t)
	at := time.Date(2026, 11, 28, 20, 1, 2, 3, time.UTC)
	value := Signatures{Certificate(me, o.cert)}.Encode()
	made, err := SignUpdate(DB, value, at, o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseUpdate(made.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !u.Time.Equal(at.Truncate(time.Second)) || !bytes.Equal(u.Value, value) {
		t.Errorf("ParseUpdate = %v, %x", u.Time, u.Value)
	}
	if err := u.Verify(DB, []*x509.Certificate{o.cert}); err != nil {
		t.Error(err)
	}
	later := u
	later.Time = at.Add(time.Hour)
	other := u
	other.Value = value[1:]
	for name, err := range map[string]error{
		"another variable": u.Verify(KEK, nil), "another time": later.Verify(DB, nil), "another value": other.Verify(DB, nil),
		"somebody else": u.Verify(DB, []*x509.Certificate{}),
	} {
		if !errors.Is(err, pkcs7.ErrSignature) {
			t.Errorf("%s: Verify = %v; want ErrSignature", name, err)
		}
	}
	if _, err := SignUpdate(DB, value, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), o.key, o.cert); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the year 10000: %v; want fs.ErrInvalid", err)
	}
}

func TestBrokenUpdatesAreRefused(t *testing.T) {
	o := theOwner(t)
	u, err := SignUpdate(PK, []byte("value"), time.Unix(1.7e9, 0), o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"cut":                func(b []byte) []byte { return b[:authHeader-1] },
		"a longer signature": func(b []byte) []byte { b[timeSize+3] = 1; return b },
		"no signature": func(b []byte) []byte {
			return append(b[:timeSize], 1, 0, 0, 0, 0, 2, 0xf1, 0xe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		},
		"another type":        func(b []byte) []byte { b[timeSize+6] = 0; return b },
		"another certificate": func(b []byte) []byte { b[timeSize+certHeader] ^= 1; return b },
		"the 13th month":      func(b []byte) []byte { b[2] = 13; return b },
		"a time zone":         func(b []byte) []byte { b[12] = 1; return b },
	} {
		if _, err := ParseUpdate(change(u.Encode())); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: ParseUpdate = %v; want ErrFormat", name, err)
		}
	}
}

func FuzzParseSignatures(f *testing.F) {
	f.Add(Signatures{Hash(me, [32]byte{1}), Hash(me, [32]byte{2})}.Encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSignatures(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("ParseSignatures: %v; want ErrFormat", err)
			}
			return
		}
		again, err := ParseSignatures(s.Encode())
		if err != nil || !cmp.Equal(s, again) {
			t.Errorf("what was read and written is read as something else (%v)", err)
		}
	})
}

func FuzzParseUpdate(f *testing.F) {
	const seed = "testdata/db.auth"
	if *update {
		o := theOwner(f)
		u, err := SignUpdate(DB, Signatures{Certificate(me, o.cert)}.Encode(), time.Unix(1.7e9, 0), o.key, o.cert)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(seed), 0o755), os.WriteFile(seed, u.Encode(), 0o644)); err != nil {
			f.Fatal(err)
		}
	}
	data, err := os.ReadFile(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := ParseUpdate(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("ParseUpdate: %v; want ErrFormat", err)
			}
			return
		}
		if !bytes.Equal(u.Encode(), data) {
			t.Errorf("what was read is written as something else")
		}
		_ = u.Verify(DB, nil) // ends
	})
}
