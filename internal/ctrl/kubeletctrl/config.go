package kubeletctrl

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/arguments"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// ConfigController takes what the machine config says about kubelet. Without a document there is no kubelet.
type ConfigController struct{}

// Name implements [controller.Controller].
func (ConfigController) Name() string { return "k8s.KubeletConfigController" }

// Inputs implements [controller.Controller].
func (ConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.Weak[kube.StaticPodServerStatus]().Named(kube.StaticPodServerStatusID),
		controller.DestroyReady[kube.KubeletConfig](),
	}
}

// Outputs implements [controller.Controller].
func (ConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubeletConfig]()}
}

// Run implements [controller.Controller].
func (ConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		var out *kube.KubeletConfig
		if c != nil {
			out = configOf(c.Set)
		}
		if out == nil {
			return remove(ctx, rt)
		}
		pods, ok, err := state.Find[kube.StaticPodServerStatus](ctx, rt, kube.StaticPodServerStatusID)
		if err != nil || !ok {
			return err // soon; and what is there stays
		}
		out.StaticPodListURL = pods.URL
		return state.Put(ctx, rt, kube.KubeletID, *out)
	})
}

// configOf returns nil if the documents have no kubelet.
func configOf(docs schema.Set) *kube.KubeletConfig {
	d, ok := schema.Find[*kubedoc.KubeletConfig](docs)
	if !ok {
		return nil
	}
	out := &kube.KubeletConfig{
		Image: string(d.Image), ExtraArgs: map[string]arguments.Values{}, Config: d.Config,
		DefaultRuntimeSeccompEnabled: d.DefaultRuntimeSeccompProfileEnabled,
		DisableManifestsDirectory:    true, // static pods come from the machine config alone
	}
	for name, v := range d.ExtraArgs {
		out.ExtraArgs[name] = arguments.Of(v...)
	}
	net, ok := schema.Find[*kubedoc.KubeNetworkConfig](docs)
	if !ok {
		net = &kubedoc.KubeNetworkConfig{}
	}
	out.ClusterDomain = net.DNSDomainOrDefault()
	for _, a := range d.ClusterDNS {
		out.ClusterDNS = append(out.ClusterDNS, a.String())
	}
	if len(d.ClusterDNS) == 0 {
		out.ClusterDNS = dnsServices(net.ServiceSubnets)
	}
	if node, ok := schema.Find[*kubedoc.KubeNodeConfig](docs); ok {
		out.SkipNodeRegistration, out.RegisterWithTaints = node.SkipNodeRegistration, node.Taints
	}
	if p, ok := schema.Find[*kubedoc.KubeCredentialProviderConfig](docs); ok {
		out.CredentialProviderConfig = p.Configuration
	}
	if root, _, ok := rootdoc.Find(docs); ok {
		addRoot(out, root)
	}
	return out
}

// addRoot takes what only the root document has.
func addRoot(out *kube.KubeletConfig, root *rootdoc.Config) {
	if c := root.Cluster; c != nil && c.ExternalCloudProvider != nil && c.ExternalCloudProvider.Enabled != nil {
		out.CloudProviderExternal = *c.ExternalCloudProvider.Enabled
	}
	m := root.Machine
	if m == nil {
		return
	}
	if m.Features != nil {
		out.EnableFSQuotaMonitoring = m.Features.DiskQuotaSupport
	}
	if m.Kubelet == nil {
		return
	}
	for _, e := range m.Kubelet.ExtraMounts {
		out.ExtraMounts = append(out.ExtraMounts, kube.Mount{
			Destination: e.Destination, Type: e.Type, Source: e.Source, Options: e.Options,
			UIDMappings: mappings(e.UIDMappings), GIDMappings: mappings(e.GIDMappings),
		})
	}
}

func mappings(list []rootdoc.IDMapping) []kube.IDMapping {
	var out []kube.IDMapping
	for _, m := range list {
		out = append(out, kube.IDMapping{ContainerID: m.ContainerID, HostID: m.HostID, Size: m.Size})
	}
	return out
}

// dnsServices returns the tenth address of each subnet, where the cluster's DNS is by convention.
func dnsServices(subnets []scalar.Prefix) []string {
	var out []string
	for _, s := range subnets {
		a := s.Masked().Addr()
		for range 10 {
			a = a.Next()
		}
		if s.Contains(a) {
			out = append(out, a.String())
		}
	}
	return out
}

// NodeIPConfigController says how the node's addresses are chosen: as the config says, never among those of pods and services,
// and of the families that services have.
type NodeIPConfigController struct{}

// Name implements [controller.Controller].
func (NodeIPConfigController) Name() string { return "k8s.NodeIPConfigController" }

// Inputs implements [controller.Controller].
func (NodeIPConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.DestroyReady[kube.NodeIPConfig](),
	}
}

// Outputs implements [controller.Controller].
func (NodeIPConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.NodeIPConfig]()}
}

// Run implements [controller.Controller].
func (NodeIPConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		if c == nil {
			return remove(ctx, rt)
		}
		if _, ok := schema.Find[*kubedoc.KubeletConfig](c.Set); !ok {
			return remove(ctx, rt)
		}
		return state.Put(ctx, rt, kube.KubeletID, nodeIPConfigOf(c.Set))
	})
}

func nodeIPConfigOf(docs schema.Set) kube.NodeIPConfig {
	var out kube.NodeIPConfig
	if d, ok := schema.Find[*kubedoc.KubeNodeConfig](docs); ok && d.NodeIP != nil {
		for _, s := range d.NodeIP.ValidSubnets {
			if s.Not {
				out.ExcludeSubnets = append(out.ExcludeSubnets, s.Prefix.String())
			} else {
				out.ValidSubnets = append(out.ValidSubnets, s.Prefix.String())
			}
		}
	}
	net, ok := schema.Find[*kubedoc.KubeNetworkConfig](docs)
	if !ok {
		return out
	}
	everything := len(out.ValidSubnets) == 0
	for _, p := range net.ServiceSubnets {
		out.ExcludeSubnets = append(out.ExcludeSubnets, p.Prefix.String())
		if everything {
			// In this order: the first family is the one that the API server advertises.
			out.ValidSubnets = append(out.ValidSubnets, netip.PrefixFrom(unspecified(p.Addr()), 0).String())
		}
	}
	for _, p := range net.PodSubnets {
		out.ExcludeSubnets = append(out.ExcludeSubnets, p.Prefix.String())
	}
	return out
}

// unspecified is the address of a's family that is all zeros.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// nodename is the name of the node in Kubernetes: lower-case, and without the dot that may end a domain.
func nodename(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
