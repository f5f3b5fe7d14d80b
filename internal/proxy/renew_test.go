package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/secret"
)

// testCertificate makes an Identity differ from another: pointers to empty values may be equal.
var testCertificate = tls.Certificate{Certificate: [][]byte{{1}}}

func echo(t *testing.T, s grpc.BidiStreamingClient[machinepb.DebugContainerRunRequest, machinepb.DebugContainerRunResponse], text string) {
	t.Helper()

	in := &machinepb.DebugContainerRunRequest{Request: &machinepb.DebugContainerRunRequest_StdinData{StdinData: []byte(text)}}
	if err := s.Send(in); err != nil {
		t.Fatal(err)
	}

	if got := must(s.Recv())(t); string(got.GetStdoutData()) != text {
		t.Errorf("echo of %q = %v; want the same", text, got)
	}
}

// serial is that of the certificate that a new connection is shown.
func (n *node) serial(t *testing.T) string {
	t.Helper()

	var serial string

	conn := n.connectTLS(func(cfg *tls.Config) {
		cert := n.cluster.issue(secret.OSClient([]string{secret.RoleReader}, 0)).TLS()
		cfg.Certificates = []tls.Certificate{cert}
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			serial = state.PeerCertificates[0].SerialNumber.String()

			return nil
		}
	})
	if _, err := machinepb.NewMachineServiceClient(conn).Version(limited(t), &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}

	return serial
}

// A node gets new certificates, for the next half-life or for a new address, and then a new authority: connections and
// streams that are there go on, at both ends of a forwarded call.
func TestCertificatesAreRenewedWithoutDroppingConnections(t *testing.T) {
	c := newCluster(t)
	first, second := c.start("10.5.0.2"), c.start("10.5.0.3")
	conn := first.connect(secret.RoleAdmin)
	machine := machinepb.NewMachineServiceClient(conn)
	ctx := to(limited(t), keyNode, second.addr)

	stream := must(machinepb.NewDebugServiceClient(conn).ContainerRun(ctx))(t)
	echo(t, stream, "before")

	before := first.serial(t)

	first.ids.Set(c.identity(first.addr, false))
	second.ids.Set(c.identity(second.addr, false))
	echo(t, stream, "renewed")

	if after := first.serial(t); after == before {
		t.Errorf("a new connection is shown certificate %s; want a new one", after)
	}

	if _, err := machine.Version(ctx, &emptypb.Empty{}); err != nil {
		t.Errorf("a new call on an old connection: %v", err)
	}

	if got := first.proxy.peers.size(); got != 2 {
		t.Errorf("%d connections to the other node; want 2: the stream's, and one with the new certificate", got)
	}

	// The first authority is gone from both nodes.
	rotated := newCluster(t)
	rotated.routes = c.routes
	first.ids.Set(rotated.identity(first.addr, false))
	second.ids.Set(rotated.identity(second.addr, false))
	echo(t, stream, "of another authority")

	if _, err := machine.Version(ctx, &emptypb.Empty{}); err != nil {
		t.Errorf("a new call on an old connection after the authority's end: %v", err)
	}

	_, err := machinepb.NewMachineServiceClient(first.connect(secret.RoleAdmin)).Version(limited(t), &emptypb.Empty{})
	wantCode(t, "a new connection with the old authority", err, codes.Unavailable)

	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}

	if got := must(stream.Recv())(t); got.GetExitCode() != 7 {
		t.Errorf("the stream ends with %v; want exit code 7", got)
	}
}

func TestStopWaitsForCalls(t *testing.T) {
	n := newCluster(t).start("10.5.0.2")
	stream := must(machinepb.NewDebugServiceClient(n.connect(secret.RoleAdmin)).ContainerRun(limited(t)))(t)
	echo(t, stream, "a")

	stopped := make(chan error, 1)
	go func() { stopped <- n.proxy.Stop(context.Background()) }()

	echo(t, stream, "b")

	select {
	case err := <-stopped:
		t.Fatalf("Stop = %v before the call has ended", err)
	default:
	}

	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}

	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}

	if err := <-stopped; err != nil {
		t.Errorf("Stop = %v; want nil", err)
	}
}

func TestStopCutsOffWhatIsLeftWhenItsTimeIsOver(t *testing.T) {
	n := newCluster(t).start("10.5.0.2")
	ended := make(chan struct{})
	n.logs = func(_ *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
		_ = out.Send(&commonpb.Data{})
		<-out.Context().Done()
		close(ended)

		return nil
	}

	stream := must(machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).Logs(limited(t), &machinepb.LogsRequest{}))(t)
	must(stream.Recv())(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()

	if err := n.proxy.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop = %v; want DeadlineExceeded", err)
	}

	_, err := stream.Recv()
	wantCode(t, "Recv after Stop", err, codes.Unavailable)
	<-ended
}
