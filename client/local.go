package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// roleKey is the metadata by which a program on a node says for which roles it calls.
const roleKey = "talos-role"

// NewLocal makes a client of machined's unix socket, for programs that run on the machine itself. machined knows them by their
// process, and gives them those of roles that they may have; errors are plain ones of gRPC. Calls are for this machine: a node named
// by WithNode is not looked at. It does not connect yet. The caller closes the client.
func NewLocal(socket string, roles ...string) (*Client, error) {
	as := func(ctx context.Context) context.Context {
		for _, role := range roles {
			ctx = metadata.AppendToOutgoingContext(ctx, roleKey, role)
		}
		return ctx
	}
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(as(ctx), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(as(ctx), desc, cc, method, opts...)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("client of the machine API at %s: %w", socket, err)
	}
	return &Client{conn: conn}, nil
}
