package manifestctrl

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"talos.internal/config/generate"
	"talos.internal/config/generate/generatetest"
	"talos.internal/config/schema"
	"talos.internal/internal/effective"
	"talos.internal/internal/golden"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
)

// configOf is the config that a contract of gen config makes, with a patch over it.
func configOf(t *testing.T, contract string, role schema.Role, over string) *effective.Config {
	t.Helper()
	parsed, err := generate.ParseContract(contract)
	if err != nil {
		t.Fatal(err)
	}
	in := generate.Input{Contract: parsed}
	if err := in.Endpoint.UnmarshalText([]byte("https://10.5.0.2:6443")); err != nil {
		t.Fatal(err)
	}
	out, err := effective.Parse(generatetest.Text(t, in, role, over))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var testRoot = secrets.KubernetesRoot{BootstrapTokenID: "abcdef", BootstrapTokenSecret: "0123456789abcdef"}

func dump(manifests map[string][]kubeapi.Object) []byte {
	var b bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(manifests)) {
		b.WriteString("# " + id + "\n")
		for _, o := range manifests[id] {
			text, _ := yaml.Marshal(map[string]any(o))
			b.WriteString("---\n")
			b.Write(text)
		}
	}
	return b.Bytes()
}

// TestManifestsOfADefaultCluster holds what a cluster begins with, for both styles of config: they must not differ.
func TestManifestsOfADefaultCluster(t *testing.T) {
	for _, contract := range []string{"v1.6", "v1.14"} {
		t.Run(contract, func(t *testing.T) {
			over := ""
			if contract == "v1.6" { // the versions and features that the new style has by itself
				over = "machine:\n  features:\n    kubePrism:\n      enabled: true\n      port: 7445\ncluster:\n  proxy:\n    mode: nftables\n"
			}
			c, err := bootstrapOf(configOf(t, contract, schema.ControlPlane, over).Set)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, "default.yaml", dump(render(*c, testRoot)))
		})
	}
}

// settings are those of a cluster that is not as most are.
const settings = `apiVersion: v1alpha1
kind: KubeNetworkConfig
dnsDomain: lab.example
podSubnets: [fc00:db8:10::/56, 10.244.0.0/16]
serviceSubnets: [fc00:db8:20::/112, 10.96.0.0/12]
---
apiVersion: v1alpha1
kind: KubeProxyConfig
mode: nftables
config:
    metricsBindAddress: 0.0.0.0:10249
    conntrack:
        min: 0
extraArgs:
    v: "2"
resources:
    limits:
        memory: 64Mi
---
apiVersion: v1alpha1
kind: KubeFlannelCNIConfig
backendType: host-gw
backendMTU: 1400
backendExtraConfig:
    DirectRouting: true
extraArgs: [--iface=eth1]
---
apiVersion: v1alpha1
kind: KubeCoreDNSConfig
image: example.com/coredns:v1
`

func TestManifestsOfAClusterWithSettings(t *testing.T) {
	c, err := bootstrapOf(configOf(t, "v1.14", schema.ControlPlane, settings).Set)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "settings.yaml", dump(render(*c, testRoot)))
}

func TestWhatIsNotWantedIsNotThere(t *testing.T) {
	over := "cluster:\n  network:\n    cni:\n      name: none\n  proxy:\n    disabled: true\n  coreDNS:\n    disabled: true\n"
	c, err := bootstrapOf(configOf(t, "v1.6", schema.ControlPlane, over).Set)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(render(*c, testRoot)))
	want := []string{
		"00-kubelet-bootstrapping-token", "01-csr-approver-role-binding", "01-csr-node-bootstrap", "01-csr-renewal-role-binding",
		"11-kube-config-in-cluster", "11-talos-node-rbac-template",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if c.CNIName != "none" || c.Server != "https://10.5.0.2:6443" && c.Server != "https://127.0.0.1:7445" {
		t.Errorf("config = %+v", c)
	}
}

// TestKubernetesKnowsEveryField decodes each object strictly into the type that Kubernetes has for it.
func TestKubernetesKnowsEveryField(t *testing.T) {
	for _, over := range []string{"", "apiVersion: v1alpha1\nkind: KubeProxyConfig\nconfig:\n    metricsBindAddress: 0.0.0.0:10249\n"} {
		c, err := bootstrapOf(configOf(t, "v1.14", schema.ControlPlane, over).Set)
		if err != nil {
			t.Fatal(err)
		}
		for id, objects := range render(*c, testRoot) {
			for _, o := range objects {
				into, ok := map[string]any{
					"Secret": &corev1.Secret{}, "ConfigMap": &corev1.ConfigMap{}, "Service": &corev1.Service{},
					"ServiceAccount": &corev1.ServiceAccount{}, "DaemonSet": &appsv1.DaemonSet{}, "Deployment": &appsv1.Deployment{},
					"ClusterRole": &rbacv1.ClusterRole{}, "ClusterRoleBinding": &rbacv1.ClusterRoleBinding{},
				}[o.Kind().Kind]
				if !ok {
					t.Errorf("%s: no type of %v", id, o)
					continue
				}
				data, err := json.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				d := json.NewDecoder(bytes.NewReader(data))
				d.DisallowUnknownFields()
				if err := d.Decode(into); err != nil {
					t.Errorf("%s: %v: %v", id, o, err)
				}
			}
		}
	}
}

func TestDNSServiceIP(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"10.96.0.0/12", "10.96.0.10"}, {"10.96.7.3/12", "10.96.0.10"}, {"fc00:db8:20::/112", "fc00:db8:20::a"},
		{"10.0.0.0/28", "10.0.0.10"}, {"10.0.0.0/29", ""},
	} {
		got, err := dnsServiceIP(netip.MustParsePrefix(tt.in))
		if tt.want == "" && err != nil && strings.Contains(err.Error(), tt.in) {
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("dnsServiceIP(%s) = %v, %v; want %s", tt.in, got, err, tt.want)
		}
	}
}

func TestExtraManifestsOfBothStyles(t *testing.T) {
	over := `cluster:
  network:
    cni:
      name: custom
      urls: [https://example.com/cni.yaml]
  extraManifests: [https://example.com/more.yaml]
  extraManifestHeaders:
    Authorization: Bearer x
  inlineManifests:
    - name: own
      contents: |
        apiVersion: v1
        kind: Namespace
        metadata:
          name: own
`
	got, err := extraOf(configOf(t, "v1.6", schema.ControlPlane, over).Set)
	if err != nil {
		t.Fatal(err)
	}
	want := &kube.ExtraManifestsConfig{ExtraManifests: []kube.ExtraManifest{
		{Name: "example.com-cni.yaml", URL: "https://example.com/cni.yaml", Priority: "99"},
		{Name: "example.com-more.yaml", URL: "https://example.com/more.yaml", Priority: "99", ExtraHeaders: map[string]string{"Authorization": "Bearer x"}},
		{Name: "own", Priority: "99", InlineManifest: "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: own\n"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("extraOf (-want +got):\n%s", diff)
	}
}
