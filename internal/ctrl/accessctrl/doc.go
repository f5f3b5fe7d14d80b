// Package accessctrl has the controllers by which pods get credentials for the machine API.
//
// A ServiceAccount of the group talos.dev asks for roles. If the config allows these roles, and its namespace, a control-plane machine
// writes a Secret of the same name with a talosconfig: its certificate lives for hours and is renewed in time. Otherwise the object's
// status says why not, and there is no such Secret. The service default/talos leads to the machines of the control plane.
//
// All control-plane machines do the same; who comes second finds that it is done. What decides is in plan.go and pure. The definition of the
// objects and the service are bootstrap manifests (package manifestctrl). Whoever composes a node imports this package, and nobody else.
package accessctrl

import (
	"context"
	"log/slog"
	"net"
	"time"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

const (
	// again is how long after a failure the API server is asked again, and pace how often certificates are looked at.
	again = 5 * time.Second
	pace  = time.Minute
	// passLimit bounds one look at all objects.
	passLimit = time.Minute
)

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Dial makes the connections to the API server; nil means the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	return []controller.Controller{ConfigController{}, &EndpointController{Deps: d}, &CRDController{Deps: d}}
}

// connect returns a client with a kubeconfig.
func (d Deps) connect(kubeconfig string) (*kubeapi.Client, error) {
	conf, err := kubeapi.ParseKubeconfig([]byte(kubeconfig), "")
	if err != nil {
		return nil, err
	}
	return kubeapi.New(conf, kubeapi.Options{Dial: d.Dial})
}

// ConfigController says which pods may call the machine API, by the config.
type ConfigController struct{}

// Name implements [controller.Controller].
func (ConfigController) Name() string { return "kubeaccess.ConfigController" }

// Inputs implements [controller.Controller].
func (ConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active), controller.DestroyReady[kube.AccessConfig](),
	}
}

// Outputs implements [controller.Controller].
func (ConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.AccessConfig]()}
}

// Run implements [controller.Controller].
func (ConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c != nil {
			root, _, ok := rootdoc.Find(c.Set)
			d, allowed := schema.Find[*kubedoc.KubeTalosAPIAccessConfig](c.Set)
			if ok && allowed && root.Role() == schema.ControlPlane {
				if err := state.Put(ctx, rt, kube.AccessConfigID, kube.AccessConfig{
					Enabled: true, AllowedAPIRoles: d.AllowedRoles, AllowedKubernetesNamespaces: d.AllowedKubernetesNamespaces,
				}); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// access returns the config and the kubeconfig of an administrator; ok is false unless access is allowed and both are there.
func access(ctx context.Context, rt controller.Runtime) (c kube.AccessConfig, kubeconfig string, ok bool, err error) {
	c, there, err := state.Find[kube.AccessConfig](ctx, rt, kube.AccessConfigID)
	if err != nil || !there || !c.Enabled {
		return c, "", false, err
	}
	keys, there, err := state.Find[secrets.Kubernetes](ctx, rt, secrets.KubernetesID)
	if err != nil || !there || keys.LocalhostAdminKubeconfig == "" {
		return c, "", false, err
	}
	return c, keys.LocalhostAdminKubeconfig, true, nil
}
