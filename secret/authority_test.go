package secret

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shape is what two certificates of the same kind have in common: all but key, serial, time and names.
type shape struct {
	Version      int
	Signature    string
	Key          KeyKind
	Subject      string
	Issuer       string
	KeyUsage     x509.KeyUsage
	ExtKeyUsage  []x509.ExtKeyUsage
	IsCA         bool
	MaxPathLen   int
	KeyID        bool
	AuthorityID  bool
	Extensions   []string // in their order
	ValidFromNow time.Duration
}

func shapeOf(t *testing.T, cert *x509.Certificate, made time.Time) shape {
	t.Helper()

	s := shape{
		Version: cert.Version, Signature: cert.SignatureAlgorithm.String(),
		Key: must(checkPublicKey(cert.PublicKey))(t), Subject: cert.Subject.String(), Issuer: cert.Issuer.String(),
		KeyUsage: cert.KeyUsage, ExtKeyUsage: cert.ExtKeyUsage, IsCA: cert.IsCA, MaxPathLen: cert.MaxPathLen,
		KeyID: len(cert.SubjectKeyId) == 20, AuthorityID: len(cert.AuthorityKeyId) == 20,
		ValidFromNow: cert.NotAfter.Sub(made),
	}
	for _, e := range cert.Extensions {
		s.Extensions = append(s.Extensions, fmt.Sprintf("%s critical=%t", e.Id, e.Critical))
	}

	return s
}

func TestNewAuthorityIsLikeThePublicClients(t *testing.T) {
	for _, tt := range []struct {
		kind AuthorityKind
		name string
	}{{OS, "os"}, {Etcd, "etcd"}, {Kubernetes, "kubernetes"}, {FrontProxy, "front-proxy"}} {
		t.Run(tt.name, func(t *testing.T) {
			theirs := publicAuthority(t, tt.name).Certificate()
			ours := must(NewAuthority(tt.kind, testNow.Add(999*time.Millisecond)))(t).Certificate()

			want := shapeOf(t, theirs, theirs.NotBefore) // the public client does not backdate
			if diff := cmp.Diff(want, shapeOf(t, ours, testNow)); diff != "" {
				t.Errorf("shape of the certificate (-public client +ours):\n%s", diff)
			}

			if got, want := ours.NotBefore, testNow.Add(-Backdate); !got.Equal(want) {
				t.Errorf("NotBefore = %s; want %s", got, want)
			}

			if !bytes.Equal(ours.RawSubject, theirs.RawSubject) {
				t.Errorf("RawSubject = %x; want %x", ours.RawSubject, theirs.RawSubject)
			}
		})
	}
}

func TestNewCustomAuthority(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec AuthoritySpec
		errs []string
	}{
		{"hours", AuthoritySpec{Organization: "lab", Key: ECDSAP256, TTL: 2 * time.Hour}, nil},
		{"no TTL", AuthoritySpec{Organization: "lab", Key: Ed25519}, []string{"TTL 0s is not positive"}},
		{"unknown kind", AuthorityKind(0).Spec(), []string{"not positive"}},
		{"unknown key", AuthoritySpec{Key: "DSA", TTL: 1}, []string{`unknown kind "DSA"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := NewCustomAuthority(tt.spec, testNow)
			wantError(t, "NewCustomAuthority", err, tt.errs...)

			if err != nil {
				return
			}

			cert := a.Certificate()
			if got := cert.NotAfter.Sub(testNow); got != tt.spec.TTL || cert.Subject.String() != "O=lab" {
				t.Errorf("authority of %s for %s; want O=lab, %s", cert.Subject, got, tt.spec.TTL)
			}
		})
	}
}

func TestSerialNumbersArePositiveAndOf128Bits(t *testing.T) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	seen := map[string]bool{}
	longest := 0

	for range 200 {
		serial := must(newSerial())(t)
		if serial.Sign() <= 0 || serial.Cmp(limit) > 0 || seen[serial.String()] {
			t.Fatalf("newSerial() = %d; want 1 to 2^128, never twice", serial)
		}

		seen[serial.String()] = true
		longest = max(longest, serial.BitLen())
	}

	if longest < 120 {
		t.Errorf("longest of 200 serial numbers has %d bits; want about 128", longest)
	}
}

// selfSigned makes a certificate as a template says.
func selfSigned(t testing.TB, key Key, change func(*x509.Certificate)) []byte {
	t.Helper()

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(template)

	return block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key.Signer()))(t))
}

func TestParseAuthority(t *testing.T) {
	key := must(GenerateKey(ECDSAP256))(t)
	good := selfSigned(t, key, func(*x509.Certificate) {})

	for _, tt := range []struct {
		name string
		cert []byte
		key  []byte
		errs []string
	}{
		{"own", good, key.PEM(), nil},
		{"public client", publicClient(t, "os.crt"), publicClient(t, "os.key"), nil},
		{"without key usage, as old tools make them", selfSigned(t, key, func(c *x509.Certificate) { c.KeyUsage = 0 }), key.PEM(), nil},
		{
			"key of another algorithm", publicClient(t, "os.crt"), publicClient(t, "etcd.key"),
			[]string{"the private key (ECDSA P-256) does not belong to the certificate (Ed25519, O=talos)"},
		},
		{
			"key of the same algorithm", publicClient(t, "front-proxy.crt"), publicClient(t, "etcd.key"),
			[]string{"does not belong to the certificate (ECDSA P-256, empty subject)"},
		},
		{"leaf", publicClient(t, "admin.crt"), publicClient(t, "admin.key"), []string{"O=os:admin) is not that of an authority", "CA:TRUE"}},
		{
			"may not sign", selfSigned(t, key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), key.PEM(),
			[]string{"CN=x) is not that of an authority", "key usage lacks certificate signing"},
		},
		{"key in place of the certificate", key.PEM(), key.PEM(), []string{"want a certificate in PEM", "EC PRIVATE KEY"}},
		{"no key", good, nil, []string{"want a private key in PEM; found nothing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseAuthority(tt.cert, tt.key)
			wantError(t, "ParseAuthority", err, tt.errs...)

			if err == nil && (!bytes.Equal(a.CertificatePEM(), tt.cert) || !bytes.Equal(a.Key().PEM(), tt.key)) {
				t.Error("the authority's PEM differs from what was read")
			}
		})
	}
}

func TestFingerprintIsThatOfOpenSSL(t *testing.T) {
	// openssl x509 -in testdata/publicclient/os.crt -noout -fingerprint -sha256
	const want = "C6:02:9D:D5:E7:5F:C4:B7:79:96:F7:26:DD:49:BE:AC:9B:41:34:4E:4F:13:5B:C6:7C:B2:00:F6:50:E8:4A:2A"

	got := publicAuthority(t, "os").Fingerprint()
	if got.String() != want {
		t.Errorf("Fingerprint = %s; want %s", got, want)
	}

	for _, tt := range []struct {
		name, text string
		errs       []string
	}{
		{"colons", want, nil},
		{"plain lower case", fmt.Sprintf("%x", got[:]), nil},
		{"short", "AB:CD", []string{"want 32 bytes"}},
		{"odd", "abc", []string{"want 64 hexadecimal digits; found 3"}},
		{"not hexadecimal", "zz" + want[2:], []string{"fingerprint"}},
		{"colons at the wrong places", want[:1] + ":" + want[1:2] + want[3:], []string{"want a colon at character 3"}},
		{"empty", "", []string{"found 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ParseFingerprint(tt.text)
			wantError(t, "ParseFingerprint", err, tt.errs...)

			if err == nil && f != got {
				t.Errorf("ParseFingerprint(%s) = %s; want %s", tt.text, f, got)
			}
		})
	}
}

func TestCheckTime(t *testing.T) {
	a := must(NewAuthority(Etcd, testNow))(t)

	for _, tt := range []struct {
		name string
		at   time.Time
		errs []string
	}{
		{"made", testNow, nil},
		{"a clock that is behind", testNow.Add(-Backdate), nil},
		{"a clock that is further behind", testNow.Add(-Backdate - time.Second), []string{"valid from 2027-01-15T11:30:45Z only"}},
		{"no clock", time.Unix(0, 0), []string{"the clock says 1970-01-01T00:00:00Z", "O=etcd"}},
		{"last second", testNow.Add(AuthorityTTL), nil},
		{"expired", testNow.Add(AuthorityTTL + time.Second), []string{"was valid until 2037-01-12"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := a.CheckTime(tt.at)
			wantError(t, "CheckTime", err, tt.errs...)

			if err != nil && !errors.Is(err, ErrClock) {
				t.Errorf("CheckTime: %v does not wrap ErrClock", err)
			}
		})
	}
}

// An imported authority may forbid names. That must show when the certificate is made.
func TestIssueRefusesWhatPeersWouldRefuse(t *testing.T) {
	key := must(GenerateKey(ECDSAP256))(t)

	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		leaf   Leaf
		errs   []string
	}{
		{"allowed name", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"lab.example"} },
			Leaf{SANs: SANs{DNS: []string{"a.lab.example"}}, Usage: Server, TTL: time.Minute}, nil},
		{"forbidden name", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"lab.example"} },
			Leaf{SANs: SANs{DNS: []string{"a.example"}}, Usage: Server, TTL: time.Minute}, []string{"cannot vouch", "constraint"}},
		{"forbidden address", func(c *x509.Certificate) {
			c.ExcludedIPRanges = []*net.IPNet{{IP: net.IP{10, 0, 0, 0}, Mask: net.CIDRMask(8, 32)}}
		}, Leaf{SANs: must(ParseSANs([]string{"10.1.2.3"}))(t), Usage: Server, TTL: time.Minute}, []string{"cannot vouch"}},
		{"forbidden usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
			Leaf{CommonName: "x", Usage: Server | Client, TTL: time.Minute}, []string{"cannot vouch", "usage"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := must(ParseAuthority(selfSigned(t, key, tt.change), key.PEM()))(t)
			_, err := a.Issue(tt.leaf, testNow)
			wantError(t, "Issue", err, tt.errs...)
		})
	}
}
