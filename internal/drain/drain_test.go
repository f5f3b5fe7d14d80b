package drain

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
)

func pod(name, node string, more map[string]any) kubeapi.Object {
	o := kubeapi.Object{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "default"}, "spec": map[string]any{"nodeName": node},
	}
	for k, v := range more {
		if k == "status" {
			o[k] = v
			continue
		}
		o.Map("metadata")[k] = v
	}
	return o
}

// machine is a server with a Node and pods of every kind on it and beside it.
func machine(t *testing.T) *kubefake.Server {
	s := kubefake.New(t)
	s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}})
	s.Put(pod("web", "w-1", nil))
	s.Put(pod("other", "w-2", nil))
	s.Put(pod("done", "w-1", map[string]any{"status": map[string]any{"phase": "Succeeded"}}))
	s.Put(pod("proxy", "w-1", map[string]any{"ownerReferences": []any{map[string]any{"kind": "DaemonSet", "controller": true}}}))
	s.Put(pod("static", "w-1", map[string]any{"annotations": map[string]any{"kubernetes.io/config.mirror": "x"}}))
	return s
}

func has(s *kubefake.Server, name string) bool {
	return s.Get("/api/v1/namespaces/default/pods/"+name) != nil
}

func closed(s *kubefake.Server) bool {
	return s.Get("/api/v1/nodes/w-1").Map("spec")["unschedulable"] == true
}

func TestANodeIsDrainedAndOpened(t *testing.T) {
	for name, how := range map[string]How{"by eviction": Evict, "by deletion": Delete, "by removal": Remove} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := machine(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if r, err := Node(ctx, s.Client(), "w-1", how, nil); err != nil || r != (Result{Cordoned: true, Pods: 1}) {
					t.Fatalf("Node = %+v, %v; want it cordoned, and one pod gone", r, err)
				}
				for name, want := range map[string]bool{"web": false, "other": true, "done": true, "proxy": true, "static": true} {
					if got := has(s, name); got != want {
						t.Errorf("pod %s is there: %t; want %t", name, got, want)
					}
				}
				if r, err := Node(ctx, s.Client(), "w-1", how, nil); err != nil || r != (Result{}) || !closed(s) {
					t.Errorf("Node again = %+v, %v; want nothing done to a closed Node", r, err)
				}
				if err := Open(ctx, s.Client(), "w-1"); err != nil || closed(s) {
					t.Errorf("Open = %v; the Node is closed: %t", err, closed(s))
				}
			})
		})
	}
}

func TestANodeThatIsNotThereIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := machine(t)
		if r, err := Node(t.Context(), s.Client(), "w-9", Evict, nil); err != nil || !r.Missing {
			t.Errorf("Node = %+v, %v; want it missing", r, err)
		}
		if err := Open(t.Context(), s.Client(), "w-9"); err != nil {
			t.Errorf("Open = %v", err)
		}
	})
}

// budget forbids evictions for so many tries.
func budget(s *kubefake.Server, tries int) {
	s.Refuse(func(_, path string) *kubeapi.StatusError {
		if !strings.HasSuffix(path, "/eviction") || tries == 0 {
			return nil
		}
		tries--
		return &kubeapi.StatusError{Code: 429, Reason: "TooManyRequests", Message: "it would violate the pod's disruption budget"}
	})
}

func TestABudgetIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := machine(t)
		budget(s, 3)
		begun := time.Now()
		var said []string
		r, err := Node(t.Context(), s.Client(), "w-1", Evict, func(left string) { said = append(said, left) })
		if err != nil || r.Pods != 1 || has(s, "web") {
			t.Errorf("Node = %+v, %v; want the pod gone", r, err)
		}
		if d := time.Since(begun); d < 3*Every || d > 5*Every {
			t.Errorf("it took %v; want three tries in vain, one each %v", d, Every)
		}
		want := []string{"default/web (a budget for disruptions keeps it)", "default/web"}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("said (-want +got):\n%s", diff)
		}
	})
}

func TestADrainEndsWithItsDeadlineAndSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := machine(t)
		budget(s, -1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := Node(ctx, s.Client(), "w-1", Evict, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 10*time.Second {
			t.Errorf("Node = %v after %v; want its deadline after 10 s", err, time.Since(begun))
		}
		if err == nil || !strings.Contains(err.Error(), "left: default/web (a budget for disruptions keeps it)") {
			t.Errorf("Node = %v; want the pod that is left", err)
		}
	})
}

func TestPodsOfADeadMachineAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := machine(t)
		s.Linger(func(o kubeapi.Object) bool { return o.Name() == "web" })
		begun := time.Now()
		if _, err := Node(t.Context(), s.Client(), "w-1", Remove, nil); err != nil || has(s, "web") || time.Since(begun) > 2*Every {
			t.Errorf("Node = %v after %v; the pod is there: %t; want it removed at once", err, time.Since(begun), has(s, "web"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s.Put(pod("web", "w-1", nil))
		if r, err := Node(ctx, s.Client(), "w-1", Delete, nil); !errors.Is(err, context.DeadlineExceeded) || r.Pods != 1 {
			t.Errorf("Node = %+v, %v; want it to wait for a pod whose end nobody confirms", r, err)
		}
	})
}

func TestManyPodsAreNotAllNamed(t *testing.T) {
	if got, want := list([]string{"a", "b", "c", "d", "e", "f"}), "a, b, c, d, and 2 more"; got != want {
		t.Errorf("list = %q; want %q", got, want)
	}
}
