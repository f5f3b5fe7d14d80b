package clusterctrl

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"talos.internal/controller"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// AffiliateMergeController makes one affiliate of all that is heard of a machine.
type AffiliateMergeController struct{}

// Name implements [controller.Controller].
func (AffiliateMergeController) Name() string { return "cluster.AffiliateMergeController" }

// Inputs implements [controller.Controller].
func (AffiliateMergeController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[cluster.Affiliate]().In(cluster.RawNamespace),
		controller.Weak[cluster.Identity]().Named(cluster.IdentityID),
	}
}

// Outputs implements [controller.Controller].
func (AffiliateMergeController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[cluster.Affiliate]()}
}

// Run implements [controller.Controller].
func (AffiliateMergeController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		identity, err := state.Lookup[cluster.Identity](ctx, rt, cluster.IdentityID)
		if err != nil || identity == nil {
			return err // it would not know itself among the others
		}
		list, err := state.List[cluster.Affiliate](ctx, rt, state.In(cluster.RawNamespace))
		if err != nil {
			return err
		}
		raw := make([]cluster.Affiliate, 0, len(list))
		for _, a := range list { // in the order of ids: what services say comes last, and so counts
			raw = append(raw, a.Spec())
		}
		rt.TrackOutputs()
		for _, a := range mergeAffiliates(raw, identity.NodeID) {
			if err := state.Put(ctx, rt, a.NodeID, a); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// mergeAffiliates returns one affiliate for each machine but self, in the order of their node ids. Of what several sources say the last
// counts, as far as it says anything; addresses and endpoints are those of all.
func mergeAffiliates(raw []cluster.Affiliate, self string) []cluster.Affiliate {
	byID := map[string]*cluster.Affiliate{}
	var out []cluster.Affiliate
	for _, a := range raw {
		if a.NodeID == "" || a.NodeID == self {
			continue
		}
		if m := byID[a.NodeID]; m != nil {
			mergeInto(m, a)
		} else {
			byID[a.NodeID] = &a
		}
	}
	for _, a := range byID {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b cluster.Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out
}

func mergeInto(m *cluster.Affiliate, a cluster.Affiliate) {
	m.Addresses = union(m.Addresses, a.Addresses)
	m.Hostname = cmp.Or(a.Hostname, m.Hostname)
	m.Nodename = cmp.Or(a.Nodename, m.Nodename)
	m.OperatingSystem = cmp.Or(a.OperatingSystem, m.OperatingSystem)
	m.MachineType = cmp.Or(a.MachineType, m.MachineType)
	m.State = cmp.Or(a.State, m.State)
	if a.ControlPlane != nil {
		m.ControlPlane = a.ControlPlane
	}
	if a.KubeSpan.PublicKey == "" {
		return
	}
	endpoints := m.KubeSpan.Endpoints
	m.KubeSpan = a.KubeSpan
	m.KubeSpan.Endpoints = union(endpoints, a.KubeSpan.Endpoints)
}

// union returns a and what only b has, in their order.
func union[T comparable](a, b []T) []T {
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// MemberController says which machines belong to the cluster.
type MemberController struct{}

// Name implements [controller.Controller].
func (MemberController) Name() string { return "cluster.MemberController" }

// Inputs implements [controller.Controller].
func (MemberController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[cluster.Affiliate](),
		controller.Weak[cluster.Identity]().Named(cluster.IdentityID),
	}
}

// Outputs implements [controller.Controller].
func (MemberController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[cluster.Member]()}
}

// Run implements [controller.Controller].
func (MemberController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	warned := map[string]bool{}
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		identity, err := state.Lookup[cluster.Identity](ctx, rt, cluster.IdentityID)
		if err != nil {
			return err
		}
		self := ""
		if identity != nil {
			self = identity.NodeID
		}
		list, err := state.List[cluster.Affiliate](ctx, rt)
		if err != nil {
			return err
		}
		var affiliates []cluster.Affiliate
		for _, a := range list {
			affiliates = append(affiliates, a.Spec())
		}
		members, twice := membersOf(affiliates, self)
		rt.TrackOutputs()
		for name, m := range members {
			if err := state.Put(ctx, rt, name, m); err != nil {
				return err
			}
		}
		for name, id := range twice {
			if !warned[id] {
				log.Warn("two machines of the cluster have one name, only the other one is shown as a member", "name", name, "id", id)
			}
			warned[id] = true
		}
		return rt.CleanupOutputs(ctx)
	})
}

// membersOf returns the members by name. A machine that says neither its name nor its type is none yet. Of two machines with one name
// this one is the member, otherwise one that is not gone (the other was made anew), otherwise the one with the lower id; the node
// id of the other is in twice.
func membersOf(affiliates []cluster.Affiliate, self string) (members map[string]cluster.Member, twice map[string]string) {
	members, twice = map[string]cluster.Member{}, map[string]string{}
	for _, a := range affiliates {
		name := cmp.Or(a.Nodename, a.Hostname)
		if name == "" || a.MachineType == machineconfig.TypeUnknown {
			continue
		}
		m := cluster.Member{
			NodeID: a.NodeID, Addresses: a.Addresses, Hostname: a.Hostname, MachineType: a.MachineType,
			OperatingSystem: a.OperatingSystem, ControlPlane: a.ControlPlane, State: a.State,
		}
		if a.NodeID == self {
			m.State = cluster.MemberAlive
		}
		if other, taken := members[name]; taken {
			if prior(other, m, self) {
				m, other = other, m
			}
			twice[name] = other.NodeID
		}
		members[name] = m
	}
	return members, twice
}

// prior reports whether a is the member rather than b, which has the same name.
func prior(a, b cluster.Member, self string) bool {
	gone := func(m cluster.Member) bool { return m.State == cluster.MemberGone }
	switch {
	case (a.NodeID == self) != (b.NodeID == self):
		return a.NodeID == self
	case gone(a) != gone(b):
		return gone(b)
	}
	return a.NodeID < b.NodeID
}

// EndpointController says where the control plane is, as far as the members tell. When none of it is a member any more, the last that
// was known stays: a machine that hears of nobody is better off with an address that was right.
type EndpointController struct{}

// Name implements [controller.Controller].
func (EndpointController) Name() string { return "cluster.EndpointController" }

// Inputs implements [controller.Controller].
func (EndpointController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[cluster.Member]()}
}

// Outputs implements [controller.Controller].
func (EndpointController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[kube.Endpoint]()}
}

// Run implements [controller.Controller].
func (EndpointController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		list, err := state.List[cluster.Member](ctx, rt)
		if err != nil {
			return err
		}
		var addresses []netip.Addr
		for _, m := range list {
			if s := m.Spec(); s.MachineType == machineconfig.TypeControlPlane || s.MachineType == machineconfig.TypeInit {
				addresses = union(addresses, s.Addresses)
			}
		}
		if len(addresses) == 0 {
			return nil
		}
		slices.SortFunc(addresses, netip.Addr.Compare)
		return state.Put(ctx, rt, kube.EndpointDiscovery, kube.Endpoint{Addresses: addresses})
	})
}
