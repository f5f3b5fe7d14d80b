package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/secret"
)

func TestManyNodesAnswerAsOne(t *testing.T) {
	c := newCluster(t)
	first, second, third := c.start("10.5.0.2"), c.start("10.5.0.3"), c.start("10.5.0.4", worker)
	machine := machinepb.NewMachineServiceClient(first.connect(secret.RoleReader))
	away := "10.5.0.99"

	third.disk = func(context.Context) (*machinepb.DiskStatsResponse, error) {
		return &machinepb.DiskStatsResponse{Messages: []*machinepb.DiskStats{{Total: &machinepb.DiskStat{Name: "vda"}}}}, nil
	}

	t.Run("replies and failures, in the order of the nodes", func(t *testing.T) {
		got := must(machine.ServiceList(toNodes(limited(t), third.addr, away, first.addr, second.addr), &emptypb.Empty{}))(t)

		reply := func(n *node) *machinepb.ServiceList {
			return &machinepb.ServiceList{
				Metadata: &commonpb.Metadata{Hostname: n.addr},
				Services: []*machinepb.ServiceInfo{{Id: "etcd-" + n.addr, State: "Running"}, {Id: "kubelet"}},
			}
		}
		failure := got.GetMessages()[1].GetMetadata()
		want := &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{
			reply(third), {Metadata: failure}, reply(first), reply(second),
		}}

		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("ServiceList (-want +got):\n%s", diff)
		}

		if failure.GetHostname() != away || failure.GetError() != "dial 10.5.0.99: no route to host" || codes.Code(failure.GetStatus().GetCode()) != codes.Unavailable {
			t.Errorf("metadata of the node that is away = %v; want its name and the reason", failure)
		}

		for _, n := range []*node{first, second, third} {
			if got, want := n.roles(), []string{secret.RoleReader}; !slices.Equal(got, want) {
				t.Errorf("machined of %s saw the roles %q; want %q", n.addr, got, want)
			}
		}
	})

	t.Run("what each node says of itself", func(t *testing.T) {
		got := must(machine.DiskStats(toNodes(limited(t), second.addr, third.addr), &emptypb.Empty{}))(t)
		want := &machinepb.DiskStatsResponse{Messages: []*machinepb.DiskStats{
			{Metadata: &commonpb.Metadata{Hostname: second.addr, Error: "no disks",
				Status: &statuspb.Status{Code: int32(codes.Unimplemented), Message: "no disks"}}},
			{Metadata: &commonpb.Metadata{Hostname: third.addr}, Total: &machinepb.DiskStat{Name: "vda"}},
		}}

		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("DiskStats (-want +got):\n%s", diff)
		}
	})

	t.Run("a reply without messages names its node", func(t *testing.T) {
		got := must(machine.Hostname(toNodes(limited(t), second.addr), &emptypb.Empty{}))(t)
		want := &machinepb.HostnameResponse{Messages: []*machinepb.Hostname{{Metadata: &commonpb.Metadata{Hostname: second.addr}}}}

		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("Hostname (-want +got):\n%s", diff)
		}
	})

	t.Run("not for a reader", func(t *testing.T) {
		_, err := machine.Reboot(toNodes(limited(t), first.addr, second.addr), &machinepb.RebootRequest{})
		wantCode(t, "Reboot", err, codes.PermissionDenied)
	})

	t.Run("not for resources", func(t *testing.T) {
		_, err := statepb.NewStateClient(first.connect(secret.RoleReader)).Get(toNodes(limited(t), first.addr), &statepb.GetRequest{})
		wantCode(t, "Get", err, codes.InvalidArgument)
	})

	t.Run("not through a worker", func(t *testing.T) {
		_, err := machinepb.NewMachineServiceClient(third.connect(secret.RoleReader)).
			Version(toNodes(limited(t), third.addr, first.addr), &emptypb.Empty{})
		wantCode(t, "Version", err, codes.PermissionDenied)
	})
}

func TestStreamsOfManyNodes(t *testing.T) {
	c := newCluster(t)
	first, second, third := c.start("10.5.0.2"), c.start("10.5.0.3"), c.start("10.5.0.4", worker)
	machine := machinepb.NewMachineServiceClient(first.connect(secret.RoleReader))
	release := make(chan struct{})

	first.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
		for _, line := range []string{"1", "2", "3"} {
			if err := out.Send(&commonpb.Data{Bytes: []byte(line)}); err != nil {
				return err
			}
		}

		return nil
	}
	second.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
		_ = out.Send(&commonpb.Data{Bytes: []byte("only")})

		return status.Error(codes.NotFound, "no such log")
	}
	// The slow one begins when the client has all that the others say.
	third.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
		<-release

		return out.Send(&commonpb.Data{Bytes: []byte("late")})
	}

	stream := must(machine.Logs(toNodes(limited(t), first.addr, second.addr, third.addr, "10.5.0.99"), &machinepb.LogsRequest{}))(t)
	got := map[string]string{}

	for range 3 + 2 + 1 {
		in := must(stream.Recv())(t)
		got[in.GetMetadata().GetHostname()] += string(in.GetBytes()) + in.GetMetadata().GetError() + "|"
	}

	want := map[string]string{
		first.addr: "1|2|3|", second.addr: "only|no such log|", "10.5.0.99": "dial 10.5.0.99: no route to host|",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("before the slow node (-want +got):\n%s", diff)
	}

	close(release)

	if in := must(stream.Recv())(t); in.GetMetadata().GetHostname() != third.addr || string(in.GetBytes()) != "late" {
		t.Errorf("the slow node says %v; want late", in)
	}

	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v; want EOF", err)
	}
}

func TestACallerWhoLeavesEndsTheStreamsOfAllNodes(t *testing.T) {
	c := newCluster(t)
	nodes := []*node{c.start("10.5.0.2"), c.start("10.5.0.3")}
	ended := make(chan string, len(nodes))

	for _, n := range nodes {
		n.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
			_ = out.Send(&commonpb.Data{})
			<-out.Context().Done()
			ended <- n.addr

			return nil
		}
	}

	ctx, cancel := context.WithCancel(limited(t))

	stream := must(machinepb.NewMachineServiceClient(nodes[0].connect(secret.RoleReader)).
		Logs(toNodes(ctx, nodes[0].addr, nodes[1].addr), &machinepb.LogsRequest{Follow: true}))(t)
	for range nodes {
		must(stream.Recv())(t)
	}

	cancel()

	got := []string{<-ended, <-ended}
	slices.Sort(got)

	if want := []string{"10.5.0.2", "10.5.0.3"}; !slices.Equal(got, want) {
		t.Errorf("streams that ended = %q; want %q", got, want)
	}
}

// fakeServer is a Server whose connections to other nodes are what dial returns.
func fakeServer(dial func(key string) peerConn) *Server {
	ids := &Current{}
	ids.Set(&Identity{})

	return &Server{
		opts:  Options{Identities: ids}.withDefaults(),
		peers: newPeers(maxPeers, func(key string, _ *Identity) (peerConn, error) { return dial(key), nil }),
	}
}

// fanOutTo asks nodes through fake connections and returns the joined reply.
func fanOutTo(t *testing.T, ctx context.Context, s *Server, nodes ...string) ([]*machinepb.DiskStats, error) {
	t.Helper()

	p := plan{way: many}
	for _, n := range nodes {
		p.targets = append(p.targets, target{name: n, key: n})
	}

	down := &fakeDown{ctx: ctx, in: make(chan []byte, 1), sent: make(chan []byte, 1)}
	down.in <- nil

	if err := s.fanOut(ctx, p, machinepb.MachineService_DiskStats_FullMethodName, down); err != nil {
		return nil, err
	}

	var reply machinepb.DiskStatsResponse
	if err := proto.Unmarshal(<-down.sent, &reply); err != nil {
		t.Fatal(err)
	}

	return reply.GetMessages(), nil
}

// A caller with a deadline gets what the quick nodes said, and the name of the slow one, before it.
func TestASlowNodeDoesNotCostTheOthersReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fakeServer(func(key string) peerConn {
			return &fakeConn{invoke: func(ctx context.Context) ([]byte, error) {
				if key != "slow" {
					return nil, nil
				}

				<-ctx.Done()

				return nil, status.FromContextError(ctx.Err()).Err()
			}}
		})
		defer s.peers.close()

		start := time.Now()

		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()

		got, err := fanOutTo(t, ctx, s, "a", "slow", "b")
		if err != nil {
			t.Fatal(err)
		}

		if took := time.Since(start); took != 3500*time.Millisecond {
			t.Errorf("the answer took %v; want 3.5s, an eighth before the deadline", took)
		}

		for i, want := range []codes.Code{codes.OK, codes.DeadlineExceeded, codes.OK} {
			if code := codes.Code(got[i].GetMetadata().GetStatus().GetCode()); code != want {
				t.Errorf("node %d: %v; want %v", i, code, want)
			}
		}
	})
}

func TestWithMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct{ left, want time.Duration }{
			{time.Hour, time.Hour - time.Second},
			{4 * time.Second, 3500 * time.Millisecond},
			{0, 0},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), tc.left)
			defer cancel()

			node, cancel := withMargin(ctx, time.Now())
			defer cancel()

			deadline, _ := node.Deadline()
			if got := time.Until(deadline); got != tc.want {
				t.Errorf("withMargin of %v = %v; want %v", tc.left, got, tc.want)
			}
		}

		if ctx, cancel := withMargin(t.Context(), time.Now()); ctx != t.Context() {
			cancel()
			t.Error("withMargin without a deadline has one")
		}
	})
}

func TestJoinedRepliesStayWithinTheLimit(t *testing.T) {
	large := must(proto.Marshal(&machinepb.DiskStatsResponse{Messages: []*machinepb.DiskStats{
		{Total: &machinepb.DiskStat{Name: strings.Repeat("x", MaxMessage/5*2)}},
	}}))(t)
	// A message of two bytes becomes one of more than hundred by the node's name.
	bomb := bytes.Repeat([]byte{0x0a, 0x00}, 1<<20)
	name := strings.Repeat("n", 200)

	s := fakeServer(func(key string) peerConn {
		return &fakeConn{invoke: func(context.Context) ([]byte, error) {
			switch key {
			case name:
				return bomb, nil
			case "garbage":
				return []byte{0x0a, 0x05, 0x01}, nil
			default:
				return large, nil
			}
		}}
	})
	defer s.peers.close()

	got, err := fanOutTo(t, limited(t), s, "a", name, "b", "garbage", "c")
	if err != nil {
		t.Fatal(err)
	}

	if len(got) != 5 {
		t.Fatalf("%d messages; want 5", len(got))
	}

	failed := map[string]codes.Code{}
	for _, m := range got {
		failed[m.GetMetadata().GetHostname()] = codes.Code(m.GetMetadata().GetStatus().GetCode())
	}

	if failed[name] != codes.ResourceExhausted || failed["garbage"] != codes.Internal {
		t.Errorf("codes = %v; want ResourceExhausted for the bomb, Internal for garbage", failed)
	}

	// Of the three large ones, two fit; which, is chance.
	if n := len(slices.DeleteFunc([]codes.Code{failed["a"], failed["b"], failed["c"]},
		func(c codes.Code) bool { return c == codes.ResourceExhausted })); n != 2 {
		t.Errorf("%d of three large replies were joined; want 2: %v", n, failed)
	}
}

// One frame of each node is held, not more, and the caller's end ends all.
func TestMergedStreamsHoldOneFrameEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ups := map[string]*fakeUp{}
		ctx, cancel := context.WithCancel(t.Context())

		for _, n := range []string{"a", "b", "c"} {
			ups[n] = &fakeUp{ctx: ctx, taken: make(chan []byte, 1)}
		}

		s := fakeServer(func(key string) peerConn { return &fakeConn{stream: endless{ups[key]}} })
		defer s.peers.close()

		down := &fakeDown{ctx: ctx, in: make(chan []byte, 1), sent: make(chan []byte)}
		down.in <- nil

		ended := make(chan error, 1)
		p := plan{way: many, targets: []target{{name: "a", key: "a"}, {name: "b", key: "b"}, {name: "c", key: "c"}}}

		go func() { ended <- s.fanOut(ctx, p, machinepb.MachineService_Logs_FullMethodName, down) }()

		synctest.Wait()

		total := 0
		for _, up := range ups {
			total += up.received
		}

		// One is being sent; the two others wait for it with theirs.
		if total != 3 {
			t.Errorf("%d frames were read while the caller took none; want 3", total)
		}

		cancel()

		if err := <-ended; status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
			t.Errorf("fanOut = %v; want Canceled", err)
		}
	})
}

// A message of a stream that is garbage ends its node's part, and what the client gets can be decoded.
func TestAMessageThatIsCutOffIsAFailureOfItsNode(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		code codes.Code
	}{
		{"good", must(proto.Marshal(&commonpb.Data{Bytes: []byte("a")}))(t), codes.OK},
		{"empty", nil, codes.OK},
		{"cut off", []byte{0x12, 0x05, 'a'}, codes.Internal},
		{"too large with the name", append([]byte{0x12, 0xfb, 0xff, 0xff, 0x0f}, make([]byte, MaxMessage-5)...), codes.ResourceExhausted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := stampFrame(&frame{data: mem.BufferSlice{mem.SliceBuffer(tc.in)}}, hostStamp("a"))
			wantCode(t, "stampFrame", err, tc.code)

			if err != nil {
				return
			}

			var data commonpb.Data
			if err := proto.Unmarshal(got.data.Materialize(), &data); err != nil || data.GetMetadata().GetHostname() != "a" {
				t.Errorf("stampFrame = %v, %v; want the name a", &data, err)
			}
		})
	}
}

// endless is a node that always has one more valid message, an empty one.
type endless struct{ *fakeUp }

func (e endless) RecvMsg(m any) error {
	e.received++
	m.(*frame).data = mem.BufferSlice{}

	return nil
}
