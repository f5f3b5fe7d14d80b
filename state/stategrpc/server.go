// Package stategrpc is the service cosi.resource.State: a [Server] which offers a state.State to
// clients, and a client, made by [NewClient], which is a state.State. The suite state/statetest runs
// through both.
//
// A resource travels with its spec twice, as protobuf where the type has a message, and as YAML. Each
// end decodes the types that its registry knows and keeps the others as they are (resource.Raw), so
// that either may be newer than the other.
//
// Errors keep their kind and reason on the way, see [Status]. A watch that breaks ends with an ERRORED
// event, for clients of the published contract, and then with a status that says the same.
//
// The server offers everything its state can do: put state.Guard before it. Roles are no matter of
// this package.
package stategrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/statepb"
	"talos.internal/resource"
	"talos.internal/state"
)

// messageSize is when an aggregated message is sent off, in bytes. It may be exceeded by one event;
// gRPC's default limit for a message is 4 MiB.
const messageSize = 1 << 20

// Server implements [statepb.StateServer]. It is safe for concurrent use.
type Server struct {
	statepb.UnimplementedStateServer
	st  state.State
	reg *resource.Registry
}

// NewServer returns a server for st. What clients write is decoded with reg, which may be nil.
func NewServer(st state.State, reg *resource.Registry) *Server { return &Server{st: st, reg: reg} }

type named interface {
	GetNamespace() string
	GetType() string
	GetId() string
}

func refOf(m named) resource.Ref {
	return resource.Ref{Namespace: m.GetNamespace(), Type: m.GetType(), ID: m.GetId()}
}

// Get implements [statepb.StateServer].
func (s *Server) Get(ctx context.Context, in *statepb.GetRequest) (*statepb.GetResponse, error) {
	r, err := s.st.Get(ctx, refOf(in))
	if err != nil {
		return nil, Status(err)
	}
	out, err := encodeResource(r)
	return &statepb.GetResponse{Resource: out}, Status(err)
}

// List implements [statepb.StateServer].
func (s *Server) List(in *statepb.ListRequest, stream grpc.ServerStreamingServer[statepb.ListResponse]) error {
	kind := resource.Kind{Namespace: in.GetNamespace(), Type: in.GetType()}
	q, err := decodeQuery(in.GetOptions().GetLabelQuery(), in.GetOptions().GetIdQuery())
	if err != nil {
		return Status(invalid("list", kind.Ref(""), err))
	}
	found, err := s.st.List(stream.Context(), kind, q)
	if err != nil {
		return Status(err)
	}
	for _, r := range found {
		out, err := encodeResource(r)
		if err != nil {
			return Status(err)
		}
		if err := stream.Send(&statepb.ListResponse{Resource: out}); err != nil {
			return err
		}
	}
	return nil
}

// decode returns a resource that a client sent to be written.
func (s *Server) decode(op string, p *statepb.Resource) (resource.Resource, error) {
	if p == nil {
		return nil, invalid(op, resource.Ref{}, errors.New("there is no resource in the request"))
	}
	return decodeResource(p, s.reg)
}

// Create implements [statepb.StateServer].
func (s *Server) Create(ctx context.Context, in *statepb.CreateRequest) (*statepb.CreateResponse, error) {
	r, err := s.decode("create", in.GetResource())
	if err != nil {
		return nil, Status(err)
	}
	if r, err = s.st.Create(ctx, r, state.CreateOptions{Owner: in.GetOptions().GetOwner()}); err != nil {
		return nil, Status(err)
	}
	out, err := encodeResource(r)
	return &statepb.CreateResponse{Resource: out}, Status(err)
}

// Update implements [statepb.StateServer].
func (s *Server) Update(ctx context.Context, in *statepb.UpdateRequest) (*statepb.UpdateResponse, error) {
	r, err := s.decode("update", in.GetNewResource())
	if err != nil {
		return nil, Status(err)
	}
	opts := state.UpdateOptions{Owner: in.GetOptions().GetOwner(), Expect: state.ExpectAny}
	if o := in.GetOptions(); o != nil {
		if opts.Expect, err = decodePhase(o.ExpectedPhase); err != nil {
			return nil, Status(invalid("update", r.Metadata().Ref(), err))
		}
	}
	if r, err = s.st.Update(ctx, r, opts); err != nil {
		return nil, Status(err)
	}
	out, err := encodeResource(r)
	return &statepb.UpdateResponse{Resource: out}, Status(err)
}

// Teardown implements [statepb.StateServer].
func (s *Server) Teardown(ctx context.Context, in *statepb.TeardownRequest) (*statepb.TeardownResponse, error) {
	ready, err := s.st.Teardown(ctx, refOf(in), state.TeardownOptions{Owner: in.GetOptions().GetOwner()})
	return &statepb.TeardownResponse{DestroyReady: ready}, Status(err)
}

// Destroy implements [statepb.StateServer].
func (s *Server) Destroy(ctx context.Context, in *statepb.DestroyRequest) (*statepb.DestroyResponse, error) {
	err := s.st.Destroy(ctx, refOf(in), state.DestroyOptions{Owner: in.GetOptions().GetOwner()})
	return &statepb.DestroyResponse{}, Status(err)
}

// TeardownAndDestroy implements [statepb.StateServer]. It waits for finalizers until the call's deadline.
func (s *Server) TeardownAndDestroy(ctx context.Context, in *statepb.TeardownAndDestroyRequest) (*statepb.TeardownAndDestroyResponse, error) {
	err := state.TeardownAndDestroy(ctx, s.st, refOf(in), in.GetOptions().GetOwner())
	return &statepb.TeardownAndDestroyResponse{}, Status(err)
}

// Watch implements [statepb.StateServer]. The header is sent as soon as the watch has begun: what
// happens after a client has it will be told.
func (s *Server) Watch(in *statepb.WatchRequest, stream grpc.ServerStreamingServer[statepb.WatchResponse]) error {
	ctx, ref, o := stream.Context(), refOf(in), in.GetOptions()
	q, err := decodeQuery(o.GetLabelQuery(), o.GetIdQuery())
	if err != nil {
		return Status(invalid("watch", ref, err))
	}
	opts := state.WatchOptions{
		Bootstrap: o.GetBootstrapContents(), BootstrapBookmark: o.GetBootstrapBookmark(),
		Tail: int(o.GetTailEvents()), From: state.Bookmark(o.GetStartFromBookmark()), Query: q,
	}
	var w state.Watcher
	if in.Id != nil {
		w, err = s.st.Watch(ctx, ref, opts)
	} else {
		w, err = s.st.WatchKind(ctx, ref.Kind(), opts)
	}
	if err != nil {
		return Status(err)
	}
	defer w.Close()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		events, err := w.Next(ctx)
		if err == nil {
			err = sendEvents(stream, events, o.GetAggregated())
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return Status(ctx.Err())
		}
		text := err.Error()
		// If the stream is broken the status says why.
		_ = stream.Send(&statepb.WatchResponse{Event: []*statepb.Event{{EventType: statepb.EventType_ERRORED, Error: &text}}})
		return Status(err)
	}
}

func sendEvents(stream grpc.ServerStreamingServer[statepb.WatchResponse], events []state.Event, aggregated bool) error {
	out, size := &statepb.WatchResponse{}, 0
	for i, e := range events {
		p, err := encodeEvent(e)
		if err != nil {
			return err
		}
		out.Event = append(out.Event, p)
		if size += proto.Size(p); aggregated && size < messageSize && i < len(events)-1 {
			continue
		}
		if err := stream.Send(out); err != nil {
			return err
		}
		out, size = &statepb.WatchResponse{}, 0
	}
	return nil
}

func encodeEvent(e state.Event) (*statepb.Event, error) {
	r, err := encodeResource(e.Resource)
	if err != nil {
		return nil, err
	}
	old, err := encodeResource(e.Old)
	if err != nil {
		return nil, err
	}
	p := &statepb.Event{EventType: statepb.EventType(e.Type), Resource: r, Old: old}
	if e.Bookmark != "" {
		p.Bookmark = []byte(e.Bookmark)
	}
	return p, nil
}
