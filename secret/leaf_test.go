package secret

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAdminCertificateIsLikeThePublicClients(t *testing.T) {
	theirs := must(ParsePair(publicClient(t, "admin.crt"), publicClient(t, "admin.key")))(t)
	ours := must(publicAuthority(t, "os").Issue(OSClient([]string{RoleAdmin}, 0), testNow))(t)

	want := shapeOf(t, theirs.Certificate(), theirs.Certificate().NotBefore)
	if diff := cmp.Diff(want, shapeOf(t, ours.Certificate(), testNow)); diff != "" {
		t.Errorf("shape of the certificate (-public client +ours):\n%s", diff)
	}

	if got := Roles(theirs.Certificate()); !slices.Equal(got, []string{RoleAdmin}) {
		t.Errorf("Roles = %q; want %q", got, RoleAdmin)
	}
}

func TestIssueRefusesAnIncompleteLeaf(t *testing.T) {
	a := publicAuthority(t, "os")
	ok := Leaf{CommonName: "x", Usage: Client, TTL: time.Hour}

	for _, tt := range []struct {
		name   string
		change func(*Leaf)
		errs   []string
	}{
		{"complete", func(*Leaf) {}, nil},
		{"no TTL", func(l *Leaf) { l.TTL = 0 }, []string{"TTL 0s is not positive"}},
		{"negative TTL", func(l *Leaf) { l.TTL = -1 }, []string{"TTL -1ns is not positive"}},
		{"no usage", func(l *Leaf) { l.Usage = 0 }, []string{"usage is neither"}},
		{"unknown usage", func(l *Leaf) { l.Usage = 4 }, []string{"usage is neither"}},
		{"nobody", func(l *Leaf) { l.CommonName, l.Organization = "", []string{""} }, []string{"it would name nobody"}},
		{"no address", func(l *Leaf) { l.SANs.IPs = []netip.Addr{{}} }, []string{"address of the subject alternative names is empty"}},
		{"no name", func(l *Leaf) { l.SANs.DNS = []string{""} }, []string{"want 1 to 253 characters"}},
		{"too many names", func(l *Leaf) { l.SANs.IPs = make([]netip.Addr, 257) }, []string{"257 subject alternative names are more than 256"}},
		{"several at once", func(l *Leaf) { *l = Leaf{} }, []string{"TTL", "usage", "nobody"}},
		{"unknown key", func(l *Leaf) { l.Key = "DSA" }, []string{`unknown kind "DSA"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaf := ok
			tt.change(&leaf)

			_, err := a.Issue(leaf, testNow)
			wantError(t, "Issue", err, tt.errs...)
		})
	}
}

func TestIssueKeepsNamesOnceAndInOrder(t *testing.T) {
	sans := SANs{
		IPs: []netip.Addr{
			netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("10.0.0.1"),
			netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fe80::1%eth1"),
		},
		DNS: []string{"b", "a", "b"},
	}
	cert := must(publicAuthority(t, "os").Issue(NodeServer("", sans), testNow))(t).Certificate()

	if got, want := fmt.Sprint(cert.IPAddresses, cert.DNSNames), "[fe80::1 10.0.0.1] [b a]"; got != want {
		t.Errorf("names = %s; want %s", got, want)
	}
}

func TestIssueDoesNotOutliveTheAuthority(t *testing.T) {
	a := must(NewCustomAuthority(AuthoritySpec{Organization: "x", Key: Ed25519, TTL: time.Hour}, testNow))(t)
	leaf := Leaf{CommonName: "x", Usage: Client, TTL: 24 * time.Hour}

	cert := must(a.Issue(leaf, testNow))(t).Certificate()
	if want := testNow.Add(time.Hour); !cert.NotAfter.Equal(want) {
		t.Errorf("NotAfter = %s; want %s, that of the authority", cert.NotAfter, want)
	}

	for _, at := range []time.Time{testNow.Add(2 * time.Hour), time.Unix(0, 0)} {
		if _, err := a.Issue(leaf, at); !errors.Is(err, ErrClock) {
			t.Errorf("Issue at %s: error = %v; want ErrClock", at, err)
		}
	}
}

func TestKeyEncipherIsForServersWithRSAOnly(t *testing.T) {
	authority := publicAuthority(t, "kubernetes")
	rsaKey := must(rsaKey())(t)

	for _, tt := range []struct {
		name  string
		key   Key
		usage Usage
		want  x509.KeyUsage
	}{
		{"RSA server", rsaKey, Server, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment},
		{"RSA server and client", rsaKey, Server | Client, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment},
		{"RSA client", rsaKey, Client, x509.KeyUsageDigitalSignature},
		{"ECDSA server", must(GenerateKey(ECDSAP256))(t), Server, x509.KeyUsageDigitalSignature},
		{"Ed25519 server", must(GenerateKey(Ed25519))(t), Server, x509.KeyUsageDigitalSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := must(authority.issueFor(tt.key.Public(), Leaf{CommonName: "x", Usage: tt.usage, TTL: time.Hour}, testNow))(t)
			if cert.KeyUsage != tt.want {
				t.Errorf("KeyUsage = %b; want %b", cert.KeyUsage, tt.want)
			}
		})
	}
}

func TestParseSANs(t *testing.T) {
	long := strings.Repeat("a", 64)

	for _, tt := range []struct {
		name    string
		entries []string
		want    string
		errs    []string
	}{
		{"none", nil, "[] []", nil},
		{"mixed", []string{"10.0.0.1", "k8s.lab.example", "fd00::1", "*.lab.example", "node_1", "7"}, "[10.0.0.1 fd00::1] [k8s.lab.example *.lab.example node_1 7]", nil},
		{"upper case", []string{"Node-A"}, "[] [Node-A]", nil},
		{"empty", []string{"", "a"}, "[] [a]", []string{`""`}},
		{"mistyped address", []string{"10.0.0.256"}, "[] []", []string{"only digits and dots"}},
		{"address with port", []string{"10.0.0.1:50000"}, "[] []", []string{`character ':'`}},
		{"URL", []string{"https://x"}, "[] []", []string{`character ':'`}},
		{"empty label", []string{"a..b"}, "[] []", []string{"labels of 1 to 63"}},
		{"trailing dot", []string{"a."}, "[] []", []string{"labels of 1 to 63"}},
		{"long label", []string{long}, "[] []", []string{"labels of 1 to 63"}},
		{"long name", []string{strings.Repeat("a.", 127)}, "[] []", []string{"want 1 to 253"}},
		{"star within", []string{"a.*.b", "*", "a*"}, "[] []", []string{`"a.*.b"`, `"*"`, `"a*"`}},
		{"not ASCII", []string{"nœud"}, "[] []", []string{"is not allowed"}},
		{"subnet", []string{"10.0.0.0/8"}, "[] []", []string{`character '/'`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sans, err := ParseSANs(tt.entries)
			wantError(t, "ParseSANs", err, tt.errs...)

			if got := fmt.Sprint(sans.IPs, sans.DNS); got != tt.want {
				t.Errorf("ParseSANs(%q) = %s; want %s", tt.entries, got, tt.want)
			}
		})
	}
}

func TestHalfLife(t *testing.T) {
	cert := must(publicAuthority(t, "os").Issue(NodeServer("a", SANs{}), testNow))(t).Certificate()
	if got, want := HalfLife(cert).Sub(testNow), NodeTTL/2-Backdate/2; got != want {
		t.Errorf("HalfLife = %s after issue; want %s", got, want)
	}
}

func TestRoles(t *testing.T) {
	a := publicAuthority(t, "os")

	cert := must(a.Issue(OSClient([]string{"", RoleReader, "someone:else"}, time.Hour), testNow))(t).Certificate()
	if got, want := Roles(cert), []string{RoleReader, "someone:else"}; !slices.Equal(got, want) {
		t.Errorf("Roles = %q; want %q", got, want)
	}

	_, err := a.Issue(OSClient(nil, 0), testNow)
	wantError(t, "Issue without roles", err, "it would name nobody")
}

// handshake connects a server and a client over TLS and returns what each side says.
//
// It takes loopback and not net.Pipe, in which both sides may write at once and wait for each other.
func handshake(t *testing.T, server, client *tls.Config) (errServer, errClient error) {
	t.Helper()

	listener := must(tls.Listen("tcp", "127.0.0.1:0", server))(t)
	defer listener.Close()

	done := make(chan error, 1)

	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
			conn.Close()
		}

		done <- err
	}()

	raw := must(net.Dial("tcp", listener.Addr().String()))(t)
	conn := tls.Client(raw, client)

	errClient = conn.Handshake()
	if errClient == nil {
		// With TLS 1.3 a client learns only by reading that its certificate was refused.
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			errClient = err
		}
	}

	raw.Close()

	return <-done, errClient
}

func TestMutualTLS(t *testing.T) {
	now := func() time.Time { return testNow }
	ca := must(NewAuthority(OS, testNow))(t)
	other := must(NewAuthority(OS, testNow))(t)
	issue := func(a *Authority, leaf Leaf) Pair { return must(a.Issue(leaf, testNow))(t) }
	sans := SANs{DNS: []string{"node"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}

	server := issue(ca, NodeServer("node", sans))
	admin := issue(ca, OSClient([]string{RoleAdmin}, 0))

	for _, tt := range []struct {
		name           string
		server, client Pair
		call           string
		at             time.Time
		errs           []string
	}{
		{"by name", server, admin, "node", testNow, nil},
		{"by address", server, admin, "10.0.0.1", testNow, nil},
		{"clock behind", server, admin, "node", testNow.Add(-Backdate), nil},
		{"clock too far behind", server, admin, "node", testNow.Add(-Backdate - time.Second), []string{"not yet valid"}},
		{"expired", server, admin, "node", testNow.Add(NodeTTL + time.Second), []string{"expired"}},
		{"wrong name", server, admin, "elsewhere", testNow, []string{"elsewhere"}},
		{"server's certificate as client", server, server, "node", testNow, []string{"certificate"}},
		{"client's certificate as server", admin, admin, "node", testNow, []string{"certificate"}},
		{"server of another cluster", issue(other, NodeServer("node", sans)), admin, "node", testNow, []string{"unknown authority"}},
		{"client of another cluster", server, issue(other, OSClient([]string{RoleAdmin}, 0)), "node", testNow, []string{"certificate"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errServer, errClient := handshake(t,
				&tls.Config{Certificates: []tls.Certificate{tt.server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), Time: now},
				&tls.Config{Certificates: []tls.Certificate{tt.client.TLS()}, RootCAs: ca.Pool(), ServerName: tt.call, Time: func() time.Time { return tt.at }},
			)
			wantError(t, "handshake", errors.Join(errClient, errServer), tt.errs...)
		})
	}
}
