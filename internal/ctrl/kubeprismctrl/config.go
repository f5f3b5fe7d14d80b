package kubeprismctrl

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

func configInput() controller.Input {
	return controller.Weak[machineconfig.Config]().Named(machineconfig.Active)
}

// EndpointsController finds the API servers of the cluster.
type EndpointsController struct{}

// Name implements [controller.Controller].
func (EndpointsController) Name() string { return "k8s.KubePrismEndpointsController" }

// Inputs implements [controller.Controller].
func (EndpointsController) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.Weak[cluster.Member](), controller.DestroyReady[kube.KubePrismEndpoints]()}
}

// Outputs implements [controller.Controller].
func (EndpointsController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubePrismEndpoints]()}
}

// Run implements [controller.Controller].
func (EndpointsController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		members, err := state.List[cluster.Member](ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c != nil {
			var specs []cluster.Member
			for _, r := range members {
				specs = append(specs, r.Spec())
			}
			if found := endpointsOf(c.Set, specs); len(found) > 0 {
				if err := state.Put(ctx, rt, kube.KubePrismEndpointsID, kube.KubePrismEndpoints{Endpoints: found}); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// endpointsOf returns the API servers that are known, each once: the endpoint of the cluster, this node's, those of the members.
// There are none without KubePrism.
func endpointsOf(set schema.Set, members []cluster.Member) []kube.KubePrismEndpoint {
	if _, ok := schema.Find[*kubedoc.KubePrismConfig](set); !ok {
		return nil
	}
	var out []kube.KubePrismEndpoint
	add := func(host string, port uint32) {
		if e := (kube.KubePrismEndpoint{Host: host, Port: port}); host != "" && port != 0 && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	if d, ok := schema.Find[*kubedoc.KubeClusterConfig](set); ok && d.Endpoint.URL.URL != nil {
		const https = 443
		port := uint64(https)
		if p := d.Endpoint.Port(); p != "" {
			port, _ = strconv.ParseUint(p, 10, 16) // the config was checked
		}
		add(d.Endpoint.Hostname(), uint32(port))
	}
	api, isServer := schema.Find[*kubedoc.KubeAPIServerConfig](set)
	if root, _, ok := rootdoc.Find(set); isServer && ok && root.Role() == schema.ControlPlane {
		add("localhost", uint32(api.APIPortOrDefault()))
	}
	for _, m := range members {
		if m.ControlPlane == nil || m.ControlPlane.APIServerPort < 1 || m.ControlPlane.APIServerPort > 65535 {
			continue
		}
		for _, a := range m.Addresses {
			if !a.IsLinkLocalUnicast() { // without its link it is no address
				add(a.String(), uint32(m.ControlPlane.APIServerPort))
			}
		}
	}
	return out
}

// ConfigController says how the balancer runs.
type ConfigController struct{}

// Name implements [controller.Controller].
func (ConfigController) Name() string { return "k8s.KubePrismConfigController" }

// Inputs implements [controller.Controller].
func (ConfigController) Inputs() []controller.Input {
	return []controller.Input{
		configInput(), controller.Weak[kube.KubePrismEndpoints]().Named(kube.KubePrismEndpointsID),
		controller.DestroyReady[kube.KubePrismConfig](),
	}
}

// Outputs implements [controller.Controller].
func (ConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubePrismConfig]()}
}

// host is where the balancer listens: nowhere but on the node itself.
var host = netip.MustParseAddr("127.0.0.1")

// Run implements [controller.Controller].
func (ConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		found, err := state.Lookup[kube.KubePrismEndpoints](ctx, rt, kube.KubePrismEndpointsID)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c != nil && found != nil {
			if d, ok := schema.Find[*kubedoc.KubePrismConfig](c.Set); ok {
				spec := kube.KubePrismConfig{Host: host.String(), Port: int64(d.Port), Endpoints: found.Endpoints}
				if err := state.Put(ctx, rt, kube.KubePrismConfigID, spec); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// BalancerController runs the balancer.
type BalancerController struct{ Deps Deps }

// Name implements [controller.Controller].
func (*BalancerController) Name() string { return "k8s.KubePrismController" }

// Inputs implements [controller.Controller].
func (*BalancerController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.KubePrismConfig]().Named(kube.KubePrismConfigID), controller.DestroyReady[kube.KubePrismStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*BalancerController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubePrismStatus]()}
}

// Run implements [controller.Controller]. The balancer ends with it.
func (c *BalancerController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var running *balancer
	var at string
	stop := func() {
		if running != nil {
			running.close()
			running = nil
		}
	}
	defer stop()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, err := state.Lookup[kube.KubePrismConfig](ctx, rt, kube.KubePrismConfigID)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if config == nil {
			stop()
			return rt.CleanupOutputs(ctx)
		}
		if addr := net.JoinHostPort(config.Host, strconv.FormatInt(config.Port, 10)); running == nil || at != addr {
			stop()
			l, err := c.Deps.Listen(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			running, at = newBalancer(l, c.Deps, log, rt.Wake), addr
		}
		var addresses []string
		for _, e := range config.Endpoints {
			addresses = append(addresses, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		}
		running.set(addresses)
		if err := state.Put(ctx, rt, kube.KubePrismStatusID, kube.KubePrismStatus{Host: at, Healthy: running.healthy()}); err != nil {
			return err
		}
		return rt.CleanupOutputs(ctx)
	})
}
