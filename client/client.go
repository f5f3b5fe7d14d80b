package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"talos.internal/api/clusterpb"
	"talos.internal/api/inspectpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/membershippb"
	"talos.internal/api/statepb"
	"talos.internal/api/storagepb"
	"talos.internal/api/timepb"
	"talos.internal/client/talosconfig"
	"talos.internal/secret"
)

const (
	// MaxMessage is the largest message in bytes that is sent or taken, as on the server's side.
	MaxMessage = 32 << 20

	// maxBackoff bounds the pause between attempts to connect.
	maxBackoff = 15 * time.Second

	// connectTimeout is for one attempt at one endpoint: TCP, TLS, and the first frame of the server.
	connectTimeout = 10 * time.Second

	// pingAfter is the silence after which the server's program is asked for a sign of life while a call waits. A server
	// with gRPC's defaults ends connections that ask more often than every five minutes, and so the log of a quiet
	// service would break. That the machine is there is found out sooner: see tcpKeepAlive.
	pingAfter   = 6 * time.Minute
	pingTimeout = 20 * time.Second
)

// tcpKeepAlive finds a machine that is gone, without power or network, in 30 seconds, without its programs' help.
var tcpKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Options say how to reach a cluster. Exactly one of Context, TLS and Maintenance says whom to trust: Maintenance
// goes before TLS, and TLS before Context.
type Options struct {
	// Context has the credentials, and the endpoints if there are none in Endpoints.
	Context *talosconfig.Context
	// Endpoints go before those of Context. See [ParseEndpoint] for their form.
	Endpoints []string
	// TLS replaces the credentials of Context; nil for none. It is cloned; versions before 1.3 are turned off. Where it
	// has no ServerName, the host of the endpoint is expected in the server's certificate.
	TLS *tls.Config
	// Maintenance is for a machine that has no config yet, and so no certificate of a cluster. Context is not used at
	// all then: neither are credentials shown to a stranger, nor is a cluster's endpoint called without a check.
	Maintenance *Maintenance
	// Dialer connects to an address of the form host:port in place of TCP. A proxy-url of Context is then its matter.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
}

// Maintenance is TLS with a server that nobody vouches for. No client certificate is shown.
type Maintenance struct {
	// Fingerprints of certificates, one of which the server must have. Without any every server is accepted, and whoever
	// is between sees all that is sent, such as a machine config with its secrets.
	Fingerprints []secret.Fingerprint
	// Unpinned, if it is set and there are no Fingerprints, is told the fingerprint of the server at each connection, so
	// that a person can compare it with what the machine's console shows. It may be called from several goroutines.
	Unpinned func(got secret.Fingerprint)
}

// Client is a connection to the machine API. It is safe for concurrent use.
type Client struct {
	conn     *grpc.ClientConn
	attempts *attempts
}

// New makes a client. It does not connect: the first call does, and again when the connection is lost.
//
// It fails, with all that is wrong, if there is no endpoint or one that cannot be read, if credentials are missing or
// broken, and if the context asks for what is not supported: see the package comment. The caller closes the client.
func New(o Options) (*Client, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, fmt.Errorf("client of the machine API: %w", err)
	}

	return c, nil
}

func newClient(o Options) (*Client, error) {
	list := o.Endpoints
	if len(list) == 0 && o.Maintenance == nil && o.Context != nil {
		list = o.Context.Endpoints
	}

	endpoints, err := parseEndpoints(list)

	config, errTLS := o.tls()
	if err := errors.Join(err, errTLS); err != nil {
		return nil, err
	}

	dial := o.Dialer
	if dial == nil {
		dialer := &net.Dialer{KeepAliveConfig: tcpKeepAlive}
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}
	}

	rand.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })

	c := &Client{attempts: newAttempts(endpoints, clientCertificate(config))}

	conn, err := grpc.NewClient("endpoints:///machine-api",
		grpc.WithResolvers(fixed(endpoints)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"pick_first":{}}]}`),
		grpc.WithDisableServiceConfig(),
		grpc.WithTransportCredentials(newCredentials(config, c.attempts)),
		grpc.WithContextDialer(c.attempts.dialer(dial)),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithUnaryInterceptor(c.unary),
		grpc.WithStreamInterceptor(c.stream),
		grpc.WithStatsHandler(observer{}),
	)
	if err != nil {
		return nil, err
	}

	c.conn = conn

	return c, nil
}

// fixed is the resolver of a list that does not change.
func fixed(endpoints []Endpoint) resolver.Builder {
	var state resolver.State

	for _, e := range endpoints {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{
			Addr:       e.String(),
			ServerName: e.authority(),
			Attributes: attributes.New(endpointKey{}, e.String()),
		}}})
	}

	builder := manual.NewBuilderWithScheme("endpoints")
	builder.InitialState(state)

	return builder
}

// Close ends the connection and all calls that are under way. Calling it again does nothing.
func (c *Client) Close() error {
	// The only error is that it is closed already.
	_ = c.conn.Close()

	return nil
}

// Conn is the connection for generated clients that are not below. Closing it closes the client.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Machine is the service for most of what a node does.
func (c *Client) Machine() machinepb.MachineServiceClient {
	return machinepb.NewMachineServiceClient(c.conn)
}

// Images is the service for container images.
func (c *Client) Images() machinepb.ImageServiceClient {
	return machinepb.NewImageServiceClient(c.conn)
}

// Lifecycle is the service that installs and upgrades.
func (c *Client) Lifecycle() machinepb.LifecycleServiceClient {
	return machinepb.NewLifecycleServiceClient(c.conn)
}

// Debug is the service that runs throw-away containers.
func (c *Client) Debug() machinepb.DebugServiceClient { return machinepb.NewDebugServiceClient(c.conn) }

// LVM is the service for volume groups.
func (c *Client) LVM() machinepb.LVMServiceClient { return machinepb.NewLVMServiceClient(c.conn) }

// MD is the service for software RAID.
func (c *Client) MD() machinepb.MDServiceClient { return machinepb.NewMDServiceClient(c.conn) }

// FileSystems is machine.StorageService, which knows mounted file systems; see Storage for the other of that name.
func (c *Client) FileSystems() machinepb.StorageServiceClient {
	return machinepb.NewStorageServiceClient(c.conn)
}

// Storage is storage.StorageService, which lists and wipes disks.
func (c *Client) Storage() storagepb.StorageServiceClient {
	return storagepb.NewStorageServiceClient(c.conn)
}

// State is the service for resources.
func (c *Client) State() statepb.StateClient { return statepb.NewStateClient(c.conn) }

// Cluster is the service for the health of a cluster.
func (c *Client) Cluster() clusterpb.ClusterServiceClient {
	return clusterpb.NewClusterServiceClient(c.conn)
}

// Membership is the service that takes machines out of their cluster.
func (c *Client) Membership() membershippb.MembershipServiceClient {
	return membershippb.NewMembershipServiceClient(c.conn)
}

// Time is the service for the clock of a node.
func (c *Client) Time() timepb.TimeServiceClient { return timepb.NewTimeServiceClient(c.conn) }

// Inspect is the service for the graph of controllers.
func (c *Client) Inspect() inspectpb.InspectServiceClient {
	return inspectpb.NewInspectServiceClient(c.conn)
}

// The keys of metadata that say whom a call is for.
const (
	keyNode  = "node"
	keyNodes = "nodes"
)

// WithNode returns a context for calls to one node: its address or name as the endpoint knows it. An empty node is the
// endpoint itself. It replaces what an earlier WithNode or WithNodes said; other metadata stays.
func WithNode(ctx context.Context, node string) context.Context {
	if node == "" {
		return withTarget(ctx, keyNode)
	}

	return withTarget(ctx, keyNode, node)
}

// WithNodes returns a context for calls that the endpoint makes to many nodes and whose replies it joins: see [Split].
// Only services with joinable replies allow it, and the contract is to drop it: use [Each] where possible. Without nodes
// it is the endpoint itself. It replaces what an earlier WithNode or WithNodes said; other metadata stays.
func WithNodes(ctx context.Context, nodes ...string) context.Context {
	return withTarget(ctx, keyNodes, nodes...)
}

func withTarget(ctx context.Context, key string, nodes ...string) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		md = metadata.MD{}
	}

	md.Delete(keyNode)
	md.Delete(keyNodes)

	if len(nodes) > 0 {
		md[key] = slices.Clone(nodes)
	}

	return metadata.NewOutgoingContext(ctx, md)
}
