package secret

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"
)

// greedyCSR asks for everything that a member must not get.
func greedyCSR(t testing.TB, key Key) []byte {
	t.Helper()

	ca := must(asn1.Marshal(struct {
		IsCA bool
	}{true}))(t)

	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{
			CommonName: "worker-1", OrganizationalUnit: []string{"kitchen"},
			ExtraNames: []pkix.AttributeTypeAndValue{
				{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: RoleAdmin},
				{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: RoleImpersonator},
			},
		},
		DNSNames:       []string{"worker-1"},
		IPAddresses:    []net.IP{{10, 0, 0, 7}},
		EmailAddresses: []string{"root@example"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "x"}},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: ca},
		},
	}, key.Signer()))(t)

	return block("CERTIFICATE REQUEST", der)
}

func TestTrustdPolicyGivesAServerAndNothingElse(t *testing.T) {
	a := publicAuthority(t, "os")
	key := must(GenerateKey(Ed25519))(t)
	csr := must(ParseCSR(greedyCSR(t, key)))(t)

	if got := csr.Subject.Organization; !slices.Equal(got, []string{RoleAdmin, RoleImpersonator}) {
		t.Fatalf("the request asks for the roles %q, so this test shows nothing", got)
	}

	cert := must(a.SignCSR(csr, TrustdPolicy(), testNow))(t)

	if got, want := cert.Subject.String(), "CN=worker-1"; got != want {
		t.Errorf("Subject = %s; want %s", got, want)
	}

	if got := Roles(cert); len(got) != 0 {
		t.Errorf("Roles = %q; want none", got)
	}

	if got, want := cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}; !slices.Equal(got, want) {
		t.Errorf("ExtKeyUsage = %v; want %v", got, want)
	}

	if cert.IsCA || cert.BasicConstraintsValid || len(cert.EmailAddresses)+len(cert.URIs) > 0 {
		t.Errorf("certificate is CA %t, has e-mail %q, URIs %v; want none", cert.IsCA, cert.EmailAddresses, cert.URIs)
	}

	if got, want := fmt.Sprint(cert.DNSNames, cert.IPAddresses), "[worker-1] [10.0.0.7]"; got != want {
		t.Errorf("names = %s; want %s", got, want)
	}

	if got, want := cert.NotAfter, testNow.Add(NodeTTL); !got.Equal(want) {
		t.Errorf("NotAfter = %s; want %s", got, want)
	}

	if _, err := NewPair(cert, key); err != nil {
		t.Errorf("NewPair(certificate, key of the request): %v", err)
	}
}

func TestSignCSRKeepsTheOrganizationIfToldTo(t *testing.T) {
	a := publicAuthority(t, "os")
	key := must(GenerateKey(Ed25519))(t)
	leaf := Leaf{Organization: []string{RoleReader, RoleOperator}, SANs: SANs{DNS: []string{"x"}}}
	csr := must(ParseCSR(must(NewCSR(key, leaf))(t)))(t)

	cert := must(a.SignCSR(csr, CSRPolicy{Usage: Server | Client, TTL: time.Hour, KeepOrganization: true}, testNow))(t)
	if got, want := Roles(cert), leaf.Organization; !slices.Equal(got, want) {
		t.Errorf("Roles = %q; want %q", got, want)
	}

	if len(cert.ExtKeyUsage) != 2 {
		t.Errorf("ExtKeyUsage = %v; want server and client", cert.ExtKeyUsage)
	}
}

func TestSignCSRRefuses(t *testing.T) {
	a := publicAuthority(t, "os")
	key := must(GenerateKey(Ed25519))(t)
	parse := func(leaf Leaf) *x509.CertificateRequest { return must(ParseCSR(must(NewCSR(key, leaf))(t)))(t) }
	named := parse(Leaf{CommonName: "x"})

	tampered := *named
	tampered.RawTBSCertificateRequest = slices.Clone(named.RawTBSCertificateRequest)
	tampered.RawTBSCertificateRequest[len(tampered.RawTBSCertificateRequest)-1] ^= 1

	for _, tt := range []struct {
		name   string
		csr    *x509.CertificateRequest
		policy CSRPolicy
		at     time.Time
		errs   []string
	}{
		{"good", named, TrustdPolicy(), testNow, nil},
		{"nobody once the organisation is blanked", parse(Leaf{Organization: []string{RoleAdmin}}), TrustdPolicy(), testNow, []string{"it would name nobody"}},
		{"changed after signing", &tampered, TrustdPolicy(), testNow, []string{"sign CSR: signature"}},
		{"policy without usage", named, CSRPolicy{TTL: time.Hour}, testNow, []string{"usage is neither"}},
		{"policy without TTL", named, CSRPolicy{Usage: Server}, testNow, []string{"TTL 0s"}},
		{"clock", named, TrustdPolicy(), time.Unix(0, 0), []string{ErrClock.Error()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := a.SignCSR(tt.csr, tt.policy, tt.at)
			wantError(t, "SignCSR", err, tt.errs...)
		})
	}
}

func TestParseCSR(t *testing.T) {
	key := must(GenerateKey(ECDSAP256))(t)
	good := must(NewCSR(key, Leaf{CommonName: "x"}))(t)
	der, _ := pem.Decode(good)

	forged := slices.Clone(der.Bytes)
	forged[len(forged)-1] ^= 1

	weak := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	weakDER := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak))(t)

	for _, tt := range []struct {
		name string
		data []byte
		errs []string
	}{
		{"good", good, nil},
		{"older name of the block", block("NEW CERTIFICATE REQUEST", der.Bytes), nil},
		{"certificate", publicClient(t, "os.crt"), []string{"want a certificate request in PEM", "CERTIFICATE"}},
		{"two", append(slices.Clone(good), good...), []string{"want one certificate request in PEM; found 2 blocks"}},
		{"cut off", block("CERTIFICATE REQUEST", der.Bytes[:20]), []string{"parse CSR"}},
		{"data after", block("CERTIFICATE REQUEST", append(slices.Clone(der.Bytes), 0)), []string{"parse CSR"}},
		{"forged", block("CERTIFICATE REQUEST", forged), []string{"parse CSR: signature"}},
		{"weak key", block("CERTIFICATE REQUEST", weakDER), []string{"RSA with 1024 bits"}},
		{"nothing", nil, []string{"found nothing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseCSR(tt.data)
			wantError(t, "ParseCSR", err, tt.errs...)
		})
	}
}

func TestNewCSRRefuses(t *testing.T) {
	_, err := NewCSR(Key{}, Leaf{CommonName: "x"})
	wantError(t, "NewCSR without key", err, "no private key")

	_, err = NewCSR(must(GenerateKey(Ed25519))(t), Leaf{SANs: SANs{DNS: []string{"a b"}}})
	wantError(t, "NewCSR with a bad name", err, "make CSR", `"a b"`)
}
