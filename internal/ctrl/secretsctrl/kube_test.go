package secretsctrl

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/resource"
	"talos.internal/resource/files"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/secret/kubeconfig"
	"talos.internal/state"
)

func TestRootsOfAControlPlaneNode(t *testing.T) {
	for _, style := range []string{oldStyle, newStyle} {
		t.Run(style, func(t *testing.T) {
			run(t, Deps{}, func(n *node) {
				b := n.bundle
				n.configure(configText(n.T, b, style, schema.ControlPlane, ""), machineconfig.TypeControlPlane)
				pair := func(ca *secret.Authority) secrets.CertificateAndKey {
					return secrets.CertificateAndKey{Crt: ca.CertificatePEM(), Key: ca.Key().PEM()}
				}
				certs := func(ca *secret.Authority) []secrets.Certificate {
					return []secrets.Certificate{{Crt: ca.CertificatePEM()}}
				}

				os := wantSpec[secrets.OSRoot](n, secrets.OSRootID)
				if os.IssuingCA == nil || !bytes.Equal(os.IssuingCA.Crt, b.OS.CertificatePEM()) || os.Token != b.MachineToken.Reveal() {
					n.T.Error("OSRoot lacks the authority, or the token")
				}
				if want := []string{"api.example.com", "k8s.example.com"}; !slices.Equal(os.CertSANDNSNames, want) {
					n.T.Errorf("OSRoot names = %q; want %q", os.CertSANDNSNames, want)
				}
				if want := []netip.Addr{netip.MustParseAddr("203.0.113.7")}; !slices.Equal(os.CertSANIPs, want) {
					n.T.Errorf("OSRoot addresses = %v; want %v", os.CertSANIPs, want)
				}
				controllertest.Want(n.Harness, secrets.EtcdRootID, secrets.EtcdRoot{EtcdCA: pair(b.Etcd)})

				got := wantSpec[secrets.KubernetesRoot](n, secrets.KubernetesRootID)
				encryption := got.EtcdEncryptionConfig
				got.EtcdEncryptionConfig = nil
				text := must2(yaml.Marshal(encryption))(n.T)
				if !strings.Contains(string(text), "secretbox") || !strings.Contains(string(text), b.SecretboxSecret.Reveal()) {
					n.T.Error("the encryption config lacks the secret of the bundle")
				}
				endpoint, local := must2(resource.ParseURL("https://k8s.example.com:6443"))(n.T), must2(resource.ParseURL("https://127.0.0.1:6443"))(n.T)
				want := secrets.KubernetesRoot{
					Name: "lab", Endpoint: endpoint, LocalEndpoint: local, CertSANs: got.CertSANs,
					APIServerIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, DNSDomain: "cluster.local",
					IssuingCA: pair(b.Kubernetes), AcceptedCAs: certs(b.Kubernetes),
					AggregatorCA: pair(b.FrontProxy), AcceptedAggregatorCAs: certs(b.FrontProxy),
					ServiceAccount: secrets.Key{Key: b.ServiceAccount.PEM()}, IssuerURL: "https://k8s.example.com:6443",
					APIAudiences:     []string{"https://k8s.example.com:6443"},
					BootstrapTokenID: b.BootstrapToken.ID(), BootstrapTokenSecret: b.BootstrapToken.Secret().Reveal(),
				}
				if diff := cmp.Diff(plain(n.T, want), plain(n.T, got)); diff != "" {
					n.T.Errorf("KubernetesRoot (-want +got):\n%s", diff)
				}
				for _, name := range []string{"k8s.example.com", "api.example.com", "203.0.113.7"} {
					if !slices.Contains(got.CertSANs, name) {
						n.T.Errorf("names of the API server = %q; want %s in it", got.CertSANs, name)
					}
				}
				controllertest.Want(n.Harness, kube.EndpointControlPlane, kube.Endpoint{Hosts: []string{"k8s.example.com"}})

				// Without a config all of it goes.
				n.Remove(state.RefOf[machineconfig.Config](machineconfig.Active))
				controllertest.WantGone[secrets.OSRoot](n.Harness, secrets.OSRootID)
				controllertest.WantGone[secrets.KubernetesRoot](n.Harness, secrets.KubernetesRootID)
				controllertest.WantGone[kube.Endpoint](n.Harness, kube.EndpointControlPlane)
			})
		})
	}
}

func must2[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T { t.Helper(); return must(t, v, err) }
}

// plain is a spec as text that shows keys, which specs do not print.
func plain(t testing.TB, spec any) string {
	t.Helper()
	return string(must2(yaml.Marshal(spec))(t))
}

func TestServiceAccountsOfOthers(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		key, err := secret.GenerateKey(secret.ECDSAP256)
		must(n.T, key, err)
		public := string(must2(key.PublicPEM())(n.T))
		over := "apiVersion: v1alpha1\nkind: KubeServiceAccountConfig\naccepted:\n    issuers: [https://old.example.com]\n    audiences: [a, b]\n    publicKeys:\n        - |\n            " +
			strings.ReplaceAll(strings.TrimSpace(public), "\n", "\n            ") + "\n"
		n.configure(configText(n.T, n.bundle, newStyle, schema.ControlPlane, over), machineconfig.TypeControlPlane)
		got := wantSpec[secrets.KubernetesRoot](n, secrets.KubernetesRootID)
		if len(got.ServiceAccountAcceptedKeys) != 1 || strings.TrimSpace(string(got.ServiceAccountAcceptedKeys[0].Key)) != strings.TrimSpace(public) {
			n.T.Error("the accepted key is missing")
		}
		if !slices.Equal(got.AcceptedIssuers, []string{"https://old.example.com"}) || !slices.Equal(got.APIAudiences, []string{"a", "b"}) {
			n.T.Errorf("issuers %q, audiences %q", got.AcceptedIssuers, got.APIAudiences)
		}
	})
}

func TestKubelet(t *testing.T) {
	tests := []struct {
		name, over           string
		endpoint, serverName string
	}{
		{"KubePrism", "", "https://127.0.0.1:7445", "k8s.example.com"},
		{"KubePrism with another name", "apiVersion: v1alpha1\nkind: KubePrismConfig\ntlsServerName: other.example.com\n", "https://127.0.0.1:7445", "other.example.com"},
		{"without", "apiVersion: v1alpha1\nkind: KubePrismConfig\n$patch: delete\n", "https://k8s.example.com:6443", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t, Deps{}, func(n *node) {
				n.configure(configText(n.T, n.bundle, newStyle, schema.Worker, tt.over), machineconfig.TypeWorker)
				want := secrets.Kubelet{
					Endpoint: must2(resource.ParseURL(tt.endpoint))(n.T), EndpointTLSServerName: tt.serverName,
					AcceptedCAs:      []secrets.Certificate{{Crt: n.bundle.Kubernetes.CertificatePEM()}},
					BootstrapTokenID: n.bundle.BootstrapToken.ID(), BootstrapTokenSecret: n.bundle.BootstrapToken.Secret().Reveal(),
				}
				got := wantSpec[secrets.Kubelet](n, secrets.KubeletID)
				if diff := cmp.Diff(plain(n.T, want), plain(n.T, got)); diff != "" {
					n.T.Errorf("Kubelet (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestEtcdCertificates(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.ready()
		n.controlPlane()
		first := wantSpec[secrets.Etcd](n, secrets.EtcdID)
		both := secret.Server | secret.Client
		verify(n.T, "server", certOf(n.T, first.Server), n.bundle.Etcd, both, "10.5.0.2", "fd00::2", "node-1", "localhost", "127.0.0.1")
		verify(n.T, "peer", certOf(n.T, first.Peer), n.bundle.Etcd, both, "10.5.0.2", "fd00::2", "node-1")
		verify(n.T, "admin", certOf(n.T, first.Admin), n.bundle.Etcd, secret.Client)
		verify(n.T, "API server", certOf(n.T, first.APIServer), n.bundle.Etcd, secret.Client)
		n.addresses("10.5.0.2/24", "10.6.0.2/24")
		second := controllertest.WantThat(n.Harness, secrets.EtcdID, "have the new address", func(r *resource.Typed[secrets.Etcd]) bool {
			return certOf(n.T, r.Spec().Peer).VerifyHostname("10.6.0.2") == nil
		}).Spec()
		if !bytes.Equal(first.Admin.Crt, second.Admin.Crt) {
			n.T.Error("the client's certificate was issued anew for an address")
		}
	})
}

func TestAPIServerCertificates(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.ready()
		n.controlPlane()
		got := wantSpec[secrets.KubernetesDynamic](n, secrets.KubernetesDynamicID)
		verify(n.T, "API server", certOf(n.T, got.APIServer), n.bundle.Kubernetes, secret.Server,
			"10.5.0.2", "fd00::2", "node-1", "node-1.lab.internal", "localhost", "127.0.0.1", "10.96.0.1", "k8s.example.com", "api.example.com",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
		kubelets := certOf(n.T, got.APIServerKubeletClient)
		verify(n.T, "kubelet client", kubelets, n.bundle.Kubernetes, secret.Client)
		if !slices.Equal(kubelets.Subject.Organization, []string{"system:masters"}) {
			n.T.Errorf("groups of the kubelets' client = %q", kubelets.Subject.Organization)
		}
		verify(n.T, "front proxy", certOf(n.T, got.FrontProxy), n.bundle.FrontProxy, secret.Client)
		san := wantSpec[secrets.CertSAN](n, secrets.CertSANKubernetes)
		if !slices.Contains(san.DNSNames, "kubernetes.default.svc.cluster.local") || !slices.Contains(san.IPs, netip.MustParseAddr("10.96.0.1")) {
			n.T.Errorf("CertSAN = %+v; want the service's names in it", san)
		}
	})
}

func TestKubeconfigs(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.synced() // neither name nor address is needed
		n.controlPlane()
		first := wantSpec[secrets.Kubernetes](n, secrets.KubernetesID)
		for _, tt := range []struct {
			name, text, server, user, cn, group string
		}{
			{"admin", first.AdminKubeconfig, "https://k8s.example.com:6443", "admin@lab", "admin", "system:masters"},
			{"localhost admin", first.LocalhostAdminKubeconfig, "https://127.0.0.1:6443", "admin@lab", "admin", "system:masters"},
			{"controller manager", first.ControllerManagerKubeconfig, "https://127.0.0.1:7445", "system:kube-controller-manager", "system:kube-controller-manager", ""},
			{"scheduler", first.SchedulerKubeconfig, "https://127.0.0.1:7445", "system:kube-scheduler", "system:kube-scheduler", ""},
		} {
			pair, err := kubeconfig.Client([]byte(tt.text))
			cert := must(n.T, pair, err).Certificate()
			verify(n.T, tt.name, cert, n.bundle.Kubernetes, secret.Client)
			if group := strings.Join(cert.Subject.Organization, ","); cert.Subject.CommonName != tt.cn || group != tt.group {
				n.T.Errorf("%s is %q of %q; want %q of %q", tt.name, cert.Subject.CommonName, group, tt.cn, tt.group)
			}
			ca := base64.StdEncoding.EncodeToString(n.bundle.Kubernetes.CertificatePEM())
			for _, want := range []string{"server: " + tt.server + "\n", "user: " + tt.user + "\n", "certificate-authority-data: " + ca} {
				if !strings.Contains(tt.text, want) {
					n.T.Errorf("%s lacks %q", tt.name, want)
				}
			}
		}
		n.Advance(time.Hour)
		if again := wantSpec[secrets.Kubernetes](n, secrets.KubernetesID); again != first {
			n.T.Error("kubeconfigs were made anew without a reason")
		}
		// A shorter lifetime and another endpoint of the controllers.
		n.configure(configText(n.T, n.bundle, newStyle, schema.ControlPlane, "cluster:\n  adminKubeconfig:\n    certLifetime: 10h\n---\napiVersion: v1alpha1\nkind: KubePrismConfig\n$patch: delete\n"), machineconfig.TypeControlPlane)
		second := controllertest.WantThat(n.Harness, secrets.KubernetesID, "use the local API server", func(r *resource.Typed[secrets.Kubernetes]) bool {
			return strings.Contains(r.Spec().SchedulerKubeconfig, "server: https://127.0.0.1:6443\n")
		}).Spec()
		cert := must2(kubeconfig.Client([]byte(second.AdminKubeconfig)))(n.T).Certificate()
		if life := time.Until(cert.NotAfter); life > 10*time.Hour {
			n.T.Errorf("the administrator's certificate lives %s; want 10 h", life)
		}
		old, renewed := must2(kubeconfig.Client([]byte(first.SchedulerKubeconfig)))(n.T), must2(kubeconfig.Client([]byte(second.SchedulerKubeconfig)))(n.T)
		if !bytes.Equal(old.CertificatePEM(), renewed.CertificatePEM()) {
			n.T.Error("another server got the scheduler another certificate")
		}
		n.Advance(6 * time.Hour)
		controllertest.WantThat(n.Harness, secrets.KubernetesID, "be renewed", func(r *resource.Typed[secrets.Kubernetes]) bool {
			return r.Spec().AdminKubeconfig != second.AdminKubeconfig && r.Spec().SchedulerKubeconfig == second.SchedulerKubeconfig
		})
	})
}

func TestEncryptionSaltIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	var first []byte
	for i := range 2 {
		run(t, Deps{StateDir: dir}, func(n *node) {
			salt := wantSpec[secrets.EncryptionSalt](n, secrets.EncryptionSaltID).DiskSalt
			if len(salt) != 32 || i > 0 && !bytes.Equal(first, salt) {
				n.T.Errorf("salt %d has %d bytes, the same as before: %v", i, len(salt), bytes.Equal(first, salt))
			}
			first = salt
		})
	}
	path := filepath.Join(dir, saltFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", info, err)
	}
	for _, bad := range []string{"", "diskSalt: AAAA\n", "diskSalt: [\n", "x: y\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadSalt(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("loadSalt(%q) = %v; want an error that names the file", bad, err)
		}
		if data, _ := os.ReadFile(path); string(data) != bad {
			t.Errorf("the file %q was replaced", bad)
		}
	}
}

func TestTrustedRoots(t *testing.T) {
	reads := 0
	system := func() ([]byte, error) { reads++; return []byte("# of the image"), nil }
	run(t, Deps{SystemRoots: system}, func(n *node) {
		n.controlPlane()
		controllertest.WantNever[files.EtcFileSpec](n.Harness, trustedRootsFile)
		if reads != 0 {
			n.T.Error("the list was read for nothing")
		}
		pem := strings.TrimSpace(string(n.bundle.Etcd.CertificatePEM()))
		doc := func(name string) string {
			return "---\napiVersion: v1alpha1\nkind: TrustedRootsConfig\nname: " + name + "\ncertificates: |\n    " + strings.ReplaceAll(pem, "\n", "\n    ") + "\n"
		}
		base := configText(n.T, n.bundle, newStyle, schema.ControlPlane, "")
		n.configure(base+doc("one")+doc("two"), machineconfig.TypeControlPlane)
		want := "# of the image\n\n# one\n" + pem + "\n\n# two\n" + pem + "\n"
		controllertest.Want(n.Harness, trustedRootsFile, files.EtcFileSpec{Contents: files.Contents(want), Mode: 0o644})
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(want)) {
			n.T.Error("the file has no certificates")
		}
		n.configure(base, machineconfig.TypeControlPlane)
		controllertest.WantGone[files.EtcFileSpec](n.Harness, trustedRootsFile)
		n.configure(base+doc("one"), machineconfig.TypeControlPlane)
		wantSpec[files.EtcFileSpec](n, trustedRootsFile)
		if reads != 1 {
			n.T.Errorf("the list was read %d times; afterwards ours is in its place", reads)
		}
	})
}

func TestTheMaintenanceAuthorityFollowsTheClock(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.named("node-1")
		n.addresses("10.5.0.2/24")
		first := wantSpec[secrets.MaintenanceRoot](n, secrets.MaintenanceRootID)
		n.Advance(time.Hour)
		if again := wantSpec[secrets.MaintenanceRoot](n, secrets.MaintenanceRootID); !bytes.Equal(again.CA.Crt, first.CA.Crt) {
			n.T.Error("the authority was made anew without a reason")
		}
	})
	// One of a time that is not now is replaced.
	t.Run("of another time", func(t *testing.T) {
		controllertest.Run(t, func(h *controllertest.Harness) {
			old := must2(secret.NewAuthority(secret.OS, time.Now().Add(-11*365*24*time.Hour)))(h.T)
			controllertest.Modify(h, secrets.MaintenanceRootID, func(s *secrets.MaintenanceRoot) { s.CA = encodePair(old.Pair()) }, state.As("secrets.MaintenanceRootController"))
			h.Advance(recheck)
			controllertest.WantThat(h, secrets.MaintenanceRootID, "be valid now", func(r *resource.Typed[secrets.MaintenanceRoot]) bool {
				return must2(secret.ParseAuthority(r.Spec().CA.Crt, r.Spec().CA.Key))(h.T).CheckTime(time.Now()) == nil
			})
		}, &MaintenanceRootController{})
	})
}
