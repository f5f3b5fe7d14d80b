// Package generatetest makes the secrets and the configs of a cluster for tests of what machines do with them.
package generatetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

// Endpoint is the Kubernetes API of the clusters of tests, whose name is "lab".
const Endpoint = "https://k8s.example.com:6443"

// NewBundle makes the secrets of a cluster that is made now. The key of service accounts is an elliptic one: RSA takes seconds.
func NewBundle(t testing.TB, now time.Time) *secret.Bundle {
	t.Helper()
	b, err := newBundle(now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newBundle(now time.Time) (*secret.Bundle, error) {
	const random = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	b := &secret.Bundle{ClusterID: random, ClusterSecret: secret.NewText(random), SecretboxSecret: secret.NewText(random)}
	var err [7]error
	b.BootstrapToken, err[0] = secret.NewToken(nil)
	b.MachineToken, err[1] = secret.NewToken(nil)
	b.Etcd, err[2] = secret.NewAuthority(secret.Etcd, now)
	b.Kubernetes, err[3] = secret.NewAuthority(secret.Kubernetes, now)
	b.FrontProxy, err[4] = secret.NewAuthority(secret.FrontProxy, now)
	b.OS, err[5] = secret.NewAuthority(secret.OS, now)
	b.ServiceAccount, err[6] = secret.GenerateKey(secret.ECDSAP256)
	return b, errors.Join(err[:]...)
}

var shared = sync.OnceValues(func() (*secret.Bundle, error) { return newBundle(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) })

// Bundle returns the secrets of a cluster that was made when 2026 began. They are made once for all tests.
func Bundle(t testing.TB) *secret.Bundle {
	t.Helper()
	b, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Text writes the config of a machine with a patch over it; an empty one changes nothing. What in lacks is that of a cluster of tests.
func Text(t testing.TB, in generate.Input, role schema.Role, over string) string {
	t.Helper()
	if in.ClusterName == "" {
		in.ClusterName = "lab"
	}
	if in.Secrets == nil {
		in.Secrets = Bundle(t)
	}
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	if in.Endpoint.URL.URL == nil {
		check(in.Endpoint.UnmarshalText([]byte(Endpoint)))
	}
	c, err := in.Config(role)
	check(err)
	if over != "" {
		p, err := patch.Parse("test", []byte(over))
		check(err)
		c, err = c.Patch(p)
		check(err)
	}
	data, err := c.Bytes()
	check(err)
	return string(data)
}
