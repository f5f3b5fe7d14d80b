package netctrl

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"talos.internal/resource/network"
)

// Wish is one unmerged spec with its id, the layer included.
type Wish[S any] struct {
	ID   string
	Spec S
}

// name returns the id without its layer.
func (w Wish[S]) name() string {
	_, name, _ := strings.Cut(w.ID, "/")
	return name
}

// merge puts wishes for the same thing together: from the lowest layer to the highest, and within one by their ids, over
// changes below into what it is with the next wish. The result has the layer of the highest wish. key says which wishes are
// for the same thing and is the id of the result.
func merge[S any](all []Wish[S], layer func(*S) network.ConfigLayer, key func(Wish[S]) string, over func(below *S, w S)) map[string]S {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b Wish[S]) int {
		return cmp.Or(cmp.Compare(layer(&a.Spec), layer(&b.Spec)), cmp.Compare(a.ID, b.ID))
	})
	out := map[string]S{}
	for _, w := range sorted {
		id := key(w)
		below, ok := out[id]
		if ok {
			over(&below, w.Spec)
		} else {
			below = w.Spec
		}
		out[id] = below
	}
	return out
}

// whole is the rule for what has no parts: the higher wish is all that counts.
func whole[S any](below *S, w S) { *below = w }

// MergeAddresses merges by link and address: the highest wish counts, whole.
func MergeAddresses(all []Wish[network.AddressSpec]) map[string]network.AddressSpec {
	return merge(all, func(s *network.AddressSpec) network.ConfigLayer { return s.Layer },
		func(w Wish[network.AddressSpec]) string { return w.Spec.ID() }, whole)
}

// MergeRoutes merges by table, family, gateway, destination and metric: the highest wish counts, whole.
func MergeRoutes(all []Wish[network.RouteSpec]) map[string]network.RouteSpec {
	return merge(all, func(s *network.RouteSpec) network.ConfigLayer { return s.Layer },
		func(w Wish[network.RouteSpec]) string { return w.Spec.ID() }, whole)
}

// MergeRoutingRules merges by family and priority: the highest wish counts, whole.
func MergeRoutingRules(all []Wish[network.RoutingRuleSpec]) map[string]network.RoutingRuleSpec {
	return merge(all, func(s *network.RoutingRuleSpec) network.ConfigLayer { return s.Layer },
		func(w Wish[network.RoutingRuleSpec]) string { return w.Spec.ID() }, whole)
}

// MergeOperators merges by operator and link: the highest wish counts, whole. A shared address is an operator of its own.
func MergeOperators(all []Wish[network.OperatorSpec]) map[string]network.OperatorSpec {
	return merge(all, func(s *network.OperatorSpec) network.ConfigLayer { return s.Layer },
		func(w Wish[network.OperatorSpec]) string { return w.Spec.ID() }, whole)
}

// MergeProbes merges by name: the highest wish counts, whole.
func MergeProbes(all []Wish[network.ProbeSpec]) map[string]network.ProbeSpec {
	return merge(all, func(s *network.ProbeSpec) network.ConfigLayer { return s.Layer }, Wish[network.ProbeSpec].name, whole)
}

// MergeHostnames leaves the name of the highest wish that has one, with its domain.
func MergeHostnames(all []Wish[network.HostnameSpec]) map[string]network.HostnameSpec {
	all = slices.DeleteFunc(slices.Clone(all), func(w Wish[network.HostnameSpec]) bool { return w.Spec.Hostname == "" })
	return merge(all, func(s *network.HostnameSpec) network.ConfigLayer { return s.Layer },
		func(Wish[network.HostnameSpec]) string { return network.HostnameSpecID }, whole)
}

// MergeResolvers takes servers and search domains each from the highest layer that has some; search domains also from a
// layer that overrides them with none. Within a layer, as from two links with DHCP, they are put together.
func MergeResolvers(all []Wish[network.ResolverSpec]) map[string]network.ResolverSpec {
	servers, domains := network.ConfigLayer(-1), network.ConfigLayer(-1)
	all = slices.Clone(all)
	for i := range all {
		s := &all[i].Spec
		if len(s.NameServers) == 0 { // from one who knows only addresses
			for _, a := range s.DNSServers {
				s.NameServers = append(s.NameServers, network.NameServer{Addr: a})
			}
		}
		if len(s.NameServers) > 0 {
			servers = max(servers, s.Layer)
		}
		if len(s.SearchDomains) > 0 || s.SearchDomainsOverridden {
			domains = max(domains, s.Layer)
		}
	}
	for i := range all {
		s := &all[i].Spec
		if s.Layer != servers {
			s.NameServers = nil
		}
		if s.Layer != domains {
			s.SearchDomains, s.SearchDomainsOverridden = nil, false
		}
		s.DNSServers = nil
	}
	out := merge(all, func(s *network.ResolverSpec) network.ConfigLayer { return s.Layer },
		func(Wish[network.ResolverSpec]) string { return network.ResolverSpecID },
		func(below *network.ResolverSpec, w network.ResolverSpec) {
			below.NameServers = union(below.NameServers, w.NameServers)
			below.SearchDomains = union(below.SearchDomains, w.SearchDomains)
			below.SearchDomainsOverridden = below.SearchDomainsOverridden || w.SearchDomainsOverridden
			below.Layer = w.Layer
		})
	for id, s := range out {
		for _, n := range s.NameServers {
			s.DNSServers = append(s.DNSServers, n.Addr)
		}
		out[id] = s
	}
	return out
}

// MergeTimeServers takes the servers of the highest layer that has some, all of that layer together, and its word on NTS.
func MergeTimeServers(all []Wish[network.TimeServerSpec]) map[string]network.TimeServerSpec {
	top := network.ConfigLayer(-1)
	for _, w := range all {
		if len(w.Spec.Servers) > 0 {
			top = max(top, w.Spec.Layer)
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(w Wish[network.TimeServerSpec]) bool { return w.Spec.Layer != top })
	return merge(all, func(s *network.TimeServerSpec) network.ConfigLayer { return s.Layer },
		func(Wish[network.TimeServerSpec]) string { return network.TimeServerSpecID },
		func(below *network.TimeServerSpec, w network.TimeServerSpec) {
			below.Servers = union(below.Servers, w.Servers)
			below.UseNTS = below.UseNTS || w.UseNTS
		})
}

// union returns a with what only b has, without repetitions, in that order.
func union[E comparable](a, b []E) []E {
	var out []E
	for _, list := range [][]E{a, b} {
		for _, e := range list {
			if !slices.Contains(out, e) {
				out = append(out, e)
			}
		}
	}
	return out
}

// MergeLinks merges by name, attribute by attribute: each is that of the highest wish that says something about it. Whether
// the link is up is what the highest wish of all says. Peers of WireGuard are merged by their public key.
func MergeLinks(all []Wish[network.LinkSpec]) map[string]network.LinkSpec {
	return merge(all, func(s *network.LinkSpec) network.ConfigLayer { return s.Layer },
		func(w Wish[network.LinkSpec]) string { return w.Spec.Name }, overLink)
}

func overLink(below *network.LinkSpec, w network.LinkSpec) {
	logical, wireguard := below.Logical || w.Logical, overWireguard(below.Wireguard, w.Wireguard)
	above(below, w)
	below.Up, below.Layer, below.Logical, below.Wireguard = w.Up, w.Layer, logical, wireguard
}

// above replaces each field of below that is not zero in w. A new attribute of a link is merged by being declared.
func above[S any](below *S, w S) {
	to, from := reflect.ValueOf(below).Elem(), reflect.ValueOf(w)
	for i := range from.NumField() {
		if f := from.Field(i); !f.IsZero() && (f.Kind() != reflect.Slice || f.Len() > 0) {
			to.Field(i).Set(f)
		}
	}
}

func overWireguard(below, w *network.WireguardSpec) *network.WireguardSpec {
	if below == nil || w == nil {
		return cmp.Or(w, below)
	}
	out := *below
	above(&out, *w)
	peers := slices.Clone(below.Peers)
	for _, p := range w.Peers {
		peers = slices.DeleteFunc(peers, func(q network.WireguardPeer) bool { return q.PublicKey == p.PublicKey })
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b network.WireguardPeer) int { return cmp.Compare(a.PublicKey, b.PublicKey) })
	out.Peers = peers
	return &out
}

// probeID names a probe that has no name by what it asks.
func probeID(s network.ProbeSpec) string {
	switch {
	case s.TCP != nil:
		return "tcp:" + s.TCP.Endpoint
	case s.HTTP != nil:
		return "http:" + s.HTTP.URL.String()
	}
	return "empty"
}
