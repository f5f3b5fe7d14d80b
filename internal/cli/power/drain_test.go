package power

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/kubeapi"
	"talos.internal/internal/kubeapi/kubefake"
)

// front is a door to a server with a Node and a pod, and what it tells.
func front(t *testing.T) (*door, *kubefake.Server, *[]string) {
	s := kubefake.New(t)
	s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}})
	s.Put(kubeapi.Object{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "web", "namespace": "default"}, "spec": map[string]any{"nodeName": "w-1"},
	})
	var told []string
	return &door{
		connect: func(context.Context) (*kubeapi.Client, error) { return s.Client(), nil },
		node:    "w-1", limit: 10 * time.Second,
		tell: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) },
	}, s, &told
}

func shut(s *kubefake.Server) bool {
	return s.Get("/api/v1/nodes/w-1").Map("spec")["unschedulable"] == true
}

func TestANodeIsShutWhileItIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s, told := front(t)
		if err := d.shut(t.Context()); err != nil || !shut(s) || s.Get("/api/v1/namespaces/default/pods/web") != nil {
			t.Fatalf("shut = %v; want the Node closed, and the pod gone", err)
		}
		// The API is on the machine that was away.
		tries := 0
		connect := d.connect
		d.connect = func(ctx context.Context) (*kubeapi.Client, error) {
			if tries++; tries < 3 {
				return nil, errors.New("connection refused")
			}
			return connect(ctx)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the time to wait is over: nobody else would open it
		if err := d.open(ctx); err != nil || shut(s) {
			t.Errorf("open = %v; the Node is closed: %t", err, shut(s))
		}
		want := []string{
			"drains Node w-1", "waits for the end of pods: default/web", "is drained: 1 pods have gone",
			"Node w-1 is still closed: connection refused", "Node w-1 is still closed: connection refused", "takes pods again",
		}
		if diff := cmp.Diff(want, *told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestANodeThatCannotBeDrainedIsAsItWas(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprintf("cordoned before: %t", before), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, s, _ := front(t)
				s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w-1"}, "spec": map[string]any{"unschedulable": before}})
				s.Refuse(func(_, path string) *kubeapi.StatusError {
					if strings.HasSuffix(path, "/eviction") {
						return &kubeapi.StatusError{Code: 429}
					}
					return nil
				})
				err := d.shut(t.Context())
				if err == nil || !strings.Contains(err.Error(), "the 10s of --drain-timeout are over; left: default/web") {
					t.Errorf("shut = %v; want what is left", err)
				}
				if shut(s) != before {
					t.Errorf("the Node is closed: %t; want %t, as before", shut(s), before)
				}
			})
		})
	}
}

func TestAMachineWithoutANodeIsNotDrained(t *testing.T) {
	d, _, told := front(t)
	d.node = ""
	if err := errors.Join(d.shut(t.Context()), d.open(t.Context())); err != nil || len(*told) != 1 {
		t.Errorf("shut and open = %v, told %q", err, *told)
	}
}

func TestANodeThatStaysShutIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := front(t)
		if err := d.shut(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.connect = func(context.Context) (*kubeapi.Client, error) { return nil, errors.New("connection refused") }
		if err := d.open(t.Context()); err == nil || !strings.Contains(err.Error(), "kubectl uncordon w-1") {
			t.Errorf("open = %v; want what to do", err)
		}
	})
}
