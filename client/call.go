package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// call is what is seen of one call. Whether a status is the server's or gRPC's own cannot be told from it: both may be
// Unavailable. But only a server sends trailers.
type call struct {
	method   string
	progress *progress // nil if nobody asks

	through  atomic.Pointer[string] // the address of the server, once the request's header went out
	answered atomic.Bool
}

type callKey struct{}

// observer tells calls what happens on the wire.
type observer struct{}

func (observer) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (observer) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (observer) HandleConn(context.Context, stats.ConnStats)                       {}

func (observer) HandleRPC(ctx context.Context, event stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}

	switch event := event.(type) {
	case *stats.OutHeader:
		through := event.RemoteAddr.String()
		c.through.Store(&through)
		c.progress.set("the answer to %s, asked through %s", c.method, through)
	case *stats.InTrailer:
		c.answered.Store(true)
	}
}

func newCall(ctx context.Context, method string) (context.Context, *call) {
	p, _ := ctx.Value(progressKey{}).(*progress)
	c := &call{method: method, progress: p}
	p.set("a connection, to call %s", method)

	return context.WithValue(ctx, callKey{}, c), c
}

func (c *Client) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, call := newCall(ctx, method)

	return c.attribute(call, invoke(ctx, method, req, reply, cc, opts...))
}

func (c *Client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, call := newCall(ctx, method)

	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, c.attribute(call, err)
	}

	return &watchedStream{ClientStream: s, client: c, call: call}, nil
}

// attribute makes a ConnectionError of an error that is about the connection, and leaves all others as they are.
func (c *Client) attribute(call *call, err error) error {
	if err == nil || errors.Is(err, io.EOF) || call.answered.Load() {
		return err
	}

	code := status.Code(err)
	through := call.through.Load()

	switch {
	case through == nil && (code == codes.Unavailable || code == codes.DeadlineExceeded):
		return c.attempts.report(code, call.method, err)
	case through != nil && code == codes.Unavailable:
		return &ConnectionError{
			Method: call.method, code: code, cause: err,
			Endpoints: []EndpointError{{
				Endpoint: *through, Cause: CauseLost, Err: err,
				Problem: "the connection was lost during the call of " + call.method + " (" + status.Convert(err).Message() + ")",
				Advice:  "whether it was carried out is not known",
			}},
		}
	default:
		return err
	}
}

// watchedStream is a stream whose errors are attributed.
type watchedStream struct {
	grpc.ClientStream

	client   *Client
	call     *call
	received atomic.Int64
}

func (s *watchedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.call.progress.set("message %d of %s", s.received.Add(1)+1, s.call.method)
	}

	return s.client.attribute(s.call, err)
}

func (s *watchedStream) SendMsg(m any) error {
	return s.client.attribute(s.call, s.ClientStream.SendMsg(m))
}

// progress is what a call to one node waits for. A nil progress takes no notes.
type progress struct {
	mu      sync.Mutex
	waiting string
}

type progressKey struct{}

func (p *progress) set(format string, args ...any) {
	if p == nil {
		return
	}

	p.mu.Lock()
	defer p.mu.Unlock()

	p.waiting = fmt.Sprintf(format, args...)
}

func (p *progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.waiting
}
