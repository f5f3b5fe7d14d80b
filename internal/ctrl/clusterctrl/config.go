package clusterctrl

import (
	"cmp"
	"context"
	"encoding/base64"
	"log/slog"
	"net"

	"talos.internal/config/kubedoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/cluster"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// InfoController says which cluster the machine belongs to.
type InfoController struct{}

// Name implements [controller.Controller].
func (InfoController) Name() string { return "cluster.InfoController" }

// Inputs implements [controller.Controller].
func (InfoController) Inputs() []controller.Input { return configInput() }

// Outputs implements [controller.Controller].
func (InfoController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[cluster.Info]()}
}

func configInput() []controller.Input {
	return []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Active)}
}

// Run implements [controller.Controller].
func (InfoController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		cfg, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if cfg != nil && cfg.Root() != nil {
			if err := state.Put(ctx, rt, cluster.InfoID, info(cfg.Set)); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

func info(set schema.Set) cluster.Info {
	var out cluster.Info
	if d, ok := schema.Find[*sysdoc.DiscoveryIdentityConfig](set); ok {
		out.ClusterID = clusterID(d)
	}
	if d, ok := schema.Find[*kubedoc.KubeClusterConfig](set); ok {
		out.ClusterName = d.ClusterName
	}
	return out
}

func clusterID(d *sysdoc.DiscoveryIdentityConfig) string {
	return base64.StdEncoding.EncodeToString(d.ClusterID.Bytes())
}

// ConfigController says how the machines of the cluster find each other.
type ConfigController struct{}

// Name implements [controller.Controller].
func (ConfigController) Name() string { return "cluster.ConfigController" }

// Inputs implements [controller.Controller].
func (ConfigController) Inputs() []controller.Input { return configInput() }

// Outputs implements [controller.Controller].
func (ConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[cluster.DiscoveryConfig]()}
}

// Run implements [controller.Controller].
func (ConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		cfg, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if cfg != nil && cfg.Root() != nil {
			if err := state.Put(ctx, rt, cluster.DiscoveryConfigID, discoveryConfig(cfg)); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// discoveryConfig returns how discovery works with cfg. It is on if the cluster has an identity: then its control plane serves it, and
// the endpoints are further services outside of the cluster.
func discoveryConfig(cfg *effective.Config) cluster.DiscoveryConfig {
	identity, ok := schema.Find[*sysdoc.DiscoveryIdentityConfig](cfg.Set)
	if !ok || !discoveryWanted(cfg) {
		return cluster.DiscoveryConfig{}
	}
	out := cluster.DiscoveryConfig{
		DiscoveryEnabled: true, ServiceClusterID: clusterID(identity), ServiceEncryptionKey: identity.ClusterSecret.Bytes(),
	}
	for _, d := range schema.All[*sysdoc.DiscoveryServiceConfig](cfg.Set) {
		out.ServiceEndpoints = append(out.ServiceEndpoints, serviceEndpoint(d.Name, d.Endpoint))
	}
	if len(out.ServiceEndpoints) > 0 {
		first := out.ServiceEndpoints[0]
		out.RegistryServiceEnabled, out.ServiceEndpoint, out.ServiceEndpointInsecure = true, first.Endpoint, first.Insecure
	}
	return out
}

// discoveryWanted tells apart two configs whose effective documents are the same. An identity that is a document of its own is there for
// discovery. The old root document has one in any case, and says beside it whether discovery is on.
func discoveryWanted(cfg *effective.Config) bool {
	if _, ok := schema.Find[*sysdoc.DiscoveryIdentityConfig](cfg.Documents()); ok {
		return true
	}
	root := cfg.Root()
	return root != nil && root.Cluster != nil && root.Cluster.Discovery != nil && root.Cluster.Discovery.Enabled != nil &&
		*root.Cluster.Discovery.Enabled
}

// serviceEndpoint returns where a service is: https is with TLS, http and grpc are without.
func serviceEndpoint(name string, endpoint scalar.Endpoint) cluster.ServiceEndpoint {
	insecure := endpoint.Scheme != "https"
	port := "443"
	if insecure {
		port = "80"
	}
	return cluster.ServiceEndpoint{
		Name: name, Endpoint: net.JoinHostPort(endpoint.Hostname(), cmp.Or(endpoint.Port(), port)), Insecure: insecure,
	}
}
