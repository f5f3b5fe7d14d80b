package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client/talosconfig"
	"talos.internal/secret"
)

const admin = secret.RoleAdmin

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}

		return value
	}
}

func newAuthority(t testing.TB, at time.Time) *secret.Authority {
	t.Helper()

	return must(secret.NewAuthority(secret.OS, at))(t)
}

// loopbackNames is what the tests' servers are called.
var loopbackNames = secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, DNS: []string{"localhost"}}

// contextOf is a talosconfig's context with credentials from ca, issued at the time at.
func contextOf(t testing.TB, ca *secret.Authority, at time.Time, ttl time.Duration, endpoints ...string) *talosconfig.Context {
	t.Helper()

	pair := must(ca.Issue(secret.OSClient([]string{admin}, ttl), at))(t)

	return talosconfig.NewContext(endpoints, nil, ca.CertificatePEM(), pair)
}

// serverTLS is how a node takes calls.
func serverTLS(t testing.TB, ca *secret.Authority, at time.Time, sans secret.SANs) *tls.Config {
	t.Helper()

	pair := must(ca.Issue(secret.NodeServer("node", sans), at))(t)

	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair.TLS()},
		ClientCAs:    ca.Pool(),
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}

// node answers with its name and that of the node that was asked for.
type node struct {
	machinepb.UnimplementedMachineServiceServer

	name string
	stop func()
}

func (n *node) Version(ctx context.Context, _ *emptypb.Empty) (*machinepb.VersionResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	target := strings.Join(md["node"], ",")

	switch target {
	case "unavailable":
		return nil, status.Error(codes.Unavailable, "node is down")
	case "hang":
		<-ctx.Done()

		return nil, status.FromContextError(ctx.Err()).Err()
	case "stop":
		go n.stop()
		<-ctx.Done()

		return nil, ctx.Err()
	case "error":
		return joined(version(&commonpb.Metadata{Hostname: "error", Error: "inside"}, "")), nil
	}

	return joined(version(&commonpb.Metadata{Hostname: target}, n.name+"/"+target)), nil
}

func (n *node) Read(r *machinepb.ReadRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	var size int
	if _, err := fmt.Sscan(r.GetPath(), &size); err != nil {
		return err
	}

	return s.Send(&commonpb.Data{Bytes: make([]byte, size)})
}

func (n *node) Dmesg(_ *machinepb.DmesgRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	md, _ := metadata.FromIncomingContext(s.Context())

	for i := range 3 {
		if err := s.Send(&commonpb.Data{Bytes: fmt.Append(nil, md["node"], i)}); err != nil {
			return err
		}
	}

	if md["node"][0] == "unavailable" {
		return status.Error(codes.Unavailable, "node is down")
	}

	<-s.Context().Done()

	return s.Context().Err()
}

// serveOn runs a node until the test ends or the returned function is called.
func serveOn(t testing.TB, l net.Listener, name string, config *tls.Config) (stop func()) {
	t.Helper()

	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.MaxSendMsgSize(64<<20))
	machinepb.RegisterMachineServiceServer(server, &node{name: name, stop: server.Stop})

	done := make(chan struct{})

	go func() {
		defer close(done)

		_ = server.Serve(l) // the error is that it was stopped
	}()

	stop = func() {
		server.Stop()
		<-done
	}
	t.Cleanup(stop)

	return stop
}

func listen(t testing.TB) net.Listener {
	t.Helper()

	l := must((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = l.Close() }) // closed already where a server has it

	return l
}

// serve runs a node on loopback and returns its address.
func serve(t testing.TB, name string, config *tls.Config) (address string, stop func()) {
	t.Helper()

	l := listen(t)

	return l.Addr().String(), serveOn(t, l, name, config)
}

func newTestClient(t testing.TB, o Options) *Client {
	t.Helper()

	c := must(New(o))(t)
	t.Cleanup(func() { _ = c.Close() }) // never fails

	return c
}

// limited is a context for calls that no test waits to the end of, unless it is broken.
func limited(t testing.TB) context.Context {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)

	return ctx
}

func (c *Client) ask(ctx context.Context, node string) (string, error) {
	v, err := Only(c.Machine().Version(WithNode(ctx, node), &emptypb.Empty{}))

	return v.GetVersion().GetTag(), err
}

// maintenanceTLS is how a machine in maintenance mode takes calls: a self-signed authority, which it shows, and no check.
func maintenanceTLS(t testing.TB) (*tls.Config, *x509.Certificate) {
	t.Helper()

	ca := newAuthority(t, time.Now())
	pair := must(ca.Issue(secret.NodeServer(maintenanceName, loopbackNames), time.Now()))(t)
	shown := pair.TLS()
	shown.Certificate = append(shown.Certificate, ca.Certificate().Raw)

	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{shown}}, pair.Certificate()
}
