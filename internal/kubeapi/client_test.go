package kubeapi_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
)

var (
	configMap = kubeapi.KindOf("v1", "ConfigMap")
	node      = kubeapi.KindOf("v1", "Node")
)

func object(apiVersion, kind, namespace, name string, more map[string]any) kubeapi.Object {
	meta := map[string]any{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	o := kubeapi.Object{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
	for k, v := range more {
		o[k] = v
	}
	return o
}

func TestObjectsAreAppliedReadChangedAndDeleted(t *testing.T) {
	s := kubefake.New(t)
	c, ctx := s.Client(), t.Context()
	o := object("v1", "ConfigMap", "kube-system", "a", map[string]any{"data": map[string]any{"x": "1"}})
	if _, err := c.Get(ctx, configMap, "kube-system", "a"); !errors.Is(err, kubeapi.ErrNotFound) {
		t.Errorf("Get(nothing) = %v; want ErrNotFound", err)
	}
	if _, err := c.Apply(ctx, o, kubeapi.ApplyOptions{Manager: "test", DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if s.Get("/api/v1/namespaces/kube-system/configmaps/a") != nil {
		t.Error("a dry run made an object")
	}
	if _, err := c.Apply(ctx, o, kubeapi.ApplyOptions{Manager: "test"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.MergePatch(ctx, configMap, "kube-system", "a", "", map[string]any{"data": map[string]any{"y": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"x": "1", "y": "2"}, got.Map("data")); diff != "" {
		t.Errorf("data after a patch (-want +got):\n%s", diff)
	}
	stale := map[string]any{"metadata": map[string]any{"resourceVersion": "1"}}
	if _, err := c.MergePatch(ctx, configMap, "kube-system", "a", "", stale); !errors.Is(err, kubeapi.ErrConflict) {
		t.Errorf("MergePatch(an old version) = %v; want ErrConflict", err)
	}
	if list, _, err := c.List(ctx, configMap, "", kubeapi.ListOptions{}); err != nil || len(list) != 1 {
		t.Errorf("List in all namespaces = %v, %v; want one", list, err)
	}
	if err := c.Delete(ctx, configMap, "kube-system", "a"); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatTheServerSaid(t *testing.T) {
	s := kubefake.New(t)
	c := s.Client()
	_, err := c.Apply(t.Context(), object("v1", "ConfigMap", "missing", "a", nil), kubeapi.ApplyOptions{Manager: "test"})
	const want = `apply ConfigMap missing/a: 404 NotFound: namespaces "missing" not found`
	if err == nil || err.Error() != want {
		t.Errorf("Apply into no namespace = %v; want %s", err, want)
	}
	_, err = c.Get(t.Context(), kubeapi.KindOf("example.com/v1", "Widget"), "", "a")
	if !errors.Is(err, kubeapi.ErrNoKind) || !strings.Contains(err.Error(), "does not serve example.com/v1") {
		t.Errorf("Get(unknown group) = %v; want ErrNoKind", err)
	}
	s.Refuse(func(string, string) *kubeapi.StatusError {
		return &kubeapi.StatusError{Code: http.StatusForbidden, Reason: "Forbidden", Message: "no"}
	})
	if err := c.Ready(t.Context()); !errors.Is(err, kubeapi.ErrForbidden) {
		t.Errorf("Ready = %v; want ErrForbidden", err)
	}
}

func TestAKindThatComesLaterIsFound(t *testing.T) {
	s := kubefake.New(t)
	c, ctx := s.Client(), t.Context()
	crd := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.example.com", map[string]any{"spec": map[string]any{
		"group": "example.com", "scope": "Cluster", "names": map[string]any{"plural": "widgets", "kind": "Widget"},
		"versions": []any{map[string]any{"name": "v1"}},
	}})
	widget := object("example.com/v1", "Widget", "", "a", nil)
	if _, err := c.Apply(ctx, widget, kubeapi.ApplyOptions{Manager: "test"}); !errors.Is(err, kubeapi.ErrNoKind) {
		t.Errorf("Apply(no such kind) = %v; want ErrNoKind", err)
	}
	if _, err := c.Apply(ctx, crd, kubeapi.ApplyOptions{Manager: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, crd.Kind(), "", crd.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(ctx, widget, kubeapi.ApplyOptions{Manager: "test"}); err != nil {
		t.Error(err)
	}
}

func TestFollowTellsOfEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kubefake.New(t)
		c := s.Client()
		s.Put(object("v1", "Node", "", "a", nil))
		s.Put(object("v1", "Node", "", "other", nil))
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		done := make(chan error, 1)
		go func() {
			done <- c.Follow(ctx, node, "", kubeapi.ListOptions{Fields: "metadata.name=a"}, func(list []kubeapi.Object) error {
				text := ""
				for _, o := range list {
					text += fmt.Sprint(o.Name(), o.Labels())
				}
				seen = append(seen, text)
				return nil
			})
		}()
		synctest.Wait()
		labelled := object("v1", "Node", "", "a", nil)
		labelled.Map("metadata")["labels"] = map[string]any{"x": "y"}
		s.Put(labelled)
		synctest.Wait()
		s.Put(object("v1", "Node", "", "other", nil))
		s.Remove("/api/v1/nodes/a")
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Follow = %v; want nil at the end of its context", err)
		}
		if diff := cmp.Diff([]string{"amap[]", "amap[x:y]", ""}, seen); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
	})
}

func TestKubeconfigWithFiles(t *testing.T) {
	s := kubefake.New(t)
	root := t.TempDir()
	data := s.Kubeconfig
	for key, name := range map[string]string{
		"certificate-authority": "ca.pem", "client-certificate": "client.pem", "client-key": "client.key",
	} {
		before, after, _ := strings.Cut(data, key+"-data: ")
		text, rest, _ := strings.Cut(after, "\n")
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		data = before + key + ": /" + name + "\n" + rest
	}
	conf, err := kubeapi.ParseKubeconfig([]byte(data), root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubeapi.New(conf, kubeapi.Options{Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{
		"no YAML": "\t", "nothing": "", "no server": strings.Replace(data, "https://", "http://", 1),
		"no file": strings.Replace(data, "/client.pem", "/missing", 1),
	} {
		if _, err := kubeapi.ParseKubeconfig([]byte(text), root); err == nil || !strings.HasPrefix(err.Error(), "read kubeconfig: ") {
			t.Errorf("%s: ParseKubeconfig = %v; want an error that says so", name, err)
		}
	}
}
