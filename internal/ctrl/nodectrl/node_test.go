package nodectrl

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
)

type m = map[string]any

func node(meta, spec m) kubeapi.Object {
	o := kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": m{"name": "n", "resourceVersion": "7"}, "spec": spec}
	for k, v := range meta {
		o.Map("metadata")[k] = v
	}
	return o
}

func TestPlan(t *testing.T) {
	taint := func(key, value, effect string) m {
		out := m{"key": key, "effect": effect}
		if value != "" {
			out["value"] = value
		}
		return out
	}
	spec := func(key, value, effect string) map[string]kube.NodeTaintSpec {
		return map[string]kube.NodeTaintSpec{key: {Key: key, Value: value, Effect: effect}}
	}
	for _, tt := range []struct {
		name  string
		node  kubeapi.Object
		want  desired
		patch m // without the version; nil if nothing is to be changed
		notes string
	}{
		{"nothing", node(nil, nil), desired{}, nil, ""},
		{
			"a new label is owned", node(m{"labels": m{"a": "1"}}, nil), desired{labels: map[string]string{"b": "2"}},
			m{"metadata": m{"labels": m{"b": "2"}, "annotations": m{ownedLabels: `["b"]`}}}, "",
		},
		{
			"a label with the same value becomes owned", node(m{"labels": m{"b": "2"}}, nil), desired{labels: map[string]string{"b": "2"}},
			m{"metadata": m{"annotations": m{ownedLabels: `["b"]`}}}, "",
		},
		{
			"one that is as it should be", node(m{"labels": m{"b": "2"}, "annotations": m{ownedLabels: `["b"]`}}, nil),
			desired{labels: map[string]string{"b": "2"}}, nil, "",
		},
		{
			"somebody else's value stays", node(m{"labels": m{"b": "theirs"}}, nil), desired{labels: map[string]string{"b": "2"}},
			nil, "label b has the value \"theirs\"",
		},
		{
			"one that is no longer wanted goes, others stay",
			node(m{"labels": m{"a": "1", "b": "2"}, "annotations": m{ownedLabels: `["b"]`}}, nil), desired{},
			m{"metadata": m{"labels": m{"b": nil}, "annotations": m{ownedLabels: nil}}}, "",
		},
		{
			"a new value", node(m{"annotations": m{"x": "1", ownedAnnotations: `["x"]`}}, nil), desired{annotations: map[string]string{"x": "2"}},
			m{"metadata": m{"annotations": m{"x": "2"}}}, "",
		},
		{
			"what is owned cannot be read", node(m{"labels": m{"b": "2"}, "annotations": m{ownedLabels: `{`}}, nil), desired{},
			m{"metadata": m{"annotations": m{ownedLabels: nil}}}, "",
		},
		{
			"a taint beside another", node(nil, m{"taints": []any{taint("other", "", "NoExecute")}}), desired{taints: spec("t", "v", "NoSchedule")},
			m{
				"metadata": m{"annotations": m{ownedTaints: `["t"]`}},
				"spec":     m{"taints": []any{taint("other", "", "NoExecute"), taint("t", "v", "NoSchedule")}},
			}, "",
		},
		{
			"another effect of a taint", node(m{"annotations": m{ownedTaints: `["t"]`}}, m{"taints": []any{taint("t", "", "NoExecute")}}),
			desired{taints: spec("t", "", "NoSchedule")}, m{"metadata": m{}, "spec": m{"taints": []any{taint("t", "", "NoSchedule")}}}, "",
		},
		{
			"a taint that kubelet registered becomes owned", node(nil, m{"taints": []any{taint("t", "", "NoSchedule")}}),
			desired{taints: spec("t", "", "NoSchedule")}, m{"metadata": m{"annotations": m{ownedTaints: `["t"]`}}}, "",
		},
		{
			"somebody else's taint", node(nil, m{"taints": []any{taint("t", "x", "NoSchedule")}}),
			desired{taints: spec("t", "", "NoSchedule")}, nil, "taint t is somebody else's",
		},
		{
			"a taint goes", node(m{"annotations": m{ownedTaints: `["t"]`}}, m{"taints": []any{taint("t", "", "NoSchedule")}}),
			desired{taints: map[string]kube.NodeTaintSpec{}},
			m{"metadata": m{"annotations": m{ownedTaints: nil}}, "spec": m{"taints": []any{}}}, "",
		},
		{
			"a worker leaves taints alone", node(m{"annotations": m{ownedTaints: `["t"]`}}, m{"taints": []any{taint("t", "", "NoSchedule")}}),
			desired{}, nil, "",
		},
		{
			"cordon", node(nil, nil), desired{cordoned: true},
			m{"metadata": m{"annotations": m{cordonedKey: "true"}}, "spec": m{"unschedulable": true}}, "",
		},
		{
			"undo our cordon", node(m{"annotations": m{cordonedKey: "true"}}, m{"unschedulable": true}), desired{},
			m{"metadata": m{"annotations": m{cordonedKey: nil}}, "spec": m{"unschedulable": false}}, "",
		},
		{"a person's cordon stays", node(nil, m{"unschedulable": true}), desired{}, nil, ""},
		{"a person's cordon is not taken over", node(nil, m{"unschedulable": true}), desired{cordoned: true}, nil, ""},
		{
			"a person undid our cordon", node(m{"annotations": m{cordonedKey: "true"}}, nil), desired{},
			m{"metadata": m{"annotations": m{cordonedKey: nil}}}, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := plan(tt.node, tt.want)
			var got m
			if !c.empty() {
				got = c.patch("7")
				delete(got["metadata"].(m), "resourceVersion")
			}
			if diff := cmp.Diff(tt.patch, got); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
			if notes := strings.Join(c.notes, "\n"); !strings.HasPrefix(notes, tt.notes) || (notes == "") != (tt.notes == "") {
				t.Errorf("notes = %q; want %q", notes, tt.notes)
			}
		})
	}
}

const document = `apiVersion: v1alpha1
kind: KubeNodeConfig
labels:
    example.com/rack: r2
annotations:
    example.com/owner: team-a
taints:
    example.com/gpu: "true:NoSchedule"
`

const nodePath = "/api/v1/nodes/n"

// run runs all controllers against a server with a Node.
func run(t *testing.T, kind machineconfig.MachineType, test func(h *controllertest.Harness, s *kubefake.Server)) {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(KubeletKubeconfig)), 0o755); err != nil {
		t.Fatal(err)
	}
	var server *kubefake.Server
	deps := Deps{Root: root, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if server == nil {
			return nil, errors.New("connection refused")
		}
		return server.Dial(ctx, network, address)
	}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		server = kubefake.New(h.T)
		if err := os.WriteFile(filepath.Join(root, KubeletKubeconfig), []byte(server.Kubeconfig), 0o600); err != nil {
			t.Fatal(err)
		}
		controllertest.Create(h, machineconfig.Active, machineconfig.Config{Text: document})
		controllertest.Create(h, machineconfig.TypeID, machineconfig.Type{Type: kind})
		controllertest.Create(h, kube.NodenameID, kube.Nodename{Name: "n"})
		controllertest.Create(h, kube.KubeletID, kube.KubeletKubeconfig{Hash: "1"})
		if kind == machineconfig.TypeControlPlane {
			controllertest.Create(h, secrets.KubernetesID, secrets.Kubernetes{LocalhostAdminKubeconfig: server.Kubeconfig})
		}
		h.Settle()
		controllertest.WantNever[kube.NodeStatus](h, "n")
		server.Put(kubeapi.Object{
			"apiVersion": "v1", "kind": "Node", "metadata": m{"name": "n", "labels": m{"kubernetes.io/os": "linux"}},
			"spec":   m{"podCIDRs": []any{"10.244.1.0/24"}},
			"status": m{"conditions": []any{m{"type": "Ready", "status": "False"}}},
		})
		test(h, server)
	}, Controllers(deps)...)
}

func TestTheNodeOfAControlPlane(t *testing.T) {
	run(t, machineconfig.TypeControlPlane, func(h *controllertest.Harness, s *kubefake.Server) {
		controllertest.Want(h, "n", kube.NodeStatus{
			Nodename: "n", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
			Labels: map[string]string{"kubernetes.io/os": "linux", "example.com/rack": "r2"},
			Annotations: map[string]string{
				"example.com/owner": "team-a", ownedLabels: `["example.com/rack"]`, ownedAnnotations: `["example.com/owner"]`,
				ownedTaints: `["example.com/gpu"]`,
			},
		})
		want := []map[string]any{{"key": "example.com/gpu", "value": "true", "effect": "NoSchedule"}}
		if diff := cmp.Diff(want, s.Get(nodePath).Maps("spec", "taints")); diff != "" {
			t.Errorf("taints (-want +got):\n%s", diff)
		}
		// What leaves the config leaves the Node.
		controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = "apiVersion: v1alpha1\nkind: KubeNodeConfig\n" })
		controllertest.WantThat(h, "n", "have no label of ours", func(r *resource.Typed[kube.NodeStatus]) bool {
			return len(r.Spec().Labels) == 1 && len(r.Spec().Annotations) == 0
		})
		// A machine that goes down is cordoned, and comes back.
		controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) { s.Stage = runtime.StageShuttingDown })
		controllertest.WantThat(h, "n", "be cordoned", func(r *resource.Typed[kube.NodeStatus]) bool { return r.Spec().Unschedulable })
		controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) { s.Stage = runtime.StageRunning })
		controllertest.WantThat(h, "n", "be schedulable", func(r *resource.Typed[kube.NodeStatus]) bool { return !r.Spec().Unschedulable })
		s.Remove(nodePath)
		controllertest.WantGone[kube.NodeStatus](h, "n")
	})
}

// TestTheNodeOfAWorker holds that a worker sets labels as kubelet and leaves taints to kubelet's registration.
func TestTheNodeOfAWorker(t *testing.T) {
	run(t, machineconfig.TypeWorker, func(h *controllertest.Harness, s *kubefake.Server) {
		controllertest.WantThat(h, "n", "have the label", func(r *resource.Typed[kube.NodeStatus]) bool {
			return r.Spec().Labels["example.com/rack"] == "r2"
		})
		if s.Get(nodePath).Map("spec")["taints"] != nil {
			t.Error("a worker set taints")
		}
	})
}

// TestALabelThatIsRefusedHoldsUpNoOther is a worker under NodeRestriction.
func TestALabelThatIsRefusedHoldsUpNoOther(t *testing.T) {
	s := kubefake.New(t)
	s.Put(node(nil, m{}))
	patches := 0
	s.Refuse(func(method, _ string) *kubeapi.StatusError {
		if method == http.MethodPatch {
			patches++
			if patches < 3 { // the whole, then the first label by itself
				return &kubeapi.StatusError{Code: http.StatusForbidden, Reason: "Forbidden", Message: "not that one"}
			}
		}
		return nil
	})
	a := &applying{log: discard(), refused: map[string]string{}}
	want := desired{labels: map[string]string{"a": "no", "b": "yes"}, annotations: map[string]string{"x": "y"}}
	if err := a.apply(t.Context(), s.Client(), "n", want); err != nil {
		t.Fatal(err)
	}
	got := s.Get(nodePath)
	if diff := cmp.Diff(map[string]string{"b": "yes"}, got.Labels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if got.Annotations()["x"] != "y" || got.Annotations()[ownedLabels] != `["b"]` {
		t.Errorf("annotations = %v", got.Annotations())
	}
}

func TestEndpointsOfTheAPI(t *testing.T) {
	run(t, machineconfig.TypeWorker, func(h *controllertest.Harness, s *kubefake.Server) {
		slice := func(name string, addresses ...any) kubeapi.Object {
			return kubeapi.Object{
				"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
				"metadata":  m{"name": name, "namespace": "default", "labels": m{"kubernetes.io/service-name": "kubernetes"}},
				"endpoints": []any{m{"addresses": addresses, "conditions": m{"ready": true}}, m{"addresses": []any{"10.5.0.9"}, "conditions": m{"ready": false}}},
			}
		}
		s.Put(slice("kubernetes", "10.5.0.3", "10.5.0.2"))
		s.Put(slice("kubernetes6", "fd00::2", "10.5.0.2"))
		other := slice("other", "10.5.0.8")
		other.Map("metadata")["labels"] = m{"kubernetes.io/service-name": "web"}
		s.Put(other)
		var want []netip.Addr
		for _, a := range []string{"10.5.0.2", "10.5.0.3", "fd00::2"} {
			want = append(want, netip.MustParseAddr(a))
		}
		controllertest.Want(h, kube.EndpointAPIServer, kube.Endpoint{Addresses: want})
		// The API server goes away for a while: what was known stays, and changes are seen afterwards.
		s.Refuse(func(string, string) *kubeapi.StatusError {
			return &kubeapi.StatusError{Code: http.StatusServiceUnavailable, Message: "shutting down"}
		})
		h.Advance(time.Minute)
		controllertest.Want(h, kube.EndpointAPIServer, kube.Endpoint{Addresses: want})
		s.Refuse(nil)
		s.Put(slice("kubernetes", "10.5.0.2"))
		controllertest.Want(h, kube.EndpointAPIServer, kube.Endpoint{Addresses: []netip.Addr{want[0], want[2]}})
	})
}

func TestVersionsOfExtensions(t *testing.T) {
	for _, tt := range []struct {
		version, value string
		label          bool
	}{
		{"v1.2.3", "v1.2.3", true}, {"v1.2.3+build", "v1.2.3-build", true}, {"", "", true},
		{"20240101 (rc)", "20240101 (rc)", false}, {strings.Repeat("a", 64), strings.Repeat("a", 64), false},
	} {
		e := runtime.ExtensionStatus{Metadata: runtime.ExtensionMetadata{Name: "gvisor", Version: tt.version}}
		if k, v, label := versionOf(e); k != "extensions.talos.dev/gvisor" || v != tt.value || label != tt.label {
			t.Errorf("versionOf(%q) = %s, %s, %v", tt.version, k, v, label)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
