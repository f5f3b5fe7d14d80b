package etcdop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Joined is what a new member is started with.
type Joined struct {
	ID uint64
	// InitialCluster is the value of --initial-cluster: all members, this one included.
	InitialCluster string
	// Removed are the members of the same name that were taken out first.
	Removed []uint64
}

// Probe returns nil if a member of a cluster answers at one of the endpoints.
func (o Operator) Probe(ctx context.Context, endpoints []string) error {
	return o.with(ctx, "look for a member of etcd", endpoints, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.MemberList(ctx)
		return err
	})
}

// Join adds a member to the cluster of which one answers at endpoints, as a learner: it gets the data and does not vote, so that the
// cluster is not in danger if it never comes. One that was added for the same peer URLs and has never started is taken. Another
// member with the same name or one of the same peer URLs is what is left of an earlier life of the node; it is taken out, which can be
// refused as with Remove.
func (o Operator) Join(ctx context.Context, endpoints []string, name string, peerURLs []string) (Joined, error) {
	var out Joined
	return out, o.with(ctx, "join etcd as "+name, endpoints, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.MemberList(ctx)
		if err != nil {
			return err
		}
		members := membersOf(r.Members)
		for _, m := range members {
			if m.Name == "" && m.Learner && slices.Equal(slices.Sorted(slices.Values(m.PeerURLs)), slices.Sorted(slices.Values(peerURLs))) {
				out.ID, out.InitialCluster = m.ID, initialCluster(members, m.ID, name)
				return nil
			}
		}
		for _, m := range members {
			if m.Name != name && !slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(peerURLs, u) }) {
				continue
			}
			if err := remove(ctx, c, m.ID); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("remove what is left of an earlier life of this node, %016x: %w", m.ID, err)
			}
			out.Removed = append(out.Removed, m.ID)
		}
		added, err := addLearner(ctx, c, peerURLs)
		if err != nil {
			return err
		}
		out.ID = added.Member.ID
		out.InitialCluster = initialCluster(membersOf(added.Members), out.ID, name)
		return nil
	})
}

// addLearner adds a member. Its ID follows from its URLs and the time in seconds, and one that was removed never comes back: within
// the second in which an earlier life of the member was removed etcd says that the member is not found.
func addLearner(ctx context.Context, c *clientv3.Client, peerURLs []string) (*clientv3.MemberAddResponse, error) {
	for try := 0; ; try++ {
		r, err := c.MemberAddAsLearner(ctx, peerURLs)
		if !errors.Is(err, rpctypes.ErrMemberNotFound) || try == 2 {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// initialCluster writes the members as --initial-cluster has them. A member that was added and has never run has no name, and is
// left out, but for the one that is to run now.
func initialCluster(members []Member, self uint64, name string) string {
	var parts []string
	for _, m := range members {
		n := m.Name
		if m.ID == self {
			n = name
		}
		if n == "" {
			continue
		}
		for _, u := range m.PeerURLs {
			parts = append(parts, n+"="+u)
		}
	}
	return strings.Join(parts, ",")
}

// ErrNotInSync is the error for a learner that has not got enough of the data yet.
var ErrNotInSync = errors.New("the learner is not in sync with the leader yet")

// Promote makes the learner on this node a member that votes. It asks the members at endpoints, which do so: a learner answers
// nothing but its status, and does not know them. That the node votes already is no error; that it has not caught up is
// ErrNotInSync.
func (o Operator) Promote(ctx context.Context, endpoints []string) error {
	const what = "make this node a voting member of etcd"
	s, err := o.Status(ctx)
	if err != nil || !s.Learner {
		return err
	}
	return o.with(ctx, what, endpoints, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.MemberPromote(ctx, s.MemberID)
		switch {
		case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
			return ErrNotInSync
		case errors.Is(err, rpctypes.ErrMemberNotLearner):
			return nil
		}
		return err
	})
}
