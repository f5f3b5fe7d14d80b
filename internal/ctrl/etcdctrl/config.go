package etcdctrl

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"talos.internal/config/defaults"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/arguments"
	"talos.internal/resource/etcd"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// ConfigController takes what the machine config says about etcd.
type ConfigController struct{}

// Name implements [controller.Controller].
func (ConfigController) Name() string { return "etcd.ConfigController" }

// Inputs implements [controller.Controller].
func (ConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.DestroyReady[etcd.Config](),
	}
}

// Outputs implements [controller.Controller].
func (ConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[etcd.Config]()}
}

// Run implements [controller.Controller].
func (ConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		controlPlane, err := isControlPlane(ctx, rt)
		if err != nil {
			return err
		}
		if c == nil || !controlPlane {
			return remove[etcd.Config](ctx, rt)
		}
		root, _, ok := rootdoc.Find(c.Set)
		if !ok || root.Cluster == nil || root.Cluster.Etcd == nil {
			return state.Put(ctx, rt, etcd.ConfigID, configOf(&rootdoc.Etcd{}))
		}
		return state.Put(ctx, rt, etcd.ConfigID, configOf(root.Cluster.Etcd))
	})
}

// configOf is what a config says, with the defaults.
func configOf(e *rootdoc.Etcd) etcd.Config {
	c := etcd.Config{Image: string(e.Image), ExtraArgs: map[string]arguments.Values{}}
	if c.Image == "" {
		c.Image = defaults.ImagesOf(defaults.Kubernetes).Etcd
	}
	for name, v := range e.ExtraArgs {
		c.ExtraArgs[name] = arguments.Of(v...)
	}
	advertised := e.AdvertisedSubnets
	if e.Subnet != nil {
		advertised = append(slices.Clone(advertised), *e.Subnet)
	}
	c.AdvertiseValidSubnets, c.AdvertiseExcludeSubnets = split(advertised)
	c.ListenValidSubnets, c.ListenExcludeSubnets = split(e.ListenSubnets)
	if len(e.ListenSubnets) == 0 {
		c.ListenValidSubnets, c.ListenExcludeSubnets = split(advertised)
	}
	return c
}

// split tells the subnets that count from those that do not.
func split(subnets []scalar.Subnet) (valid, exclude []string) {
	for _, s := range subnets {
		if s.Not {
			exclude = append(exclude, s.Prefix.String())
		} else {
			valid = append(valid, s.Prefix.String())
		}
	}
	return valid, exclude
}

// SpecController makes etcd.Spec of the config, and of the name and the addresses that the node has.
type SpecController struct{}

// etcdAddresses are those that etcd may be reached by: not the addresses of pods and services.
var etcdAddresses = network.Filtered(network.NodeAddressRouted, network.FilterNoK8s)

// Name implements [controller.Controller].
func (SpecController) Name() string { return "etcd.SpecController" }

// Inputs implements [controller.Controller].
func (SpecController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[etcd.Config]().Named(etcd.ConfigID),
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID),
		controller.Weak[network.NodeAddress]().Named(etcdAddresses),
		controller.DestroyReady[etcd.Spec](),
	}
}

// Outputs implements [controller.Controller].
func (SpecController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[etcd.Spec]()}
}

// Run implements [controller.Controller].
func (SpecController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	complained := false
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, ok, err := state.Find[etcd.Config](ctx, rt, etcd.ConfigID)
		if err != nil {
			return err
		}
		if !ok {
			return remove[etcd.Spec](ctx, rt)
		}
		host, named, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
		if err != nil {
			return err
		}
		have, addressed, err := state.Find[network.NodeAddress](ctx, rt, etcdAddresses)
		if err != nil {
			return err
		}
		if !named || !addressed {
			return nil // what is there stays: a name that is away for a moment is no reason to stop etcd
		}
		spec, err := specOf(c, host.Hostname, have.Addresses)
		if err != nil {
			return err
		}
		if len(spec.AdvertisedAddresses) == 0 {
			if !complained {
				complained = true
				log.Warn("etcd has no address to be reached by", "addresses", have.Addresses,
					"subnets", c.AdvertiseValidSubnets, "excluded", c.AdvertiseExcludeSubnets)
			}
			return nil
		}
		complained = false
		return state.Put(ctx, rt, etcd.SpecID, spec)
	})
}

// specOf decides on the addresses. It advertises one address, the first, or with subnets all that are in them. It listens on all
// addresses, or with subnets on those that are in them, and for clients on the node also on loopback.
func specOf(c etcd.Config, hostname string, have []netip.Prefix) (etcd.Spec, error) {
	s := etcd.Spec{Name: hostname, Image: c.Image, ExtraArgs: maps.Clone(c.ExtraArgs)}
	advertise, err := filter(have, c.AdvertiseValidSubnets, c.AdvertiseExcludeSubnets)
	if err != nil {
		return etcd.Spec{}, err
	}
	if len(c.AdvertiseValidSubnets) == 0 && len(advertise) > 1 {
		advertise = advertise[:1]
	}
	s.AdvertisedAddresses = advertise
	if len(c.ListenValidSubnets)+len(c.ListenExcludeSubnets) == 0 {
		all := netip.IPv4Unspecified()
		if slices.ContainsFunc(have, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
			all = netip.IPv6Unspecified() // for both families
		}
		s.ListenPeerAddresses, s.ListenClientAddresses = []netip.Addr{all}, []netip.Addr{all}
		return s, nil
	}
	listen, err := filter(have, c.ListenValidSubnets, c.ListenExcludeSubnets)
	if err != nil {
		return etcd.Spec{}, err
	}
	s.ListenPeerAddresses = listen
	s.ListenClientAddresses = append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, listen...)
	return s, nil
}

// filter returns the addresses that are in one of the valid subnets, or in any if there are none, and in none of the excluded ones.
func filter(have []netip.Prefix, valid, exclude []string) ([]netip.Addr, error) {
	in := func(subnets []string, a netip.Addr) (bool, error) {
		for _, s := range subnets {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return false, err
			}
			if p.Contains(a) {
				return true, nil
			}
		}
		return false, nil
	}
	var out []netip.Addr
	for _, p := range have {
		a := p.Addr()
		if len(valid) > 0 {
			if ok, err := in(valid, a); err != nil || !ok {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		not, err := in(exclude, a)
		if err != nil {
			return nil, err
		}
		if !not && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}
