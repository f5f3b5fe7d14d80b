package rotation

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config"
	"talos.internal/config/generate"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

var day = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// secretsOnce makes the secrets of a cluster, once: their key takes seconds.
var secretsOnce = sync.OnceValues(func() (*secret.Bundle, error) { return secret.NewBundle(day, rand.Reader) })

// configOf is a generated config of a style.
func configOf(t testing.TB, style string, role schema.Role) *config.Config {
	t.Helper()
	bundle, err := secretsOnce()
	if err != nil {
		t.Fatal(err)
	}
	contract, err := generate.ParseContract(style)
	if err != nil {
		t.Fatal(err)
	}
	var endpoint scalar.HTTPSURL
	if err := endpoint.UnmarshalText([]byte("https://10.5.0.2:6443")); err != nil {
		t.Fatal(err)
	}
	c, err := generate.Input{ClusterName: "k", Endpoint: endpoint, Secrets: bundle, Contract: contract}.Config(role)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newAuthority(t testing.TB, s subject, at time.Time) *secret.Authority {
	t.Helper()
	a, err := secret.NewAuthority(s.kind(), at)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// words describes a trust by names of certificates.
func words(t trust, names map[string]string) string {
	name := func(c []byte) string { return names[strings.TrimSpace(string(c))] }
	var accepted []string
	for _, c := range t.accepted {
		accepted = append(accepted, name(c))
	}
	key := ""
	if len(t.key) > 0 {
		key = " with its key"
	}
	return fmt.Sprintf("issues %q%s, accepts %v", name(t.issuing), key, accepted)
}

// TestPhasesOfARotation goes through the phases with configs of both styles, and holds that the two authorities overlap.
func TestPhasesOfARotation(t *testing.T) {
	bundle, err := secretsOnce()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		style string
		role  schema.Role
		of    subject
		want  [3]string
	}{
		{"v1.14", schema.ControlPlane, machineAPI, [3]string{
			`issues "old" with its key, accepts [new]`, `issues "new" with its key, accepts [old]`, `issues "new" with its key, accepts []`}},
		{"v1.14", schema.Worker, machineAPI, [3]string{`issues "old", accepts [new]`, `issues "new", accepts [old]`, `issues "new", accepts []`}},
		{"v1.14", schema.ControlPlane, kubernetes, [3]string{
			`issues "old" with its key, accepts [new]`, `issues "new" with its key, accepts [old]`, `issues "new" with its key, accepts []`}},
		{"v1.14", schema.Worker, kubernetes, [3]string{`issues "", accepts [old new]`, `issues "", accepts [old new]`, `issues "", accepts [new]`}},
		{"v1.6", schema.ControlPlane, machineAPI, [3]string{
			`issues "old" with its key, accepts [new]`, `issues "new" with its key, accepts [old]`, `issues "new" with its key, accepts []`}},
		{"v1.6", schema.ControlPlane, kubernetes, [3]string{
			`issues "old" with its key, accepts [new]`, `issues "new" with its key, accepts [old]`, `issues "new" with its key, accepts []`}},
	} {
		t.Run(fmt.Sprintf("%s %s %d", tt.style, tt.role, tt.of), func(t *testing.T) {
			old := bundle.OS
			if tt.of == kubernetes {
				old = bundle.Kubernetes
			}
			now := newAuthority(t, tt.of, day.Add(time.Hour))
			names := map[string]string{
				strings.TrimSpace(string(old.CertificatePEM())): "old", strings.TrimSpace(string(now.CertificatePEM())): "new",
			}
			key := now.Key().PEM()
			if tt.role == schema.Worker {
				key = nil
			}
			c := configOf(t, tt.style, tt.role)
			for _, p := range []phase{accept, swap, drop} {
				want := trustOf(tt.of, c).next(p, old.CertificatePEM(), now.CertificatePEM(), key)
				if c, err = with(tt.of, c, want); err != nil {
					t.Fatal(err)
				}
				if got := words(trustOf(tt.of, c), names); got != tt.want[p] {
					t.Errorf("phase %d: %s; want %s", p, got, tt.want[p])
				}
				if again := trustOf(tt.of, c).next(p, old.CertificatePEM(), now.CertificatePEM(), key); !again.equal(want) {
					t.Errorf("phase %d done twice: %s", p, words(again, names))
				}
			}
			if len(c.Check(schema.Metal).Of(schema.Error)) > 0 {
				t.Errorf("the config is not good: %v", c.Check(schema.Metal))
			}
		})
	}
}

// TestARotationThatWasInterruptedIsGoneOnWith holds that the newer of two authorities is the one to come.
func TestARotationThatWasInterruptedIsGoneOnWith(t *testing.T) {
	of := func(a *secret.Authority) trust { return trust{issuing: a.CertificatePEM(), key: a.Key().PEM()} }
	a, b, c := newAuthority(t, machineAPI, day), newAuthority(t, machineAPI, day.Add(time.Hour)), newAuthority(t, machineAPI, day.Add(2*time.Hour))
	for _, tt := range []struct {
		name     string
		all      []trust
		old, now []byte
		bad      bool
	}{
		{"none", []trust{of(a), of(a)}, a.CertificatePEM(), nil, false},
		{"the first is further", []trust{of(b), of(a), of(a)}, a.CertificatePEM(), b.CertificatePEM(), false},
		{"the last is further", []trust{of(a), of(b)}, a.CertificatePEM(), b.CertificatePEM(), false},
		{"three", []trust{of(a), of(b), of(c)}, nil, nil, true},
	} {
		old, now, err := begun(tt.all)
		if (err != nil) != tt.bad {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if err == nil && (!same(old.issuing, tt.old) || !same(now.issuing, tt.now)) {
			t.Errorf("%s: old and new are others: %s", tt.name, cmp.Diff(string(tt.now), string(now.issuing)))
		}
	}
}
