package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// fanOut asks all targets of the plan at once. The call succeeds even if every node fails: what failed is in the reply.
// It fails only together with the caller: no request, too slow a caller, a broken connection.
func (s *Server) fanOut(ctx context.Context, p plan, method string, down grpc.ServerStream) error {
	request, err := receive(down)
	if err != nil {
		return err
	}
	defer request.free()

	if shapeOf(method).replies {
		return s.mergeStreams(ctx, p, method, request, down)
	}

	return s.joinReplies(ctx, p, method, request, down)
}

// joinReplies answers with one reply that has the messages of all nodes, in the order in which they were named.
func (s *Server) joinReplies(ctx context.Context, p plan, method string, request *frame, down grpc.ServerStream) error {
	nodeCtx, cancel := withMargin(ctx, time.Now())
	defer cancel()

	r := room{free: int64(MaxMessage - reserved*len(p.targets))}
	parts := make(mem.BufferSlice, len(p.targets))

	var nodes sync.WaitGroup
	for i, t := range p.targets {
		nodes.Go(func() {
			part, err := s.askOne(nodeCtx, p, t, method, request, &r)
			if err != nil {
				part = asReply(failureStamp(t.name, err))
			}

			parts[i] = mem.SliceBuffer(part)
		})
	}

	nodes.Wait()

	if err := ctx.Err(); err != nil {
		return err
	}

	return down.SendMsg(&frame{data: parts})
}

// askOne returns the reply of one node with its name in each message.
func (s *Server) askOne(ctx context.Context, p plan, t target, method string, request *frame, r *room) ([]byte, error) {
	conn, release, err := s.connection(t)
	if err != nil {
		return nil, err
	}
	defer release()

	var reply frame
	if err := conn.Invoke(withMetadata(ctx, p, t), method, request, &reply, grpc.ForceCodecV2(rawCodec{})); err != nil {
		return nil, err
	}
	defer reply.free()

	buf := reply.bytes()
	defer buf.Free()

	stamp := hostStamp(t.name)

	size, err := stampedSize(buf.ReadOnlyData(), stamp)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}

	if !r.take(size) {
		return nil, status.Errorf(codes.ResourceExhausted,
			"its reply of %d bytes would make the joined one larger than %d: ask for fewer nodes at once", size, MaxMessage)
	}

	return appendStamped(make([]byte, 0, size), buf.ReadOnlyData(), stamp), nil
}

// room is how many bytes a joined reply may still take: the caller takes MaxMessage, and this node must not hold the
// replies of a thousand others of that size.
type room struct {
	taken atomic.Int64
	free  int64
}

// take reports whether there was room for size bytes, which then are taken.
func (r *room) take(size int) bool {
	if r.taken.Add(int64(size)) <= r.free {
		return true
	}

	r.taken.Add(-int64(size))

	return false
}

// withMargin ends a little before ctx, so that the caller still gets an answer about a node that did not make it. Without a
// deadline of ctx it is ctx.
func withMargin(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}

	margin := min(deadline.Sub(now)/marginDivisor, maxMargin)

	return context.WithDeadline(ctx, deadline.Add(-margin))
}

// mergeStreams passes on the messages of all nodes as they come. A node that fails is a message about that; the others go on.
func (s *Server) mergeStreams(ctx context.Context, p plan, method string, request *frame, down grpc.ServerStream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	m := merger{down: down, fail: cancel, turn: make(chan struct{}, 1)}

	var nodes sync.WaitGroup
	for _, t := range p.targets {
		nodes.Go(func() {
			if err := s.follow(ctx, p, t, method, request, &m); err != nil && ctx.Err() == nil {
				m.send(ctx, &frame{data: mem.BufferSlice{mem.SliceBuffer(failureStamp(t.name, err))}})
			}
		})
	}

	nodes.Wait()

	if cause := context.Cause(ctx); cause != nil {
		return cause
	}

	return nil
}

// follow passes on the messages of one node, each with its name, until its stream ends. While the caller does not read, it
// holds one message and reads no more, so that the node stops sending.
func (s *Server) follow(ctx context.Context, p plan, t target, method string, request *frame, m *merger) error {
	up, done, err := s.open(ctx, p, t, method, shape{replies: true})
	if err != nil {
		return err
	}
	defer done()

	// An error that is not EOF and one that is have the same cause, which is received.
	_ = up.SendMsg(request)
	stamp := hostStamp(t.name)

	for {
		var f frame
		if err := up.RecvMsg(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}

		stamped, err := stampFrame(&f, stamp)
		if err != nil {
			return err
		}

		if !m.send(ctx, stamped) {
			return nil
		}
	}
}

// stampFrame returns f with the stamp behind it. f must not be used any more.
func stampFrame(f *frame, stamp []byte) (*frame, error) {
	buf := f.bytes()
	f.free()

	if err := checkMessage(buf.ReadOnlyData()); err != nil {
		buf.Free()

		return nil, status.Error(codes.Internal, err.Error())
	}

	if size := buf.Len() + len(stamp); size > MaxMessage {
		buf.Free()

		return nil, status.Errorf(codes.ResourceExhausted,
			"its message of %d bytes is larger than %d with the node's name", size, MaxMessage)
	}

	return &frame{data: mem.BufferSlice{buf, mem.SliceBuffer(stamp)}}, nil
}

// merger is the way down of many streams: gRPC allows one sender at a time.
type merger struct {
	down grpc.ServerStream
	fail context.CancelCauseFunc // ends the context of all streams
	turn chan struct{}           // has room for one sender
}

// send passes f on and frees it. It blocks while the caller does not read, until ctx, that of the streams, ends. If the caller is gone it ends all streams, and
// returns false.
func (m *merger) send(ctx context.Context, f *frame) bool {
	defer f.free()

	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return false
	}

	if ctx.Err() != nil { // both were ready
		return false
	}

	if err := m.down.SendMsg(f); err != nil {
		m.fail(err)

		return false
	}

	return true
}
