package clusterctrl

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"talos.internal/controller"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/kubespan"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// kubeSpanPort is where KubeSpan listens (contract.md, section 6.7).
const kubeSpanPort = 51820

// LocalAffiliateController says what this machine is, for itself and for others to be told. Without discovery it says nothing.
type LocalAffiliateController struct {
	// OperatingSystem is the name and version of the system.
	OperatingSystem string
}

// Name implements [controller.Controller].
func (LocalAffiliateController) Name() string { return "cluster.LocalAffiliateController" }

// Inputs implements [controller.Controller].
func (LocalAffiliateController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[cluster.DiscoveryConfig]().Named(cluster.DiscoveryConfigID),
		controller.Weak[cluster.Identity]().Named(cluster.IdentityID),
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID),
		controller.Weak[network.NodeAddress](),
		controller.Weak[kube.Nodename]().Named(kube.NodenameID),
		controller.Weak[kube.APIServerConfig]().Named(kube.APIServerConfigID),
		controller.Weak[kubespan.Config]().Named(kubespan.ConfigID),
		controller.Weak[kubespan.Identity]().Named(kubespan.IdentityID),
	}
}

// Outputs implements [controller.Controller].
func (LocalAffiliateController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[cluster.Affiliate]()}
}

// Run implements [controller.Controller].
func (c LocalAffiliateController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		f, err := gather(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if out, ok := localAffiliate(f, c.OperatingSystem); ok {
			if err := state.Put(ctx, rt, out.NodeID, out); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// local is what the affiliate of this machine follows from; what is not there is nil.
type local struct {
	config     *cluster.DiscoveryConfig
	identity   *cluster.Identity
	machine    *machineconfig.Type
	hostname   *network.HostnameStatus
	addresses  *network.NodeAddress // that others reach, without those of pods and services
	kubernetes *network.NodeAddress // those of pods and services
	nodename   *kube.Nodename
	apiServer  *kube.APIServerConfig
	mesh       *kubespan.Config
	meshSelf   *kubespan.Identity
}

func gather(ctx context.Context, rt controller.Runtime) (f local, err error) {
	if f.config, err = state.Lookup[cluster.DiscoveryConfig](ctx, rt, cluster.DiscoveryConfigID); err != nil {
		return f, err
	}
	if f.identity, err = state.Lookup[cluster.Identity](ctx, rt, cluster.IdentityID); err != nil {
		return f, err
	}
	if f.machine, err = state.Lookup[machineconfig.Type](ctx, rt, machineconfig.TypeID); err != nil {
		return f, err
	}
	if f.hostname, err = state.Lookup[network.HostnameStatus](ctx, rt, network.HostnameStatusID); err != nil {
		return f, err
	}
	if f.addresses, err = state.Lookup[network.NodeAddress](ctx, rt, network.Filtered(network.NodeAddressRouted, network.FilterNoK8s)); err != nil {
		return f, err
	}
	if f.addresses == nil { // nothing of Kubernetes to leave out
		if f.addresses, err = state.Lookup[network.NodeAddress](ctx, rt, network.NodeAddressRouted); err != nil {
			return f, err
		}
	}
	if f.kubernetes, err = state.Lookup[network.NodeAddress](ctx, rt, network.Filtered(network.NodeAddressCurrent, network.FilterOnlyK8s)); err != nil {
		return f, err
	}
	if f.nodename, err = state.Lookup[kube.Nodename](ctx, rt, kube.NodenameID); err != nil {
		return f, err
	}
	if f.apiServer, err = state.Lookup[kube.APIServerConfig](ctx, rt, kube.APIServerConfigID); err != nil {
		return f, err
	}
	if f.mesh, err = state.Lookup[kubespan.Config](ctx, rt, kubespan.ConfigID); err != nil {
		return f, err
	}
	f.meshSelf, err = state.Lookup[kubespan.Identity](ctx, rt, kubespan.IdentityID)
	return f, err
}

// localAffiliate returns what the machine says about itself, and false as long as it does not take part in discovery, or has not yet
// what others need of it: an identity, a type, a name and an address.
func localAffiliate(f local, system string) (cluster.Affiliate, bool) {
	if f.config == nil || !f.config.DiscoveryEnabled || f.identity == nil || f.machine == nil || f.hostname == nil || f.addresses == nil {
		return cluster.Affiliate{}, false
	}
	out := cluster.Affiliate{
		NodeID: f.identity.NodeID, Hostname: fqdn(*f.hostname), OperatingSystem: system, MachineType: f.machine.Type,
	}
	var mesh netip.Addr
	if f.meshSelf != nil {
		mesh = f.meshSelf.Address.Addr()
	}
	for _, p := range f.addresses.Addresses {
		if p.Addr() != mesh { // which is of use to the machines in the mesh alone, and those learn it below
			out.Addresses = append(out.Addresses, p.Addr())
		}
	}
	if f.nodename != nil && !f.nodename.SkipNodeRegistration {
		out.Nodename = f.nodename.Name
	}
	if f.apiServer != nil && f.machine.Type != machineconfig.TypeWorker {
		out.ControlPlane = &cluster.ControlPlane{APIServerPort: f.apiServer.LocalPort}
	}
	if f.mesh != nil && f.mesh.Enabled && f.meshSelf != nil {
		out.KubeSpan = meshAffiliate(*f.mesh, *f.meshSelf, out.Addresses, f.kubernetes)
	}
	return out, true
}

func fqdn(h network.HostnameStatus) string {
	if h.Domainname == "" {
		return h.Hostname
	}
	return h.Hostname + "." + h.Domainname
}

// meshAffiliate returns how others reach this machine through KubeSpan.
func meshAffiliate(c kubespan.Config, self kubespan.Identity, addresses []netip.Addr, kubernetes *network.NodeAddress) cluster.KubeSpanAffiliate {
	out := cluster.KubeSpanAffiliate{
		PublicKey: self.PublicKey, Address: self.Address.Addr(), ExcludeAdvertisedNetworks: c.ExcludeAdvertisedNetworks,
	}
	if c.AdvertiseKubernetesNetworks && kubernetes != nil {
		for _, p := range kubernetes.Addresses {
			if network := p.Masked(); !slices.Contains(out.AdditionalAddresses, network) {
				out.AdditionalAddresses = append(out.AdditionalAddresses, network)
			}
		}
	}
	for _, a := range addresses {
		if announced(a, c.EndpointFilters) {
			out.Endpoints = append(out.Endpoints, netip.AddrPortFrom(a, kubeSpanPort))
		}
	}
	for _, e := range c.ExtraEndpoints {
		if !slices.Contains(out.Endpoints, e) {
			out.Endpoints = append(out.Endpoints, e)
		}
	}
	return out
}

// announced reports whether filters let an address pass: it is in none of the prefixes with an exclamation mark, and in one of the
// others if there are any. What is no prefix, which the config does not allow, is passed over.
func announced(a netip.Addr, filters []string) bool {
	limited, included := false, false
	for _, f := range filters {
		text, excluded := strings.CutPrefix(f, "!")
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		switch {
		case excluded && p.Contains(a):
			return false
		case !excluded:
			limited = true
			included = included || p.Contains(a)
		}
	}
	return included || !limited
}
