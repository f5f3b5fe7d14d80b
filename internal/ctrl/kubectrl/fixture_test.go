package kubectrl

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"talos.internal/config/generate"
	"talos.internal/config/generate/generatetest"
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

// configText writes the config of a machine, with a patch over it.
func configText(t testing.TB, role schema.Role, over string) string {
	t.Helper()
	contract, err := generate.ParseContract("v1.15")
	must(t, contract, err)
	return generatetest.Text(t, generate.Input{Contract: contract}, role, over)
}

func parse(t testing.TB, text string) *effective.Config {
	t.Helper()
	c, err := effective.Parse(text)
	return must(t, c, err)
}

// rootOf are the root secrets that go with configText.
func rootOf(t testing.TB) secrets.KubernetesRoot {
	t.Helper()
	b := generatetest.Bundle(t)
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
