package secret

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
)

func block(t string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: t, Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	return must(x509.MarshalPKCS8PrivateKey(key))(t)
}

func TestGeneratedKeysRoundTripInTheContractsBlocks(t *testing.T) {
	for _, tt := range []struct {
		kind KeyKind
		want string // type of the block
	}{
		{Ed25519, "ED25519 PRIVATE KEY"},
		{ECDSAP256, "EC PRIVATE KEY"},
		{RSA4096, "RSA PRIVATE KEY"},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			make := func() (Key, error) { return GenerateKey(tt.kind) }
			if tt.kind == RSA4096 {
				make = rsaKey
			}

			key := must(make())(t)

			b, _ := pem.Decode(key.PEM())
			if b == nil || b.Type != tt.want {
				t.Fatalf("PEM of %s is %v; want a block %s", tt.kind, b, tt.want)
			}

			again := must(ParseKey(key.PEM()))(t)
			if !again.Equal(key) || again.Kind() != tt.kind {
				t.Errorf("ParseKey(PEM) = %s, equal %t; want %s, equal", again.Kind(), again.Equal(key), tt.kind)
			}

			if !bytes.Equal(again.PEM(), key.PEM()) {
				t.Error("PEM of the parsed key differs")
			}

			other := must(GenerateKey(Ed25519))(t)
			if key.Equal(other) || key.Equal(Key{}) {
				t.Error("Equal to another key")
			}

			pub, _ := pem.Decode(must(key.PublicPEM())(t))
			if parsed := must(x509.ParsePKIXPublicKey(pub.Bytes))(t); !key.matches(parsed) {
				t.Error("PublicPEM is not the public half")
			}
		})
	}
}

func TestGenerateKeyRefusesOtherKinds(t *testing.T) {
	_, err := GenerateKey("RSA 1024")
	wantError(t, "GenerateKey", err, "RSA 1024")
}

func TestParseKeyReadsTheKeysOfThePublicClient(t *testing.T) {
	for name, want := range map[string]KeyKind{
		"os.key": Ed25519, "admin.key": Ed25519, "etcd.key": ECDSAP256,
		"kubernetes.key": ECDSAP256, "front-proxy.key": ECDSAP256, "sa.key": RSA4096,
	} {
		t.Run(name, func(t *testing.T) {
			data := publicClient(t, name)
			key := must(ParseKey(data))(t)

			if key.Kind() != want {
				t.Errorf("Kind = %s; want %s", key.Kind(), want)
			}

			if !bytes.Equal(key.PEM(), data) {
				t.Errorf("PEM differs from what the public client wrote, which starts with %q", data[:32])
			}
		})
	}
}

func TestParseKey(t *testing.T) {
	ed := must(GenerateKey(Ed25519))(t)
	ec := must(GenerateKey(ECDSAP256))(t)
	rsa1024 := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	rsa2048 := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t)
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))(t)
	params := block("EC PARAMETERS", []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})
	edDER, _ := pem.Decode(ed.PEM())

	for _, tt := range []struct {
		name string
		data []byte
		want KeyKind
		errs []string
	}{
		{"PKCS 8, Ed25519", block("PRIVATE KEY", pkcs8(t, ed.Signer())), Ed25519, nil},
		{"PKCS 8, ECDSA", block("PRIVATE KEY", pkcs8(t, ec.Signer())), ECDSAP256, nil},
		{"PKCS 8, RSA", block("PRIVATE KEY", pkcs8(t, rsa2048)), "RSA 2048", nil},
		{"P-384", block("PRIVATE KEY", pkcs8(t, p384)), "ECDSA P-384", nil},
		{"EC parameters first", append(bytes.Clone(params), ec.PEM()...), ECDSAP256, nil},
		{"text before", append([]byte("Bag Attributes\n"), ec.PEM()...), ECDSAP256, nil},
		{"white space around", append([]byte("\n\n"), append(ec.PEM(), " \n\t"...)...), ECDSAP256, nil},

		{"nothing", nil, "", []string{"want a private key in PEM; found nothing"}},
		{"white space", []byte(" \n"), "", []string{"found nothing"}},
		{"garbage", []byte("hello"), "", []string{"5 bytes without a PEM block"}},
		{"base64 of PEM", []byte(base64.StdEncoding.EncodeToString(ed.PEM())), "", []string{"base64 of PEM"}},
		{"DER", edDER.Bytes, "", []string{"found DER"}},
		{"broken PEM", []byte("-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"), "", []string{"cannot be decoded"}},
		{"certificate", publicClient(t, "os.crt"), "", []string{`found a block "CERTIFICATE"`}},
		{"public key", must(ed.PublicPEM())(t), "", []string{`found a block "PUBLIC KEY"`}},
		{"two keys", append(ed.PEM(), ec.PEM()...), "", []string{"want one private key", "2 blocks"}},
		{"EC parameters alone", params, "", []string{"EC PARAMETERS"}},
		{"text after", append(ed.PEM(), "oops"...), "", []string{"text after the block ED25519 PRIVATE KEY"}},
		{"encrypted PKCS 8", block("ENCRYPTED PRIVATE KEY", []byte{1}), "", []string{"encrypted private key"}},
		{
			"encrypted in the old way",
			[]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
			"", []string{"encrypted private key"},
		},
		{
			"headers",
			[]byte("-----BEGIN RSA PRIVATE KEY-----\nComment: x\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
			"", []string{"RSA PRIVATE KEY with headers"},
		},
		{"cut off", block("EC PRIVATE KEY", []byte{0x30, 0x77}), "", []string{"EC PRIVATE KEY does not hold one"}},
		{"PKCS 8 in a block of another form", block("RSA PRIVATE KEY", pkcs8(t, rsa2048)), "", []string{"RSA PRIVATE KEY does not hold"}},
		{"ECDSA in a block for Ed25519", block("ED25519 PRIVATE KEY", pkcs8(t, ec.Signer())), "", []string{"another algorithm"}},
		{"weak RSA", block("PRIVATE KEY", pkcs8(t, rsa1024)), "", []string{"RSA with 1024 bits"}},
		{"weak curve", block("PRIVATE KEY", pkcs8(t, p224)), "", []string{"P-224"}},
		{"X25519", block("PRIVATE KEY", pkcs8(t, x25519)), "", []string{"cannot sign"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := ParseKey(tt.data)
			wantError(t, "ParseKey", err, tt.errs...)

			if key.Kind() != tt.want {
				t.Errorf("ParseKey = %q; want %q", key.Kind(), tt.want)
			}
		})
	}
}

func TestKeyErrorsDoNotQuoteTheKey(t *testing.T) {
	ec := must(GenerateKey(ECDSAP256))(t)
	der, _ := pem.Decode(ec.PEM())

	for cut := range der.Bytes {
		_, err := ParseKey(block("EC PRIVATE KEY", der.Bytes[:cut]))
		if err == nil {
			t.Fatalf("ParseKey of the first %d octets = nil error", cut)
		}

		for _, s := range keyNeedles(ec) {
			if strings.Contains(err.Error(), s) {
				t.Fatalf("ParseKey of the first %d octets: the error shows the key", cut)
			}
		}
	}
}

func TestZeroKeyIsHarmless(t *testing.T) {
	var k Key

	if !k.IsZero() || k.Kind() != "" || k.PEM() != nil || k.Public() != nil || k.Signer() != nil || !k.Equal(Key{}) || k.matches(nil) {
		t.Error("the zero Key is more than nothing")
	}

	_, err := k.PublicPEM()
	wantError(t, "PublicPEM", err, "no key")
}

func TestParseCertificate(t *testing.T) {
	os, etcd := publicClient(t, "os.crt"), publicClient(t, "etcd.crt")
	two := append(bytes.Clone(os), etcd...)
	broken := append(bytes.Clone(os), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"...)
	brokenFirst := append([]byte("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"), os...)

	for _, tt := range []struct {
		name      string
		data      []byte
		one, many []string // wanted errors
		n         int
	}{
		{"one", os, nil, nil, 1},
		{"two", two, []string{"want one certificate in PEM; found 2 blocks"}, nil, 2},
		{"a key", publicClient(t, "os.key"), []string{"ED25519 PRIVATE KEY"}, []string{"ED25519 PRIVATE KEY"}, 0},
		{"one and a broken one", broken, []string{"1 of its 2 blocks"}, []string{"1 of its 2 blocks"}, 0},
		{"a broken one first", brokenFirst, []string{"1 of its 2 blocks"}, []string{"1 of its 2 blocks"}, 0},
		{"not a certificate", block("CERTIFICATE", []byte{0x30, 0x00}), []string{"parse certificate"}, []string{"certificate 1 of 1"}, 0},
		{"nothing", nil, []string{"found nothing"}, []string{"found nothing"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseCertificate(tt.data)
			wantError(t, "ParseCertificate", err, tt.one...)

			certs, err := ParseCertificates(tt.data)
			wantError(t, "ParseCertificates", err, tt.many...)

			if len(certs) != tt.n {
				t.Errorf("ParseCertificates = %d; want %d", len(certs), tt.n)
			}

			if tt.n > 0 && !bytes.Equal(CertificatesPEM(certs...), tt.data) {
				t.Error("CertificatesPEM differs from what was read")
			}
		})
	}
}
