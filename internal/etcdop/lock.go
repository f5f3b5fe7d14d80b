package etcdop

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// lockTTL is how long a lock outlives its holder, in seconds: a node that dies while it has one keeps the others waiting no longer.
const lockTTL = 30

// Lock waits until this node has the cluster's lock of that name, or ctx ends, whose error is then wrapped with what was waited for.
//
// unlock gives the lock back, and ends the connection that holds it; it may be called after ctx has ended, and more than once.
// The lock is lost, without a word, if etcd does not answer for half a minute: what is done under it has to be right even if another
// node does the same.
func (o Operator) Lock(ctx context.Context, name string) (unlock func(), err error) {
	taken := make(chan error, 1)
	release, released := make(chan struct{}), make(chan struct{})
	// Only the wait ends with ctx: to give a lease back takes a connection that still works.
	connected := context.WithoutCancel(ctx)
	go func() {
		defer close(released)
		err := o.connect(connected, "lock "+name, []string{o.local()}, func(_ context.Context, c *clientv3.Client) error {
			session, err := concurrency.NewSession(c, concurrency.WithTTL(lockTTL), concurrency.WithContext(connected))
			if err != nil {
				return err
			}
			defer func() { _ = session.Close() }() // gives the lease back, and the lock or the place in the queue with it
			if err := concurrency.NewMutex(session, name).Lock(ctx); err != nil {
				return err
			}
			taken <- nil
			<-release
			return nil
		})
		if err != nil {
			taken <- err
		}
	}()
	if err := <-taken; err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("wait for the lock %s: %w", name, errors.Join(ctx.Err(), err))
		}
		return nil, err
	}
	done := make(chan struct{}, 1)
	return func() {
		select {
		case done <- struct{}{}:
			close(release)
			<-released
		default:
		}
	}, nil
}
