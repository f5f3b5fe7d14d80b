package crictrl

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/container"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/cri"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// services records what is ordered.
type services struct {
	mu     sync.Mutex
	loaded map[string]supervise.Service
	log    []string
}

func (s *services) note(what string, ids ...string) {
	s.log = append(s.log, what+" "+strings.Join(ids, " "))
}

func (s *services) Load(list ...supervise.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range list {
		s.loaded[l.ID] = l
		s.note("load", l.ID)
	}
	return nil
}

func (s *services) Start(ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("start", ids...)
	return nil
}

func (s *services) Restart(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("restart", id)
	return nil
}

func (s *services) Unload(_ context.Context, ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("unload", ids...)
	for _, id := range ids {
		delete(s.loaded, id)
	}
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

// take returns the orders since the last call.
func (s *services) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.log
	s.log = nil
	return out
}

const mirror = `apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: registry.k8s.io
endpoints:
    - url: https://mirror.example.com
---
apiVersion: v1alpha1
kind: RegistryAuthConfig
name: mirror.example.com
username: reader
password: secret
`

const cached = mirror + `---
apiVersion: v1alpha1
kind: ImageCacheConfig
local:
    enabled: true
`

const uncached = mirror + `---
apiVersion: v1alpha1
kind: ImageCacheConfig
local:
    enabled: false
`

const custom = cached + `---
apiVersion: v1alpha1
kind: CRICustomizationConfig
name: metrics
content: |
    [metrics]
---
apiVersion: v1alpha1
kind: CRIBaseRuntimeSpecConfig
overrides:
    hostname: pod
---
version: v1alpha1
machine:
    seccompProfiles:
        - name: audit.json
          value:
              defaultAction: SCMP_ACT_LOG
`

func setConfig(h *controllertest.Harness, text string) {
	controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { *c = machineconfig.Config{Text: text} })
	h.Settle()
}

func TestContainerdFollowsTheConfig(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	s := &services{loaded: map[string]supervise.Service{}}
	d := Deps{
		Services: s, Client: container.New(container.Options{}), Dir: filepath.Join(dir, "cri"), Root: filepath.Join(dir, "root"),
		Caches: []string{cache}, Seccomp: filepath.Join(dir, "seccomp"),
		Host: func() (container.Host, error) { return container.Host{Capabilities: []string{"CAP_SYS_RESOURCE"}}, nil },
	}
	orders := func(want ...string) {
		t.Helper()
		if got := s.take(); !slices.Equal(got, want) {
			t.Errorf("orders = %q; want %q", got, want)
		}
	}
	file := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ""
		}
		return string(b)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Settle()
		orders() // without a config nothing runs

		// With the cache wanted and not there, containerd runs without; when it comes, it is served, and is the first mirror.
		setConfig(h, cached)
		controllertest.WantThat(h, cri.ImageCacheConfigID, "no cache", func(r *resource.Typed[cri.ImageCacheConfig]) bool { return r.Spec().Status == cri.CacheDisabled })
		orders("load containerd", "start containerd")
		if got := file("cri/conf.d/hosts/registry.k8s.io/hosts.toml"); strings.Contains(got, "3172") || !strings.Contains(got, "mirror.example.com") {
			t.Errorf("hosts.toml without a cache is:\n%s", got)
		}
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cache, "index.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.Advance(2 * lookAgain)
		controllertest.WantThat(h, cri.ImageCacheConfigID, "a cache on its way", func(r *resource.Typed[cri.ImageCacheConfig]) bool {
			return r.Spec().Status == cri.CachePreparing && slices.Equal(r.Spec().Roots, []string{cache})
		})
		orders("load registryd", "start registryd")
		controllertest.Create(h, RegistrydID, service.Service{Running: true, Healthy: true})
		controllertest.WantThat(h, cri.ImageCacheConfigID, "a cache", func(r *resource.Typed[cri.ImageCacheConfig]) bool { return r.Spec().Status == cri.CacheReady })
		h.Settle()
		for _, name := range []string{"_default", "registry.k8s.io"} {
			if got := file("cri/conf.d/hosts/" + name + "/hosts.toml"); !strings.HasPrefix(got, "[host.\"http://127.0.0.1:3172\"]") {
				t.Errorf("hosts.toml of %s with a cache is:\n%s", name, got)
			}
		}
		orders() // hosts files need no restart

		// What containerd reads at its start restarts it, once.
		setConfig(h, custom)
		h.Settle()
		got := s.take()
		if len(got) == 0 || slices.ContainsFunc(got, func(o string) bool { return o != "restart containerd" }) {
			t.Errorf("orders = %q; want a restart of containerd", got)
		}
		if got := file("cri/conf.d/20-metrics.part"); got != "[metrics]\n" {
			t.Errorf("the part is %q", got)
		}
		if got := file("cri/conf.d/base-spec.json"); !strings.Contains(got, `"hostname": "pod"`) || !strings.Contains(got, `"ociVersion"`) {
			t.Errorf("the specification of pods is %.300s", got)
		}
		if got := file("seccomp/audit.json"); !strings.Contains(got, "SCMP_ACT_LOG") {
			t.Errorf("the seccomp profile is %q", got)
		}
		setConfig(h, custom)
		orders()

		user, password, err := Credentials(h.State)("mirror.example.com")
		if err != nil || user != "reader" || password != "secret" {
			t.Errorf("Credentials = %q, %q, %v", user, password, err)
		}

		// A config that says nothing of the cache that is there leaves it in use.
		setConfig(h, mirror)
		h.Settle()
		if got := s.take(); slices.Contains(got, "unload registryd") {
			t.Errorf("orders = %q; want registryd to stay", got)
		}

		// And all goes again, but containerd.
		setConfig(h, custom)
		h.Settle()
		s.take()
		setConfig(h, uncached)
		h.Settle()
		got = s.take()
		if !slices.Contains(got, "unload registryd") || !slices.Contains(got, "restart containerd") {
			t.Errorf("orders = %q; want registryd unloaded and containerd restarted", got)
		}
		if file("cri/conf.d/20-metrics.part") != "" || file("seccomp/audit.json") != "" || file("cri/conf.d/hosts/_default/hosts.toml") != "" {
			t.Error("files of the config before are left")
		}
	}, Controllers(d)...)
}

func TestContainerdWaitsForACacheThatIsOnItsWay(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &services{loaded: map[string]supervise.Service{}}
	d := Deps{
		Services: s, Client: container.New(container.Options{}), Dir: filepath.Join(dir, "cri"), Root: filepath.Join(dir, "root"),
		Caches: []string{dir}, Seccomp: filepath.Join(dir, "seccomp"), Host: func() (container.Host, error) { return container.Host{}, nil },
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		setConfig(h, cached)
		if got := s.take(); !slices.Equal(got, []string{"load registryd", "start registryd"}) {
			t.Errorf("orders = %q; want registryd alone", got)
		}
		controllertest.Create(h, RegistrydID, service.Service{Running: true, Healthy: true}, state.As(""))
		h.Settle()
		if got := s.take(); !slices.Equal(got, []string{"load containerd", "start containerd"}) {
			t.Errorf("orders = %q; want containerd", got)
		}
	}, Controllers(d)...)
}

// The supervisor is what the package asks for.
var (
	_ Services              = (*supervise.Supervisor)(nil)
	_ controller.Controller = (*ServiceController)(nil)
)
