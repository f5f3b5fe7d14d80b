package proxy

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// relay carries one call to one node: requests up, replies with headers and trailers down, one frame at a time each way.
// What the node says, statuses included, is passed on as it is.
func (s *Server) relay(ctx context.Context, p plan, method string, down grpc.ServerStream) error {
	var t target
	if p.way == here {
		t.self = true
	} else {
		t = p.targets[0]
	}

	sh := shapeOf(method)
	if sh.requests {
		return s.relayStream(ctx, p, t, method, sh, down)
	}

	// Before the request has come, the other node is left alone.
	request, err := receive(down)
	if err != nil {
		return err
	}
	defer request.free()

	up, done, err := s.open(ctx, p, t, method, sh)
	if err != nil {
		return atNode(t, err)
	}
	defer done()

	if err := up.SendMsg(request); err != nil && !errors.Is(err, io.EOF) { // EOF: the status is in what is received
		return err
	}

	return copyDown(down, up, sh)
}

func (s *Server) relayStream(ctx context.Context, p plan, t target, method string, sh shape, down grpc.ServerStream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	up, done, err := s.open(ctx, p, t, method, sh)
	if err != nil {
		return atNode(t, err)
	}
	defer done()

	// This goroutine outlives the call by the moment that gRPC needs to end down's context after the handler has returned:
	// there is no other way to end a RecvMsg of a server's stream.
	go func() {
		if err := copyUp(up, down); err != nil {
			cancel(err)
		}
	}()

	err = copyDown(down, up, sh)
	if cause := context.Cause(ctx); cause != nil && status.Code(err) == codes.Canceled {
		return cause // why the way up ended, not that the call was cancelled for it
	}

	return err
}

// open starts a call to the target. done must be called when the call has ended; it cancels what is left of it.
// An error is one of the connection.
func (s *Server) open(ctx context.Context, p plan, t target, method string, sh shape) (grpc.ClientStream, func(), error) {
	conn, release, err := s.connection(t)
	if err != nil {
		return nil, nil, err
	}

	ctx, cancel := context.WithCancel(withMetadata(ctx, p, t))
	done := func() {
		cancel()
		release()
	}

	up, err := conn.NewStream(ctx, sh.desc(), method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		done()

		return nil, nil, err
	}

	return up, done, nil
}

// connection returns the connection to the target's machined or proxy, and what to call when it is no longer used.
func (s *Server) connection(t target) (grpc.ClientConnInterface, func(), error) {
	if t.self {
		return s.local, func() {}, nil
	}

	id, err := s.opts.Identities.Identity()
	if err != nil {
		return nil, nil, status.Error(codes.Unavailable, err.Error())
	}

	p, err := s.peers.acquire(t.key, id)
	if err != nil {
		return nil, nil, err
	}

	return p, func() { s.peers.release(p) }, nil
}

func withMetadata(ctx context.Context, p plan, t target) context.Context {
	if t.self {
		return metadata.NewOutgoingContext(ctx, p.local)
	}

	return metadata.NewOutgoingContext(ctx, p.remote)
}

// atNode says at which node an error of the connection occurred: the caller does not see the connection.
func atNode(t target, err error) error {
	name := t.name
	if t.self {
		name = "machined of this node"
	}

	st := status.Convert(err)

	return status.Errorf(st.Code(), "%s: %s", name, plain(st.Message()))
}

// plain takes off what gRPC puts around the cause of a connection's error, if it is there; it is of no use to the reader.
func plain(message string) string {
	if quoted, ok := strings.CutPrefix(message, "connection error: desc = "); ok {
		if text, err := strconv.Unquote(quoted); err == nil {
			message = text
		}
	}

	for _, wrap := range []string{"transport: Error while dialing: ", "transport: authentication handshake failed: "} {
		message = strings.TrimPrefix(message, wrap)
	}

	return message
}

// receive takes the one request of a call that has one.
func receive(down grpc.ServerStream) (*frame, error) {
	request := &frame{}

	err := down.RecvMsg(request)
	if errors.Is(err, io.EOF) {
		return nil, status.Error(codes.InvalidArgument, "the call ended without a request")
	}

	if err != nil {
		return nil, err
	}

	return request, nil
}

// copyUp passes requests on until the caller half-closes. It returns nil as well when the node takes no more: then the
// status comes down.
func copyUp(up grpc.ClientStream, down grpc.ServerStream) error {
	for {
		var f frame

		err := down.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			return up.CloseSend()
		}

		if err != nil {
			return err
		}

		err = up.SendMsg(&f)
		f.free()

		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}
	}
}

// copyDown passes headers, replies, trailers and the status on.
func copyDown(down grpc.ServerStream, up grpc.ClientStream, sh shape) error {
	header, err := up.Header()
	if err == nil && header != nil { // nil: the node answers with a status alone
		if sh.replies {
			err = down.SendHeader(passed(header)) // before the first reply, for which the caller may wait long
		} else {
			err = down.SetHeader(passed(header))
		}

		if err != nil {
			return err
		}
	}

	err = copyReplies(down, up, sh)
	down.SetTrailer(passed(up.Trailer()))

	return err
}

// copyReplies returns after up has ended, so that there is a trailer, or after an error of down.
func copyReplies(down grpc.ServerStream, up grpc.ClientStream, sh shape) error {
	for {
		var f frame

		err := up.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}

		err = down.SendMsg(&f)
		f.free()

		if err != nil {
			return err
		}

		if !sh.replies {
			return nil
		}
	}
}
