package discoveryctrl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"talos.internal/internal/discovery"
	"talos.internal/internal/etcdop"
	"talos.internal/resource/cluster"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// Why a machine is not removed. Nothing has changed then.
var (
	ErrNoMember = errors.New("no member of the cluster is called so")
	ErrAlive    = errors.New("the machine is not known to be gone")
	ErrItself   = errors.New("a machine does not remove itself: ask another one of the control plane, or reset this one")
)

// Times of a removal.
const (
	// DefaultDrain is how long the pods of a machine may take to go somewhere else, unless a request says otherwise.
	DefaultDrain = time.Minute
	stepTimeout  = 30 * time.Second
)

// Etcd is what a removal needs of etcd. [etcdop.Operator] implements it.
type Etcd interface {
	Members(ctx context.Context, local bool) ([]etcdop.Member, error)
	// Remove is refused, and changes nothing, if the members that are left would have no quorum.
	Remove(ctx context.Context, id uint64) error
}

// Nodes is what a removal needs of Kubernetes.
type Nodes interface {
	// Drain keeps new pods from a Node and evicts those that it has, until ctx ends. It returns nil if there is no such Node. With
	// gone, nobody on the machine can confirm the end of its pods, and they are removed without that.
	Drain(ctx context.Context, name string, gone bool) error
	// Delete deletes a Node. It returns nil if there is none.
	Delete(ctx context.Context, name string) error
}

// Forgetter takes a machine, by its node id, out of discovery. [*Door] implements it.
type Forgetter interface {
	Forget(ctx context.Context, nodeID string) error
}

// Remover takes machines out of the cluster. It works on a control-plane machine.
type Remover struct {
	State     state.State
	Discovery Forgetter
	Etcd      Etcd
	// Nodes is nil where there is no Kubernetes.
	Nodes Nodes
	// Settle is how long a removal waits until the machine's Member has gone, too, so that who asks next does not see it any more;
	// zero is not at all.
	Settle time.Duration
}

// Removal says what is to be removed.
type Removal struct {
	// Member is the id of the Member, a host name, a node id or an address.
	Member string
	// Force removes a machine though it is not known to be gone, and passes over steps that fail.
	Force bool
	// Drain is how long its pods may take to go somewhere else; zero means DefaultDrain, less that they are not asked to.
	Drain time.Duration
}

// Step is what was done.
type Step struct {
	Name    string // "etcd", "kubernetes" or "membership"
	Message string // how it ended, for a person
	Failed  bool   // it did not work, and was passed over since the removal is forced
}

// Remove takes a machine out of etcd, of Kubernetes and of the members, in this order, and tells say of each step.
//
// Etcd comes first because it is the one that may have to refuse: then nothing has changed. The members come last, so that a removal
// that broke off can be asked for again by the same name. It returns ErrNoMember, ErrAlive, ErrItself, or why a step failed; with
// Force a step that fails is told and passed over.
func (r Remover) Remove(ctx context.Context, what Removal, say func(Step) error) error {
	name, m, err := r.find(ctx, what.Member)
	if err != nil {
		return fmt.Errorf("remove %s: %w", what.Member, err)
	}
	if m.State != cluster.MemberGone && !what.Force {
		return fmt.Errorf("remove %s: %w (%s); 'talosctl reset' makes it leave by itself, --force removes it all the same", name, ErrAlive, seen(m.State))
	}
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) (string, error)
	}{
		{"etcd", func(ctx context.Context) (string, error) { return r.leaveEtcd(ctx, name, m) }},
		{"kubernetes", func(ctx context.Context) (string, error) {
			return r.leaveKubernetes(ctx, name, m.State == cluster.MemberGone, what.Drain)
		}},
		{"membership", func(ctx context.Context) (string, error) { return r.leaveDiscovery(ctx, name, m.NodeID) }},
	} {
		message, err := step.do(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("remove %s: %s: %w", name, step.name, ctx.Err())
		}
		out := Step{Name: step.name, Message: message}
		if err != nil {
			if !what.Force {
				return fmt.Errorf("remove %s: %s: %w", name, step.name, err)
			}
			out.Message, out.Failed = err.Error(), true
		}
		if err := say(out); err != nil {
			return err
		}
	}
	return nil
}

func seen(s cluster.MemberState) string {
	switch s {
	case cluster.MemberAlive:
		return "it is alive"
	case cluster.MemberSuspect:
		return "it has been silent for a moment only, or nobody could tell; try again in ten seconds"
	case cluster.MemberGone:
		return "it is gone"
	}
	return "nothing tells whether it runs"
}

// find returns the member that is called what, and its id.
func (r Remover) find(ctx context.Context, what string) (string, cluster.Member, error) {
	list, err := state.List[cluster.Member](ctx, r.State)
	if err != nil {
		return "", cluster.Member{}, err
	}
	identity, err := state.Get[cluster.Identity](ctx, r.State, cluster.IdentityID)
	if err != nil {
		return "", cluster.Member{}, err
	}
	addr, _ := netip.ParseAddr(what)
	for _, r := range list {
		id, m := r.Metadata().ID(), r.Spec()
		if what != id && what != m.Hostname && what != m.NodeID && !slices.Contains(m.Addresses, addr.Unmap()) {
			continue
		}
		if m.NodeID == identity.Spec().NodeID {
			return "", cluster.Member{}, ErrItself
		}
		return id, m, nil
	}
	return "", cluster.Member{}, fmt.Errorf("%w; 'talosctl get members' lists them", ErrNoMember)
}

func (r Remover) leaveEtcd(ctx context.Context, name string, m cluster.Member) (string, error) {
	if m.MachineType == machineconfig.TypeWorker {
		return "it is a worker", nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	members, err := r.Etcd.Members(ctx, false)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(members, func(e etcdop.Member) bool { return same(e, name, m) })
	if i < 0 {
		return "it is no member", nil
	}
	err = r.Etcd.Remove(ctx, members[i].ID)
	if errors.Is(err, etcdop.ErrNotFound) {
		return "it is no member any more", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("member %016x was removed", members[i].ID), nil
}

// same reports whether a member of etcd is that of the machine: by an address for its peers, or, if it has announced none yet, by name.
func same(e etcdop.Member, name string, m cluster.Member) bool {
	for _, p := range e.PeerURLs {
		u, err := url.Parse(p)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && slices.Contains(m.Addresses, a) {
			return true
		}
	}
	host, _, _ := strings.Cut(m.Hostname, ".")
	return len(e.PeerURLs) == 0 && e.Name != "" && (e.Name == name || e.Name == m.Hostname || e.Name == host)
}

func (r Remover) leaveKubernetes(ctx context.Context, node string, gone bool, limit time.Duration) (string, error) {
	if r.Nodes == nil {
		return "there is no Kubernetes here", nil
	}
	drained := "without a drain"
	if limit == 0 {
		limit = DefaultDrain
	}
	if limit > 0 {
		drained = "drained"
		dctx, cancel := context.WithTimeout(ctx, limit)
		err := r.Nodes.Drain(dctx, node, gone)
		cancel()
		if err != nil {
			// The end of pods that are left follows from that of the Node.
			drained = fmt.Sprintf("not drained within %v: %v", limit, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := r.Nodes.Delete(ctx, node); err != nil {
		return "", err
	}
	return "the Node was deleted, " + drained, nil
}

func (r Remover) leaveDiscovery(ctx context.Context, name, nodeID string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	err := r.Discovery.Forget(ctx, nodeID)
	if errors.Is(err, discovery.ErrUnknownNode) {
		return "discovery does not know it any more", nil
	}
	if err != nil {
		return "", err
	}
	if r.Settle > 0 {
		settling, done := context.WithTimeout(ctx, r.Settle)
		defer done()
		if _, err := state.WaitFor(settling, r.State, state.RefOf[cluster.Member](name), state.ToBeGone()); err != nil {
			return "it was forgotten; this node's list of members still has it", nil //nolint:nilerr // the list follows; nothing is left to do
		}
	}
	return "it was forgotten", nil
}
