package secret

import (
	"bytes"
	"os"
	"testing"
)

// FuzzParsePEM feeds all parsers of PEM. What one accepts must come out the same when written and read
// again, and pass what the rest of the package takes for granted.
func FuzzParsePEM(f *testing.F) {
	for _, name := range []string{"os.crt", "os.key", "etcd.crt", "etcd.key", "front-proxy.crt", "admin.crt"} {
		f.Add(publicClient(f, name))
	}

	ed := must(GenerateKey(Ed25519))(f)
	f.Add(must(NewCSR(ed, Leaf{CommonName: "x", SANs: SANs{DNS: []string{"x"}}}))(f))
	f.Add(append(publicClient(f, "os.crt"), publicClient(f, "etcd.crt")...))
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"))

	authority := publicAuthority(f, "os")

	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := ParseKey(data); err == nil {
			again, err := ParseKey(key.PEM())
			if err != nil || !again.Equal(key) {
				t.Errorf("key %s does not round-trip: %v", key.Kind(), err)
			}
		}

		if certs, err := ParseCertificates(data); err == nil {
			again, err := ParseCertificates(CertificatesPEM(certs...))
			if err != nil || len(again) != len(certs) || !bytes.Equal(again[0].Raw, certs[0].Raw) {
				t.Errorf("%d certificates do not round-trip: %v", len(certs), err)
			}

			for _, cert := range certs {
				_, _, _ = describe(cert), CheckAuthority(cert), HalfLife(cert)
			}
		}

		if csr, err := ParseCSR(data); err == nil {
			cert, err := authority.SignCSR(csr, TrustdPolicy(), testNow)
			if err != nil {
				return // its names may be refused
			}

			if len(Roles(cert)) > 0 || cert.IsCA || len(cert.ExtKeyUsage) != 1 {
				t.Errorf("a request was granted too much: %s, CA %t, %v", cert.Subject, cert.IsCA, cert.ExtKeyUsage)
			}
		}
	})
}

// FuzzLoadBundle: what is accepted can be written, and read again to the same.
func FuzzLoadBundle(f *testing.F) {
	golden, err := os.ReadFile(bundleGolden)
	if err != nil {
		f.Fatal(err)
	}

	f.Add(golden)
	f.Add([]byte("cluster: {id: &a [*a]}\n"))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\ncluster: *b\n"))
	f.Add([]byte("certs:\n    etcd: {crt: !!binary aGVsbG8=, key: }\n"))

	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := LoadBundle(data)
		if err != nil {
			if err.Error() == "" {
				t.Error("LoadBundle: an error without text")
			}

			return
		}

		out, err := b.Marshal()
		if err != nil {
			t.Fatalf("Marshal of a loaded bundle: %v", err)
		}

		again, err := LoadBundle(out)
		if err != nil {
			t.Fatalf("LoadBundle of a marshalled bundle: %v", err)
		}

		if second, err := again.Marshal(); err != nil || !bytes.Equal(second, out) {
			t.Errorf("the second Marshal differs: %v", err)
		}
	})
}

// FuzzParseSmall feeds the parsers of short texts.
func FuzzParseSmall(f *testing.F) {
	for _, s := range []string{
		"abc123.0123456789abcdef", "AB:CD", "ar/bky7Gx4JuRADpTFDT5mGQh/IPGAHOylFf7LW3Vhw=", "*.lab.example", "10.0.0.1", "fe80::1%eth0",
	} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, s string) {
		if token, err := ParseToken(s); err == nil && token.ID()+"."+token.Secret().Reveal() != s {
			t.Errorf("ParseToken(%q) = %q", s, token.Reveal())
		}

		if fp, err := ParseFingerprint(s); err == nil {
			if again, err := ParseFingerprint(fp.String()); err != nil || again != fp {
				t.Errorf("fingerprint %q does not round-trip: %v", s, err)
			}
		}

		if key, err := DecodeKeyText(s, 16, 32); err == nil && len(key) != 16 && len(key) != 32 {
			t.Errorf("DecodeKeyText(%q) = %d bytes", s, len(key))
		}

		if sans, err := ParseSANs([]string{s}); err == nil {
			if _, _, err := sans.normalise(); err != nil {
				t.Errorf("ParseSANs accepts %q, issuing does not: %v", s, err)
			}
		}
	})
}
