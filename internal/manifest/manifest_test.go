package manifest

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
	"talos.internal/resource/kube"
)

type m = map[string]any

func object(apiVersion, kind, namespace, name string, more m) kubeapi.Object {
	o := kubeapi.Object{"apiVersion": apiVersion, "kind": kind, "metadata": m{"name": name}}
	if namespace != "" {
		o.Map("metadata")["namespace"] = namespace
	}
	for k, v := range more {
		o[k] = v
	}
	return o
}

func targets(objects ...kubeapi.Object) []Target {
	var all kube.Manifest
	for _, o := range objects {
		all.Items = append(all.Items, kube.Object{Object: o})
	}
	return Order([]string{"01-a"}, []kube.Manifest{all})
}

func words(changes []Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

func TestEntriesAreReadAsTheyAreWritten(t *testing.T) {
	for _, tt := range []struct {
		object kubeapi.Object
		entry  string
	}{
		{object("v1", "Namespace", "", "own", nil), "_own__Namespace"},
		{object("apps/v1", "DaemonSet", "kube-system", "kube-proxy", nil), "kube-system_kube-proxy_apps_DaemonSet"},
		{object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:a:b", nil), "_system__a__b_rbac.authorization.k8s.io_ClusterRole"},
	} {
		if got := Entry(tt.object); got != tt.entry {
			t.Errorf("Entry(%v) = %q; want %q", tt.object, got, tt.entry)
		}
		k := tt.object.Kind()
		want := reference{tt.object.Namespace(), tt.object.Name(), k.Group, k.Kind}
		if got, ok := parseEntry(tt.entry); !ok || got != want {
			t.Errorf("parseEntry(%q) = %+v, %t; want %+v", tt.entry, got, ok, want)
		}
	}
	for _, bad := range []string{"", "a", "a_b", "a_b_c", "___"} {
		if got, ok := parseEntry(bad); ok {
			t.Errorf("parseEntry(%q) = %+v; want none", bad, got)
		}
	}
}

// TestCompareChangesNothingAndApplyDoesWhatItSaid goes through one update of a cluster.
func TestCompareChangesNothingAndApplyDoesWhatItSaid(t *testing.T) {
	s := kubefake.New(t)
	s.Put(Owned(object("v1", "ConfigMap", "kube-system", "same", m{"data": m{"a": "1"}})))
	s.Put(Owned(object("v1", "ConfigMap", "kube-system", "other", m{"data": m{"a": "1"}})))
	s.Put(object("v1", "Secret", "kube-system", "token", m{"data": m{"key": "b2xk"}}))
	s.Put(object("v1", "ConfigMap", "kube-system", "gone", nil))
	s.Put(object("v1", "ConfigMap", "kube-system", "kept", m{"metadata": m{
		"namespace": "kube-system", "name": "kept", "annotations": m{"cli-utils.sigs.k8s.io/on-remove": "keep"}}}))
	s.Put(object("v1", "ConfigMap", "kube-system", "stranger", nil)) // in no inventory
	s.Put(Inventory([]string{"kube-system_same__ConfigMap", "kube-system_gone__ConfigMap", "kube-system_kept__ConfigMap", "_kube-system__Namespace", "_a_gone.example.com_Thing"}))
	want := targets(
		object("v1", "ConfigMap", "new", "c", nil),
		object("example.com/v1", "Widget", "new", "w", nil),
		object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.example.com", m{"spec": m{
			"group": "example.com", "scope": "Namespaced", "names": m{"plural": "widgets", "kind": "Widget"}, "versions": []any{m{"name": "v1"}}}}),
		object("v1", "Namespace", "", "new", nil),
		object("v1", "ConfigMap", "kube-system", "same", m{"data": m{"a": "1"}}),
		object("v1", "ConfigMap", "kube-system", "other", m{"data": m{"a": "2"}}),
		object("v1", "Secret", "kube-system", "token", m{"data": m{"key": "bmV3"}}),
	)
	c, o := s.Client(), Options{Prune: true, Policy: AdoptIfNoInventory}
	changes, err := Compare(t.Context(), c, want, o)
	if err != nil {
		t.Fatal(err)
	}
	expected := []string{
		"create Namespace new", "create CustomResourceDefinition widgets.example.com", "create ConfigMap new/c", "create Widget new/w",
		"keep ConfigMap kube-system/same", "update ConfigMap kube-system/other", "update Secret kube-system/token",
		"delete ConfigMap kube-system/gone",
	}
	if diff := cmp.Diff(expected, words(changes)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	for _, ch := range changes {
		for _, line := range []string{"managedFields", "resourceVersion", "b2xk", "bmV3"} {
			if strings.Contains(ch.Diff, line) {
				t.Errorf("the diff of %v has %q:\n%s", ch.Object, line, ch.Diff)
			}
		}
		if ch.Object.Name() == "other" && (!strings.Contains(ch.Diff, "-  a: \"1\"\n+  a: \"2\"\n")) {
			t.Errorf("the diff of other:\n%s", ch.Diff)
		}
	}
	if s.Get("/api/v1/namespaces/new") != nil || s.Get("/api/v1/namespaces/kube-system/configmaps/gone") == nil {
		t.Error("Compare has changed something")
	}
	if got := Summary(changes); got != "4 created, 2 updated, 1 deleted, 1 as they should be" {
		t.Errorf("Summary = %q", got)
	}

	var said []Change
	if err := Apply(t.Context(), c, want, changes, o, func(c Change) { said = append(said, c) }); err != nil {
		t.Fatal(err)
	}
	if len(said) != 7 {
		t.Errorf("said: %v", words(said))
	}
	if s.Get("/apis/example.com/v1/namespaces/new/widgets/w") == nil || s.Get("/api/v1/namespaces/kube-system/configmaps/gone") != nil {
		t.Error("Apply has not done what it was told")
	}
	again, err := Compare(t.Context(), c, want, o)
	if err != nil || Summary(again) != "7 as they should be" {
		t.Errorf("Compare after Apply = %v, %v", words(again), err)
	}
}

// TestWhatIsRefusedIsNamedAltogether holds that a person hears of all conflicts, and by whom.
func TestWhatIsRefusedIsNamedAltogether(t *testing.T) {
	s := kubefake.New(t)
	s.Put(object("v1", "ConfigMap", "kube-system", "a", m{"metadata": m{
		"namespace": "kube-system", "name": "a", "annotations": m{OwnerAnnotation: "another"}}}))
	s.Put(object("v1", "ConfigMap", "kube-system", "b", nil))
	s.Refuse(func(method, path string) *kubeapi.StatusError {
		if method == http.MethodPatch && strings.HasSuffix(path, "/b") {
			return &kubeapi.StatusError{Code: http.StatusConflict, Reason: "Conflict", Message: `conflict with "helm": .data.x`}
		}
		return nil
	})
	want := targets(object("v1", "ConfigMap", "kube-system", "a", nil), object("v1", "ConfigMap", "kube-system", "b", nil))
	_, err := Compare(t.Context(), s.Client(), want, Options{Policy: AdoptIfNoInventory})
	for _, text := range []string{`in "another"; the policy AdoptAll takes it over`, `conflict with "helm": .data.x; to take the fields over, force it`} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("Compare = %v; want %q", err, text)
		}
	}
	s.Refuse(nil)
	if _, err := Compare(t.Context(), s.Client(), want, Options{Policy: AdoptAll}); err != nil {
		t.Errorf("with %s: %v", AdoptAll, err)
	}
	if _, err := Compare(t.Context(), s.Client(), want[1:], Options{Policy: MustMatch}); !errors.Is(err, errOwner) {
		t.Errorf("with %s: %v", MustMatch, err)
	}
}

func TestRolled(t *testing.T) {
	status := func(v m) m {
		return m{"metadata": m{"name": "x", "generation": 2.0}, "spec": m{"replicas": 2.0}, "status": v}
	}
	for _, tt := range []struct {
		name, kind string
		status     m
		want       string
	}{
		{"not seen", "DaemonSet", m{"observedGeneration": 1.0}, "has not seen it yet"},
		{"old pods", "DaemonSet", m{"observedGeneration": 2.0, "desiredNumberScheduled": 3.0, "updatedNumberScheduled": 1.0, "numberAvailable": 3.0}, "of 3 pods 1 are new and 3 available"},
		{"done", "DaemonSet", m{"observedGeneration": 2.0, "desiredNumberScheduled": 3.0, "updatedNumberScheduled": 3.0, "numberAvailable": 3.0}, ""},
		{"starting", "Deployment", m{"observedGeneration": 2.0, "updatedReplicas": 2.0, "availableReplicas": 1.0}, "of 2 pods 2 are new and 1 available"},
		{"done", "Deployment", m{"observedGeneration": 2.0, "updatedReplicas": 2.0, "availableReplicas": 2.0}, ""},
	} {
		o := object("apps/v1", tt.kind, "", "x", status(tt.status))
		if err := Rolled(o); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: Rolled = %v; want %q", tt.kind, tt.name, err, tt.want)
		}
	}
}
