package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/secret"
)

// BenchmarkUnary is the latency of a small unary call: to machined's socket without a proxy, and on the ways through it.
func BenchmarkUnary(b *testing.B) {
	c := newCluster(b)
	quiet := func(o *Options) { o.Logger = nil }
	first, second, third := c.start("10.5.0.2", quiet), c.start("10.5.0.3", quiet), c.start("10.5.0.4", quiet)
	direct := must(grpc.NewClient("passthrough:///machined", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer

			return d.DialContext(ctx, "unix", first.socket)
		})))(b)
	b.Cleanup(func() { _ = direct.Close() })

	proxied := first.connect(secret.RoleReader)

	for _, bc := range []struct {
		name string
		conn *grpc.ClientConn
		ctx  context.Context
	}{
		{"direct", direct, b.Context()},
		{"local", proxied, b.Context()},
		{"forwarded", proxied, to(b.Context(), keyNode, second.addr)},
		{"joined-3", proxied, toNodes(b.Context(), first.addr, second.addr, third.addr)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			client := machinepb.NewMachineServiceClient(bc.conn)

			b.ReportAllocs()

			for b.Loop() {
				if _, err := client.Version(bc.ctx, &emptypb.Empty{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStream is the throughput of a stream of 32 KiB messages, as a snapshot of etcd is one.
func BenchmarkStream(b *testing.B) {
	const size = 32 << 10

	c := newCluster(b)
	quiet := func(o *Options) { o.Logger = nil }
	first, second := c.start("10.5.0.2", quiet), c.start("10.5.0.3", quiet)

	for _, n := range []*node{first, second} {
		n.logs = func(in *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
			data := &commonpb.Data{Bytes: make([]byte, size)}

			for range in.GetTailLines() {
				if err := out.Send(data); err != nil {
					return err
				}
			}

			return nil
		}
	}

	client := machinepb.NewMachineServiceClient(first.connect(secret.RoleReader))

	for name, ctx := range map[string]context.Context{
		"local": b.Context(), "forwarded": to(b.Context(), keyNode, second.addr), "joined-1": toNodes(b.Context(), second.addr),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)

			stream, err := client.Logs(ctx, &machinepb.LogsRequest{TailLines: int32(b.N)})
			if err != nil {
				b.Fatal(err)
			}

			for {
				if _, err := stream.Recv(); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
