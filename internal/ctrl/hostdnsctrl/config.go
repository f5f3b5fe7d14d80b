package hostdnsctrl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/effective"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// ConfigController says how the resolver runs, and has the addresses be there at which pods ask it.
type ConfigController struct{ Kernel Kernel }

// Name implements [controller.Controller].
func (*ConfigController) Name() string { return "network.HostDNSConfigController" }

// Inputs implements [controller.Controller].
func (*ConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.DestroyReady[network.HostDNSConfig](), controller.DestroyReady[network.AddressSpec]().In(network.ConfigNamespace),
	}
}

// Outputs implements [controller.Controller].
func (*ConfigController) Outputs() []controller.Output {
	return []controller.Output{
		controller.Exclusive[network.HostDNSConfig](), controller.Shared[network.AddressSpec]().In(network.ConfigNamespace),
	}
}

// loopback is the name of the device that has the addresses for pods.
const loopback = "lo"

// Run implements [controller.Controller].
func (c *ConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		spec := network.HostDNSConfig{}
		if config != nil {
			spec = configOf(config.Set)
		}
		for _, a := range []netip.Addr{spec.ServiceHostDNSAddress, spec.ServiceHostDNSAddressV6} {
			if !a.IsValid() {
				continue
			}
			if err := c.address(ctx, rt, netip.PrefixFrom(a, a.BitLen())); err != nil {
				return err
			}
		}
		if err := state.Put(ctx, rt, network.HostDNSConfigID, spec); err != nil {
			return err
		}
		return rt.CleanupOutputs(ctx)
	})
}

// configOf is how the resolver runs. It is off unless the config says otherwise.
func configOf(set schema.Set) network.HostDNSConfig {
	var out network.HostDNSConfig
	doc, ok := schema.Find[*netdoc.ResolverConfig](set)
	if !ok || doc.HostDNS == nil || !doc.HostDNS.Enabled {
		return out
	}
	out.Enabled, out.ResolveMemberNames = true, doc.HostDNS.ResolveMemberNames
	out.ListenAddresses = []netip.AddrPort{netip.AddrPortFrom(nodeAddress, dnsPort)}
	if !doc.HostDNS.ForwardKubeDNSToHost {
		return out
	}
	// Pods ask in the families that they have.
	var has4, has6 bool
	if d, ok := schema.Find[*kubedoc.KubeNetworkConfig](set); ok {
		for _, p := range d.PodSubnets {
			has4, has6 = has4 || p.Addr().Is4(), has6 || p.Addr().Is6()
		}
	}
	if has4 || !has6 {
		out.ServiceHostDNSAddress = podAddress4
		out.ListenAddresses = append(out.ListenAddresses, netip.AddrPortFrom(podAddress4, dnsPort))
	}
	if has6 {
		out.ServiceHostDNSAddressV6 = podAddress6
		out.ListenAddresses = append(out.ListenAddresses, netip.AddrPortFrom(podAddress6, dnsPort))
	}
	return out
}

// address has the loopback device have an address.
func (c *ConfigController) address(ctx context.Context, rt controller.Runtime, p netip.Prefix) error {
	if c.Kernel == nil {
		family := network.FamilyInet4
		if p.Addr().Is6() {
			family = network.FamilyInet6
		}
		id := network.LayeredID(network.LayerMachineConfiguration, loopback+"/"+p.String())
		return state.Put(ctx, rt, id, network.AddressSpec{
			Address: p, LinkName: loopback, Family: family, Scope: network.ScopeHost, Flags: network.AddressPermanent,
			Layer: network.LayerMachineConfiguration,
		}, state.In(network.ConfigNamespace))
	}
	link, err := c.Kernel.LinkByName(loopback)
	if err != nil {
		return fmt.Errorf("address %s for the pods' DNS: %w", p, err)
	}
	if err := c.Kernel.AddAddress(rtnl.Address{Link: link.Index, Prefix: p, Scope: rtnl.ScopeHost}); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("address %s for the pods' DNS on %s: %w", p, loopback, err)
	}
	return nil
}

// PodResolvConfController writes the resolv.conf of pods that use the servers of their node, of which CoreDNS is one.
type PodResolvConfController struct{ Root string }

// Name implements [controller.Controller].
func (*PodResolvConfController) Name() string { return "network.PodResolvConfController" }

// Inputs implements [controller.Controller].
func (*PodResolvConfController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.HostDNSConfig]().Named(network.HostDNSConfigID),
		controller.Weak[network.ResolverStatus]().Named(network.ResolverStatusID),
	}
}

// Outputs implements [controller.Controller].
func (*PodResolvConfController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *PodResolvConfController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, _, err := state.Find[network.HostDNSConfig](ctx, rt, network.HostDNSConfigID)
		if err != nil {
			return err
		}
		servers, ok, err := state.Find[network.ResolverStatus](ctx, rt, network.ResolverStatusID)
		if err != nil || !ok {
			return err
		}
		name := filepath.Join(c.Root, PodResolvConf)
		text := podResolvConf(config, servers)
		if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, text) {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return atomicfile.WriteFile(name, text, 0o644, atomicfile.Options{Overwrite: true})
	})
}

// maxServers is how many servers a resolver library looks at (MAXNS of resolv.conf(5)).
const maxServers = 3

// podResolvConf returns the file. The node's resolver is in it at the addresses that pods reach; 127.0.0.53 would be the pod itself,
// and so are the servers of the node left out that are on its loopback.
func podResolvConf(c network.HostDNSConfig, r network.ResolverStatus) []byte {
	var servers []netip.Addr
	for _, a := range []netip.Addr{c.ServiceHostDNSAddress, c.ServiceHostDNSAddressV6} {
		if c.Enabled && a.IsValid() {
			servers = append(servers, a)
		}
	}
	if len(servers) == 0 {
		for _, n := range r.NameServers {
			if n.Protocol == network.DNSDo53 && !n.Addr.IsLoopback() && !slices.Contains(servers, n.Addr) {
				servers = append(servers, n.Addr)
			}
		}
	}
	var b bytes.Buffer
	for _, a := range servers[:min(len(servers), maxServers)] {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(r.SearchDomains) > 0 {
		fmt.Fprintf(&b, "\nsearch %s\n", strings.Join(r.SearchDomains, " "))
	}
	return b.Bytes()
}
