package kubectrl

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/etcd"
	"talos.internal/resource/kube"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// imageTimeout is for one image, over a slow line.
const imageTimeout = 15 * time.Minute

// ImagesController has the images of the control plane, and before them etcd's, brought to the node as soon as containerd runs. etcd
// is started by the order to begin or to join, and kubelet asks for the others when it is told of the pods, which is after etcd is
// healthy; by then they are there. It does so once for each image: what kubelet misses
// later, it pulls itself.
type ImagesController struct{ deps Deps }

// Name implements [controller.Controller].
func (ImagesController) Name() string { return "k8s.ControlPlaneImagesController" }

// Inputs implements [controller.Controller].
func (ImagesController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[etcd.Spec]().Named(etcd.SpecID),
		controller.Weak[kube.APIServerConfig]().In(kube.ControlPlaneNamespace),
		controller.Weak[kube.ControllerManagerConfig]().In(kube.ControlPlaneNamespace),
		controller.Weak[kube.SchedulerConfig]().In(kube.ControlPlaneNamespace),
		controller.Weak[service.Service]().Named(containerdService),
	}
}

// Outputs implements [controller.Controller].
func (ImagesController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c ImagesController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	brought := map[string]bool{}
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		s, _, err := state.Find[service.Service](ctx, rt, containerdService)
		if err != nil || !s.Running || !s.Healthy {
			return err
		}
		images, err := controlPlaneImages(ctx, rt)
		if err != nil {
			return err
		}
		for _, ref := range images {
			if brought[ref] {
				continue
			}
			start := time.Now()
			limited, cancel := context.WithTimeoutCause(ctx, imageTimeout, fmt.Errorf("not there after %v", imageTimeout))
			err := c.deps.Image(limited, ref)
			cancel()
			if err != nil {
				return fmt.Errorf("bring the image of a control-plane component, before kubelet asks for it: %w", err)
			}
			brought[ref] = true
			log.Info("the image of a control-plane component is there", "image", ref, "took", time.Since(start).Round(time.Millisecond))
		}
		return nil
	})
}

// controlPlaneImages returns the images of the components that the node is to run, in the order of their start.
func controlPlaneImages(ctx context.Context, st state.Reader) ([]string, error) {
	var images []string
	add := func(image string, there bool, err error) error {
		if there && image != "" {
			images = append(images, image)
		}
		return err
	}
	store, there, err := state.Find[etcd.Spec](ctx, st, etcd.SpecID)
	if err := add(store.Image, there, err); err != nil {
		return nil, err
	}
	in := state.In(kube.ControlPlaneNamespace)
	api, there, err := state.Find[kube.APIServerConfig](ctx, st, kube.APIServerConfigID, in)
	if err := add(api.Image, there, err); err != nil {
		return nil, err
	}
	manager, there, err := state.Find[kube.ControllerManagerConfig](ctx, st, kube.ControllerManagerConfigID, in)
	if err := add(manager.Image, there && manager.Enabled, err); err != nil {
		return nil, err
	}
	scheduler, there, err := state.Find[kube.SchedulerConfig](ctx, st, kube.SchedulerConfigID, in)
	if err := add(scheduler.Image, there && scheduler.Enabled, err); err != nil {
		return nil, err
	}
	return images, nil
}
