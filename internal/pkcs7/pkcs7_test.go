package pkcs7

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// signer is a key with its certificate. Keys are made once: that takes time.
type signer struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func newSigner(name string) func() signer {
	return sync.OnceValue(func() signer {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		t := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(1.1e9, 0)}
		der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
		if err != nil {
			panic(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		return signer{key, cert}
	})
}

var owner, rogue = newSigner("owner"), newSigner("rogue")

var kind = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}

func content(t *testing.T) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct{ A, B string }{"what is", "signed"})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestWhoSignedIsFound(t *testing.T) {
	o := owner()
	m, err := Sign(kind, content(t), o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(append(m, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Content, content(t)) || !p.Type.Equal(kind) {
		t.Errorf("Parse = content %x of type %v", p.Content, p.Type)
	}
	for name, trusted := range map[string][]*x509.Certificate{"nobody asked": nil, "trusted": {rogue().cert, o.cert}} {
		who, err := p.Verify(p.Signed, trusted)
		if err != nil || len(who) != 1 || !who[0].Equal(o.cert) {
			t.Errorf("%s: Verify = %v, %v; want the owner", name, who, err)
		}
	}
	if _, err := p.Verify(p.Signed, []*x509.Certificate{rogue().cert}); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify with another trusted = %v; want ErrSignature", err)
	}
	if _, err := p.Verify(append([]byte("x"), p.Signed...), nil); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify of another content = %v; want ErrSignature", err)
	}
}

func TestDetached(t *testing.T) {
	o := owner()
	m, err := SignDetached([]byte("data"), o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	// Firmware looks for the hash function of SignedData without ContentInfo at this offset.
	if !bytes.HasPrefix(m[13:], []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}) {
		t.Errorf("the OID of SHA-256 is not at 13: %x", m[:32])
	}
	p, err := Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	if p.Content != nil {
		t.Errorf("content %x; want none", p.Content)
	}
	if _, err := p.Verify([]byte("data"), []*x509.Certificate{o.cert}); err != nil {
		t.Error(err)
	}
	if _, err := p.Verify([]byte("date"), nil); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify of other data = %v; want ErrSignature", err)
	}
}

// No byte of a message can be changed so that it is a signature of the owner over something else: the content stays what it was.
func TestAChangedMessageSignsNothingElse(t *testing.T) {
	o := owner()
	m, err := Sign(kind, content(t), o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	var want asn1.RawValue // its tag is not signed
	if _, err := asn1.Unmarshal(content(t), &want); err != nil {
		t.Fatal(err)
	}
	for i := range m {
		changed := bytes.Clone(m)
		changed[i] ^= 1
		p, err := Parse(changed)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("byte %d: Parse = %v; want ErrFormat", i, err)
			}
			continue
		}
		if _, err := p.Verify(p.Signed, []*x509.Certificate{o.cert}); err == nil && (!bytes.Equal(p.Signed, want.Bytes) || !p.Type.Equal(kind)) {
			t.Errorf("byte %d: a changed content %x of type %v is valid", i, p.Signed, p.Type)
		}
	}
}

func TestWhatCannotSignIsRefused(t *testing.T) {
	o := owner()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"another's key": func() error { _, err := SignDetached(nil, rogue().key, o.cert); return err },
		"no RSA":        func() error { _, err := SignDetached(nil, ec, o.cert); return err },
		"no DER":        func() error { _, err := Sign(kind, []byte("text"), o.key, o.cert); return err },
	} {
		if err := f(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v; want fs.ErrInvalid", name, err)
		}
	}
}

// OpenSSL, which firmware is built on, takes our messages. It is not on every machine.
func TestOpenSSLAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: Debian's package openssl has it")
	}
	o, dir := owner(), t.TempDir()
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	cert := write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.Raw}))
	m, err := Sign(kind, content(t), o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	d, err := SignDetached([]byte("data"), o.key, o.cert)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := element(asn1.ClassContextSpecific, 0, d)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := asn1.Marshal(contentInfo{oidSignedData, inner})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2][]byte{"sign": {m, p.Signed}, "detached": {wrapped, []byte("data")}} {
		// With -content the content of the message is not looked at; Authenticode's is no octet string, which this command expects.
		out, err := exec.CommandContext(t.Context(), openssl, "smime", "-verify", "-inform", "DER", "-binary", "-noverify", "-nointern", "-certfile", cert,
			"-in", write(name+".der", c[0]), "-content", write(name+".bin", c[1]), "-out", os.DevNull).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

var update = flag.Bool("update", false, "write the messages in testdata anew, with new keys")

// Whatever a message has, reading it ends, and it is never valid for what was not signed. The seeds are files, since a fuzzer's workers
// would make a key each.
func FuzzParse(f *testing.F) {
	if *update {
		writeSeeds(f)
	}
	for _, name := range []string{"content.der", "detached.der"} {
		m, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("Parse: %v; want ErrFormat", err)
			}
			return
		}
		if _, err := m.Verify([]byte("another content than that of any message here"), nil); err == nil {
			t.Errorf("a signature for other data is valid")
		}
	})
}

func writeSeeds(f *testing.F) {
	o := owner()
	content, err := asn1.Marshal(struct{ A string }{"a"})
	if err != nil {
		f.Fatal(err)
	}
	a, errA := Sign(kind, content, o.key, o.cert)
	b, errB := SignDetached([]byte("data"), o.key, o.cert)
	err = errors.Join(errA, errB, os.WriteFile("testdata/content.der", a, 0o644), os.WriteFile("testdata/detached.der", b, 0o644))
	if err != nil {
		f.Fatal(err)
	}
}
