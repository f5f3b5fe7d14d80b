package kubectrl

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/service"
)

func TestTheRestOfTheControlPlaneWaitsForTheAPIServer(t *testing.T) {
	for name, becomesReady := range map[string]bool{"until it is ready": true, "for a while": false} {
		t.Run(name, func(t *testing.T) {
			var ready atomic.Bool
			run(t, func(n *node) {
				n.configure(configText(n.T, schema.ControlPlane, ""))
				n.secrets()
				n.etcd(healthy)
				there := func(*resource.Typed[kube.StaticPod]) bool { return true }
				rest := []string{controllerManagerName, schedulerName}
				controllertest.WantThat(n.Harness, apiServerName, "be there", there)
				n.Advance(apiServerLimit - time.Second)
				for _, pod := range rest {
					controllertest.WantNever[kube.StaticPod](n.Harness, pod)
				}
				ready.Store(becomesReady)
				if !becomesReady {
					n.Advance(2 * time.Second)
				}
				for _, pod := range rest {
					controllertest.WantThat(n.Harness, pod, "be there", there)
				}
				// They stay however the API server does, and come as slowly after etcd was taken away.
				ready.Store(false)
				n.configure(configText(n.T, schema.ControlPlane, "apiVersion: v1alpha1\nkind: KubeSchedulerConfig\nextraArgs: {v: \"4\"}\n"))
				n.Advance(time.Minute)
				for _, pod := range rest {
					controllertest.WantThat(n.Harness, pod, "be there", there)
				}
				n.Remove(resource.KindOf[service.Service]().Ref(etcdService))
				controllertest.WantGone[kube.StaticPod](n.Harness, schedulerName)
				n.etcd(healthy)
				controllertest.WantThat(n.Harness, apiServerName, "be there", there)
				n.Advance(5 * time.Second)
				controllertest.WantNever[kube.StaticPod](n.Harness, schedulerName)
			}, func(d *Deps) {
				d.Ready = func(context.Context, string) error {
					if ready.Load() {
						return nil
					}
					return errors.New("connection refused")
				}
			})
		})
	}
}
