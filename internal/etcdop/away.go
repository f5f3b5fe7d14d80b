package etcdop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrClaimed says that another node has what was to be claimed.
var ErrClaimed = errors.New("another node has it")

// MayBeAway returns nil if etcd keeps its quorum while this node's member is away, as for a restart, or if it would have none in any case: with
// one or two members there is nothing that could be waited for. The error wraps ErrQuorum.
func (o Operator) MayBeAway(ctx context.Context) error {
	return o.with(ctx, "ask whether this member of etcd may be away", nil, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.MemberList(ctx)
		if err != nil {
			return err
		}
		self, err := c.Status(ctx, o.local())
		if err != nil {
			return err
		}
		members := membersOf(r.Members)
		return checkAway(members, reachable(ctx, c, members), self.Header.GetMemberId())
	})
}

// checkAway returns why member id may not be away for a while: the others have to be a quorum that answers. Learners do not count.
func checkAway(members []Member, answers map[uint64]bool, id uint64) error {
	voters, others := 0, 0
	var silent []string
	for _, m := range members {
		switch {
		case m.Learner && m.ID == id:
			return nil
		case m.Learner:
			continue
		}
		voters++
		switch {
		case m.ID == id:
		case answers[m.ID]:
			others++
		default:
			silent = append(silent, title(m))
		}
	}
	need := voters/2 + 1
	if voters <= 2 {
		need = voters - 1
	}
	if others >= need {
		return nil
	}
	return fmt.Errorf("%w while this member is away: of %d members %d others answer, and %d have to; silent: %s", ErrQuorum, voters, others, need, strings.Join(silent, ", "))
}

// Claim takes what key names for a holder, for at most ttl, also over a restart of the node. It does not wait: if another holder has it, the error wraps
// ErrClaimed and names it. Who has it already has it for ttl again.
func (o Operator) Claim(ctx context.Context, key, holder string, ttl time.Duration) error {
	return o.with(ctx, "claim "+key+" in etcd", nil, func(ctx context.Context, c *clientv3.Client) error {
		lease, err := c.Grant(ctx, int64(max(1, ttl/time.Second)))
		if err != nil {
			return err
		}
		put := clientv3.OpPut(key, holder, clientv3.WithLease(lease.ID))
		r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(put).Else(clientv3.OpGet(key)).Commit()
		if err == nil && r.Succeeded {
			return nil
		}
		has := ""
		if err == nil {
			if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
				has = string(kvs[0].Value)
			}
			if has == holder {
				r, err = c.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", holder)).Then(put).Commit()
				if err == nil && r.Succeeded {
					return nil
				}
			}
		}
		_, revoked := c.Revoke(ctx, lease.ID)
		if err != nil {
			return errors.Join(err, revoked)
		}
		return fmt.Errorf("%w: %s, for at most %s since it took it", ErrClaimed, has, ttl)
	})
}

// Release gives up what a holder has claimed. It is no error if it does not have it.
func (o Operator) Release(ctx context.Context, key, holder string) error {
	return o.with(ctx, "release "+key+" in etcd", nil, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", holder)).Then(clientv3.OpDelete(key)).Commit()
		return err
	})
}
