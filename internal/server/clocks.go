package server

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/beevik/ntp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/timepb"
	"talos.internal/resource/network"
	"talos.internal/state"
)

const (
	// checkTimeout is for a server that the caller named, serverTimeout for the node's own, without which there is still an answer.
	checkTimeout  = 5 * time.Second
	serverTimeout = time.Second
)

// seconds reads a number of seconds of a request.
func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// queryNTP is a TimeQuery (RFC 5905).
func queryNTP(ctx context.Context, server string) (time.Duration, error) {
	timeout := checkTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if timeout <= 0 {
		return 0, context.DeadlineExceeded
	}
	r, err := ntp.QueryWithOptions(server, ntp.QueryOptions{Timeout: timeout, Dialer: func(_, remote string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", remote)
	}})
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return 0, fmt.Errorf("ask time server %q: %w", server, err)
	}
	return r.ClockOffset, nil
}

// timeService is time.TimeService.
type timeService struct {
	timepb.UnsafeTimeServiceServer
	d *Deps
}

// Time implements timepb.TimeServiceServer: the host's clock, and that of the first time server of the node if it answers soon.
func (s *timeService) Time(ctx context.Context, _ *emptypb.Empty) (*timepb.TimeResponse, error) {
	out := &timepb.Time{}
	servers, err := state.Get[network.TimeServerStatus](ctx, s.d.State, network.TimeServerStatusID)
	if err == nil && len(servers.Spec().Servers) > 0 {
		out.Server = servers.Spec().Servers[0]
		if !strings.HasPrefix(out.Server, "/") { // a device is no server
			asking, cancel := context.WithTimeout(ctx, serverTimeout)
			defer cancel()
			if offset, err := s.d.QueryTime(asking, out.Server); err == nil {
				out.Remotetime = timestamppb.New(time.Now().Add(offset))
			}
		}
	}
	out.Localtime = timestamppb.Now()
	return &timepb.TimeResponse{Messages: []*timepb.Time{out}}, nil
}

// TimeCheck implements timepb.TimeServiceServer.
func (s *timeService) TimeCheck(ctx context.Context, in *timepb.TimeRequest) (*timepb.TimeResponse, error) {
	server := in.GetServer()
	if server == "" || len(server) > 261 || strings.ContainsAny(server, "/ \x00") {
		return nil, invalid("a time server is named by its name or its address, such as pool.ntp.org")
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	offset, err := s.d.QueryTime(ctx, server)
	if err != nil {
		return nil, status.Error(codes.Unavailable, utf8(err.Error()))
	}
	now := time.Now()
	return &timepb.TimeResponse{Messages: []*timepb.Time{{
		Server: server, Localtime: timestamppb.New(now), Remotetime: timestamppb.New(now.Add(offset)),
	}}}, nil
}
