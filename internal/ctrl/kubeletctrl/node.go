package kubeletctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// NodenameController names the node after the host.
type NodenameController struct{}

// Name implements [controller.Controller].
func (NodenameController) Name() string { return "k8s.NodenameController" }

// Inputs implements [controller.Controller].
func (NodenameController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID),
		controller.DestroyReady[kube.Nodename](),
	}
}

// Outputs implements [controller.Controller].
func (NodenameController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.Nodename]()}
}

// Run implements [controller.Controller].
func (NodenameController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		if c == nil {
			return remove(ctx, rt)
		}
		host, err := state.Get[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
		if errors.Is(err, state.NotFound) {
			return nil // what is there stays: a name that is away for a moment is no reason to leave the cluster
		}
		if err != nil {
			return err
		}
		out := kube.Nodename{Name: nodename(host.Spec().Hostname), HostnameVersion: host.Metadata().Version().String()}
		if d, ok := schema.Find[*kubedoc.KubeNodeConfig](c.Set); ok {
			out.SkipNodeRegistration = d.SkipNodeRegistration
			if d.RegisterWithFQDN {
				out.Name = nodename(host.Spec().FQDN())
			}
		}
		if out.Name == "" {
			return nil
		}
		return state.Put(ctx, rt, kube.NodenameID, out)
	})
}

// NodeIPController chooses the addresses of the node. One that was chosen stays as long as the node has it and may use it.
type NodeIPController struct{}

// Name implements [controller.Controller].
func (NodeIPController) Name() string { return "k8s.NodeIPController" }

// Inputs implements [controller.Controller].
func (NodeIPController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.NodeIPConfig]().Named(kube.KubeletID),
		controller.Weak[network.NodeAddress]().Named(network.NodeAddressRouted),
		controller.DestroyReady[kube.NodeIP](),
	}
}

// Outputs implements [controller.Controller].
func (NodeIPController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.NodeIP]()}
}

// Run implements [controller.Controller].
func (NodeIPController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	complained := false
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, ok, err := state.Find[kube.NodeIPConfig](ctx, rt, kube.KubeletID)
		if err != nil {
			return err
		}
		if !ok {
			return remove(ctx, rt)
		}
		have, ok, err := state.Find[network.NodeAddress](ctx, rt, network.NodeAddressRouted)
		if err != nil || !ok {
			return err
		}
		chosen, _, err := state.Find[kube.NodeIP](ctx, rt, kube.KubeletID)
		if err != nil {
			return err
		}
		addresses, err := chooseNodeIPs(c, have.Addresses, chosen.Addresses)
		if err != nil {
			return err
		}
		if len(addresses) == 0 {
			if !complained {
				complained = true
				log.Warn("no address of the node may be its address in Kubernetes; kubelet waits for one", "addresses", have.Addresses,
					"subnets", c.ValidSubnets, "excluded", c.ExcludeSubnets)
			}
			return nil
		}
		complained = false
		return state.Put(ctx, rt, kube.KubeletID, kube.NodeIP{Addresses: addresses})
	})
}

// chooseNodeIPs returns at most one address of each family, the family of the first valid subnet first. Of those that may be, one
// that was chosen before comes before others.
func chooseNodeIPs(c kube.NodeIPConfig, have []netip.Prefix, before []netip.Addr) ([]netip.Addr, error) {
	valid, err := parsePrefixes(c.ValidSubnets)
	if err != nil {
		return nil, err
	}
	exclude, err := parsePrefixes(c.ExcludeSubnets)
	if err != nil {
		return nil, err
	}
	within := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	var may []netip.Addr
	for _, p := range have {
		a := p.Addr()
		if (len(valid) == 0 || within(valid, a)) && !within(exclude, a) && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			may = append(may, a)
		}
	}
	slices.SortStableFunc(may, func(a, b netip.Addr) int {
		rank := func(x netip.Addr) int {
			if slices.Contains(before, x) {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	first := true // IPv4
	if len(valid) > 0 {
		first = valid[0].Addr().Is4()
	}
	var out []netip.Addr
	for _, family := range []bool{first, !first} {
		if i := slices.IndexFunc(may, func(a netip.Addr) bool { return a.Is4() == family }); i >= 0 {
			out = append(out, may[i])
		}
	}
	return out, nil
}

func parsePrefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("subnet for the node's address: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}
