package kubectrl

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/resource/etcd"
	"talos.internal/resource/service"
)

func TestTheImagesOfTheControlPlaneAreThereBeforeThePods(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	refusal := errors.New("no such registry")
	take := func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := asked
		asked = nil
		return out
	}
	run(t, func(n *node) {
		n.configure(configText(n.T, schema.ControlPlane, ""))
		n.secrets()
		controllertest.Create(n.Harness, etcd.SpecID, etcd.Spec{Image: "registry.k8s.io/etcd:v3.7.3"})
		n.Advance(time.Minute)
		if got := take(); got != nil {
			n.T.Errorf("asked for %q before containerd runs", got)
		}
		controllertest.Create(n.Harness, containerdService, service.Service{Running: true})
		n.Advance(time.Minute)
		if got := take(); got != nil {
			n.T.Errorf("asked for %q before containerd is healthy", got)
		}
		controllertest.Modify(n.Harness, containerdService, func(s *service.Service) { *s = healthy })
		n.Advance(10 * time.Minute)
		if got := take(); len(got) < 2 || got[0] != got[1] {
			n.T.Errorf("asked for %q, which is refused; want the first again and again", got)
		}
		mu.Lock()
		refusal = nil
		mu.Unlock()
		n.Advance(10 * time.Minute)
		want := []string{"registry.k8s.io/etcd:v3.7.3", "registry.k8s.io/kube-apiserver:v1.37.2", "registry.k8s.io/kube-controller-manager:v1.37.2", "registry.k8s.io/kube-scheduler:v1.37.2"}
		if diff := cmp.Diff(want, take()); diff != "" {
			n.T.Errorf("asked for (-want +got):\n%s", diff)
		}
		controllertest.Modify(n.Harness, containerdService, func(s *service.Service) { s.Healthy = false })
		n.Settle()
		controllertest.Modify(n.Harness, containerdService, func(s *service.Service) { *s = healthy })
		n.Advance(10 * time.Minute)
		if got := take(); got != nil {
			n.T.Errorf("asked for %q again", got)
		}
	}, func(d *Deps) {
		d.Image = func(_ context.Context, ref string) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, ref)
			return refusal
		}
	})
}
