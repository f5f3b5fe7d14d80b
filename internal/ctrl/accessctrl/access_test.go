package accessctrl

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/client/talosconfig"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

type m = map[string]any

// authority is a new one of the machine API, valid at the time of the test.
func authority(t testing.TB) secrets.CertificateAndKey {
	t.Helper()
	ca, err := secret.NewAuthority(secret.OS, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return secrets.CertificateAndKey{Crt: ca.CertificatePEM(), Key: ca.Key().PEM()}
}

func rootOf(ca secrets.CertificateAndKey, accepted ...secrets.CertificateAndKey) secrets.OSRoot {
	out := secrets.OSRoot{IssuingCA: &ca, AcceptedCAs: []secrets.Certificate{{Crt: ca.Crt}}}
	for _, a := range accepted {
		out.AcceptedCAs = append(out.AcceptedCAs, secrets.Certificate{Crt: a.Crt})
	}
	return out
}

// account is an object that asks for roles.
func account(namespace, name string, roles ...any) kubeapi.Object {
	return kubeapi.Object{
		"apiVersion": "talos.dev/v1alpha1", "kind": "ServiceAccount",
		"metadata": m{"namespace": namespace, "name": name, "uid": "uid-" + name}, "spec": m{"roles": roles},
	}
}

type dialer struct{ server *kubefake.Server }

// run has a cluster in which pods of the namespaces monitoring and default may be readers and make backups of etcd.
func run(t *testing.T, test func(h *controllertest.Harness, s *kubefake.Server)) {
	t.Helper()
	d := &dialer{}
	deps := Deps{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if d.server == nil {
			return nil, errors.New("connection refused")
		}
		return d.server.Dial(ctx, network, address)
	}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		d.server = kubefake.New(h.T)
		d.server.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": m{"name": "monitoring"}})
		d.server.Define("talos.dev/v1alpha1", "serviceaccounts", "ServiceAccount")
		controllertest.Create(h, kube.AccessConfigID, kube.AccessConfig{
			Enabled: true, AllowedAPIRoles: []string{secret.RoleReader, secret.RoleEtcdBackup}, AllowedKubernetesNamespaces: []string{"monitoring", "default"},
		})
		controllertest.Create(h, secrets.KubernetesID, secrets.Kubernetes{LocalhostAdminKubeconfig: d.server.Kubeconfig})
		test(h, d.server)
	}, &CRDController{Deps: deps}, &EndpointController{Deps: deps})
}

// given is the talosconfig in a Secret; nil if there is none.
func given(t testing.TB, s *kubefake.Server, namespace, name string) *talosconfig.Context {
	t.Helper()
	o := s.Get("/api/v1/namespaces/" + namespace + "/secrets/" + name)
	if o == nil {
		return nil
	}
	text, _ := o.Map("data")["config"].(string)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := talosconfig.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	_, context, err := c.Lookup("")
	if err != nil {
		t.Fatal(err)
	}
	return context
}

// rolesIn are the roles of a context's certificate, and its end.
func rolesIn(t testing.TB, c *talosconfig.Context) ([]string, time.Time) {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(c.Crt)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := secret.ParseCertificate(data)
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Subject.Organization, leaf.NotAfter
}

func reason(s *kubefake.Server, namespace, name string) any {
	return s.Get("/apis/talos.dev/v1alpha1/namespaces/" + namespace + "/serviceaccounts/" + name).Map("status")["failureReason"]
}

func TestAccountsGetWhatTheConfigAllows(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server) {
		ca := authority(h.T)
		controllertest.Create(h, secrets.OSRootID, rootOf(ca))
		s.Put(account("monitoring", "reads", secret.RoleReader))
		s.Put(account("monitoring", "rules", secret.RoleReader, secret.RoleAdmin))
		s.Put(account("monitoring", "nothing"))
		s.Put(account("kube-system", "elsewhere", secret.RoleReader))
		s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Secret", "metadata": m{"namespace": "default", "name": "taken"}, "data": m{"mine": "eA=="}})
		s.Put(account("default", "taken", secret.RoleReader))
		h.Advance(10 * time.Second)
		c := given(h.T, s, "monitoring", "reads")
		if c == nil {
			h.T.Fatalf("no credentials: %v", reason(s, "monitoring", "reads"))
		}
		roles, end := rolesIn(h.T, c)
		if diff := cmp.Diff([]string{secret.RoleReader}, roles); diff != "" || time.Until(end) > lifetime || time.Until(end) < lifetime-time.Minute {
			h.T.Errorf("certificate of %v until %v", roles, end)
		}
		if diff := cmp.Diff([]string{"talos.default"}, c.Endpoints); diff != "" {
			h.T.Error(diff)
		}
		for name, want := range map[string]string{
			"monitoring/rules": "roles that are not allowed: os:admin", "monitoring/nothing": "it asks for no roles",
			"kube-system/elsewhere": `namespace "kube-system" is not allowed`, "default/taken": "belongs to somebody else",
		} {
			namespace, name, _ := strings.Cut(name, "/")
			if got, _ := reason(s, namespace, name).(string); !strings.Contains(got, want) {
				h.T.Errorf("%s/%s: %q; want %q", namespace, name, got, want)
			}
			if name != "taken" && given(h.T, s, namespace, name) != nil {
				h.T.Errorf("%s/%s has credentials", namespace, name)
			}
		}
		if s.Get("/api/v1/namespaces/default/secrets/taken").Map("data")["mine"] == nil {
			h.T.Error("the Secret of somebody else was changed")
		}
	})
}

func TestCredentialsAreRenewedInTimeAndWithTheAuthority(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server) {
		first, second := authority(h.T), authority(h.T)
		controllertest.Create(h, secrets.OSRootID, rootOf(first))
		s.Put(account("monitoring", "a", secret.RoleReader))
		h.Advance(10 * time.Second)
		before := given(h.T, s, "monitoring", "a")
		h.Advance(4 * time.Hour)
		if c := given(h.T, s, "monitoring", "a"); c.Crt != before.Crt {
			h.T.Error("renewed while it is good for long")
		}
		h.Advance(time.Hour)
		h.Advance(2 * time.Minute)
		renewed := given(h.T, s, "monitoring", "a")
		if renewed.Crt == before.Crt {
			h.T.Error("not renewed an hour before its end")
		}
		controllertest.Modify(h, secrets.OSRootID, func(r *secrets.OSRoot) { *r = rootOf(second, first) })
		h.Advance(10 * time.Second)
		c := given(h.T, s, "monitoring", "a")
		if c.CA == renewed.CA || c.Crt == renewed.Crt {
			h.T.Error("the authority is another, and the credentials are not")
		}
		// What is allowed no more is taken back.
		s.Put(account("monitoring", "a", secret.RoleAdmin))
		h.Advance(10 * time.Second)
		if given(h.T, s, "monitoring", "a") != nil {
			h.T.Error("credentials are left although the roles are not allowed")
		}
	})
}

func TestTheServiceLeadsToTheControlPlane(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server) {
		controllertest.Create(h, kube.EndpointAPIServer, kube.Endpoint{Addresses: []netip.Addr{
			netip.MustParseAddr("10.5.0.3"), netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("fd00::2"),
		}})
		h.Advance(10 * time.Second)
		o := s.Get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/talos-ipv4")
		if len(o.Maps("endpoints")) != 2 || o.Labels()["kubernetes.io/service-name"] != "talos" || o.Maps("ports")[0]["port"] != 50000.0 {
			h.T.Errorf("slice = %v", o)
		}
		if s.Get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/talos-ipv6") == nil {
			h.T.Error("no slice for IPv6")
		}
	})
}
