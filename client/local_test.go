package client

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
)

// caller answers with the roles that a call came with.
type caller struct {
	machinepb.UnimplementedMachineServiceServer
}

func (caller) Hostname(ctx context.Context, _ *emptypb.Empty) (*machinepb.HostnameResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var messages []*machinepb.Hostname
	for _, role := range md.Get(roleKey) {
		messages = append(messages, &machinepb.Hostname{Hostname: role})
	}
	return &machinepb.HostnameResponse{Messages: messages}, nil
}

func TestLocalCallsOverTheSocketWithItsRoles(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "machine.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	machinepb.RegisterMachineServiceServer(s, caller{})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()

	c, err := NewLocal(socket, "os:reader", "os:meta:writer")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	reply, err := c.Machine().Hostname(ctx, &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, m := range reply.GetMessages() {
		roles = append(roles, m.GetHostname())
	}
	if want := []string{"os:reader", "os:meta:writer"}; !slices.Equal(roles, want) {
		t.Errorf("the call came with the roles %q; want %q", roles, want)
	}
}
