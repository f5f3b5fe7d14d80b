package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/secret"
)

// ways are the ways of a call to one node: answered by the proxy that was asked, and forwarded.
var ways = []struct {
	name string
	kv   []string
}{
	{name: "local"},
	{name: "forwarded", kv: []string{keyNode, "10.5.0.3"}},
}

// eachWay runs f with an administrator's connection to one node of two and a context for the node that is returned too.
func eachWay(t *testing.T, f func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n *node)) {
	t.Helper()

	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			c := newCluster(t)
			first := c.start("10.5.0.2")

			answering := first
			if way.kv != nil {
				answering = c.start("10.5.0.3", worker)
			}

			f(t, to(limited(t), way.kv...), first.connect(secret.RoleAdmin), answering)
		})
	}
}

func TestStreamsInBothDirections(t *testing.T) {
	eachWay(t, func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n *node) {
		stream := must(machinepb.NewDebugServiceClient(conn).ContainerRun(ctx))(t)

		// The header comes before the first reply, and before the first request.
		header := must(stream.Header())(t)
		if got := header["x-shell"]; !slices.Equal(got, []string{n.addr}) || header["x-bytes-bin"][0] != "\x00\xff" {
			t.Errorf("header = %v; want x-shell %s and x-bytes-bin", header, n.addr)
		}

		for _, text := range []string{"a", "", strings.Repeat("b", 1<<20)} {
			in := &machinepb.DebugContainerRunRequest{Request: &machinepb.DebugContainerRunRequest_StdinData{StdinData: []byte(text)}}
			if err := stream.Send(in); err != nil {
				t.Fatal(err)
			}

			out := must(stream.Recv())(t)
			if got := string(out.GetStdoutData()); got != text {
				t.Fatalf("echo of %d bytes = %d bytes; want the same", len(text), len(got))
			}
		}

		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}

		// The end of the requests gets through while replies go on.
		if out := must(stream.Recv())(t); out.GetExitCode() != 7 {
			t.Errorf("after the half-close: %v; want exit code 7", out)
		}

		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v; want EOF", err)
		}

		if got := stream.Trailer()["x-end"]; !slices.Equal(got, []string{"bye"}) {
			t.Errorf("trailer = %v; want x-end: bye", stream.Trailer())
		}
	})
}

func TestAStreamOfRequests(t *testing.T) {
	eachWay(t, func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, _ *node) {
		stream := must(machinepb.NewMachineServiceClient(conn).EtcdRecover(ctx))(t)
		for range 40 {
			if err := stream.Send(&commonpb.Data{Bytes: make([]byte, 100_000)}); err != nil {
				t.Fatal(err)
			}
		}

		reply := must(stream.CloseAndRecv())(t)
		if got := reply.GetMessages()[0].GetMetadata().GetHostname(); got != "4000000" {
			t.Errorf("the node counted %s bytes; want 4000000", got)
		}
	})
}

func TestMetadataRolesAndStatusTravel(t *testing.T) {
	eachWay(t, func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n *node) {
		refused := must(status.New(codes.FailedPrecondition, "no: ключ").WithDetails(&errdetails.ErrorInfo{Reason: "PHASE"}))(t)
		n.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
			out.SetTrailer(metadata.Pairs("x-end", "1"))

			return refused.Err()
		}

		ctx = to(ctx, "x-id", "1", "x-id", "2", "x-raw-bin", "\x00\x80")

		stream := must(machinepb.NewMachineServiceClient(conn).Logs(ctx, &machinepb.LogsRequest{}))(t)

		_, err := stream.Recv()
		if diff := cmp.Diff(refused.Proto().String(), status.Convert(err).Proto().String()); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}

		if got := stream.Trailer()["x-end"]; !slices.Equal(got, []string{"1"}) {
			t.Errorf("trailer = %v; want x-end: 1", stream.Trailer())
		}

		seen := n.metadata()
		want := metadata.MD{"x-id": {"1", "2"}, "x-raw-bin": {"\x00\x80"}, keyRoles: {secret.RoleAdmin}}

		for key, values := range want {
			if !slices.Equal(seen[key], values) {
				t.Errorf("machined saw %s = %q; want %q", key, seen[key], values)
			}
		}

		for _, key := range []string{keyNode, keyNodes, keyFrom} {
			if v, ok := seen[key]; ok {
				t.Errorf("machined saw %s = %q; want none", key, v)
			}
		}
	})
}

func TestDeadlineAndCancellationGetThrough(t *testing.T) {
	eachWay(t, func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n *node) {
		ended := make(chan error, 1)
		n.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
			if _, ok := out.Context().Deadline(); !ok {
				t.Error("the node sees no deadline")
			}

			if err := out.Send(&commonpb.Data{Bytes: []byte("up")}); err != nil {
				t.Error(err)
			}

			<-out.Context().Done()
			ended <- out.Context().Err()

			return out.Context().Err()
		}

		ctx, cancel := context.WithCancel(ctx)

		stream := must(machinepb.NewMachineServiceClient(conn).Logs(ctx, &machinepb.LogsRequest{Follow: true}))(t)
		if got := must(stream.Recv())(t); string(got.GetBytes()) != "up" {
			t.Fatalf("Recv = %v; want up", got)
		}

		cancel()

		_, err := stream.Recv()
		wantCode(t, "Recv after cancel", err, codes.Canceled)

		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the node's context ended with %v; want Canceled", err)
		}
	})
}

func TestSizesOfMessages(t *testing.T) {
	eachWay(t, func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n *node) {
		machine := machinepb.NewMachineServiceClient(conn)

		upload := func(size int) error {
			stream := must(machine.EtcdRecover(ctx))(t)
			_ = stream.Send(&commonpb.Data{Bytes: make([]byte, size)})
			_, err := stream.CloseAndRecv()

			return err
		}

		// A message's own overhead is 5 bytes here.
		wantCode(t, "request of 32 MiB", upload(MaxMessage-5), codes.OK)
		wantCode(t, "request of one byte more", upload(MaxMessage-4), codes.ResourceExhausted)

		n.logs = func(in *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
			return out.Send(&commonpb.Data{Bytes: make([]byte, in.GetTailLines())})
		}

		download := func(size int) error {
			stream := must(machine.Logs(ctx, &machinepb.LogsRequest{TailLines: int32(size)}))(t)
			_, err := stream.Recv()

			return err
		}

		wantCode(t, "reply of 32 MiB", download(MaxMessage-5), codes.OK)
		wantCode(t, "reply of one byte more", download(MaxMessage-4), codes.ResourceExhausted)
	})
}

func TestClientsMayCompress(t *testing.T) {
	eachWay(t, func(t *testing.T, ctx context.Context, conn *grpc.ClientConn, n *node) {
		reply, err := machinepb.NewMachineServiceClient(conn).Version(ctx, &emptypb.Empty{}, grpc.UseCompressor("gzip"))
		if err != nil || reply.GetMessages()[0].GetVersion().GetTag() != n.addr {
			t.Errorf("Version = %v, %v; want that of %s", reply, err, n.addr)
		}
	})
}

func TestForwarding(t *testing.T) {
	c := newCluster(t)
	first, second, third := c.start("10.5.0.2"), c.start("10.5.0.3"), c.start("10.5.0.4", worker)
	reader := first.connect(secret.RoleReader, "os:future")

	for _, tc := range []struct {
		name string
		conn *grpc.ClientConn
		node string
		from *node // who answers
		code codes.Code
		text string
	}{
		{name: "to itself", conn: reader, node: first.addr, from: first},
		{name: "to another", conn: reader, node: second.addr, from: second},
		{name: "to a worker", conn: reader, node: third.addr, from: third},
		{name: "worker for itself", conn: third.connect(secret.RoleReader), node: third.addr, from: third},
		{name: "worker for another", conn: third.connect(secret.RoleAdmin), node: first.addr, code: codes.PermissionDenied,
			text: "this node does not forward calls, and 10.5.0.2 is not one of its addresses"},
		{name: "to a node that is away", conn: reader, node: "10.5.0.99", code: codes.Unavailable, text: "10.5.0.99: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := to(limited(t), keyNode, tc.node)

			// A service that can be asked of one node only, and one that could be asked of many: both pass as they are.
			got, err := statepb.NewStateClient(tc.conn).Get(ctx, &statepb.GetRequest{Id: "x"})
			wantCode(t, "Get", err, tc.code)

			version, err := machinepb.NewMachineServiceClient(tc.conn).Version(ctx, &emptypb.Empty{})
			wantCode(t, "Version", err, tc.code)

			if err != nil {
				if !strings.Contains(err.Error(), tc.text) {
					t.Errorf("Version = %v; want %q", err, tc.text)
				}

				return
			}

			if got.GetResource().GetMetadata().GetNamespace() != tc.from.addr {
				t.Errorf("Get was answered by %v; want %s", got, tc.from.addr)
			}

			if m := version.GetMessages()[0]; m.GetVersion().GetTag() != tc.from.addr || m.GetMetadata() != nil {
				t.Errorf("Version = %v; want that of %s, without metadata", version, tc.from.addr)
			}

			want := []string{"os:future", secret.RoleReader} // sorted, as a certificate has them
			if tc.conn != reader {
				want = want[1:]
			}

			if got := tc.from.roles(); !slices.Equal(got, want) {
				t.Errorf("machined saw the roles %q; want %q", got, want)
			}
		})
	}

	_, err := machinepb.NewMachineServiceClient(reader).Reboot(to(limited(t), keyNode, second.addr), &machinepb.RebootRequest{})
	wantCode(t, "Reboot of another node by a reader", err, codes.PermissionDenied)
}

// A name that means the node itself, which it does not know, is forwarded once.
func TestALoopEndsAtItsFirstRound(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2")
	alias := sans("10.5.0.2")
	alias.DNS = []string{"vip.example"}
	n.ids.Set(must(NewIdentity(c.issue(secret.NodeServer("n", alias)), c.issue(secret.NodeImpersonator("n")), c.ca.Certificate()))(t))
	c.route("vip.example", tcp(n.listen))

	reply := must(machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).
		Version(to(limited(t), keyNode, "VIP.example"), &emptypb.Empty{}))(t)
	if got := reply.GetMessages()[0].GetVersion().GetTag(); got != n.addr {
		t.Errorf("Version of vip.example = %s; want %s", got, n.addr)
	}

	if got := strings.Count(n.log.String(), "msg=call"); got != 2 {
		t.Errorf("%d calls; want 2\n%s", got, n.log)
	}
}

// Who is not what the caller has named, is not spoken to.
func TestTheTargetMustProveItsName(t *testing.T) {
	c, other := newCluster(t), newCluster(t)
	n := c.start("10.5.0.2")
	c.route("10.5.0.9", tcp(c.start("10.5.0.3").listen))
	c.route("10.5.0.8", tcp(other.start("10.5.0.8").listen))

	for _, target := range []string{"10.5.0.9", "10.5.0.8"} {
		_, err := machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).Version(to(limited(t), keyNode, target), &emptypb.Empty{})
		wantCode(t, "Version of "+target, err, codes.Unavailable)

		if !strings.Contains(err.Error(), target+": ") || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("Version of %s = %v; want its name and the reason", target, err)
		}
	}
}

func TestMachinedIsAway(t *testing.T) {
	n := newCluster(t).start("10.5.0.2", func(o *Options) {
		o.Local = func(context.Context) (net.Conn, error) { return nil, errors.New("no such socket") }
	})

	_, err := machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).Version(limited(t), &emptypb.Empty{})
	wantCode(t, "Version", err, codes.Unavailable)

	if !strings.Contains(err.Error(), "machined of this node: ") || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("Version = %v; want who is away and why", err)
	}
}

func TestACallIsOneLineOfTheLog(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2")
	conn := n.connect(secret.RoleReader)
	_, _ = machinepb.NewMachineServiceClient(conn).Version(limited(t), &emptypb.Empty{})
	_, _ = machinepb.NewMachineServiceClient(conn).Reboot(limited(t), &machinepb.RebootRequest{})
	_, _ = machinepb.NewMachineServiceClient(conn).Version(toNodes(limited(t), "10.5.0.2", "10.5.0.99"), &emptypb.Empty{})

	for _, want := range []string{
		"msg=call method=/machine.MachineService/Version peer=127.0.0.1:",
		"roles=os:reader target=local code=OK duration=",
		"method=/machine.MachineService/Reboot peer=",
		"target=local code=PermissionDenied",
		`target="10.5.0.2 10.5.0.99" code=OK`,
	} {
		if !strings.Contains(n.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, n.log)
		}
	}
}

// fakeDown is a caller: its requests come from a channel, and what it is sent goes to another, or blocks.
type fakeDown struct {
	grpc.ServerStream

	ctx  context.Context
	in   chan []byte
	sent chan []byte
}

func (f *fakeDown) Context() context.Context     { return f.ctx }
func (f *fakeDown) SendHeader(metadata.MD) error { return nil }
func (f *fakeDown) SetHeader(metadata.MD) error  { return nil }
func (f *fakeDown) SetTrailer(metadata.MD)       {}

func (f *fakeDown) SendMsg(m any) error {
	select {
	case f.sent <- m.(*frame).data.Materialize():
		return nil
	case <-f.ctx.Done():
		return status.FromContextError(f.ctx.Err()).Err()
	}
}

func (f *fakeDown) RecvMsg(m any) error {
	select {
	case b, ok := <-f.in:
		if !ok {
			return io.EOF
		}

		m.(*frame).data = mem.BufferSlice{mem.SliceBuffer(b)}

		return nil
	case <-f.ctx.Done():
		return status.FromContextError(f.ctx.Err()).Err()
	}
}

// fakeUp is a node that has always one more message, and takes those that taken has room for.
type fakeUp struct {
	grpc.ClientStream

	ctx      context.Context
	received int
	taken    chan []byte
}

func (f *fakeUp) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (f *fakeUp) Trailer() metadata.MD         { return nil }
func (f *fakeUp) CloseSend() error             { return nil }

func (f *fakeUp) RecvMsg(m any) error {
	f.received++
	m.(*frame).data = mem.BufferSlice{mem.SliceBuffer([]byte{byte(f.received)})}

	return nil
}

func (f *fakeUp) SendMsg(m any) error {
	select {
	case f.taken <- m.(*frame).data.Materialize():
		return nil
	case <-f.ctx.Done():
		return io.EOF
	}
}

// While one side does not take, the other is not read: there is one frame in between.
func TestNothingPilesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		down := &fakeDown{ctx: ctx, in: make(chan []byte, 10), sent: make(chan []byte)}
		up := &fakeUp{ctx: ctx, taken: make(chan []byte)}

		for i := range 10 {
			down.in <- []byte{byte(i)}
		}

		go func() { _ = copyUp(up, down) }()
		go func() { _ = copyDown(down, up, shape{requests: true, replies: true}) }()

		synctest.Wait()

		if up.received != 1 || len(down.in) != 9 {
			t.Errorf("read ahead: %d replies, %d requests; want 1 of each", up.received, 10-len(down.in))
		}

		for i := range 3 {
			<-up.taken

			if got, want := <-down.sent, []byte{byte(i + 1)}; !bytes.Equal(got, want) {
				t.Errorf("reply %d = %x; want %x", i, got, want)
			}
		}

		synctest.Wait()

		if up.received != 4 || len(down.in) != 6 {
			t.Errorf("after three: %d replies, %d requests; want 4 of each", up.received, 10-len(down.in))
		}

		cancel()
	})
}

func TestACallThatEndsWithoutARequest(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2")

	stream := must(n.connect(secret.RoleReader).NewStream(limited(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		machinepb.MachineService_Version_FullMethodName))(t)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}

	wantCode(t, "RecvMsg", stream.RecvMsg(&machinepb.VersionResponse{}), codes.InvalidArgument)
}
