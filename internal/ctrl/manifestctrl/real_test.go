package manifestctrl

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubereal"
	"talos.internal/internal/manifest"
	"talos.internal/resource/kube"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// TestARealAPIServerTakesTheManifests applies everything to a kube-apiserver, which knows every field and checks every value: as a
// new cluster has it, then once more as with other settings, by dry run.
func TestARealAPIServerTakesTheManifests(t *testing.T) {
	s := kubereal.Start(t)
	config, err := bootstrapOf(configOf(t, "v1.14", schema.ControlPlane, "").Set)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	st := memstate.New(memstate.Options{})
	var ids []string
	for id, objects := range render(*config, testRoot) {
		ids = append(ids, id)
		if _, err := state.Create(ctx, st, id, manifestOf(objects)); err != nil {
			t.Fatal(err)
		}
	}
	const extra = `apiVersion: own.example.com/v1
kind: Thing
metadata: {name: a, namespace: own}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.own.example.com}
spec:
  group: own.example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: own, labels: {pod-security.kubernetes.io/enforce: privileged}}
`
	objects, err := parseManifest([]byte(extra))
	if err != nil {
		t.Fatal(err)
	}
	ids = append(ids, "99-own")
	slices.Sort(ids)
	_, err1 := state.Create(ctx, st, "99-own", manifestOf(objects))
	_, err2 := state.Create(ctx, st, secrets.KubernetesID, secrets.Kubernetes{LocalhostAdminKubeconfig: s.Kubeconfig})
	_, err3 := state.Create(ctx, st, etcdService, service.Service{Running: true})
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	scheduler := controller.New(st, slog.New(slog.NewTextHandler(t.Output(), nil)), controller.Options{})
	if err := scheduler.Register(&ApplyController{Lock: &locks{}}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- scheduler.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	begin := time.Now()
	for end := begin.Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r, err := state.Get[kube.ManifestStatus](ctx, st, kube.ManifestStatusID)
		if err == nil && slices.Equal(r.Spec().ManifestsApplied, ids) {
			break
		}
		if time.Now().After(end) {
			d, _ := state.Get[runtime.Diagnostic](ctx, st, DiagnosticApply)
			t.Fatalf("after a minute: status %v, %v, diagnostic %v", r, err, d)
		}
	}
	t.Logf("%d manifests took %v", len(ids), time.Since(begin))
	client := kubereal.Client(t, s.Kubeconfig)
	if _, err := client.Get(ctx, kubeapi.KindOf("own.example.com/v1", "Thing"), "own", "a"); err != nil {
		t.Error(err)
	}
	have, err := client.Get(ctx, kubeapi.KindOf("v1", "ConfigMap"), system, manifest.InventoryName)
	if err != nil || len(have.Map("data")) < len(ids) {
		t.Errorf("inventory = %v, %v", have, err)
	}

	other, err := bootstrapOf(configOf(t, "v1.14", schema.ControlPlane, settings).Set)
	if err != nil {
		t.Fatal(err)
	}
	for id, objects := range render(*other, testRoot) {
		for _, o := range objects {
			if o.Kind().Kind == "Service" { // the families of a service do not change
				o.Map("metadata")["name"] = "kube-dns-2"
			}
			if _, err := client.Apply(ctx, o, kubeapi.ApplyOptions{Manager: manifest.FieldManager, Force: true, DryRun: true}); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
}
