package nodectrl

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubereal"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// TestAWorkerUnderNodeRestriction runs against a kube-apiserver: a worker's own credentials are enough for what it does, and what it
// may not do keeps nothing else from being done.
func TestAWorkerUnderNodeRestriction(t *testing.T) {
	s := kubereal.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	admin := kubereal.Client(t, s.Kubeconfig)
	const nodes, rbac = "system:talos-nodes", "rbac.authorization.k8s.io"
	for _, o := range []kubeapi.Object{
		{"apiVersion": "v1", "kind": "Node", "metadata": m{"name": "n"}},
		{"apiVersion": "v1", "kind": "Node", "metadata": m{"name": "other"}},
		{
			"apiVersion": rbac + "/v1", "kind": "ClusterRole", "metadata": m{"name": nodes},
			"rules": []any{m{"apiGroups": []any{"discovery.k8s.io"}, "resources": []any{"endpointslices"}, "verbs": []any{"get", "list", "watch"}}},
		},
		{
			"apiVersion": rbac + "/v1", "kind": "ClusterRoleBinding", "metadata": m{"name": nodes},
			"roleRef":  m{"apiGroup": rbac, "kind": "ClusterRole", "name": nodes},
			"subjects": []any{m{"apiGroup": rbac, "kind": "Group", "name": "system:nodes"}},
		},
		{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
			"metadata":  m{"name": "kubernetes", "namespace": "default", "labels": m{"kubernetes.io/service-name": "kubernetes"}},
			"endpoints": []any{m{"addresses": []any{"10.5.0.2"}}},
		},
	} {
		if _, err := admin.Apply(ctx, o, kubeapi.ApplyOptions{Manager: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(KubeletKubeconfig)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, KubeletKubeconfig), []byte(s.Node(t, "n")), 0o600); err != nil {
		t.Fatal(err)
	}
	st := memstate.New(memstate.Options{})
	_, err1 := state.Create(ctx, st, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeWorker})
	_, err2 := state.Create(ctx, st, kube.NodenameID, kube.Nodename{Name: "n"})
	_, err3 := state.Create(ctx, st, kube.KubeletID, kube.KubeletKubeconfig{Hash: "1"})
	_, err4 := state.Create(ctx, st, machineconfig.Active, machineconfig.Config{Text: `apiVersion: v1alpha1
kind: KubeNodeConfig
labels:
    example.com/rack: r2
    node-role.kubernetes.io/worker: ""
annotations:
    example.com/owner: team-a
taints:
    example.com/gpu: NoSchedule
`})
	_, err5 := state.Create(ctx, st, kube.NodeCordonedID, kube.NodeCordonedSpec{})
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			t.Fatal(err)
		}
	}
	deps := Deps{Root: root, Kubeconfig: KubeletKubeconfig}
	scheduler := controller.New(st, slog.New(slog.NewTextHandler(t.Output(), nil)), controller.Options{})
	for _, c := range []controller.Controller{
		labelSpecs(), annotationSpecs(), taintSpecs(), &StatusController{deps}, &EndpointController{deps}, &ApplyController{deps},
	} {
		if err := scheduler.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- scheduler.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	got := wait(t, st, "n", func(s kube.NodeStatus) bool { return s.Annotations["example.com/owner"] != "" })
	if diff := cmp.Diff(map[string]string{"example.com/rack": "r2"}, got.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if !got.Unschedulable || got.Annotations[cordonedKey] != "true" {
		t.Errorf("status = %+v; want it cordoned", got)
	}
	if e := wait(t, st, kube.EndpointAPIServer, func(kube.Endpoint) bool { return true }); !slices.Equal(e.Addresses, []netip.Addr{netip.MustParseAddr("10.5.0.2")}) {
		t.Errorf("endpoints = %v", e)
	}
	if err := state.Destroy[kube.NodeCordonedSpec](ctx, st, kube.NodeCordonedID); err != nil {
		t.Fatal(err)
	}
	wait(t, st, "n", func(s kube.NodeStatus) bool { return !s.Unschedulable && s.Annotations[cordonedKey] == "" })
	// A change that somebody else makes is seen.
	if _, err := admin.MergePatch(ctx, nodeKind, "", "n", "", m{"metadata": m{"labels": m{"x": "y"}}}); err != nil {
		t.Fatal(err)
	}
	wait(t, st, "n", func(s kube.NodeStatus) bool { return s.Labels["x"] == "y" })
}

// wait waits until a resource is as met wants it.
func wait[S resource.Spec](t *testing.T, st state.State, id string, met func(S) bool) S {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := state.Get[S](t.Context(), st, id)
		if err == nil && met(r.Spec()) {
			return r.Spec()
		}
		if time.Now().After(end) {
			t.Fatalf("after 30 s: %s = %v, %v", id, r, err)
		}
	}
}
