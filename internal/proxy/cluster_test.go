package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
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
	"talos.internal/api/statepb"
	"talos.internal/internal/proxy/authz"
	"talos.internal/secret"
)

// must unwraps a result: must(f())(t).
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}

		return value
	}
}

// limited is a context for a test's calls. No test waits for it to end, unless it is broken.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)

	return ctx
}

// machined is what answers behind a proxy: generated services with replies that say which node they are of. It remembers
// the metadata of the last call.
type machined struct {
	machinepb.UnimplementedMachineServiceServer
	machinepb.UnimplementedDebugServiceServer

	name string
	logs func(*machinepb.LogsRequest, grpc.ServerStreamingServer[commonpb.Data]) error
	// disk answers DiskStats.
	disk func(context.Context) (*machinepb.DiskStatsResponse, error)

	mu   sync.Mutex
	seen metadata.MD
	who  []string
}

func (m *machined) see(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)

	m.mu.Lock()
	defer m.mu.Unlock()

	m.seen, m.who = md, md[keyRoles]
}

func (m *machined) metadata() metadata.MD {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.seen
}

func (m *machined) roles() []string {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.who
}

func (m *machined) Version(ctx context.Context, _ *emptypb.Empty) (*machinepb.VersionResponse, error) {
	m.see(ctx)

	return &machinepb.VersionResponse{Messages: []*machinepb.Version{{Version: &machinepb.VersionInfo{Tag: m.name}}}}, nil
}

func (m *machined) ServiceList(ctx context.Context, _ *emptypb.Empty) (*machinepb.ServiceListResponse, error) {
	m.see(ctx)

	list := &machinepb.ServiceList{Services: []*machinepb.ServiceInfo{{Id: "etcd-" + m.name, State: "Running"}, {Id: "kubelet"}}}

	return &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{list}}, nil
}

func (m *machined) Reboot(ctx context.Context, _ *machinepb.RebootRequest) (*machinepb.RebootResponse, error) {
	m.see(ctx)

	return &machinepb.RebootResponse{Messages: []*machinepb.Reboot{{ActorId: m.name}}}, nil
}

// Hostname is a reply without any message.
func (m *machined) Hostname(context.Context, *emptypb.Empty) (*machinepb.HostnameResponse, error) {
	return &machinepb.HostnameResponse{}, nil
}

func (m *machined) DiskStats(ctx context.Context, _ *emptypb.Empty) (*machinepb.DiskStatsResponse, error) {
	if m.disk == nil {
		return nil, status.Error(codes.Unimplemented, "no disks")
	}

	return m.disk(ctx)
}

func (m *machined) Logs(in *machinepb.LogsRequest, out grpc.ServerStreamingServer[commonpb.Data]) error {
	m.see(out.Context())

	return m.logs(in, out)
}

// EtcdRecover counts the bytes it gets.
func (m *machined) EtcdRecover(in grpc.ClientStreamingServer[commonpb.Data, machinepb.EtcdRecoverResponse]) error {
	n := 0

	for {
		data, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&machinepb.EtcdRecoverResponse{Messages: []*machinepb.EtcdRecover{
				{Metadata: &commonpb.Metadata{Hostname: fmt.Sprint(n)}},
			}})
		}

		if err != nil {
			return err
		}

		n += len(data.GetBytes())
	}
}

// ContainerRun echoes what it gets until the caller half-closes, and then sends an exit code.
func (m *machined) ContainerRun(s grpc.BidiStreamingServer[machinepb.DebugContainerRunRequest, machinepb.DebugContainerRunResponse]) error {
	if err := s.SendHeader(metadata.Pairs("x-shell", m.name, "x-bytes-bin", "\x00\xff")); err != nil {
		return err
	}

	s.SetTrailer(metadata.Pairs("x-end", "bye"))

	for {
		in, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.Send(&machinepb.DebugContainerRunResponse{
				Resp: &machinepb.DebugContainerRunResponse_ExitCode{ExitCode: 7},
			})
		}

		if err != nil {
			return err
		}

		out := &machinepb.DebugContainerRunResponse{Resp: &machinepb.DebugContainerRunResponse_StdoutData{StdoutData: in.GetStdinData()}}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

// resources is the machined's service of resources.
type resources struct {
	statepb.UnimplementedStateServer

	m *machined
}

func (r resources) Get(ctx context.Context, in *statepb.GetRequest) (*statepb.GetResponse, error) {
	r.m.see(ctx)

	return &statepb.GetResponse{Resource: &statepb.Resource{Metadata: &statepb.Metadata{Id: in.GetId(), Namespace: r.m.name}}}, nil
}

// cluster is an authority and nodes, whose proxies reach each other by addresses that are not on any wire.
type cluster struct {
	t  testing.TB
	ca *secret.Authority

	mu     sync.Mutex
	routes map[string]func(ctx context.Context) (net.Conn, error)
}

type node struct {
	*machined
	cluster *cluster
	addr    string // in the cluster
	listen  string // on the loopback
	socket  string
	ids     *Current
	proxy   *Server
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.String()
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, ca: must(secret.NewAuthority(secret.OS, time.Now()))(t), routes: map[string]func(context.Context) (net.Conn, error){}}
}

// shortDir is not TempDir, whose path can be longer than a socket's may be.
func shortDir(t testing.TB) string {
	dir := must(os.MkdirTemp("", "proxy"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	return dir
}

func (c *cluster) route(addr string, dial func(context.Context) (net.Conn, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.routes[addr] = dial
}

func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	dial := c.routes[addr]
	c.mu.Unlock()

	if dial == nil {
		return nil, fmt.Errorf("dial %s: no route to host", addr)
	}

	return dial(ctx)
}

func tcp(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer

		return d.DialContext(ctx, "tcp", addr)
	}
}

func sans(addr string) secret.SANs { return secret.SANs{IPs: []netip.Addr{netip.MustParseAddr(addr)}} }

// issue makes a certificate of the cluster.
func (c *cluster) issue(leaf secret.Leaf) secret.Pair { return must(c.ca.Issue(leaf, time.Now()))(c.t) }

// identity is what a control-plane node at addr shows; a worker has no client certificate.
func (c *cluster) identity(addr string, worker bool) *Identity {
	server := c.issue(secret.NodeServer("node", sans(addr)))

	var client secret.Pair
	if !worker {
		client = c.issue(secret.NodeImpersonator("node"))
	}

	return must(NewIdentity(server, client, c.ca.Certificate()))(c.t)
}

// start starts a node: its machined, behind a unix socket, and its proxy. Changes of options are made by each of change.
func (c *cluster) start(addr string, change ...func(*Options)) *node {
	c.t.Helper()

	n := &node{machined: &machined{name: addr}, cluster: c, addr: addr, ids: &Current{}, log: &lockedBuffer{}}

	n.socket = filepath.Join(shortDir(c.t), "machine.sock")

	backend := grpc.NewServer(grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage+1<<20))
	machinepb.RegisterMachineServiceServer(backend, n.machined)
	machinepb.RegisterDebugServiceServer(backend, n.machined)
	statepb.RegisterStateServer(backend, resources{m: n.machined})

	unix := must(net.Listen("unix", n.socket))(c.t)
	go func() { _ = backend.Serve(unix) }()
	c.t.Cleanup(backend.Stop)

	opts := Options{
		Identities: n.ids,
		Local: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer

			return d.DialContext(ctx, "unix", n.socket)
		},
		Names:      func() []string { return []string{addr, "self.example"} },
		Forwarding: true,
		Name:       func() string { return addr },
		Dial:       c.dial,
		Logger:     slog.New(slog.NewTextHandler(n.log, nil)),
	}
	for _, f := range change {
		f(&opts)
	}

	n.ids.Set(c.identity(addr, !opts.Forwarding))
	n.proxy = must(New(opts))(c.t)

	l := must(net.Listen("tcp", "127.0.0.1:0"))(c.t)
	n.listen = l.Addr().String()
	served := make(chan error, 1)

	go func() { served <- n.proxy.Serve(l) }()

	c.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()

		_ = n.proxy.Stop(ctx)
		if err := <-served; err != nil {
			c.t.Errorf("Serve = %v; want nil after Stop", err)
		}
	})
	c.route(addr, tcp(n.listen))

	return n
}

func worker(o *Options) { o.Forwarding = false }

func maintenance(o *Options) { o.Forwarding, o.Mode = false, authz.Maintenance }

// connect connects to the node's proxy with a certificate of the cluster that has these roles.
func (n *node) connect(roles ...string) *grpc.ClientConn {
	n.cluster.t.Helper()

	return n.connectAs(n.cluster.issue(secret.OSClient(roles, time.Hour)))
}

func (n *node) connectAs(pair secret.Pair) *grpc.ClientConn {
	n.cluster.t.Helper()

	return n.connectTLS(func(cfg *tls.Config) {
		if !pair.IsZero() {
			cert := pair.TLS()
			// Shown whatever the server asks for.
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
	})
}

func (n *node) connectTLS(change func(*tls.Config)) *grpc.ClientConn {
	n.cluster.t.Helper()

	cfg := &tls.Config{RootCAs: n.cluster.ca.Pool(), ServerName: n.addr}
	change(cfg)

	conn := must(grpc.NewClient("passthrough:///"+n.listen, grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage+1<<20))))(n.cluster.t)
	n.cluster.t.Cleanup(func() { _ = conn.Close() })

	return conn
}

func to(ctx context.Context, kv ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

func toNodes(ctx context.Context, nodes ...string) context.Context {
	for _, n := range nodes {
		ctx = to(ctx, keyNodes, n)
	}

	return ctx
}

func wantCode(t testing.TB, call string, err error, want codes.Code) {
	t.Helper()

	if got := status.Code(err); got != want {
		t.Errorf("%s = %v (%v); want %v", call, got, err, want)
	}
}
