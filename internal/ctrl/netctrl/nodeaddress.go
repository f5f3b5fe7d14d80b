package netctrl

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/kube"
	"talos.internal/resource/network"
	"talos.internal/state"
)

func sortAlgorithm() controller.Controller {
	return effective.Pass("network.NodeAddressSortAlgorithmController", []controller.Output{controller.Exclusive[network.NodeAddressSortAlgorithm]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			out := network.NodeAddressSortAlgorithm{Algorithm: network.SortV1}
			if c != nil {
				if root, _, ok := rootdoc.Find(c.Set); ok && root.Machine != nil && root.Machine.Features != nil && root.Machine.Features.NodeAddressSortAlgorithm == network.SortV2.String() {
					out.Algorithm = network.SortV2
				}
			}
			return controller.Put(ctx, rt, network.NodeAddressSortAlgorithmID, out)
		})
}

func addressFilter() controller.Controller {
	return effective.Pass("k8s.AddressFilterController", []controller.Output{controller.Exclusive[network.NodeAddressFilter]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			doc, ok := schema.Find[*kubedoc.KubeNetworkConfig](c.Set)
			if !ok {
				return nil
			}
			var subnets []netip.Prefix
			for _, p := range slices.Concat(doc.PodSubnets, doc.ServiceSubnets) {
				subnets = append(subnets, p.Masked())
			}
			// A CNI may be told to take pods' addresses from elsewhere: then only the Node object says so.
			name, ok, err := state.Find[kube.Nodename](ctx, rt, kube.NodenameID)
			if err != nil {
				return err
			}
			if ok {
				node, _, err := state.Find[kube.NodeStatus](ctx, rt, name.Name)
				if err != nil {
					return err
				}
				for _, p := range node.PodCIDRs {
					if !slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Bits() <= p.Bits() && s.Contains(p.Addr()) }) {
						subnets = append(subnets, p.Masked())
					}
				}
			}
			if err := controller.Put(ctx, rt, network.FilterNoK8s, network.NodeAddressFilter{ExcludeSubnets: subnets}); err != nil {
				return err
			}
			return controller.Put(ctx, rt, network.FilterOnlyK8s, network.NodeAddressFilter{IncludeSubnets: subnets})
		},
		controller.Weak[kube.NodeStatus](), controller.Weak[kube.Nodename]())
}

func nodeAddress() controller.Controller {
	return controller.Pass{
		ControllerName: "network.NodeAddressController",
		From: []controller.Input{
			controller.Weak[network.AddressStatus](), controller.Weak[network.LinkStatus](), controller.Weak[network.NodeAddressFilter](),
			controller.Weak[network.NodeAddressSortAlgorithm](),
		},
		To: []controller.Output{controller.Exclusive[network.NodeAddress]()},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			facts := addressFacts{links: map[string]network.LinkStatus{}, filters: map[string]network.NodeAddressFilter{}}
			algorithm, _, err := state.Find[network.NodeAddressSortAlgorithm](ctx, rt, network.NodeAddressSortAlgorithmID)
			if err != nil {
				return err
			}
			facts.algorithm = algorithm.Algorithm
			addresses, err := controller.Running[network.AddressStatus](ctx, rt)
			if err != nil {
				return err
			}
			for _, r := range addresses {
				facts.addresses = append(facts.addresses, r.Spec())
			}
			links, err := controller.Running[network.LinkStatus](ctx, rt)
			if err != nil {
				return err
			}
			for _, r := range links {
				facts.links[r.Metadata().ID()] = r.Spec()
			}
			filters, err := controller.Running[network.NodeAddressFilter](ctx, rt)
			if err != nil {
				return err
			}
			for _, r := range filters {
				facts.filters[r.Metadata().ID()] = r.Spec()
			}
			for id, p := range map[string]*[]netip.Prefix{network.NodeAddressDefault: &facts.lastDefault, network.NodeAddressAccumulative: &facts.everHad} {
				last, _, err := state.Find[network.NodeAddress](ctx, rt, id)
				if err != nil {
					return err
				}
				*p = last.Addresses
			}
			for id, list := range nodeAddresses(facts) {
				if err := controller.Put(ctx, rt, id, network.NodeAddress{Addresses: list, SortAlgorithm: facts.algorithm}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// addressFacts are what the sets of the node's addresses are made of.
type addressFacts struct {
	addresses   []network.AddressStatus
	links       map[string]network.LinkStatus // by name
	filters     map[string]network.NodeAddressFilter
	algorithm   network.AddressSortAlgorithm
	lastDefault []netip.Prefix // what the set was until now; none at first
	everHad     []netip.Prefix // what the accumulative set was until now
}

// Links whose addresses are for one purpose.
const (
	kubeSpanLink   = "kubespan"   // between members: not what a machine is known by
	sideroLinkLink = "siderolink" // to the management plane: no address of the node at all
)

// nodeAddresses returns the sets by their ids. There is no default set without an address.
//
// An address counts if others can be reached from it: it is global, not about to be found a duplicate, not a temporary one
// of privacy, and its link is up. The routed set has those by which others can reach the node, too: not the ones that the
// platform translates (the node does not have them), and not a single address within the network of another address of the
// same link, which is shared with other machines. Of IPv6 such an address is the machine's own if the algorithm is v2,
// since DHCPv6 gives addresses like that.
func nodeAddresses(f addressFacts) map[string][]netip.Prefix {
	var current, candidates, routed []netip.Prefix
	usable := slices.DeleteFunc(slices.Clone(f.addresses), func(a network.AddressStatus) bool { return !f.usable(a) })
	for _, a := range usable {
		current = append(current, a.Address)
		if a.Flags&network.AddressDeprecated == 0 && a.LinkName != kubeSpanLink && a.LinkName != externalLink {
			candidates = append(candidates, a.Address)
		}
		if a.LinkName != externalLink && !f.shared(a, usable) {
			routed = append(routed, a.Address)
		}
	}
	order := comparePrefixes(f.algorithm)
	sorted := func(lists ...[]netip.Prefix) []netip.Prefix {
		out := slices.SortedFunc(slices.Values(slices.Concat(lists...)), order)
		return slices.Compact(out)
	}
	out := map[string][]netip.Prefix{
		network.NodeAddressCurrent:      sorted(current),
		network.NodeAddressAccumulative: sorted(current, f.everHad),
		network.NodeAddressRouted:       sorted(routed),
	}
	for filter, spec := range f.filters {
		for _, set := range []string{network.NodeAddressCurrent, network.NodeAddressAccumulative, network.NodeAddressRouted} {
			out[network.Filtered(set, filter)] = slices.DeleteFunc(slices.Clone(out[set]), func(p netip.Prefix) bool { return !passes(spec, p.Addr()) })
		}
	}
	if own := f.defaultAddress(current, sorted(candidates)); own.IsValid() {
		out[network.NodeAddressDefault] = []netip.Prefix{own}
	}
	return out
}

func (f addressFacts) usable(a network.AddressStatus) bool {
	addr := a.Address.Addr()
	const unfit = network.AddressDADFailed | network.AddressTemporary
	switch {
	case !addr.IsGlobalUnicast(), a.Scope >= network.ScopeLink, a.Flags&unfit != 0, a.LinkName == sideroLinkLink:
		return false
	case a.Flags&network.AddressTentative != 0 && a.Flags&network.AddressOptimistic == 0:
		return false
	case a.LinkName == externalLink:
		return true
	}
	link, ok := f.links[a.LinkName]
	return ok && (link.OperationalState == network.OperUp || link.OperationalState == network.OperUnknown && link.Flags&network.LinkUp != 0)
}

// shared reports whether a is a single address in the network of another address of its link.
func (f addressFacts) shared(a network.AddressStatus, all []network.AddressStatus) bool {
	if !a.Address.IsSingleIP() || a.Address.Addr().Is6() && f.algorithm == network.SortV2 {
		return false
	}
	return slices.ContainsFunc(all, func(b network.AddressStatus) bool {
		return b.LinkName == a.LinkName && !b.Address.IsSingleIP() && b.Address.Contains(a.Address.Addr())
	})
}

// defaultAddress returns the address that the node is known by: the same as until now as long as the node has it, or else the
// first of the candidates that belongs to no pod and no service.
func (f addressFacts) defaultAddress(current, candidates []netip.Prefix) netip.Prefix {
	for _, last := range f.lastDefault {
		for _, p := range current {
			if p.Addr() == last.Addr() {
				return p
			}
		}
	}
	noK8s, filtered := f.filters[network.FilterNoK8s]
	for _, p := range candidates {
		if !filtered || passes(noK8s, p.Addr()) {
			return p
		}
	}
	return netip.Prefix{}
}

// passes reports whether a filter lets an address through.
func passes(f network.NodeAddressFilter, a netip.Addr) bool {
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return (len(f.IncludeSubnets) == 0 || slices.ContainsFunc(f.IncludeSubnets, in)) && !slices.ContainsFunc(f.ExcludeSubnets, in)
}

// comparePrefixes returns the order of an algorithm. Both have IPv4 before IPv6. v1 goes by address, and the shorter prefix is
// before the longer one of the same address. v2 goes by the length of the prefix, the longer before the shorter, and then by
// address.
func comparePrefixes(a network.AddressSortAlgorithm) func(a, b netip.Prefix) int {
	if a == network.SortV2 {
		return func(a, b netip.Prefix) int {
			return cmp.Or(cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()), cmp.Compare(b.Bits(), a.Bits()), a.Addr().Compare(b.Addr()))
		}
	}
	return func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	}
}
