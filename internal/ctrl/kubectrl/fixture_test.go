package kubectrl

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/effective"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/secret"
)

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// testBundle is made once: it is the same for all tests.
var testBundle = sync.OnceValues(func() (*secret.Bundle, error) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := &secret.Bundle{
		ClusterID:       "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
		ClusterSecret:   secret.NewText("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
		SecretboxSecret: secret.NewText("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
	}
	var err [7]error
	b.BootstrapToken, err[0] = secret.NewToken(nil)
	b.MachineToken, err[1] = secret.NewToken(nil)
	b.Etcd, err[2] = secret.NewAuthority(secret.Etcd, now)
	b.Kubernetes, err[3] = secret.NewAuthority(secret.Kubernetes, now)
	b.FrontProxy, err[4] = secret.NewAuthority(secret.FrontProxy, now)
	b.OS, err[5] = secret.NewAuthority(secret.OS, now)
	b.ServiceAccount, err[6] = secret.GenerateKey(secret.ECDSAP256)
	return b, errors.Join(err[:]...)
})

// configText writes the config of a machine, with a patch over it.
func configText(t testing.TB, role schema.Role, over string) string {
	t.Helper()
	b, err := testBundle()
	must(t, b, err)
	contract, err := generate.ParseContract("v1.15")
	must(t, contract, err)
	in := generate.Input{ClusterName: "lab", Secrets: b, Contract: contract}
	if err := in.Endpoint.UnmarshalText([]byte("https://k8s.example.com:6443")); err != nil {
		t.Fatal(err)
	}
	c, err := in.Config(role)
	must(t, c, err)
	if over != "" {
		p, err := patch.Parse("test", []byte(over))
		must(t, p, err)
		c, err = c.Patch(p)
		must(t, c, err)
	}
	data, err := c.Bytes()
	return string(must(t, data, err))
}

func parse(t testing.TB, text string) *effective.Config {
	t.Helper()
	c, err := effective.Parse(text)
	return must(t, c, err)
}

// rootOf are the root secrets that go with configText.
func rootOf(t testing.TB) secrets.KubernetesRoot {
	t.Helper()
	b, err := testBundle()
	must(t, b, err)
	pair := func(a *secret.Authority) secrets.CertificateAndKey {
		return secrets.CertificateAndKey{Crt: a.CertificatePEM(), Key: a.Key().PEM()}
	}
	return secrets.KubernetesRoot{
		Name: "lab", IssuingCA: pair(b.Kubernetes), AcceptedCAs: []secrets.Certificate{{Crt: b.Kubernetes.CertificatePEM()}},
		AggregatorCA: pair(b.FrontProxy), AcceptedAggregatorCAs: []secrets.Certificate{{Crt: b.FrontProxy.CertificatePEM()}},
		ServiceAccount: secrets.Key{Key: b.ServiceAccount.PEM()}, IssuerURL: "https://k8s.example.com:6443",
		AcceptedIssuers: []string{"https://old.example.com"}, APIAudiences: []string{"https://k8s.example.com:6443", "https://old.example.com"},
		SecretboxEncryptionSecret: b.SecretboxSecret.Reveal(),
	}
}

func fake(text string) secrets.CertificateAndKey {
	return secrets.CertificateAndKey{Crt: []byte(text + " certificate\n"), Key: []byte(text + " key\n")}
}

// owners records who owns what, in place of a chown that only root may do.
type owners struct {
	mu sync.Mutex
	by map[string]int
}

func (o *owners) chown(name string, uid, gid int) error {
	if uid != gid {
		return errors.New("user and group differ")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by == nil {
		o.by = map[string]int{}
	}
	o.by[name] = uid
	return nil
}

// node is a test on a node.
type node struct {
	*controllertest.Harness
	deps   Deps
	owners *owners
}

// run runs all controllers but the server, which needs a network and so real time.
func run(t *testing.T, test func(n *node), more ...func(*Deps)) {
	t.Helper()
	o := &owners{}
	d := Deps{Secrets: filepath.Join(t.TempDir(), "secrets"), Configs: filepath.Join(t.TempDir(), "config"), Chown: o.chown,
		Ready: func(context.Context, string) error { return nil }}
	for _, change := range more {
		change(&d)
	}
	var all []controller.Controller
	for _, c := range Controllers(d) {
		if _, ok := c.(*StaticPodServerController); !ok {
			all = append(all, c)
		}
	}
	d.fill()
	controllertest.Run(t, func(h *controllertest.Harness) { test(&node{Harness: h, deps: d, owners: o}) }, all...)
}

func (n *node) configure(text string) {
	n.T.Helper()
	controllertest.Modify(n.Harness, machineconfig.Active, func(s *machineconfig.Config) { s.Text = text })
}

// secrets gives the node all that is issued for a control plane.
func (n *node) secrets() {
	n.T.Helper()
	root := rootOf(n.T)
	controllertest.Modify(n.Harness, secrets.KubernetesRootID, func(s *secrets.KubernetesRoot) { *s = root })
	controllertest.Modify(n.Harness, secrets.KubernetesID, func(s *secrets.Kubernetes) {
		s.ControllerManagerKubeconfig, s.SchedulerKubeconfig = "kubeconfig of cm", "kubeconfig of scheduler"
		s.LocalhostAdminKubeconfig = "kubeconfig of the administrator"
	})
	controllertest.Modify(n.Harness, secrets.KubernetesDynamicID, func(s *secrets.KubernetesDynamic) {
		s.APIServer, s.APIServerKubeletClient, s.FrontProxy = fake("server"), fake("kubelet client"), fake("front proxy")
	})
	controllertest.Modify(n.Harness, secrets.EtcdID, func(s *secrets.Etcd) { s.APIServer = fake("etcd client") })
	controllertest.Modify(n.Harness, secrets.EtcdRootID, func(s *secrets.EtcdRoot) { s.EtcdCA = fake("etcd") })
}

func (n *node) etcd(s service.Service) {
	n.T.Helper()
	controllertest.Modify(n.Harness, etcdService, func(have *service.Service) { *have = s })
}

var healthy = service.Service{Running: true, Healthy: true}
