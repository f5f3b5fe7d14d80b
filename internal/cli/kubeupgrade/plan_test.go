package kubeupgrade

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config"
	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

func mustVersion(t testing.TB, text string) version {
	t.Helper()
	v, err := parseVersion(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVersionsAreReadAndOrdered(t *testing.T) {
	order := []string{"1.36.0-alpha.2", "v1.36.0-alpha.10", "1.36.0-rc.1", "v1.36.0", "1.36.3", "1.37.0-rc.1", "1.37.0", "1.37.10"}
	for i, a := range order {
		for j, b := range order {
			got := mustVersion(t, a).compare(mustVersion(t, b))
			if want := min(max(i-j, -1), 1); got != want {
				t.Errorf("%s to %s = %d; want %d", a, b, got, want)
			}
		}
	}
	for _, bad := range []string{"", "1.37", "2.0.0", "1.37.x", "1.037.1", "1.37.1-", "1.37.1.1", "latest"} {
		if v, err := parseVersion(bad); err == nil {
			t.Errorf("parseVersion(%q) = %v; want an error", bad, v)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"1.36.3", "1.37.2", ""},
		{"1.37.1", "1.37.2", ""},
		{"1.37.2", "1.37.2", ""},
		{"1.37.2", "1.37.0", ""}, // within a minor version
		{"1.35.9", "1.37.2", "one minor version at a time; go to v1.36 first"},
		{"1.37.2", "1.36.3", "an older minor version may not read"},
		{"1.37.2", "1.38.0", "the machines do not know it"},
		{"1.30.0", "1.31.0", "the machines do not know it"},
	} {
		err := checkPath(mustVersion(t, tt.from), mustVersion(t, tt.to))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("from %s to %s: %v; want %q", tt.from, tt.to, err, tt.want)
		}
	}
}

func TestImagesAreTakenApart(t *testing.T) {
	for _, tt := range []struct{ image, repository, tag string }{
		{"registry.k8s.io/kube-proxy:v1.36.3", "registry.k8s.io/kube-proxy", "v1.36.3"},
		{"mirror.example:5000/a/kube-proxy", "mirror.example:5000/a/kube-proxy", ""},
		{"mirror.example:5000/kube-proxy:v1.36.3@sha256:00", "mirror.example:5000/kube-proxy", "v1.36.3"},
	} {
		if r, tag := repositoryOf(tt.image), tagOf(tt.image); r != tt.repository || tag != tt.tag {
			t.Errorf("%s is %q and %q; want %q and %q", tt.image, r, tag, tt.repository, tt.tag)
		}
	}
}

// secretsOnce makes the secrets of a cluster, once: their key takes seconds.
var secretsOnce = sync.OnceValues(func() (*secret.Bundle, error) { return secret.NewBundle(now, rand.Reader) })

// cluster are machines whose configs are generated: controls of the control plane and one worker.
func cluster(t testing.TB, contract string, kubernetes string, controls int) ([]machine, []*config.Config) {
	t.Helper()
	bundle, err := secretsOnce()
	if err != nil {
		t.Fatal(err)
	}
	c, err := generate.ParseContract(contract)
	if err != nil {
		t.Fatal(err)
	}
	var endpoint scalar.HTTPSURL
	if err := endpoint.UnmarshalText([]byte("https://10.5.0.2:6443")); err != nil {
		t.Fatal(err)
	}
	in := generate.Input{ClusterName: "k", Endpoint: endpoint, Secrets: bundle, Kubernetes: kubernetes, Contract: c}
	var all []machine
	var configs []*config.Config
	for i := range controls + 1 {
		role := schema.ControlPlane
		m := machine{name: string(rune('a' + i)), controlPlane: i < controls}
		if !m.controlPlane {
			role = schema.Worker
		}
		m.target, m.nodename = "10.5.0."+string(rune('2'+i)), "node-"+m.name
		cfg, err := in.Config(role)
		if err != nil {
			t.Fatal(err)
		}
		m.read(cfg)
		all, configs = append(all, m), append(configs, cfg)
	}
	return all, configs
}

func texts(p *plan) []string {
	var out []string
	for _, s := range p.steps {
		out = append(out, p.text(s))
	}
	return out
}

func TestPlanOfAnUpgrade(t *testing.T) {
	all, _ := cluster(t, "v1.14", "1.36.3", 1)
	p, err := newPlan(all, request{to: "1.37.2", kubelets: true, pull: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a: fetch registry.k8s.io/kube-apiserver:v1.37.2", "a: fetch registry.k8s.io/kube-controller-manager:v1.37.2",
		"a: fetch registry.k8s.io/kube-scheduler:v1.37.2", "a: fetch registry.k8s.io/kube-proxy:v1.37.2", "a: fetch talos.internal/kubelet:v1.37.2",
		"b: fetch registry.k8s.io/kube-proxy:v1.37.2", "b: fetch talos.internal/kubelet:v1.37.2",
		"a: kube-apiserver to registry.k8s.io/kube-apiserver:v1.37.2",
		"a: kube-controller-manager to registry.k8s.io/kube-controller-manager:v1.37.2",
		"a: kube-scheduler to registry.k8s.io/kube-scheduler:v1.37.2",
		"a: kube-proxy in the config to registry.k8s.io/kube-proxy:v1.37.2",
		"bring the manifests up to date",
		"a: kubelet to talos.internal/kubelet:v1.37.2", "b: kubelet to talos.internal/kubelet:v1.37.2",
	}
	if diff := cmp.Diff(want, texts(p)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

// TestPlanGoesOnWhereItWas holds that a second run looks at what is done, in the order of components, machine by machine.
func TestPlanGoesOnWhereItWas(t *testing.T) {
	all, _ := cluster(t, "v1.14", "1.36.3", 2)
	all[0].images[apiServer] = "registry.k8s.io/kube-apiserver:v1.37.2"
	all[0].running = "v1.37.2"
	p, err := newPlan(all, request{to: "v1.37.2", images: map[component]string{scheduler: "mirror.example/s", kubelet: "mirror.example/k:own"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a: kube-apiserver to registry.k8s.io/kube-apiserver:v1.37.2 (its config has it already)",
		"b: kube-apiserver to registry.k8s.io/kube-apiserver:v1.37.2",
		"a: kube-controller-manager to registry.k8s.io/kube-controller-manager:v1.37.2",
		"b: kube-controller-manager to registry.k8s.io/kube-controller-manager:v1.37.2",
		"a: kube-scheduler to mirror.example/s:v1.37.2", "b: kube-scheduler to mirror.example/s:v1.37.2",
		"a: kube-proxy in the config to registry.k8s.io/kube-proxy:v1.37.2", "b: kube-proxy in the config to registry.k8s.io/kube-proxy:v1.37.2",
		"bring the manifests up to date",
	}
	if diff := cmp.Diff(want, texts(p)); diff != "" || p.from.String() != "v1.36.3" {
		t.Errorf("plan from %v (-want +got):\n%s", p.from, diff)
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func([]machine)
		r      request
		want   string
	}{
		{"two minor versions", func(m []machine) { m[0].images[apiServer] = "x:v1.35.1" }, request{to: "1.37.2"}, "go to v1.36 first"},
		{"the config is ahead of what runs", func(m []machine) {
			m[0].images[apiServer], m[0].running = "x:v1.37.2", "v1.35.0"
		}, request{to: "1.37.2"}, "go to v1.36 first"},
		{"an old kubelet", func(m []machine) { m[1].images[kubelet] = "x:v1.33.0" }, request{to: "1.37.2"}, "the kubelet of b is v1.33.0"},
		{"a kubelet that stays newer", func(m []machine) {
			m[0].images[apiServer], m[1].images[kubelet] = "x:v1.37.2", "x:v1.37.2"
		}, request{to: "1.37.0"}, "may not be newer than the API server"},
		{"no version anywhere", func(m []machine) { m[0].images[apiServer] = "x" }, request{to: "1.37.2"}, "say it by --from"},
		{"a gate that is gone", func(m []machine) { m[1].gates[kubelet] = []string{"SidecarContainers"} }, request{to: "1.37.2"}, "kubelet of b sets the feature gate SidecarContainers, which v1.37 does not know"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, _ := cluster(t, "v1.14", "1.36.3", 1)
			tt.change(all)
			if p, err := newPlan(all, tt.r); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("newPlan = %v, %v; want %q", p, err, tt.want)
			}
		})
	}
}

// TestConfigsOfBothStylesTakeAnImage holds that the root document and the documents are changed where they have it, and nothing else.
func TestConfigsOfBothStylesTakeAnImage(t *testing.T) {
	for _, style := range []string{"v1.6", "v1.14"} {
		_, configs := cluster(t, style, "1.36.3", 1)
		for _, c := range components {
			image := "mirror.example/x:v9"
			if c == apiServer {
				image = "registry.k8s.io/kube-apiserver:v" + defaults.Kubernetes // which a config has that says nothing
			}
			cfg, err := withImage(configs[0], c, image)
			if err != nil {
				t.Fatalf("%s, %s: %v", style, c, err)
			}
			if cfg, err = explained(cfg, true, true); err != nil {
				t.Fatal(err)
			}
			var old, got machine
			old.read(configs[0])
			got.read(cfg)
			old.images[c] = image
			if diff := cmp.Diff(old.images, got.images); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", style, c, diff)
			}
			if a, b := len(configs[0].Documents()), len(cfg.Documents()); a != b {
				t.Errorf("%s, %s: %d documents became %d", style, c, a, b)
			}
		}
	}
}

func TestGatesOfConfigs(t *testing.T) {
	got := gatesOf(map[string][]string{"feature-gates": {"A=true,kube:B=false", "C=true"}}, map[string]any{"featureGates": map[string]any{"D": true}})
	if want := []string{"A", "B", "C", "D"}; !slices.Equal(got, want) {
		t.Errorf("gatesOf = %v; want %v", got, want)
	}
}

func TestRemovedAPIs(t *testing.T) {
	const metrics = `# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.37",resource="flowschemas",subresource="",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="later.k8s.io",removed_release="1.38",resource="things",subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="unused.k8s.io",removed_release="1.37",resource="things",subresource="",version="v1beta1"} 0
apiserver_request_total{code="200"} 7
`
	got := removedAPIs(metrics, mustVersion(t, "1.37.2"))
	if len(got) != 1 || got[0].String() != "flowschemas of flowcontrol.apiserver.k8s.io/v1beta3, which v1.37 does not serve any more" {
		t.Errorf("removedAPIs = %v", got)
	}
}
