package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"talos.internal/internal/proxy/authz"
	"talos.internal/secret"
)

// Options are what a Server is made of. Identities and Local are required.
type Options struct {
	// Identities gives certificates and authorities.
	Identities Identities

	// Local connects to machined of this node.
	Local func(ctx context.Context) (net.Conn, error)

	// Names returns the addresses and DNS names that this node is known by. It is asked for each call that names a node, by
	// many goroutines at once. A call for one of them is answered here. Nil means that there are none but the loopback ones,
	// which always are this node's.
	Names func() []string

	// Forwarding says that this node passes calls on to others: control-plane nodes do.
	Forwarding bool

	// Name returns what this node calls itself in calls that it forwards. It is asked for each of them, as the name can
	// change; nil, and an empty name, mean "apid".
	Name func() string

	// Mode is Running, or Maintenance for a node that has no config yet: then callers need no certificate and are readers,
	// and Forwarding must be false.
	Mode authz.Mode

	// Dial connects to the proxy of another node, by an address or a DNS name. Nil means TCP to Port.
	Dial func(ctx context.Context, target string) (net.Conn, error)

	// Logger takes a line for each call and for connections that were refused; nil means none.
	Logger *slog.Logger

	// Now is the clock by which certificates are judged; nil means the time of day.
	Now func() time.Time
}

// Server is the proxy of one node. Its methods are safe for concurrent use.
type Server struct {
	opts  Options
	grpc  *grpc.Server
	local *grpc.ClientConn
	peers *peers
}

// New makes a Server. It connects to nothing yet. A Server that is not needed any more must be stopped.
func New(opts Options) (*Server, error) {
	switch {
	case opts.Identities == nil:
		return nil, errors.New("new proxy: no identities")
	case opts.Local == nil:
		return nil, errors.New("new proxy: no way to machined")
	case opts.Forwarding && opts.Mode == authz.Maintenance:
		return nil, errors.New("new proxy: calls of anonymous clients must not be forwarded")
	}

	opts = opts.withDefaults()

	local, err := grpc.NewClient("passthrough:///machined", append(clientOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return opts.Local(ctx) }),
		// machined is on the same machine: when it is back, callers should not have to wait.
		grpc.WithConnectParams(connectParams(time.Second)),
		grpc.WithIdleTimeout(0),
	)...)
	if err != nil {
		return nil, fmt.Errorf("new proxy: %w", err)
	}

	s := &Server{opts: opts, local: local}
	s.peers = newPeers(maxPeers, s.dialPeer)

	accept := &acceptor{ids: opts.Identities, mode: opts.Mode, now: opts.Now, refused: &refusals{logger: opts.Logger}}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(accept.config())),
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(s.handle),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     connectionIdle,
			MaxConnectionAge:      connectionAge,
			MaxConnectionAgeGrace: connectionAgeGrace,
			Time:                  pingAfter,
			Timeout:               pingTimeout,
		}),
		grpc.WaitForHandlers(true), // after Stop nothing of the Server runs
	)

	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Names == nil {
		o.Names = func() []string { return nil }
	}

	name := o.Name
	o.Name = func() string {
		if name != nil {
			if n := name(); n != "" {
				return n
			}
		}

		return "apid"
	}

	if o.Dial == nil {
		o.Dial = func(ctx context.Context, target string) (net.Conn, error) {
			var d net.Dialer

			return d.DialContext(ctx, "tcp", net.JoinHostPort(target, strconv.Itoa(Port)))
		}
	}

	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}

	if o.Now == nil {
		o.Now = time.Now
	}

	return o
}

// Serve takes connections from l, which it closes in the end. It returns nil after Stop, and otherwise why it ended.
// It may be called for several listeners at once.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the machine API on %s: %w", l.Addr(), err)
	}

	return nil
}

// Stop takes no more connections and calls, waits until the calls that are under way have ended, and cuts off those that are
// left when ctx ends; then it returns the context's error. After it the Server cannot be used again.
func (s *Server) Stop(ctx context.Context) error {
	ended := make(chan struct{})

	go func() {
		defer close(ended)
		s.grpc.GracefulStop()
	}()

	var err error

	select {
	case <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("stop the machine API: calls were cut off: %w", ctx.Err())

		s.grpc.Stop()
		<-ended
	}

	s.peers.close()
	_ = s.local.Close() // fails only if it was closed before, by an earlier Stop

	return err
}

// clientOptions are those of connections to machined and to other nodes.
func clientOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		// Whether a call is made again is for the caller to say, who knows what it does.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	}
}

func connectParams(most time.Duration) grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: min(time.Second, most), Multiplier: 1.6, Jitter: 0.2, MaxDelay: most},
		MinConnectTimeout: peerConnect,
	}
}

// dialPeer makes a connection to another node's proxy, which is established with the first call.
func (s *Server) dialPeer(key string, id *Identity) (peerConn, error) {
	cfg, err := connectTo(id, key)
	if err != nil {
		return nil, err
	}

	return grpc.NewClient("passthrough:///"+key, append(clientOptions(),
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.opts.Dial(ctx, key) }),
		// Back-off's jitter is on top of the maximum.
		grpc.WithConnectParams(connectParams(maxBackoff*5/6)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithIdleTimeout(0), // peers closes it
	)...)
}

// handle is every call of every method.
func (s *Server) handle(_ any, down grpc.ServerStream) error {
	start := time.Now()
	method, _ := grpc.MethodFromServerStream(down)

	p, err := s.plan(down.Context(), method)
	if err == nil {
		err = s.carry(p, method, down)
	}

	remote := "unknown"
	if conn, ok := peer.FromContext(down.Context()); ok {
		remote = conn.Addr.String()
	}

	s.opts.Logger.Info("call",
		"method", method, "peer", remote, "roles", describeRoles(p.roles), "target", p.where(),
		"code", statusCode(err).String(), "duration", time.Since(start))

	return err
}

func statusCode(err error) codes.Code {
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}

	return status.FromContextError(err).Code()
}

func (s *Server) plan(ctx context.Context, method string) (plan, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return plan{}, err
	}

	in, _ := metadata.FromIncomingContext(ctx)
	// Most calls name no node.
	self := sync.OnceValue(func() func(string) bool { return selfFrom(s.opts.Names()) })

	return decide(question{
		method:   method,
		in:       in,
		peer:     who,
		mode:     s.opts.Mode,
		self:     func(key string) bool { return self()(key) },
		forwards: s.opts.Forwarding,
		name:     s.opts.Name(),
	})
}

// caller says who calls. Its certificate was verified by the handshake; but the connection may be older than the
// certificate's end.
func (s *Server) caller(ctx context.Context) (caller, error) {
	if s.opts.Mode == authz.Maintenance {
		return caller{roles: []string{secret.RoleReader}}, nil
	}

	var cert *x509.Certificate

	if conn, ok := peer.FromContext(ctx); ok {
		if info, ok := conn.AuthInfo.(credentials.TLSInfo); ok {
			cert = leafOf(info.State)
		}
	}

	switch now := s.opts.Now(); {
	case cert == nil:
		return caller{}, status.Error(codes.Unauthenticated, "a client certificate is required")
	case now.After(cert.NotAfter):
		return caller{}, status.Error(codes.Unauthenticated, "the client certificate is no longer valid")
	}

	return callerOf(cert), nil
}

func (s *Server) carry(p plan, method string, down grpc.ServerStream) error {
	ctx := down.Context()

	if sh := shapeOf(method); sh.known && !sh.requests && !sh.replies {
		var cancel context.CancelFunc

		ctx, cancel = context.WithTimeout(ctx, unaryTimeout) // the earlier deadline counts
		defer cancel()
	}

	if p.way == many {
		return s.fanOut(ctx, p, method, down)
	}

	return s.relay(ctx, p, method, down)
}
