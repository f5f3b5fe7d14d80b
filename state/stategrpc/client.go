package stategrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/grpc"

	"talos.internal/api/statepb"
	"talos.internal/resource"
	"talos.internal/state"
)

type client struct {
	rpc statepb.StateClient
	reg *resource.Registry
}

// NewClient returns the state at the other end of conn, which stays the caller's. Types that reg,
// which may be nil, does not know come as resource.Raw; the typed functions of package state decode
// those too.
//
// A watch of a kind returns when the other end has begun it. A server that is not ours says so only
// with its first event: give such a watch Bootstrap or BootstrapBookmark.
func NewClient(conn grpc.ClientConnInterface, reg *resource.Registry) state.State {
	return &client{rpc: statepb.NewStateClient(conn), reg: reg}
}

// Get implements [state.State].
func (c *client) Get(ctx context.Context, ref resource.Ref) (resource.Resource, error) {
	out, err := c.rpc.Get(ctx, &statepb.GetRequest{Namespace: ref.Namespace, Type: ref.Type, Id: ref.ID})
	if err != nil {
		return nil, FromStatus("get", ref, err)
	}
	return c.answer("get", ref, out.GetResource())
}

// answer decodes a resource that has to be there.
func (c *client) answer(op string, ref resource.Ref, p *statepb.Resource) (resource.Resource, error) {
	if p == nil {
		return nil, invalid(op, ref, errors.New("there is no resource in the answer"))
	}
	return decodeResource(p, c.reg)
}

// List implements [state.State].
func (c *client) List(ctx context.Context, kind resource.Kind, q resource.Query) ([]resource.Resource, error) {
	labels, id := encodeQuery(q)
	ctx, cancel := context.WithCancel(ctx) // ends the stream when an answer cannot be decoded
	defer cancel()
	stream, err := c.rpc.List(ctx, &statepb.ListRequest{
		Namespace: kind.Namespace, Type: kind.Type, Options: &statepb.ListOptions{LabelQuery: labels, IdQuery: id}})
	if err != nil {
		return nil, FromStatus("list", kind.Ref(""), err)
	}
	var list []resource.Resource
	for {
		out, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, FromStatus("list", kind.Ref(""), err)
		}
		r, err := c.answer("list", kind.Ref(""), out.GetResource())
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
}

// Create implements [state.State].
func (c *client) Create(ctx context.Context, r resource.Resource, opts state.CreateOptions) (resource.Resource, error) {
	ref := r.Metadata().Ref()
	p, err := encodeResource(r)
	if err != nil {
		return nil, invalid("create", ref, err)
	}
	out, err := c.rpc.Create(ctx, &statepb.CreateRequest{Resource: p, Options: &statepb.CreateOptions{Owner: opts.Owner}})
	if err != nil {
		return nil, FromStatus("create", ref, err)
	}
	return c.answer("create", ref, out.GetResource())
}

// Update implements [state.State].
func (c *client) Update(ctx context.Context, r resource.Resource, opts state.UpdateOptions) (resource.Resource, error) {
	ref := r.Metadata().Ref()
	p, err := encodeResource(r)
	if err != nil {
		return nil, invalid("update", ref, err)
	}
	out, err := c.rpc.Update(ctx, &statepb.UpdateRequest{NewResource: p,
		Options: &statepb.UpdateOptions{Owner: opts.Owner, ExpectedPhase: encodePhase(opts.Expect)}})
	if err != nil {
		return nil, FromStatus("update", ref, err)
	}
	return c.answer("update", ref, out.GetResource())
}

// Teardown implements [state.State].
func (c *client) Teardown(ctx context.Context, ref resource.Ref, opts state.TeardownOptions) (bool, error) {
	out, err := c.rpc.Teardown(ctx, &statepb.TeardownRequest{Namespace: ref.Namespace, Type: ref.Type, Id: ref.ID,
		Options: &statepb.TeardownOptions{Owner: opts.Owner}})
	return out.GetDestroyReady(), FromStatus("teardown", ref, err)
}

// Destroy implements [state.State].
func (c *client) Destroy(ctx context.Context, ref resource.Ref, opts state.DestroyOptions) error {
	_, err := c.rpc.Destroy(ctx, &statepb.DestroyRequest{Namespace: ref.Namespace, Type: ref.Type, Id: ref.ID,
		Options: &statepb.DestroyOptions{Owner: opts.Owner}})
	return FromStatus("destroy", ref, err)
}

// Watch implements [state.State].
func (c *client) Watch(ctx context.Context, ref resource.Ref, opts state.WatchOptions) (state.Watcher, error) {
	return c.watch(ctx, ref, &ref.ID, opts)
}

// WatchKind implements [state.State].
func (c *client) WatchKind(ctx context.Context, kind resource.Kind, opts state.WatchOptions) (state.Watcher, error) {
	return c.watch(ctx, kind.Ref(""), nil, opts)
}

func (c *client) watch(ctx context.Context, ref resource.Ref, id *string, opts state.WatchOptions) (state.Watcher, error) {
	if opts.Tail < math.MinInt32 || opts.Tail > math.MaxInt32 {
		return nil, invalid("watch", ref, fmt.Errorf("a tail of %d events", opts.Tail))
	}
	labels, idQuery := encodeQuery(opts.Query)
	in := &statepb.WatchRequest{Namespace: ref.Namespace, Type: ref.Type, Id: id, ApiVersion: 1, Options: &statepb.WatchOptions{
		BootstrapContents: opts.Bootstrap, BootstrapBookmark: opts.BootstrapBookmark, TailEvents: int32(opts.Tail),
		LabelQuery: labels, IdQuery: idQuery, Aggregated: true,
	}}
	if opts.From != "" {
		in.Options.StartFromBookmark = []byte(opts.From)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watcher{ref: ref, reg: c.reg, cause: func() error { return context.Cause(ctx) }, cancel: cancel}
	stream, err := c.rpc.Watch(ctx, in)
	if err != nil {
		return nil, w.fail(err)
	}
	w.stream = stream
	// A watch that is refused has trailers only: the error is that of the first message.
	header, err := stream.Header()
	if err != nil {
		return nil, w.fail(err)
	}
	if header == nil {
		_, err := stream.Recv()
		return nil, w.fail(err)
	}
	return w, nil
}

type watcher struct {
	ref    resource.Ref
	reg    *resource.Registry
	stream grpc.ServerStreamingClient[statepb.WatchResponse]
	cause  func() error // why the stream was cancelled, nil if it was not
	cancel context.CancelCauseFunc
	err    error // of the last Next
	buf    []state.Event
}

// Close implements [state.Watcher].
func (w *watcher) Close() {
	w.cancel(&state.Error{Kind: state.Unavailable, Op: "watch", Ref: w.ref, Detail: "the watch was closed"})
}

// fail ends the watch because of err, and returns and keeps the reason.
func (w *watcher) fail(err error) error {
	if cause := w.cause(); cause != nil {
		err = cause // it was this side that ended the stream
	} else if errors.Is(err, io.EOF) {
		err = &state.Error{Kind: state.Unavailable, Op: "watch", Ref: w.ref, Detail: "the other side ended the watch"}
	}
	w.err = FromStatus("watch", w.ref, err)
	w.cancel(w.err)
	return w.err
}

// Next implements [state.Watcher].
func (w *watcher) Next(ctx context.Context) ([]state.Event, error) {
	if w.err != nil {
		return nil, w.err
	}
	if ctx.Err() != nil {
		w.cancel(ctx.Err())
	}
	stop := context.AfterFunc(ctx, func() { w.cancel(ctx.Err()) })
	defer stop()
	for {
		if w.cause() != nil {
			return nil, w.fail(nil)
		}
		out, err := w.stream.Recv()
		if err != nil {
			return nil, w.fail(err)
		}
		clear(w.buf)
		w.buf = w.buf[:0]
		for _, p := range out.GetEvent() {
			if p.GetEventType() == statepb.EventType_ERRORED {
				// Our server says more in the status that follows.
				_, err := w.stream.Recv()
				if err == nil || errors.Is(err, io.EOF) {
					err = &state.Error{Kind: state.Unavailable, Op: "watch", Ref: w.ref, Detail: p.GetError()}
				}
				if len(w.buf) > 0 {
					w.fail(err) // after these events
					return w.buf, nil
				}
				return nil, w.fail(err)
			}
			e, err := w.decode(p)
			if err != nil {
				return nil, w.fail(err)
			}
			w.buf = append(w.buf, e)
		}
		if len(w.buf) > 0 {
			return w.buf, nil
		}
	}
}

func (w *watcher) decode(p *statepb.Event) (e state.Event, err error) {
	e.Type, e.Bookmark = state.EventType(p.GetEventType()), state.Bookmark(p.GetBookmark())
	if e.Resource, err = decodeResource(p.GetResource(), w.reg); err != nil {
		return e, err
	}
	e.Old, err = decodeResource(p.GetOld(), w.reg)
	if err != nil {
		return e, err
	}
	switch e.Type {
	case state.Bootstrapped, state.Noop:
	case state.Created, state.Updated, state.Destroyed:
		if e.Resource == nil || e.Type == state.Updated && e.Old == nil {
			return e, invalid("watch", w.ref, fmt.Errorf("an event %v came without its resource", e.Type))
		}
	default:
		return e, invalid("watch", w.ref, fmt.Errorf("an event of the unknown type %d", p.GetEventType()))
	}
	return e, nil
}
