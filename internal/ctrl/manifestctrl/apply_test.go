package manifestctrl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
	"talos.internal/internal/manifest"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
)

// locks is a lock that counts.
type locks struct {
	mu          sync.Mutex
	taken, held int
	err         error
}

// fail has the lock be given to nobody, if err is not nil.
func (k *locks) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *locks) Lock(_ context.Context, name string) (func(), error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	if name != LockName || k.held > 0 {
		return nil, fmt.Errorf("lock %s: held %d times", name, k.held)
	}
	k.taken++
	k.held++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.held--
	}, nil
}

// server is set once the bubble is there.
type dialer struct{ server *kubefake.Server }

func run(t *testing.T, test func(h *controllertest.Harness, s *kubefake.Server, k *locks)) {
	t.Helper()
	d, k := &dialer{}, &locks{}
	deps := Deps{Lock: k, HTTP: http.DefaultClient}
	deps.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if d.server == nil {
			return nil, errors.New("connection refused")
		}
		return d.server.Dial(ctx, network, address)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		d.server = kubefake.New(h.T)
		controllertest.Create(h, secrets.KubernetesID, secrets.Kubernetes{LocalhostAdminKubeconfig: d.server.Kubeconfig})
		controllertest.Create(h, etcdService, service.Service{Running: true, Healthy: true})
		test(h, d.server, k)
	}, Controllers(deps)...)
}

func holding(objects ...kubeapi.Object) kube.Manifest { return manifestOf(objects) }

func crd() kubeapi.Object {
	return object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.example.com", m{"spec": m{
		"group": "example.com", "scope": "Namespaced", "names": m{"plural": "widgets", "kind": "Widget"}, "versions": l{m{"name": "v1"}},
	}})
}

func namespace(name string) kubeapi.Object { return object("v1", "Namespace", "", name, nil) }

// TestManifestsAreAppliedInOrder holds that namespaces come first, and definitions are served before what they define.
func TestManifestsAreAppliedInOrder(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server, k *locks) {
		s.SetReady(false)
		controllertest.Create(h, "01-a", holding(
			object("example.com/v1", "Widget", "own", "w", nil), object("v1", "ConfigMap", "kube-system", "c", nil), crd()))
		controllertest.Create(h, "02-b", holding(namespace("own")))
		h.Advance(10 * time.Second)
		if got := s.Applied(); len(got) > 0 || k.taken > 0 {
			t.Fatalf("applied before the API server was ready: %v", got)
		}
		s.SetReady(true)
		controllertest.Want(h, kube.ManifestStatusID, kube.ManifestStatus{ManifestsApplied: []string{"01-a", "02-b"}})
		want := []string{
			"Namespace own", "CustomResourceDefinition widgets.example.com", "Widget own/w", "ConfigMap kube-system/c",
			"ConfigMap kube-system/" + manifest.InventoryName,
		}
		if diff := cmp.Diff(want, s.Applied()); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		data := s.Get("/api/v1/namespaces/kube-system/configmaps/" + manifest.InventoryName).Map("data")
		for _, key := range []string{"_own__Namespace", "own_w_example.com_Widget", "kube-system_c__ConfigMap"} {
			if _, ok := data[key]; !ok {
				t.Errorf("inventory = %v; want %s in it", data, key)
			}
		}
		if k.held != 0 {
			t.Error("the lock is still held")
		}
	})
}

// TestWhatIsThereIsLeftAlone holds that a boot does not undo what somebody changed.
func TestWhatIsThereIsLeftAlone(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server, _ *locks) {
		s.Put(object("v1", "ConfigMap", "kube-system", "c", m{"data": m{"x": "theirs"}}))
		controllertest.Create(h, "01-a", holding(object("v1", "ConfigMap", "kube-system", "c", m{"data": m{"x": "ours"}})))
		controllertest.Want(h, kube.ManifestStatusID, kube.ManifestStatus{ManifestsApplied: []string{"01-a"}})
		if got := s.Get("/api/v1/namespaces/kube-system/configmaps/c").Map("data")["x"]; got != "theirs" {
			t.Errorf("data.x = %v; want theirs", got)
		}
	})
}

// TestAnObjectThatIsRefusedHoldsUpNoOther holds that the server's words are to be seen, and that it is tried again.
func TestAnObjectThatIsRefusedHoldsUpNoOther(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server, k *locks) {
		controllertest.Create(h, "01-a", holding(
			object("v1", "ConfigMap", "later", "c", nil), object("example.com/v1", "Widget", "", "w", nil)))
		controllertest.Create(h, "02-b", holding(object("v1", "ConfigMap", "default", "d", nil)))
		controllertest.Want(h, kube.ManifestStatusID, kube.ManifestStatus{ManifestsApplied: []string{"02-b"}})
		controllertest.Want(h, DiagnosticApply, runtime.Diagnostic{
			Message: "the API server refuses 2 of 3 objects of the manifests",
			Details: []string{
				`manifest 01-a: apply ConfigMap later/c: 404 NotFound: namespaces "later" not found`,
				"manifest 01-a: get Widget w: unknown kind Widget.example.com: the API server does not serve example.com/v1",
			},
		})
		h.Advance(10 * time.Minute)
		if k.taken > 20 {
			t.Errorf("tried %d times in ten minutes; want a back-off", k.taken)
		}
		s.Put(namespace("later"))
		controllertest.WantThat(h, DiagnosticApply, "have one object left", func(r *resource.Typed[runtime.Diagnostic]) bool {
			return len(r.Spec().Details) == 1
		})
		s.Put(crd())
		_, _ = s.Client().Get(h.T.Context(), crd().Kind(), "", crd().Name())
		controllertest.Want(h, kube.ManifestStatusID, kube.ManifestStatus{ManifestsApplied: []string{"01-a", "02-b"}})
		controllertest.WantGone[runtime.Diagnostic](h, DiagnosticApply)
	})
}

func TestNothingHappensBeforeEtcdRuns(t *testing.T) {
	run(t, func(h *controllertest.Harness, s *kubefake.Server, k *locks) {
		controllertest.Modify(h, etcdService, func(s *service.Service) { s.Running = false })
		asked := 0
		s.Refuse(func(string, string) *kubeapi.StatusError { asked++; return nil })
		controllertest.Create(h, "01-a", holding(namespace("own")))
		h.Advance(time.Hour)
		if asked > 0 {
			t.Errorf("the API server was asked %d times", asked)
		}
		k.fail(errors.New("etcd is slow"))
		controllertest.Modify(h, etcdService, func(s *service.Service) { s.Running = true })
		h.Advance(time.Minute)
		if got := s.Applied(); len(got) > 0 {
			t.Errorf("applied without the lock: %v", got)
		}
		k.fail(nil)
		controllertest.Want(h, kube.ManifestStatusID, kube.ManifestStatus{ManifestsApplied: []string{"01-a"}})
	})
}

// TestFromTheConfigToTheCluster runs all controllers.
func TestFromTheConfigToTheCluster(t *testing.T) {
	config := configOf(t, "v1.14", schema.ControlPlane, "apiVersion: v1alpha1\nkind: KubeInlineManifestConfig\nname: own\nmanifest: |\n    apiVersion: v1\n    kind: Namespace\n    metadata:\n        name: own\n")
	text, err := config.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(h *controllertest.Harness, s *kubefake.Server, _ *locks) {
		controllertest.Create(h, secrets.KubernetesRootID, testRoot)
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: string(text)})
		controllertest.WantThat(h, kube.ManifestStatusID, "have all manifests", func(r *resource.Typed[kube.ManifestStatus]) bool {
			return slices.Contains(r.Spec().ManifestsApplied, "99-own") && slices.Contains(r.Spec().ManifestsApplied, "11-core-dns")
		})
		for _, path := range []string{
			"/apis/apps/v1/namespaces/kube-system/daemonsets/kube-flannel", "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
			"/apis/apps/v1/namespaces/kube-system/deployments/coredns", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef",
			"/api/v1/namespaces/own",
		} {
			if s.Get(path) == nil {
				t.Errorf("no %s", path)
			}
		}
		h.Settle()
	})
}

func TestManifestsAreFetched(t *testing.T) {
	const text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n"
	broken := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/large":
			_, _ = w.Write(make([]byte, mostBytes+1))
		case r.Header.Get("Authorization") != "Bearer x":
			http.Error(w, "no", http.StatusForbidden)
		case broken:
			http.Error(w, "no", http.StatusBadGateway)
		default:
			_, _ = fmt.Fprint(w, text)
		}
	}))
	defer server.Close()
	at := func(path string, headers map[string]string) kube.ExtraManifest {
		return kube.ExtraManifest{Name: "a", URL: server.URL + path, ExtraHeaders: headers}
	}
	auth := map[string]string{"Authorization": "Bearer x"}
	for _, tt := range []struct {
		name string
		m    kube.ExtraManifest
		want string
	}{
		{"refused", at("/a", nil), "the server answered 403 Forbidden"},
		{"broken", at("/a", auth), "the server answered 502 Bad Gateway"},
		{"large", at("/large", auth), "it is larger than 8 MiB"},
		{"nobody there", kube.ExtraManifest{URL: "http://127.0.0.1:1/secret"}, "fetch it from 127.0.0.1:1: "},
	} {
		_, err := fetch(t.Context(), server.Client(), tt.m)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: fetch = %v; want %s", tt.name, err, tt.want)
		}
	}
	broken = false
	if data, err := fetch(t.Context(), server.Client(), at("/a", auth)); err != nil || string(data) != text {
		t.Errorf("fetch = %q, %v", data, err)
	}
}

// roundTrip answers in virtual time.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAManifestThatCannotBeFetchedIsTriedAgain(t *testing.T) {
	calls := 0
	client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		calls++
		if calls < 3 {
			return nil, errors.New("no route to host")
		}
		w := httptest.NewRecorder()
		_, _ = w.WriteString("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n")
		return w.Result(), nil
	})}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Create(h, kube.ExtraManifestsConfigID, kube.ExtraManifestsConfig{ExtraManifests: []kube.ExtraManifest{
			{Name: "far", URL: "https://example.com/a", Priority: "99"},
			{Name: "own", InlineManifest: "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: b\n"},
		}})
		controllertest.Want(h, "05-own", holding(namespace("b")))
		controllertest.WantNever[kube.Manifest](h, "99-far")
		if calls > 0 {
			t.Error("fetched without a network")
		}
		controllertest.Create(h, network.StatusID, network.Status{AddressReady: true, HostnameReady: true})
		controllertest.Want(h, DiagnosticExtra, runtime.Diagnostic{
			Message: "extra manifests are missing", Details: []string{"manifest far: fetch it from example.com: no route to host"},
		})
		controllertest.Want(h, "99-far", holding(namespace("a")))
		controllertest.WantGone[runtime.Diagnostic](h, DiagnosticExtra)
		controllertest.Modify(h, network.StatusID, func(s *network.Status) { s.EtcFilesReady = true })
		h.Settle()
		if calls != 3 {
			t.Errorf("fetched %d times; want 3: what is there is not fetched again", calls)
		}
	}, &ExtraManifestController{HTTP: client})
}
