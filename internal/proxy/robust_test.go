package proxy

import (
	"context"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/internal/proxy/authz"
	"talos.internal/secret"
)

// randomFrame is random bytes, or a valid reply that is cut off or has one bit turned.
func randomFrame(r *rand.Rand, valid []byte) *frame {
	b := slices.Clone(valid)

	switch r.IntN(4) {
	case 0:
		b = make([]byte, r.IntN(64))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case 1:
		b = b[:r.IntN(len(b)+1)]
	case 2:
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}

	return &frame{data: mem.BufferSlice{mem.SliceBuffer(b)}}
}

// babble is a machined that answers any call with random frames, and sometimes with a random status.
func babble(valid []byte) *grpc.Server {
	return grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		var request frame
		if err := s.RecvMsg(&request); err != nil {
			return err
		}

		buf := request.bytes()
		seed := uint64(len(buf.ReadOnlyData()))

		for _, c := range buf.ReadOnlyData() {
			seed = seed*31 + uint64(c)
		}

		buf.Free()
		request.free()

		r := rand.New(rand.NewPCG(seed, 1))
		for range r.IntN(4) {
			if err := s.SendMsg(randomFrame(r, valid)); err != nil {
				return err
			}
		}

		if r.IntN(3) == 0 {
			return status.Error(codes.Code(r.IntN(20)), string([]byte{byte(r.Uint32()), 0xff, '\n'}))
		}

		return nil
	}))
}

// Whatever callers send and nodes answer, the proxy serves on: every method gets a thousand requests, most of them broken,
// answered here, by another node, or by both.
func TestRandomRequestsAndRepliesDoNoHarm(t *testing.T) {
	requests := 1000
	if testing.Short() {
		requests = 50
	}

	valid := must(proto.Marshal(&machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{
		{Services: []*machinepb.ServiceInfo{{Id: "etcd", State: "Running"}}}, {},
	}}))(t)
	c := newCluster(t)

	var nodes []*node

	for _, addr := range []string{"10.5.0.2", "10.5.0.3"} {
		socket := filepath.Join(shortDir(t), "s")
		backend := babble(valid)
		unix := must(net.Listen("unix", socket))(t)

		go func() { _ = backend.Serve(unix) }()
		t.Cleanup(backend.Stop)

		nodes = append(nodes, c.start(addr, func(o *Options) {
			o.Logger = nil
			o.Local = func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer

				return d.DialContext(ctx, "unix", socket)
			}
		}))
	}

	conn := nodes[0].connect(secret.RoleAdmin)
	methods := make(chan string)

	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for method := range methods {
				for i := range requests {
					r := rand.New(rand.NewPCG(uint64(i), uint64(len(method))))
					pester(limited(t), conn, method, r, randomFrame(r, valid))
				}
			}
		})
	}

	for _, method := range append(authz.Methods(), "/machine.MachineService/FromTheFuture", "/nobody/Nothing") {
		methods <- method
	}

	close(methods)
	workers.Wait()

	// It serves on: a call that is refused here, so that the babbler has no say.
	for _, n := range nodes {
		_, err := machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).Reboot(limited(t), &machinepb.RebootRequest{})
		wantCode(t, "Reboot by a reader", err, codes.PermissionDenied)
	}

	_, err := machinepb.NewMachineServiceClient(conn).Version(limited(t), &emptypb.Empty{})
	if code := status.Code(err); code == codes.Unavailable {
		t.Errorf("Version = %v; want any answer", err)
	}
}

// pester makes one call with one or two requests and reads what comes.
func pester(ctx context.Context, conn *grpc.ClientConn, method string, r *rand.Rand, request *frame) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	switch r.IntN(4) {
	case 0:
		ctx = to(ctx, keyNode, "10.5.0.3")
	case 1:
		ctx = toNodes(ctx, "10.5.0.2", "10.5.0.3", "10.5.0.9")
	case 2:
		ctx = toNodes(ctx, "10.5.0.3")
	}

	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return
	}

	for range 1 + r.IntN(2) {
		if err := stream.SendMsg(request); err != nil {
			break
		}
	}

	if r.IntN(8) > 0 { // otherwise the call is cancelled with its requests open
		_ = stream.CloseSend()
	} else if r.IntN(2) == 0 {
		return
	}

	for {
		var reply frame
		if err := stream.RecvMsg(&reply); err != nil {
			return
		}

		reply.free()
	}
}
