package secretsctrl

import (
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestReasonToIssue(t *testing.T) {
	now := time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)
	authority := func(ttl time.Duration) *secret.Authority {
		ca, err := secret.NewCustomAuthority(secret.AuthoritySpec{Key: secret.Ed25519, Organization: "talos", TTL: ttl}, now)
		return must(t, ca, err)
	}
	ca, other, short := authority(secret.AuthorityTTL), authority(secret.AuthorityTTL), authority(12*time.Hour)
	leaf := secret.NodeServer("n", secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1")}, DNS: []string{"n", "n"}})
	pair, err := ca.Issue(leaf, now)
	cert := must(t, pair, err).Certificate()
	pair, err = short.Issue(leaf, now)
	shortCert := must(t, pair, err).Certificate()
	with := func(change func(*secret.Leaf)) secret.Leaf {
		l := leaf
		change(&l)
		return l
	}
	tests := []struct {
		name   string
		cert   *x509.Certificate
		issuer *secret.Authority
		leaf   secret.Leaf
		after  time.Duration
		want   string
	}{
		{"none", nil, ca, leaf, 0, "there is none"},
		{"just issued", cert, ca, leaf, 0, ""},
		{"before about half of its life", cert, ca, leaf, 10 * time.Hour, ""},
		{"half of its life", cert, ca, leaf, 11*time.Hour + 30*time.Minute, "about half"},
		{"after its end", cert, ca, leaf, 25 * time.Hour, "expired"},
		{"the clock was set back", cert, ca, leaf, -5 * time.Hour, "set back"},
		{"a shorter lifetime", cert, ca, with(func(l *secret.Leaf) { l.TTL = time.Hour }), 0, "set back"},
		{"another name", cert, ca, with(func(l *secret.Leaf) { l.CommonName = "m" }), 0, `now it is "m"`},
		{"a role", cert, ca, with(func(l *secret.Leaf) { l.Organization = []string{"os:admin"} }), 0, "organisation"},
		{"another usage", cert, ca, with(func(l *secret.Leaf) { l.Usage = secret.Client }), 0, "usage"},
		{"one more address", cert, ca, with(func(l *secret.Leaf) {
			l.SANs.IPs = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")}
		}), 0, "it lacks fe80::1"},
		{"one name less", cert, ca, with(func(l *secret.Leaf) { l.SANs.DNS = nil }), 0, "also valid for n"},
		{"another authority", cert, other, leaf, 0, "authority"},
		{"as long as its authority: half of its life", shortCert, short, leaf, 6 * time.Hour, ""},
		{"as long as its authority: its end", shortCert, short, leaf, 12 * time.Hour, "about half"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := reasonToIssue(tt.cert, []*x509.Certificate{tt.issuer.Certificate()}, tt.leaf, now.Add(tt.after))
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("reasonToIssue = %q; want %q", got, tt.want)
			}
		})
	}
}

func TestRenewalsAreSpread(t *testing.T) {
	now := time.Now()
	ca, err := secret.NewAuthority(secret.OS, now)
	must(t, ca, err)
	seen := map[time.Time]bool{}
	for range 20 {
		pair, err := ca.Issue(secret.NodeServer("n", secret.SANs{}), now)
		cert := must(t, pair, err).Certificate()
		at := renewAt(cert, ca.Certificate())
		if half := secret.HalfLife(cert); at.After(half) || at.Before(half.Add(-75*time.Minute)) {
			t.Errorf("renewed at %s; want up to 75 minutes before %s", at, half)
		}
		if at != renewAt(cert, ca.Certificate()) {
			t.Error("the time changes for one certificate")
		}
		seen[at] = true
	}
	if len(seen) < 15 {
		t.Errorf("20 certificates are renewed at %d times", len(seen))
	}
}

func TestKeepSaysWhatItIssued(t *testing.T) {
	now := time.Now()
	ca, err := secret.NewAuthority(secret.OS, now)
	must(t, ca, err)
	var log strings.Builder
	i := &issuing{log: slog.New(slog.NewTextHandler(&log, nil)), now: now}
	leaf := secret.NodeServer("n", secret.SANs{})
	first, err := i.keep("the API", secrets.CertificateAndKey{}, ca, leaf)
	must(t, first, err)
	for _, want := range []string{`for="the API"`, `because="there is none"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log = %q; want %q", log.String(), want)
		}
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log has the key")
	}
	log.Reset()
	again, err := i.keep("the API", first, ca, leaf)
	if err != nil || string(again.Crt) != string(first.Crt) || log.Len() > 0 {
		t.Errorf("kept: %v, logged %q; want the same certificate and silence", err, log.String())
	}
	// What does not parse is replaced.
	if broken, err := i.keep("the API", secrets.CertificateAndKey{Crt: first.Crt, Key: []byte("x")}, ca, leaf); err != nil || string(broken.Crt) == string(first.Crt) {
		t.Errorf("keep(broken) = %v; want another certificate", err)
	}
	i.now = now.Add(20 * 365 * 24 * time.Hour)
	if _, err := i.keep("the API", first, ca, leaf); err == nil || !strings.Contains(err.Error(), "certificate of the API") {
		t.Errorf("keep after the authority's end = %v; want an error that names the certificate", err)
	}
}
