package kubeletctrl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/generate"
	"talos.internal/config/generate/generatetest"
	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/container"
	"talos.internal/internal/effective"
	"talos.internal/internal/golden"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/arguments"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func configText(t testing.TB, role schema.Role, over string) string {
	t.Helper()
	contract, err := generate.ParseContract("v1.15")
	must(t, contract, err)
	return generatetest.Text(t, generate.Input{Contract: contract}, role, over)
}

func documents(t testing.TB, role schema.Role, over string) schema.Set {
	t.Helper()
	c, err := effective.Parse(configText(t, role, over))
	return must(t, c, err).Set
}

// testDeps are those of a node.
func testDeps() Deps {
	var d Deps
	d.fill()
	return d
}

func TestSpecOfADefaultConfig(t *testing.T) {
	for _, c := range []struct {
		file string
		role schema.Role
		over string
		f    facts
	}{
		{file: "controlplane.yaml", role: schema.ControlPlane, f: facts{controlPlane: true}},
		{file: "container.yaml", role: schema.Worker, f: facts{container: true, unprivileged: true}, over: `
apiVersion: v1alpha1
kind: KubeletConfig
config:
    maxPods: 200
    featureGates: {Other: true}
    evictionHard: {memory.available: 1Gi}
extraArgs: {v: "2"}
---
apiVersion: v1alpha1
kind: KubeNodeConfig
taints: {example.com/gpu: "yes:NoExecute", example.com/slow: NoSchedule}
---
apiVersion: v1alpha1
kind: KubeCredentialProviderConfig
configuration:
    apiVersion: kubelet.config.k8s.io/v1
    kind: CredentialProviderConfig
    providers: [{name: plugin, apiVersion: credentialprovider.kubelet.k8s.io/v1, defaultCacheDuration: 12h, matchImages: [example.com]}]
`},
	} {
		t.Run(c.file, func(t *testing.T) {
			c.f.config = *configOf(documents(t, c.role, c.over))
			c.f.config.StaticPodListURL = "http://127.0.0.1:34567/pods"
			c.f.name, c.f.ip.Addresses = "node-1", []netip.Addr{netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("fd00::2")}
			spec, err := specOf(c.f, testDeps())
			must(t, spec, err)
			text, err := yaml.Marshal(spec)
			golden.Check(t, c.file, must(t, text, err))
			// The config is shared: laying it over ours must not have changed it.
			again, err := specOf(c.f, testDeps())
			if text2, _ := yaml.Marshal(must(t, again, err)); !bytes.Equal(text, text2) {
				t.Error("the same facts give another spec the second time")
			}
		})
	}
}

func TestContainerOfKubelet(t *testing.T) {
	spec, err := containerOf(kube.KubeletSpec{
		Image: "talos.internal/kubelet:v1.37.2", Args: []string{"/usr/local/bin/kubelet"},
		ExtraMounts: []kube.Mount{{Source: "/var/mnt/data", Destination: "/var/mnt/data", Type: "bind", Options: []string{"bind", "rshared", "rw"}}},
	}, testDeps())
	must(t, spec, err)
	text, err := yaml.Marshal(spec)
	golden.Check(t, "container-spec.yaml", must(t, text, err))
	_, err = containerOf(kube.KubeletSpec{ExtraMounts: []kube.Mount{{Destination: "/x", UIDMappings: []kube.IDMapping{{Size: 1}}}}}, testDeps())
	if err == nil {
		t.Error("mapped ids are ignored in silence")
	}
}

func TestArgumentsThatTheSystemReliesOnAreRefused(t *testing.T) {
	_, err := specOf(facts{config: kube.KubeletConfig{ExtraArgs: map[string]arguments.Values{
		"cert-dir": arguments.Of("/tmp"), "container_runtime_endpoint": arguments.Of("x"), "v": arguments.Of("2"),
	}}}, testDeps())
	for _, name := range []string{"cert-dir", "container-runtime-endpoint"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("specOf = %v; want a refusal of %s", err, name)
		}
	}
}

func TestChooseNodeIPs(t *testing.T) {
	list := func(texts ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	have := list("10.5.0.2/24", "192.168.1.7/24", "fe80::1/64", "fd00::2/64", "10.244.0.1/24")
	for _, c := range []struct {
		name    string
		config  kube.NodeIPConfig
		before  string
		want    string
		wantErr bool
	}{
		{name: "any", want: "[10.5.0.2 fd00::2]"},
		{name: "one family", config: kube.NodeIPConfig{ValidSubnets: []string{"0.0.0.0/0"}}, want: "[10.5.0.2]"},
		{name: "IPv6 first", config: kube.NodeIPConfig{ValidSubnets: []string{"::/0", "0.0.0.0/0"}}, want: "[fd00::2 10.5.0.2]"},
		{name: "a subnet", config: kube.NodeIPConfig{ValidSubnets: []string{"192.168.0.0/16"}}, want: "[192.168.1.7]"},
		{name: "not this one", config: kube.NodeIPConfig{ValidSubnets: []string{"0.0.0.0/0"}, ExcludeSubnets: []string{"10.5.0.2/32", "10.244.0.0/16"}}, want: "[192.168.1.7]"},
		{name: "what was chosen stays", config: kube.NodeIPConfig{ValidSubnets: []string{"0.0.0.0/0"}}, before: "192.168.1.7", want: "[192.168.1.7]"},
		{name: "what was chosen is gone", config: kube.NodeIPConfig{ValidSubnets: []string{"0.0.0.0/0"}}, before: "192.168.1.8", want: "[10.5.0.2]"},
		{name: "none", config: kube.NodeIPConfig{ValidSubnets: []string{"172.16.0.0/12"}}, want: "[]"},
		{name: "nonsense", config: kube.NodeIPConfig{ValidSubnets: []string{"x"}}, wantErr: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before []netip.Addr
			if c.before != "" {
				before = append(before, netip.MustParseAddr(c.before))
			}
			got, err := chooseNodeIPs(c.config, have, before)
			if c.wantErr {
				if err == nil {
					t.Error("no error")
				}
				return
			}
			var texts []string
			for _, a := range must(t, got, err) {
				texts = append(texts, a.String())
			}
			if text := "[" + strings.Join(texts, " ") + "]"; text != c.want {
				t.Errorf("chooseNodeIPs = %s; want %s", text, c.want)
			}
		})
	}
}

func TestNodeIPConfigOf(t *testing.T) {
	got := nodeIPConfigOf(documents(t, schema.Worker, `
apiVersion: v1alpha1
kind: KubeNodeConfig
nodeIP: {validSubnets: ["!10.5.0.100/32"]}
`))
	want := kube.NodeIPConfig{ValidSubnets: []string{"0.0.0.0/0"}, ExcludeSubnets: []string{"10.5.0.100/32", "10.96.0.0/12", "10.244.0.0/16"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodeIPConfigOf (-want +got):\n%s", diff)
	}
}

// tempDeps have directories of the test.
func tempDeps(t testing.TB) Deps {
	dir := t.TempDir()
	d := Deps{Etc: filepath.Join(dir, "etc"), Root: filepath.Join(dir, "kubelet"), Resolved: filepath.Join(dir, "resolved"),
		Lacks:   func() string { return "" },
		Image:   func(context.Context, string) error { return nil },
		MayJoin: func(context.Context, secrets.Kubelet) (bool, error) { return true, nil }}
	d.fill()
	return d
}

func keysOf(t testing.TB) secrets.Kubelet {
	t.Helper()
	b := generatetest.Bundle(t)
	k := secrets.Kubelet{
		EndpointTLSServerName: "k8s.example.com", AcceptedCAs: []secrets.Certificate{{Crt: b.Kubernetes.CertificatePEM()}},
		BootstrapTokenID: b.BootstrapToken.ID(), BootstrapTokenSecret: b.BootstrapToken.Secret().Reveal(),
	}
	if err := k.Endpoint.UnmarshalText([]byte("https://127.0.0.1:7445")); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestFilesOfKubelet(t *testing.T) {
	b := generatetest.Bundle(t)
	now := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	foreign, err := secret.NewAuthority(secret.Kubernetes, now)
	must(t, foreign, err)
	issue := func(ca *secret.Authority, name string, at time.Time) []byte {
		pair, err := ca.Issue(secret.Leaf{CommonName: name, Organization: []string{"system:nodes"}, Usage: secret.Client, TTL: 365 * 24 * time.Hour}, at)
		must(t, pair, err)
		return slices.Concat(pair.CertificatePEM(), pair.Key().PEM())
	}
	for _, c := range []struct {
		name   string
		have   []byte
		joined bool
		says   string
	}{
		{name: "a node that never joined", says: ""},
		{name: "one that has joined", have: issue(b.Kubernetes, "system:node:node-1", now), joined: true},
		{name: "one that had another name", have: issue(b.Kubernetes, "system:node:old", now), says: "system:node:old"},
		{name: "one of another cluster", have: issue(foreign, "system:node:node-1", now), says: "unknown authority"},
		{name: "one that was away for long", have: issue(b.Kubernetes, "system:node:node-1", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), joined: true},
		{name: "nonsense", have: []byte("x"), says: "kubelet-client-current.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := tempDeps(t)
			r := run{spec: kube.KubeletSpec{ExpectedNodename: "node-1", Config: map[string]any{"kind": "KubeletConfiguration"},
				ExtraMounts: []kube.Mount{{Source: filepath.Join(d.Root, "extra"), Destination: "/extra", Type: "bind"}}}, keys: keysOf(t)}
			if err := os.MkdirAll(d.pki(), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.have != nil {
				if err := os.WriteFile(d.clientCertFile(), c.have, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var said strings.Builder
			if err := prepare(r, d, now, &said); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said.String(), c.says) || c.says == "" && said.Len() > 0 {
				t.Errorf("log = %q; want %q", said.String(), c.says)
			}
			text, err := os.ReadFile(d.kubeconfigFile())
			if c.joined != (err == nil) {
				t.Errorf("kubeconfig: %v; want one: %v", err, c.joined)
			}
			if c.joined && (!strings.Contains(string(text), d.clientCertFile()) || !strings.Contains(string(text), "tls-server-name: k8s.example.com")) {
				t.Errorf("kubeconfig lacks the certificate or the name of the server:\n%s", text)
			}
			if hash, err := d.joined(); err != nil || (hash != "") != c.joined {
				t.Errorf("joined = %q, %v; want a hash: %v", hash, err, c.joined)
			}
			boot, err := os.ReadFile(d.bootstrapFile())
			if token := b.BootstrapToken.Reveal(); err != nil || !strings.Contains(string(boot), token) || !strings.Contains(string(boot), "server: https://127.0.0.1:7445") {
				t.Errorf("bootstrap kubeconfig: %v, or it lacks the token or the server", err)
			}
			if info, err := os.Stat(d.bootstrapFile()); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the token can be read by others: %v", info.Mode())
			}
			for _, f := range []string{d.caFile(), d.configFile(), filepath.Join(d.Root, "extra")} {
				if _, err := os.Stat(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOnTheControlPlaneKubeletIsGivenACertificate(t *testing.T) {
	b := generatetest.Bundle(t)
	now := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	d := tempDeps(t)
	r := run{spec: kube.KubeletSpec{ExpectedNodename: "cp-1"}, keys: keysOf(t), issuer: secrets.CertificateAndKey{
		Crt: b.Kubernetes.CertificatePEM(), Key: b.Kubernetes.Key().PEM()}}
	read := func() string {
		t.Helper()
		if err := prepare(r, d, now, io.Discard); err != nil {
			t.Fatal(err)
		}
		if hash, err := d.joined(); err != nil || hash == "" {
			t.Errorf("joined = %q, %v; want that it has", hash, err)
		}
		if err := usable(d.clientCertFile(), r.spec.ExpectedNodename, authorities(r.keys), now); err != nil {
			t.Error(err)
		}
		// kubelet takes no other form over (client-go, "certificate_store").
		target, err := os.Readlink(d.clientCertFile())
		if err != nil || filepath.Dir(target) != d.pki() {
			t.Errorf("the certificate is a link to %q, %v; want a file beside it", target, err)
		}
		text, err := os.ReadFile(d.clientCertFile())
		return string(must(t, text, err))
	}
	first := read()
	now = now.Add(time.Hour)
	if read() != first {
		t.Error("it is issued again although it can be used")
	}
	r.spec.ExpectedNodename = "cp-2"
	if read() == first {
		t.Error("it stays although the node has another name")
	}
}

func TestTheCertificateThatKubeletMadeForAnotherNameGoes(t *testing.T) {
	b := generatetest.Bundle(t)
	now := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	for name, stays := range map[string]bool{"node-1": true, "old": false} {
		d := tempDeps(t)
		sans, err := secret.ParseSANs([]string{name})
		must(t, sans, err)
		pair, err := b.Kubernetes.Issue(secret.Leaf{CommonName: name, SANs: sans, Usage: secret.Server, TTL: 24 * time.Hour}, now)
		must(t, pair, err)
		if err := errors.Join(os.MkdirAll(d.pki(), 0o755), os.WriteFile(d.servingCertFile(), pair.CertificatePEM(), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := prepare(run{spec: kube.KubeletSpec{ExpectedNodename: "node-1"}, keys: keysOf(t)}, d, now, io.Discard); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(d.servingCertFile()); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("the certificate for %s: %v; want it to stay: %v", name, err, stays)
		}
	}
}

// services is a supervisor that runs what is started at once.
type services struct {
	mu      sync.Mutex
	loaded  map[string]supervise.Service
	actions []string
	stop    context.CancelFunc
	done    chan struct{}
}

func (s *services) begin(id string) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.stop, s.done = cancel, done
	svc := s.loaded[id]
	go func() {
		defer close(done)
		_ = svc.Runner.Run(ctx, supervise.Env{Log: io.Discard, Started: func(string) {}, Kill: make(chan struct{})})
	}()
}

func (s *services) end() {
	s.stop()
	<-s.done
}

func (s *services) Load(list ...supervise.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, svc := range list {
		s.loaded[svc.ID] = svc
		s.actions = append(s.actions, "load")
	}
	return nil
}

func (s *services) Start(ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actions = append(s.actions, "start")
	s.begin(ids[0])
	return nil
}

func (s *services) Restart(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actions = append(s.actions, "restart")
	s.end()
	s.begin(id)
	return nil
}

func (s *services) Unload(_ context.Context, ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actions = append(s.actions, "unload")
	s.end()
	delete(s.loaded, ids[0])
	return nil
}

func (s *services) Status(id string) (supervise.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.loaded[id]; !ok {
		return supervise.Status{}, supervise.ErrNotFound
	}
	return supervise.Status{ID: id, State: supervise.Running}, nil
}

func (s *services) did() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.actions, " ")
}

func TestKubeletFollowsTheConfig(t *testing.T) {
	s := &services{loaded: map[string]supervise.Service{}}
	var mu sync.Mutex
	var ran []container.Spec
	d := tempDeps(t)
	d.Services = s
	d.Runner = func(c container.Spec) supervise.Runner {
		mu.Lock()
		ran = append(ran, c)
		mu.Unlock()
		return supervise.Func(func(ctx context.Context, _ io.Writer) error {
			<-ctx.Done()
			return nil
		})
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		config := func(over string) {
			controllertest.Modify(h, machineconfig.Active, func(s *machineconfig.Config) { s.Text = configText(h.T, schema.Worker, over) })
		}
		config("")
		controllertest.Create(h, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeWorker})
		controllertest.Create(h, kube.StaticPodServerStatusID, kube.StaticPodServerStatus{URL: "http://127.0.0.1:1/pods"})
		controllertest.Create(h, secrets.KubeletID, keysOf(h.T))
		controllertest.Create(h, network.HostnameStatusID, network.HostnameStatus{Hostname: "Node-1", Domainname: "lab.internal"})
		h.Settle()
		if got := s.did(); got != "" {
			h.T.Fatalf("before there is an address: %s", got)
		}
		controllertest.Modify(h, network.NodeAddressRouted, func(s *network.NodeAddress) { s.Addresses = []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")} })
		controllertest.Want(h, kube.NodenameID, kube.Nodename{Name: "node-1", HostnameVersion: "1"})
		controllertest.Want(h, kube.KubeletID, kube.KubeletStatus{Image: "talos.internal/kubelet:v1.37.2"})
		controllertest.WantNever[kube.KubeletKubeconfig](h, kube.KubeletID)

		// It joins.
		b := generatetest.Bundle(t)
		pair, err := b.Kubernetes.Issue(secret.Leaf{CommonName: "system:node:node-1", Usage: secret.Client, TTL: time.Hour, Organization: []string{"system:nodes"}}, b.Kubernetes.Certificate().NotBefore.Add(time.Hour))
		must(h.T, pair, err)
		if err := errors.Join(os.WriteFile(d.clientCertFile(), slices.Concat(pair.CertificatePEM(), pair.Key().PEM()), 0o600),
			os.WriteFile(d.kubeconfigFile(), []byte("kubeconfig"), 0o600)); err != nil {
			h.T.Fatal(err)
		}
		controllertest.WantThat(h, kube.KubeletID, "be there", func(*resource.Typed[kube.KubeletKubeconfig]) bool { return true })

		// What is started with changes, and the rest does not matter.
		config("apiVersion: v1alpha1\nkind: KubeletConfig\nextraArgs: {v: \"4\"}\n")
		h.Settle()
		config("apiVersion: v1alpha1\nkind: KubeletConfig\nextraArgs: {v: \"4\"}\n---\napiVersion: v1alpha1\nkind: KubeNodeConfig\nlabels: {a: b}\n")
		h.Settle()
		if got, want := s.did(), "load start restart"; got != want {
			h.T.Errorf("supervisor was told %q; want %q", got, want)
		}
		mu.Lock()
		if last := ran[len(ran)-1]; !slices.Contains(last.Args, "--v=4") || !slices.Contains(last.Args, "--hostname-override=node-1") || !slices.Contains(last.Args, "--node-ip=10.5.0.2") {
			h.T.Errorf("arguments of the last run: %q", last.Args)
		}
		mu.Unlock()

		// Who needs it keeps it from ending.
		const holder = "somebody"
		ref := resource.KindOf[kube.KubeletLifecycle]().Ref(kube.KubeletID)
		if err := state.AddFinalizer(context.Background(), h.State, ref, holder); err != nil {
			h.T.Fatal(err)
		}
		h.Remove(resource.KindOf[machineconfig.Config]().Ref(machineconfig.Active))
		h.Settle()
		if strings.Contains(s.did(), "unload") {
			h.T.Error("kubelet was ended while somebody needs it")
		}
		if err := state.RemoveFinalizer(context.Background(), h.State, ref, holder); err != nil {
			h.T.Fatal(err)
		}
		controllertest.WantGone[kube.KubeletStatus](h, kube.KubeletID)
		if !strings.HasSuffix(s.did(), "unload") {
			h.T.Errorf("supervisor was told %q; want kubelet to be unloaded at the end", s.did())
		}
	}, Controllers(d)...)
}

func TestHealth(t *testing.T) {
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	defer server.Close()
	c := &ServiceController{deps: Deps{Healthz: server.URL}}
	if err := c.healthy(context.Background()); err != nil {
		t.Error(err)
	}
	code = http.StatusInternalServerError
	if err := c.healthy(context.Background()); err == nil {
		t.Error("a kubelet that says that it is not well counts as healthy")
	}
}
