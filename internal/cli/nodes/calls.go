package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/client"
)

// Each makes one call for every node of s, each within limit, and returns the answers of those that gave one, in the order
// of the nodes. Those that failed are printed. call gets a context for the node.
func Each[T any](ctx context.Context, s *Session, limit time.Duration, call func(ctx context.Context, c *client.Client, node string) (T, error)) []client.Result[T] {
	results := client.Each(ctx, s.nodes, func(ctx context.Context, node string) (T, error) {
		return call(s.target(ctx, node), s.Client(node), node)
	}, client.WithTimeout(limit))
	var good []client.Result[T]
	for _, r := range results {
		if r.Err != nil {
			s.Fail(r.Node, r.Err)
			continue
		}
		good = append(good, r)
	}
	return good
}

// One makes one call for a single node, within limit. The error is for the caller to report.
func One[T any](ctx context.Context, s *Session, node string, limit time.Duration, call func(ctx context.Context, c *client.Client, node string) (T, error)) (T, error) {
	r := client.Each(ctx, []string{node}, func(ctx context.Context, node string) (T, error) {
		return call(s.target(ctx, node), s.Client(node), node)
	}, client.WithTimeout(limit))[0]
	return r.Value, r.Err
}

// Open opens a stream from a node.
type Open[M any] func(ctx context.Context, c *client.Client, node string) (grpc.ServerStreamingClient[M], error)

// Stream opens a stream from every node of s and yields the messages of all, those of a node in their order. A node that
// fails is printed, and the others go on. idle limits how long a stream may have nothing to say; zero is for those that
// follow something, and may be silent for as long as it is. When ctx ends, so does the sequence, without a line for
// each node.
func Stream[M any](ctx context.Context, s *Session, idle time.Duration, open Open[M]) iter.Seq2[string, *M] {
	return func(yield func(string, *M) bool) {
		messages := client.EachMessage(ctx, s.nodes, func(ctx context.Context, node string) (grpc.ServerStreamingClient[M], error) {
			return watched(s.target(ctx, node), idle, func(ctx context.Context) (grpc.ServerStreamingClient[M], error) {
				return open(ctx, s.Client(node), node)
			})
		})
		for m, err := range messages {
			if err != nil {
				switch {
				case ctx.Err() == nil:
					s.Fail(m.Node, err)
				case idle > 0:
					s.interrupted() // it was cut short; one that follows ends no other way
				}
				continue
			}
			if !yield(m.Node, m.Value) {
				return
			}
		}
	}
}

// StreamOne is Stream for a single node; the error, if there is one, comes last.
func StreamOne[M any](ctx context.Context, s *Session, node string, idle time.Duration, open Open[M]) iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		ctx, cancel := context.WithCancel(s.target(ctx, node))
		defer cancel()
		stream, err := watched(ctx, idle, func(ctx context.Context) (grpc.ServerStreamingClient[M], error) {
			return open(ctx, s.Client(node), node)
		})
		for err == nil {
			var m *M
			if m, err = stream.Recv(); err == nil && !yield(m, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(nil, err)
		}
	}
}

// watched opens a stream that ends when nothing came on it for the time idle.
func watched[M any](ctx context.Context, idle time.Duration, open func(context.Context) (grpc.ServerStreamingClient[M], error)) (grpc.ServerStreamingClient[M], error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch[M]{idle: idle, cancel: cancel}
	stop := w.arm()
	stream, err := open(ctx)
	stop()
	if err != nil {
		cancel()
		return nil, w.late(err)
	}
	w.ServerStreamingClient = stream
	return w, nil
}

// watch is a stream whose silence has a limit, and whose messages may be errors of the node (client.PartError).
type watch[M any] struct {
	grpc.ServerStreamingClient[M]

	idle   time.Duration // zero: no limit
	cancel context.CancelFunc
	over   atomic.Bool
	seen   int
}

// arm begins to wait; the function it returns ends that.
func (w *watch[M]) arm() (stop func()) {
	if w.idle <= 0 {
		return func() {}
	}
	t := time.AfterFunc(w.idle, func() {
		w.over.Store(true)
		w.cancel()
	})
	return func() { t.Stop() }
}

func (w *watch[M]) late(err error) error {
	if !w.over.Load() {
		return err
	}
	if w.seen == 0 {
		return fmt.Errorf("no answer in %s: waited for the first message", w.idle)
	}
	return fmt.Errorf("nothing more came in %s: waited for the next message after %d", w.idle, w.seen)
}

func (w *watch[M]) Recv() (*M, error) {
	stop := w.arm()
	m, err := w.ServerStreamingClient.Recv()
	stop()
	if err == nil {
		if part, ok := any(m).(interface{ GetMetadata() *commonpb.Metadata }); ok {
			err = client.PartError(part)
		}
	}
	if err != nil {
		w.cancel()
		return nil, w.late(err)
	}
	w.seen++
	return m, nil
}
