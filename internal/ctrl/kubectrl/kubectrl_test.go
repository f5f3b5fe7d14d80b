package kubectrl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/golden"
	"talos.internal/resource"
	"talos.internal/resource/arguments"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// defaultDeps are those of a node.
func defaultDeps() Deps {
	var d Deps
	d.fill()
	return d
}

func TestAControlPlaneIsRenderedFromADefaultConfig(t *testing.T) {
	run(t, func(n *node) {
		n.configure(configText(n.T, schema.ControlPlane, ""))
		n.secrets()
		n.Settle()
		controllertest.WantNever[kube.StaticPod](n.Harness, apiServerName) // before etcd
		n.etcd(healthy)
		var all []any
		for _, name := range []string{apiServerName, controllerManagerName, schedulerName} {
			pod := controllertest.WantThat(n.Harness, name, "be there", func(*resource.Typed[kube.StaticPod]) bool { return true }).Spec().Pod
			all = append(all, pod)
		}
		text, err := yaml.Marshal(all)
		must(n.T, text, err)
		for _, r := range []struct{ from, to string }{{n.deps.Secrets, defaultSecrets}, {n.deps.Configs, defaultConfigs}} {
			text = []byte(strings.ReplaceAll(string(text), r.from, r.to))
		}
		golden.Check(t, "pods.yaml", maskVersions(text))

		golden.Check(t, "files.txt", n.files())
	})
}

// maskVersions takes out what depends on the secrets that the test made.
func maskVersions(text []byte) []byte {
	var out []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if key, _, ok := strings.Cut(line, "secrets-version: "); ok {
			line = key + "secrets-version: MASKED"
		}
		if key, _, ok := strings.Cut(line, "config-file-version: "); ok {
			line = key + "config-file-version: MASKED"
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, "\n"))
}

// files lists the files with owners and modes, and shows those without secrets.
func (n *node) files() []byte {
	n.T.Helper()
	var out strings.Builder
	for _, root := range []string{n.deps.Secrets, n.deps.Configs} {
		err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
			if err != nil || name == root {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			short, _ := filepath.Rel(filepath.Dir(root), name)
			owner := n.owners.by[name]
			if owner == 0 {
				owner = n.owners.by[name+".tmp"]
			}
			fmt.Fprintf(&out, "%s %d %s\n", info.Mode(), owner, short)
			if e.IsDir() || root == n.deps.Secrets {
				return nil
			}
			text, err := os.ReadFile(name)
			fmt.Fprintf(&out, "\t%s\n", strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(string(text), n.deps.Secrets, defaultSecrets)), "\n", "\n\t"))
			return err
		})
		if err != nil {
			n.T.Fatal(err)
		}
	}
	return []byte(out.String())
}

func TestAChangeRollsItsOwnPodOnly(t *testing.T) {
	run(t, func(n *node) {
		text := configText(n.T, schema.ControlPlane, "")
		n.configure(text)
		n.secrets()
		n.etcd(healthy)
		pods := func() map[string]string {
			n.Settle()
			out := map[string]string{}
			for _, name := range []string{apiServerName, controllerManagerName, schedulerName} {
				r := controllertest.WantThat(n.Harness, name, "be there", func(*resource.Typed[kube.StaticPod]) bool { return true })
				text, err := json.Marshal(r.Spec().Pod)
				out[name] = string(must(n.T, text, err))
			}
			return out
		}
		before := pods()
		check := func(what string, rolled ...string) {
			n.T.Helper()
			after := pods()
			for name := range after {
				if changed := before[name] != after[name]; changed != slices.Contains(rolled, name) {
					n.T.Errorf("%s: pod %s changed: %v", what, name, changed)
				}
			}
			before = after
		}
		controllertest.Modify(n.Harness, secrets.KubernetesDynamicID, func(s *secrets.KubernetesDynamic) { s.APIServer = fake("renewed") })
		check("certificate of the API server", apiServerName)
		controllertest.Modify(n.Harness, secrets.KubernetesID, func(s *secrets.Kubernetes) { s.SchedulerKubeconfig = "renewed" })
		check("kubeconfig of the scheduler", schedulerName)
		n.configure(configText(n.T, schema.ControlPlane, `
apiVersion: v1alpha1
kind: KubeControllerManagerConfig
extraArgs:
    v: "4"
`))
		check("argument of the controller manager", controllerManagerName)
		n.configure(configText(n.T, schema.ControlPlane, `
apiVersion: v1alpha1
kind: KubeControllerManagerConfig
extraArgs:
    v: "4"
---
apiVersion: v1alpha1
kind: KubeSchedulerConfig
config:
    parallelism: 4
---
apiVersion: v1alpha1
kind: KubeAuditPolicyConfig
configuration:
    apiVersion: audit.k8s.io/v1
    kind: Policy
    rules: [{level: Request}]
`))
		check("config files", schedulerName, apiServerName)
		n.etcd(service.Service{Running: true})
		check("etcd is not well")
		n.etcd(service.Service{})
		check("etcd is restarted")
		n.Remove(resource.KindOf[service.Service]().Ref(etcdService))
		controllertest.WantGone[kube.StaticPod](n.Harness, apiServerName)
		controllertest.WantGone[kube.StaticPod](n.Harness, schedulerName)
	})
}

func TestANodeThatIsNoControlPlaneHasNothingOfOne(t *testing.T) {
	run(t, func(n *node) {
		n.configure(configText(n.T, schema.ControlPlane, ""))
		n.secrets()
		n.etcd(healthy)
		controllertest.WantThat(n.Harness, apiServerName, "be there", func(*resource.Typed[kube.StaticPod]) bool { return true })
		// It becomes a worker. What goes first does not matter.
		n.configure(configText(n.T, schema.Worker, `
apiVersion: v1alpha1
kind: KubeStaticPodConfig
name: web
pod:
    apiVersion: v1
    kind: Pod
    metadata: {name: web}
    spec: {containers: [{name: web, image: "registry.example.com/web:1.2"}]}
---
apiVersion: v1alpha1
kind: KubeStaticPodConfig
name: kube-scheduler
pod:
    apiVersion: v1
    kind: Pod
    metadata: {name: impostor}
    spec: {containers: [{name: web, image: "registry.example.com/web:1.2"}]}
`))
		n.Remove(resource.KindOf[secrets.KubernetesRoot]().Ref(secrets.KubernetesRootID))
		controllertest.WantGone[kube.StaticPod](n.Harness, apiServerName)
		controllertest.WantGone[kube.APIServerConfig](n.Harness, kube.APIServerConfigID)
		controllertest.WantGone[kube.SecretsStatus](n.Harness, kube.SecretsStatusID)
		controllertest.WantGone[kube.ConfigStatus](n.Harness, kube.ConfigStatusID)
		controllertest.WantGone[kube.EtcdEncryptionConfig](n.Harness, kube.EtcdEncryptionConfigID)
		controllertest.WantGone[kube.AuthorizationConfig](n.Harness, kube.AuthorizationConfigID)
		controllertest.WantThat(n.Harness, "web", "be there", func(*resource.Typed[kube.StaticPod]) bool { return true })
		controllertest.WantNever[kube.StaticPod](n.Harness, schedulerName)
		if left := string(n.files()); left != "" {
			n.T.Errorf("files are left:\n%s", left)
		}
	})
}

func TestArguments(t *testing.T) {
	d := defaultDeps()
	base := kube.APIServerConfig{LocalPort: 6443, ServiceCIDRs: []string{"10.96.0.0/12"}, UseAuthenticationConfig: true}
	for _, c := range []struct {
		name      string
		extra     map[string]arguments.Values
		has, lack []string
		refused   []string
	}{
		{name: "admission plugins and feature gates are added",
			extra: map[string]arguments.Values{"enable-admission-plugins": arguments.Of("AlwaysPullImages", "NodeRestriction"), "feature-gates": arguments.Of("A=true")},
			has:   []string{"--enable-admission-plugins=NodeRestriction,AlwaysPullImages", "--feature-gates=A=true"}},
		{name: "others are replaced", extra: map[string]arguments.Values{"audit_log_maxage": arguments.Of("7")},
			has: []string{"--audit-log-maxage=7"}, lack: []string{"--audit-log-maxage=30"}},
		{name: "several values give several arguments", extra: map[string]arguments.Values{"tls-sni-cert-key": arguments.Of("a", "b")},
			has: []string{"--tls-sni-cert-key=a", "--tls-sni-cert-key=b"}},
		{name: "the mode of authorization", extra: map[string]arguments.Values{"authorization-mode": arguments.Of("Webhook")},
			has: []string{"--authorization-mode=Node,RBAC,Webhook"}, lack: []string{"--authorization-config=/system/config/kubernetes/kube-apiserver/authorization-config.yaml"}},
		{name: "what the system relies on is refused", extra: map[string]arguments.Values{
			"etcd-servers": arguments.Of("x"), "tls_min_version": arguments.Of("x"), "v": arguments.Of("2")},
			refused: []string{"etcd-servers", "tls-min-version"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := base
			in.ExtraArgs = c.extra
			line, err := apiServerArgs(in, rootOf(t), d)
			if len(c.refused) > 0 {
				for _, name := range c.refused {
					if err == nil || !strings.Contains(err.Error(), name) {
						t.Errorf("apiServerArgs = %v; want a refusal of %s", err, name)
					}
				}
				return
			}
			must(t, line, err)
			for _, a := range c.has {
				if !slices.Contains(line, a) {
					t.Errorf("%s is missing in %q", a, line)
				}
			}
			for _, a := range c.lack {
				if slices.Contains(line, a) {
					t.Errorf("%s is in %q", a, line)
				}
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	for _, c := range []struct {
		name, over string
		file       bool
		want       map[string]any
	}{
		{name: "one of the config keeps callers without credentials out", file: true, over: `
apiVersion: v1alpha1
kind: KubeAuthenticationConfig
configuration:
    jwt: [{issuer: {url: https://id.example.com, audiences: [k8s]}}]
`, want: map[string]any{"anonymous": map[string]any{"enabled": true, "conditions": []any{
			map[string]any{"path": "/livez"}, map[string]any{"path": "/readyz"}, map[string]any{"path": "/healthz"}}}}},
		{name: "what an older API server reads", file: true, over: `
apiVersion: v1alpha1
kind: KubeAPIServerConfig
image: registry.k8s.io/kube-apiserver:v1.33.1
`, want: map[string]any{"apiVersion": "apiserver.config.k8s.io/v1beta1"}},
		{name: "arguments in its place", over: `
apiVersion: v1alpha1
kind: KubeAuthenticationConfig
$patch: delete
---
apiVersion: v1alpha1
kind: KubeAPIServerConfig
extraArgs: {oidc-issuer-url: https://id.example.com}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := parse(t, configText(t, schema.ControlPlane, c.over))
			if got := apiServer(config).UseAuthenticationConfig; got != c.file {
				t.Errorf("UseAuthenticationConfig = %v; want %v", got, c.file)
			}
			got := authentication(config).Config
			for k, want := range c.want {
				if diff := cmp.Diff(want, got[k]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", k, diff)
				}
			}
		})
	}
}

func TestEncryption(t *testing.T) {
	provider := func(kind, name, key string) any {
		return map[string]any{kind: map[string]any{"keys": []any{map[string]any{"name": name, "secret": key}}}}
	}
	got := encryption(secrets.KubernetesRoot{SecretboxEncryptionSecret: "a", AESCBCEncryptionSecret: "b"})
	want := []any{map[string]any{"resources": []any{"secrets"}, "providers": []any{
		provider("secretbox", "key2", "a"), provider("aescbc", "key1", "b"), map[string]any{"identity": map[string]any{}}}}}
	if diff := cmp.Diff(want, got["resources"]); diff != "" {
		t.Errorf("with both secrets (-want +got):\n%s", diff)
	}
	got = encryption(secrets.KubernetesRoot{SecretboxEncryptionSecret: "a", EtcdEncryptionConfig: map[string]any{"resources": []any{"x"}}})
	if diff := cmp.Diff(map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": []any{"x"}}, got); diff != "" {
		t.Errorf("with a document (-want +got):\n%s", diff)
	}
}

func TestMinor(t *testing.T) {
	for image, want := range map[string]int{
		"registry.k8s.io/kube-apiserver:v1.36.3": 36, "registry.example.com:5000/a/kube-apiserver:v1.33.0-rc.1@sha256:00": 33,
		"registry.example.com:5000/kube-apiserver": 1024, "kube-apiserver:latest": 1024,
	} {
		if got := minor(image); got != want {
			t.Errorf("minor(%s) = %d; want %d", image, got, want)
		}
	}
}

func TestProbesGoWhereTheComponentListens(t *testing.T) {
	c := component{line: []string{"kube-scheduler", "--bind-address=10.5.0.2", "--secure-port=20259"}, port: 10259}
	got := c.probe("/livez", 1, 2, 3)["httpGet"]
	if diff := cmp.Diff(object{"host": "10.5.0.2", "path": "/livez", "port": 20259, "scheme": "HTTPS"}, got); diff != "" {
		t.Errorf("probe (-want +got):\n%s", diff)
	}
}

func TestProbesOnlyConnectWhereNobodyMayAskWithoutCredentials(t *testing.T) {
	anonymous := func(enabled bool, paths ...string) kube.AuthenticationConfig {
		o := object{"enabled": enabled}
		var conditions list
		for _, p := range paths {
			conditions = append(conditions, object{"path": p})
		}
		if conditions != nil {
			o["conditions"] = conditions
		}
		return kube.AuthenticationConfig{Config: object{"anonymous": o}}
	}
	file := kube.APIServerConfig{UseAuthenticationConfig: true}
	for _, c := range []struct {
		name   string
		server kube.APIServerConfig
		config kube.AuthenticationConfig
		may    bool
	}{
		{"both paths", file, anonymous(true, "/livez", "/readyz"), true},
		{"one of them", file, anonymous(true, "/livez"), false},
		{"every path", file, anonymous(true), true},
		{"none", file, anonymous(false), false},
		{"no file, by default", kube.APIServerConfig{}, anonymous(false), true},
		{"no file, and an argument", kube.APIServerConfig{Args: []string{"--anonymous-auth=false"}}, anonymous(true), false},
	} {
		if got := mayAnyoneAsk(c.server, c.config); got != c.may {
			t.Errorf("%s: mayAnyoneAsk = %v; want %v", c.name, got, c.may)
		}
	}
	probe := component{name: apiServerName, port: 6443, connectOnly: true}.probe("/livez", 1, 2, 3)
	if diff := cmp.Diff(object{"host": "127.0.0.1", "port": 6443}, probe["tcpSocket"]); diff != "" || probe["httpGet"] != nil {
		t.Errorf("probe = %v; want one that connects", probe)
	}
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	root, o := t.TempDir(), &owners{}
	tr := tree{schedulerName: {"a": []byte("1"), "b": []byte("2")}}
	if changed, err := tr.write(root, o.chown); err != nil || !changed {
		t.Fatalf("first write = %v, %v; want a change", changed, err)
	}
	if changed, err := tr.write(root, o.chown); err != nil || changed {
		t.Fatalf("second write = %v, %v; want no change", changed, err)
	}
	before := tr.version()
	tr[schedulerName] = map[string][]byte{"a": []byte("3")}
	if changed, err := tr.write(root, o.chown); err != nil || !changed {
		t.Fatalf("third write = %v, %v; want a change", changed, err)
	}
	if _, err := os.Stat(filepath.Join(root, schedulerName, "b")); err == nil {
		t.Error("a file that is not wanted any more is left")
	}
	if partOf(before, schedulerName) == partOf(tr.version(), schedulerName) || partOf(before, apiServerName) != partOf(tr.version(), apiServerName) {
		t.Errorf("versions %s and %s; want the scheduler's part to differ, and no other", before, tr.version())
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheStateOfStaticPodsComesFromKubelet(t *testing.T) {
	answer := func(code int, body string) *http.Response {
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader(body))}
	}
	pod := func(name, source, phase string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"kube-system","annotations":{"kubernetes.io/config.source":%q}},"status":{"phase":%q}}`, name, source, phase)
	}
	var next atomic.Pointer[func() *http.Response]
	say := func(code int, body string) {
		f := func() *http.Response { return answer(code, body) }
		next.Store(&f)
	}
	run(t, func(n *node) {
		say(http.StatusForbidden, "the API server is not there")
		root := rootOf(n.T)
		controllertest.Modify(n.Harness, secrets.KubernetesRootID, func(s *secrets.KubernetesRoot) { *s = root })
		controllertest.Create(n.Harness, secrets.KubernetesDynamicID, secrets.KubernetesDynamic{})
		controllertest.Create(n.Harness, kube.NodenameID, kube.Nodename{Name: "cp-1"})
		controllertest.Create(n.Harness, kubeletService, healthy)
		n.Advance(time.Minute)
		controllertest.WantNever[kube.StaticPodStatus](n.Harness, "kube-system/a-cp-1")
		say(http.StatusOK, `{"items":[`+pod("a-cp-1", "http", "Running")+","+pod("coredns", "api", "Running")+`]}`)
		controllertest.Want(n.Harness, "kube-system/a-cp-1", kube.StaticPodStatus{PodStatus: map[string]any{"phase": "Running"}})
		controllertest.WantNever[kube.StaticPodStatus](n.Harness, "kube-system/coredns")
		say(http.StatusOK, `{"items":[]}`)
		controllertest.WantGone[kube.StaticPodStatus](n.Harness, "kube-system/a-cp-1")
	}, func(d *Deps) {
		d.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.String() != "https://127.0.0.1:10250/pods" {
				return nil, fmt.Errorf("asked for %s", r.URL)
			}
			return (*next.Load())(), nil
		})
	})
}

func TestTheServerGivesKubeletTheList(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	st := memstate.New(memstate.Options{})
	s := controller.New(st, slog.New(slog.DiscardHandler), controller.Options{})
	if err := s.Register(&StaticPodServerController{}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	put := func(id, name string) {
		if _, err := state.Modify(ctx, st, id, setPod(map[string]any{"kind": "Pod", "metadata": map[string]any{"name": name}})); err != nil {
			t.Fatal(err)
		}
	}
	put("b", "b")
	put("a", "a")
	var url string
	for url == "" {
		if r, err := state.Get[kube.StaticPodServerStatus](ctx, st, kube.StaticPodServerStatusID); err == nil {
			url = r.Spec().URL
		} else if ctx.Err() != nil {
			t.Fatal("the server says nothing of where it is")
		}
		time.Sleep(time.Millisecond)
	}
	var names []string
	for !slices.Equal(names, []string{"a", "b"}) {
		answer, err := http.Get(url)
		must(t, answer, err)
		var got struct {
			Kind  string
			Items []struct{ Metadata struct{ Name string } }
		}
		if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || got.Kind != "PodList" {
			t.Fatalf("%s: %v, %+v", url, err, got)
		}
		_ = answer.Body.Close()
		names = nil
		for _, i := range got.Items {
			names = append(names, i.Metadata.Name)
		}
		if ctx.Err() != nil {
			t.Fatalf("pods = %q; want a and b", names)
		}
	}
}

func TestEveryComponentHasAUser(t *testing.T) {
	got := map[string]int{}
	for _, name := range []string{apiServerName, controllerManagerName, schedulerName} {
		got[name] = userOf(name)
	}
	if want := map[string]int{apiServerName: 65534, controllerManagerName: 65535, schedulerName: 65536}; !maps.Equal(got, want) {
		t.Errorf("users = %v; want %v", got, want)
	}
}

// What the config says of the garbage of a component goes before what suits the machine.
func TestTheConfigDecidesAboutGarbage(t *testing.T) {
	for _, tc := range []struct {
		machine string
		config  map[string]string
		want    string
	}{{"", nil, ""}, {"50", nil, "50"}, {"50", map[string]string{"GOGC": "200"}, "200"}, {"", map[string]string{"GOGC": "200"}, "200"}} {
		pod := component{name: schedulerName, env: tc.config}.pod(Deps{Garbage: tc.machine})
		got := ""
		for _, c := range pod["spec"].(object)["containers"].(list) {
			for _, e := range c.(object)["env"].(list) {
				if e.(object)["name"] == "GOGC" {
					got += e.(object)["value"].(string)
				}
			}
		}
		if got != tc.want {
			t.Errorf("a machine with %q, a config with %v: GOGC = %q; want %q", tc.machine, tc.config, got, tc.want)
		}
	}
}
