package discoveryctrl

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
)

func pod(name, node string, meta map[string]any) kubeapi.Object {
	m := map[string]any{"name": name, "namespace": "default"}
	for k, v := range meta {
		m[k] = v
	}
	return kubeapi.Object{"apiVersion": "v1", "kind": "Pod", "metadata": m, "spec": map[string]any{"nodeName": node}}
}

func TestDrainAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kubefake.New(t)
		s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}})
		s.Put(pod("web", "w-1", nil))
		s.Put(pod("other", "w-2", nil))
		s.Put(pod("proxy", "w-1", map[string]any{"ownerReferences": []any{map[string]any{"kind": "DaemonSet", "controller": true}}}))
		s.Put(pod("static", "w-1", map[string]any{"annotations": map[string]any{"kubernetes.io/config.mirror": "x"}}))
		k := KubeNodes{Connect: func(context.Context) (*kubeapi.Client, error) { return s.Client(), nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := k.Drain(ctx, "w-1", false); err != nil {
			t.Fatal(err)
		}
		if s.Get("/api/v1/nodes/w-1").Map("spec")["unschedulable"] != true {
			t.Error("the Node takes new pods")
		}
		for name, want := range map[string]bool{"web": false, "other": true, "proxy": true, "static": true} {
			if got := s.Get("/api/v1/namespaces/default/pods/"+name) != nil; got != want {
				t.Errorf("pod %s is there: %t; want %t", name, got, want)
			}
		}
		for range 2 { // the second time there is nothing to do
			if err := k.Delete(ctx, "w-1"); err != nil {
				t.Fatal(err)
			}
			if s.Get("/api/v1/nodes/w-1") != nil {
				t.Error("the Node is there")
			}
		}
		if err := k.Drain(ctx, "w-1", false); err != nil {
			t.Errorf("drain a Node that is not there: %v", err)
		}
	})
}

func TestPodsOfADeadMachineAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kubefake.New(t)
		s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}})
		s.Put(pod("web", "w-1", nil))
		s.Linger(func(o kubeapi.Object) bool { return o.Name() == "web" })
		k := KubeNodes{Connect: func(context.Context) (*kubeapi.Client, error) { return s.Client(), nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		if err := k.Drain(ctx, "w-1", true); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); s.Get("/api/v1/namespaces/default/pods/web") != nil || d > 2*pollEvery {
			t.Errorf("after %v the pod is there: %t; want it removed at once", d, s.Get("/api/v1/namespaces/default/pods/web") != nil)
		}
	})
}

func TestADrainEndsWithItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kubefake.New(t)
		s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}})
		s.Put(pod("web", "w-1", nil))
		s.Refuse(func(method, path string) *kubeapi.StatusError {
			if method == "DELETE" { // as if it was done: nobody confirms that the pod has ended
				return &kubeapi.StatusError{Code: 404, Reason: "NotFound"}
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		err := KubeNodes{Connect: func(context.Context) (*kubeapi.Client, error) { return s.Client(), nil }}.Drain(ctx, "w-1", false)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 10*time.Second {
			t.Errorf("Drain = %v after %v; want its deadline after 10 s", err, time.Since(begun))
		}
	})
}
