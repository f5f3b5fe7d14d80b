package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"talos.internal/resource"
	"talos.internal/state"
	"talos.internal/state/stategrpc"
)

// retryAfter is the pause before a watch that ended is begun anew. PID 1 makes the sockets before it starts a daemon, so only
// a watch that was too slow, or the end of the node, comes here.
const retryAfter = 200 * time.Millisecond

// dialState connects to the state behind a unix socket. The caller closes the connection.
func dialState(socket string, types ...*resource.Type) (state.State, *grpc.ClientConn, error) {
	reg, err := resource.NewRegistry(types...)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return stategrpc.NewClient(conn, reg), conn, nil
}

// view holds the newest version of a few resources. It is safe for concurrent use.
type view struct {
	mu      sync.Mutex
	values  map[resource.Ref]arrival
	count   uint64
	changed chan struct{} // has a token when something changed since it was last taken
}

// follow keeps a view of refs until ctx ends.
func follow(ctx context.Context, st state.State, log *slog.Logger, refs ...resource.Ref) *view {
	v := &view{values: map[resource.Ref]arrival{}, changed: make(chan struct{}, 1)}
	for _, ref := range refs {
		go func() {
			for ctx.Err() == nil {
				err := v.watch(ctx, st, ref)
				if ctx.Err() != nil {
					return
				}
				log.Warn("watch ended, beginning anew", "resource", ref.String(), "error", err)
				select {
				case <-ctx.Done():
				case <-time.After(retryAfter):
				}
			}
		}()
	}
	return v
}

func (v *view) watch(ctx context.Context, st state.State, ref resource.Ref) error {
	w, err := st.Watch(ctx, ref, state.WatchOptions{})
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			switch e.Type {
			case state.Created, state.Updated:
				v.set(ref, e.Resource)
			case state.Destroyed:
				v.set(ref, nil)
			case state.Bootstrapped, state.Noop:
			}
		}
	}
}

func (v *view) set(ref resource.Ref, r resource.Resource) {
	v.mu.Lock()
	if r == nil {
		delete(v.values, ref)
	} else {
		v.count++
		v.values[ref] = arrival{r, v.count}
	}
	v.mu.Unlock()
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// arrival is a resource and its number among all that came. The version would not tell whether it is another one than before: a
// resource that was destroyed and made again begins with the first.
type arrival struct {
	resource.Resource
	number uint64
}

// get returns the spec of ref and the number of its arrival; ok is false while it is not there or cannot be read.
func get[S resource.Spec](v *view, ref resource.Ref) (spec S, number uint64, ok bool) {
	v.mu.Lock()
	a := v.values[ref]
	v.mu.Unlock()
	if a.Resource == nil {
		return spec, 0, false
	}
	typed, err := state.Typed[S](a.Resource)
	if err != nil {
		return spec, 0, false
	}
	return typed.Spec(), a.number, true
}
