package kubectrl

import (
	"context"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// final is a controller that makes what a component is started with from what the config says of it. When that cannot be, because
// the config has arguments that it must not have, what was there stays, and the controller says why.
type final[S resource.Spec] struct {
	name, id string
	more     []controller.Input
	// finish returns false if it has to wait for something.
	finish func(ctx context.Context, rt controller.Runtime, raw S) (S, bool, error)
}

// Name implements [controller.Controller].
func (f final[S]) Name() string { return f.name }

// Inputs implements [controller.Controller].
func (f final[S]) Inputs() []controller.Input {
	return append([]controller.Input{
		controller.Weak[S]().In(kube.ConfigNamespace).Named(f.id),
		controller.DestroyReady[S]().In(kube.ControlPlaneNamespace),
	}, f.more...)
}

// Outputs implements [controller.Controller].
func (f final[S]) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[S]().In(kube.ControlPlaneNamespace)}
}

// Run implements [controller.Controller].
func (f final[S]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		raw, ok, err := state.Find[S](ctx, rt, f.id, state.In(kube.ConfigNamespace))
		if err != nil {
			return err
		}
		if !ok {
			return remove(ctx, rt)
		}
		out, ok, err := f.finish(ctx, rt, raw)
		if err != nil || !ok {
			return err
		}
		return state.Put(ctx, rt, f.id, out)
	})
}

func apiServerFinal(d Deps) controller.Controller {
	return final[kube.APIServerConfig]{
		name: "k8s.ControlPlaneAPIServerFinalController", id: kube.APIServerConfigID,
		// The issuers of tokens are kept with the key that signs them.
		more: []controller.Input{controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID)},
		finish: func(ctx context.Context, rt controller.Runtime, c kube.APIServerConfig) (kube.APIServerConfig, bool, error) {
			root, ok, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
			if err != nil || !ok {
				return c, false, err
			}
			c.Args, err = apiServerArgs(c, root, d)
			return c, true, err
		},
	}
}

func controllerManagerFinal(d Deps) controller.Controller {
	return final[kube.ControllerManagerConfig]{
		name: "k8s.ControlPlaneControllerManagerFinalController", id: kube.ControllerManagerConfigID,
		finish: func(_ context.Context, _ controller.Runtime, c kube.ControllerManagerConfig) (_ kube.ControllerManagerConfig, _ bool, err error) {
			c.Args, err = controllerManagerArgs(c, d)
			return c, true, err
		},
	}
}

func schedulerFinal(d Deps) controller.Controller {
	return final[kube.SchedulerConfig]{
		name: "k8s.ControlPlaneSchedulerFinalController", id: kube.SchedulerConfigID,
		finish: func(_ context.Context, _ controller.Runtime, c kube.SchedulerConfig) (_ kube.SchedulerConfig, _ bool, err error) {
			c.Config = schedulerConfig(c.Config, d)
			c.Args, err = schedulerArgs(c, d)
			return c, true, err
		},
	}
}
