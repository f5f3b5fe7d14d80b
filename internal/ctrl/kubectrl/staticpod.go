package kubectrl

import (
	"context"
	"log/slog"

	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// apiServerGrace is how many seconds an API server has for its end. It takes no more connections from the first second on, and then
// waits for the end of watches, which do not end: with Kubernetes' 30 s a change of its config took the API away 20 s longer.
const apiServerGrace = 10

// etcdService is the name of etcd's service.
const etcdService = "etcd"

// ControlPlaneStaticPodController makes the pods of the control plane. The first come when the files are there and etcd is well:
// earlier they would only fail, and be started again later and later. The controller manager and the scheduler come when the API server
// of the node is ready, or has not become so in [apiServerLimit]: they can do nothing before, and their start takes from its. After that
// all stay as long as etcd is meant to run, however it does.
type ControlPlaneStaticPodController struct{ deps Deps }

// Name implements [controller.Controller].
func (ControlPlaneStaticPodController) Name() string { return "k8s.ControlPlaneStaticPodController" }

// Inputs implements [controller.Controller].
func (ControlPlaneStaticPodController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.APIServerConfig]().Named(kube.APIServerConfigID),
		controller.Weak[kube.ControllerManagerConfig]().Named(kube.ControllerManagerConfigID),
		controller.Weak[kube.SchedulerConfig]().Named(kube.SchedulerConfigID),
		controller.Weak[kube.SecretsStatus]().Named(kube.SecretsStatusID),
		controller.Weak[kube.ConfigStatus]().Named(kube.ConfigStatusID),
		controller.Weak[kube.AuthenticationConfig]().Named(kube.AuthenticationConfigID),
		controller.Weak[service.Service]().Named(etcdService),
		controller.Weak[secrets.Kubernetes]().Named(secrets.KubernetesID),
		controller.DestroyReady[kube.StaticPod](),
	}
}

// Outputs implements [controller.Controller].
func (ControlPlaneStaticPodController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[kube.StaticPod]()}
}

// Run implements [controller.Controller].
func (c ControlPlaneStaticPodController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	begun := false
	wait := &apiServerWait{ready: c.deps.Ready, wake: rt.Wake, log: log}
	defer wait.end()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		etcd, meant, err := state.Find[service.Service](ctx, rt, etcdService)
		if err != nil {
			return err
		}
		if !begun && meant && etcd.Running && etcd.Healthy {
			begun = true
			log.Info("the control plane starts: etcd is healthy")
		}
		if !meant {
			begun = false
			wait.end()
		}
		if !begun {
			if meant {
				// A controller that failed and began again must not take pods away that run.
				if _, there, err := state.Find[kube.StaticPod](ctx, rt, apiServerName); err != nil || !there {
					return err
				}
			} else {
				return remove(ctx, rt)
			}
		}
		return c.pods(ctx, rt, wait)
	})
}

func (c ControlPlaneStaticPodController) pods(ctx context.Context, rt controller.Runtime, wait *apiServerWait) error {
	files, ok1, err := state.Find[kube.SecretsStatus](ctx, rt, kube.SecretsStatusID)
	if err != nil {
		return err
	}
	configs, ok2, err := state.Find[kube.ConfigStatus](ctx, rt, kube.ConfigStatusID)
	if err != nil {
		return err
	}
	if !ok1 || !ok2 || !files.Ready || !configs.Ready {
		return remove(ctx, rt)
	}
	rt.TrackOutputs()
	if r, ok, err := get[kube.APIServerConfig](ctx, rt, kube.APIServerConfigID); err != nil {
		return err
	} else if ok {
		s := r.Spec()
		authn, _, err := state.Find[kube.AuthenticationConfig](ctx, rt, kube.AuthenticationConfigID)
		if err != nil {
			return err
		}
		if err := c.put(ctx, rt, component{
			name: apiServerName, image: s.Image, line: s.Args, env: s.EnvironmentVariables, volumes: s.ExtraVolumes, resources: s.Resources,
			versions: versionsOf(apiServerName, r.Metadata().Version().String(), files, configs, true),
			live:     "/livez", ready: "/readyz", port: int(s.LocalPort), noStartup: !s.StartupProbesEnabled, connectOnly: !mayAnyoneAsk(s, authn),
			withConfigs: true, withAudit: true, grace: apiServerGrace,
		}); err != nil {
			return err
		}
		ready, err := wait.over(ctx, rt)
		if err != nil {
			return err
		}
		if !ready {
			return rt.CleanupOutputs(ctx)
		}
	}
	if r, ok, err := get[kube.ControllerManagerConfig](ctx, rt, kube.ControllerManagerConfigID); err != nil {
		return err
	} else if s := specOf(r, ok); s.Enabled {
		if err := c.put(ctx, rt, component{
			name: controllerManagerName, image: s.Image, line: s.Args, env: s.EnvironmentVariables, volumes: s.ExtraVolumes, resources: s.Resources,
			versions: versionsOf(controllerManagerName, r.Metadata().Version().String(), files, configs, false),
			live:     "/healthz", ready: "/healthz", port: 10257,
		}); err != nil {
			return err
		}
	}
	if r, ok, err := get[kube.SchedulerConfig](ctx, rt, kube.SchedulerConfigID); err != nil {
		return err
	} else if s := specOf(r, ok); s.Enabled {
		if err := c.put(ctx, rt, component{
			name: schedulerName, image: s.Image, line: s.Args, env: s.EnvironmentVariables, volumes: s.ExtraVolumes, resources: s.Resources,
			versions: versionsOf(schedulerName, r.Metadata().Version().String(), files, configs, true),
			live:     "/livez", ready: "/readyz", port: 10259, withConfigs: true,
		}); err != nil {
			return err
		}
	}
	return rt.CleanupOutputs(ctx)
}

// specOf is the spec of a resource, or zero if it is not there.
func specOf[S any](r interface{ Spec() S }, ok bool) (s S) {
	if ok {
		s = r.Spec()
	}
	return s
}

func (c ControlPlaneStaticPodController) put(ctx context.Context, rt controller.Runtime, m component) error {
	return state.Put(ctx, rt, m.name, kube.StaticPod{Pod: m.pod(c.deps)})
}

// StaticPodConfigController has the static pods that the machine config brings, on any node.
type StaticPodConfigController struct{}

// Name implements [controller.Controller].
func (StaticPodConfigController) Name() string { return "k8s.StaticPodConfigController" }

// Inputs implements [controller.Controller].
func (StaticPodConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.DestroyReady[kube.StaticPod](),
	}
}

// Outputs implements [controller.Controller].
func (StaticPodConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[kube.StaticPod]()}
}

// Run implements [controller.Controller].
func (StaticPodConfigController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c != nil {
			for _, d := range schema.All[*kubedoc.KubeStaticPodConfig](c.Set) {
				if userOf(d.Name) != 0 {
					log.Error("a static pod of the config has the name of one of the control plane, and is left out; rename its document", "name", d.Name)
					continue
				}
				if _, err := state.Modify(ctx, rt, d.Name, setPod(d.Pod)); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}
