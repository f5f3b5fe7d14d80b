package kubeupgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"talos.internal/config"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
	"talos.internal/internal/manifest"
	"talos.internal/resource/kube"
)

var now = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// lab are machines that do what real ones do with a config: some time later, what it says is there.
type lab struct {
	s *kubefake.Server

	mu      sync.Mutex
	configs map[string]*config.Config
	nodes   map[string]string // names of Nodes
	version map[string]int    // of the config of a component of a machine
	calls   []string
	// broken is an image that never runs.
	broken string
}

func (l *lab) Config(_ context.Context, target string) (*config.Config, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.configs[target], nil
}

func (l *lab) Apply(_ context.Context, target string, c *config.Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var before, after machine
	before.read(l.configs[target])
	after.read(c)
	for _, of := range components {
		if before.images[of] != after.images[of] {
			l.calls = append(l.calls, fmt.Sprintf("%s %s", target, after.images[of]))
			l.version[target+string(of)]++
			version := l.version[target+string(of)]
			time.AfterFunc(3*time.Second, func() { l.become(target, of, after.images[of], version) })
		}
	}
	l.configs[target] = c
	return nil
}

// become is what a machine has made of its config.
func (l *lab) become(target string, of component, image string, version int) {
	if image == l.broken {
		return
	}
	switch of {
	case apiServer, controllerManager, scheduler:
		o := l.pod(of, image, version)
		o.Map("metadata")["name"] = string(of) + "-" + l.nodes[target]
		o["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		l.s.Put(o)
	case kubelet:
		l.s.Put(l.node(target, tagOf(image)))
	}
}

func (l *lab) node(target, version string) kubeapi.Object {
	return kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": l.nodes[target]}, "status": map[string]any{
		"nodeInfo": map[string]any{"kubeletVersion": version}, "conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
	}}
}

func (*lab) pod(of component, image string, version int) kubeapi.Object {
	return kubeapi.Object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"namespace": "kube-system", "name": string(of), "annotations": map[string]any{kube.ConfigVersion: fmt.Sprint(version)}},
		"spec":     map[string]any{"containers": []any{map[string]any{"image": image}}},
	}
}

func (l *lab) Pull(_ context.Context, target, image string, pods bool, _ func(string)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, fmt.Sprintf("%s pull %s %t", target, image, pods))
	return nil
}

func (l *lab) StaticPod(_ context.Context, target, name string) (kube.StaticPod, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m machine
	m.read(l.configs[target])
	return kube.StaticPod{Pod: l.pod(component(name), m.images[component(name)], l.version[target+name])}, nil
}

func (l *lab) Manifests(_ context.Context, target string) ([]string, []kube.Manifest, []string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m machine
	m.read(l.configs[target])
	return []string{"10-kube-proxy"}, []kube.Manifest{{Items: []kube.Object{{Object: proxySet(m.images[proxy])}}}}, nil, nil
}

func (l *lab) Kubernetes(context.Context) (*kubeapi.Client, error) { return l.s.Client(), nil }

// proxySet is the DaemonSet of kube-proxy, all of whose pods are new.
func proxySet(image string) kubeapi.Object {
	return kubeapi.Object{
		"apiVersion": "apps/v1", "kind": "DaemonSet",
		"metadata": map[string]any{"namespace": "kube-system", "name": "kube-proxy"},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": image}}}}},
	}
}

// inLab makes a cluster of v1.36.3 with an upgrade to v1.37.2.
func inLab(t *testing.T, f func(t *testing.T, l *lab, u *upgrading, out, log *bytes.Buffer)) {
	t.Helper()
	all, configs := cluster(t, "v1.14", "1.36.3", 1)
	synctest.Test(t, func(t *testing.T) {
		l := &lab{s: kubefake.New(t), configs: map[string]*config.Config{}, nodes: map[string]string{}, version: map[string]int{}}
		for i, m := range all {
			l.configs[m.target], l.nodes[m.target] = configs[i], m.nodename
			l.s.Put(l.node(m.target, "v1.36.3"))
			for _, c := range []component{apiServer, controllerManager, scheduler} {
				if m.controlPlane {
					l.become(m.target, c, m.images[c], 0)
				}
			}
		}
		l.s.Put(manifest.Owned(proxySet("registry.k8s.io/kube-proxy:v1.36.3")))
		p, err := newPlan(all, request{to: "1.37.2", kubelets: true, pull: true})
		if err != nil {
			t.Fatal(err)
		}
		var out, log bytes.Buffer
		f(t, l, &upgrading{
			world: l, log: steps.New(&log, time.Now, func(string) string { return "" }), out: &out, plan: p, rollout: time.Minute,
			sync: manifest.Options{Prune: true, Policy: manifest.AdoptIfNoInventory},
		}, &out, &log)
	})
}

func TestUpgradeGoesMachineByMachine(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab, u *upgrading, out, log *bytes.Buffer) {
		_, changes, err := u.compare(t.Context(), nil)
		if err != nil || manifest.Summary(changes) != "1 updated" || !strings.Contains(changes[0].Diff, "+        - image: registry.k8s.io/kube-proxy:v1.37.2") {
			t.Errorf("before: %v, %v", changes, err)
		}
		if got := l.s.Get("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"); !strings.HasSuffix(proxyImage([]kube.Manifest{{Items: []kube.Object{{Object: got}}}}), "v1.36.3") {
			t.Error("a comparison has changed kube-proxy")
		}
		if err := u.run(t.Context()); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		if got, want := strings.Join(l.calls, "\n"), `10.5.0.2 pull registry.k8s.io/kube-apiserver:v1.37.2 true
10.5.0.2 pull registry.k8s.io/kube-controller-manager:v1.37.2 true
10.5.0.2 pull registry.k8s.io/kube-scheduler:v1.37.2 true
10.5.0.2 pull registry.k8s.io/kube-proxy:v1.37.2 true
10.5.0.2 pull talos.internal/kubelet:v1.37.2 false
10.5.0.3 pull registry.k8s.io/kube-proxy:v1.37.2 true
10.5.0.3 pull talos.internal/kubelet:v1.37.2 false
10.5.0.2 registry.k8s.io/kube-apiserver:v1.37.2
10.5.0.2 registry.k8s.io/kube-controller-manager:v1.37.2
10.5.0.2 registry.k8s.io/kube-scheduler:v1.37.2
10.5.0.2 registry.k8s.io/kube-proxy:v1.37.2
10.5.0.2 talos.internal/kubelet:v1.37.2
10.5.0.3 talos.internal/kubelet:v1.37.2`; got != want {
			t.Errorf("calls:\n%s\nwant:\n%s", got, want)
		}
		if !strings.Contains(out.String(), "update DaemonSet kube-system/kube-proxy\n--- now\n+++ then\n") {
			t.Errorf("printed:\n%s", out)
		}
		if err := u.run(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

// TestWhatDoesNotComeIsNamed holds that the upgrade stops at the first machine that does not follow, says what it saw, and goes on later.
func TestWhatDoesNotComeIsNamed(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab, u *upgrading, _, _ *bytes.Buffer) {
		l.broken = "registry.k8s.io/kube-scheduler:v1.37.2"
		err := u.run(t.Context())
		for _, text := range []string{
			"a: kube-scheduler to registry.k8s.io/kube-scheduler:v1.37.2: wait for kube-scheduler of a to be ready",
			"waited 10m0s; last seen: the pod still has registry.k8s.io/kube-scheduler:v1.36.3", "the same command goes on from here",
		} {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("run = %v; want %q", err, text)
			}
		}
		if calls := strings.Join(l.calls, "\n"); strings.Contains(calls, "10.5.0.3 talos.internal/kubelet") {
			t.Errorf("it went on:\n%s", calls)
		}
		l.broken = ""
		l.become("10.5.0.2", scheduler, "registry.k8s.io/kube-scheduler:v1.37.2", l.version["10.5.0.2"+string(scheduler)])
		if err := u.run(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

func TestAnUpgradeEndsWithItsContext(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab, u *upgrading, _, _ *bytes.Buffer) {
		l.broken = "registry.k8s.io/kube-apiserver:v1.37.2"
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		if err := u.run(ctx); !errors.Is(err, context.Canceled) || time.Since(began) > 2*time.Minute {
			t.Errorf("run = %v after %v", err, time.Since(began))
		}
	})
}
