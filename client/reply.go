package client

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/commonpb"
)

// Part is one message of a joined reply, or one of a stream: it says which node it is of.
type Part interface {
	comparable

	GetMetadata() *commonpb.Metadata
}

// ErrNoMessage is wrapped when a reply has no message at all.
var ErrNoMessage = errors.New("the reply is empty")

// Split takes a reply apart that is of one node or, after [WithNodes], of many: one result for each message, in their
// order. The node is what the server says it is, empty if it does not. The error is that of [PartError]; the value is
// there as well then, but has nothing more in it. Messages are shared with the reply. Messages that are nil are left out.
func Split[R interface{ GetMessages() []M }, M Part](reply R) []Result[M] {
	var (
		none    M
		results []Result[M]
	)

	for _, m := range reply.GetMessages() {
		if m == none {
			continue
		}

		results = append(results, Result[M]{Node: m.GetMetadata().GetHostname(), Value: m, Err: PartError(m)})
	}

	return results
}

// PartError is the error of a node that a server has put in place of the node's message, nil if there is none. It is
// also how a joined stream tells of a node that failed. It has the gRPC status that the server passed on, and the code
// Unknown if there is only a text.
func PartError(m interface{ GetMetadata() *commonpb.Metadata }) error {
	md := m.GetMetadata()

	if s := md.GetStatus(); s.GetCode() != int32(codes.OK) {
		return status.FromProto(s).Err()
	}

	if text := md.GetError(); text != "" {
		return status.Error(codes.Unknown, text)
	}

	return nil
}

// Only is the message of a reply of a single node. It is made to be put around a call:
//
//	version, err := client.Only(c.Machine().Version(client.WithNode(ctx, node), &emptypb.Empty{}))
//
// An error of the call is returned as it is, and so is one inside the message. A reply without a message wraps
// ErrNoMessage; more than one is an error, for they would be of different nodes.
func Only[R interface{ GetMessages() []M }, M Part](reply R, err error) (M, error) {
	var none M

	if err != nil {
		return none, err
	}

	switch parts := Split(reply); {
	case len(parts) == 0:
		return none, fmt.Errorf("reply of one node: %w", ErrNoMessage)
	case len(parts) > 1:
		return none, fmt.Errorf("reply of one node: it has %d messages", len(parts))
	case parts[0].Err != nil:
		return none, parts[0].Err
	default:
		return parts[0].Value, nil
	}
}
