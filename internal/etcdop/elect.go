package etcdop

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// turnTTL is how long the turn of a node outlives it, in seconds.
const turnTTL = 10

// Hold waits until it is this node's turn to have what key names, and calls had with a context that ends when its turn is over: because
// ctx has ended, or because etcd has not answered for so long that another node's turn may begin. It returns when had has returned, nil
// if ctx has ended, and otherwise with the cause why there was no turn. The next node's turn begins at once when Hold returns, and ten
// seconds after a node has died.
func (o Operator) Hold(ctx context.Context, key string, had func(ctx context.Context)) error {
	// Only the wait and the turn end with ctx: to give the turn back takes a connection that still works.
	connected, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	err := o.connect(connected, "wait for the turn of "+key, []string{o.local()}, func(_ context.Context, c *clientv3.Client) error {
		session, err := concurrency.NewSession(c, concurrency.WithTTL(turnTTL), concurrency.WithContext(connected))
		if err != nil {
			return err
		}
		defer func() { _ = session.Close() }() // gives the lease back, and the turn or the place in the queue with it
		turn, cancel := context.WithCancel(ctx)
		defer cancel()
		lost := make(chan struct{})
		go func() {
			defer close(lost)
			select {
			case <-session.Done():
				cancel()
			case <-turn.Done():
			}
		}()
		defer func() { cancel(); <-lost }()
		if err := concurrency.NewElection(session, key).Campaign(turn, o.local()); err != nil {
			return err
		}
		had(turn)
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}
