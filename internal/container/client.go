package container

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"talos.internal/internal/signature"
)

// The namespaces of containerd that a node uses.
const (
	System = "system" // etcd, kubelet, extensions
	Pods   = "k8s.io" // what the CRI plugin makes for kubelet
)

// DefaultSocket is where containerd of a node listens.
const DefaultSocket = "/run/containerd/containerd.sock"

// Credentials returns the user and the password for a registry host. With an empty user the password is an OAuth 2.0 refresh
// token; both empty is nobody.
type Credentials func(host string) (user, password string, err error)

// Options are for [New]. Zero fields have the values of a node.
type Options struct {
	// Socket is containerd's socket, [DefaultSocket].
	Socket string
	// Snapshotter keeps the unpacked images; "overlayfs".
	Snapshotter string
	// Hosts is the directory of hosts.toml files by which registries are reached; /etc/cri/conf.d/hosts.
	Hosts string
	// FIFOs is the directory for the output of containers; /run/containerd/fifo.
	FIFOs string
	// RuncRoot is where runc keeps what it knows of containers; /run/containerd/runc. Two containerd on one machine need two.
	RuncRoot string
	// Credentials are asked for when a registry wants them; nil for none. It is called for each pull.
	Credentials Credentials
	// Policy returns the rules for signatures, which each pull is held to; nil for none.
	Policy func(ctx context.Context) (signature.Policy, error)
}

// Client talks to one containerd. It connects when it is first used, and again when containerd was restarted. It is safe for
// concurrent use. Use [New], and Close at the end.
type Client struct {
	opts Options

	unpacking layerLocks

	mu   sync.Mutex
	conn *client.Client
}

// New returns a client. Nothing is done yet: containerd need not be there.
func New(o Options) *Client {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.Socket, DefaultSocket)
	set(&o.Snapshotter, "overlayfs")
	set(&o.Hosts, "/etc/cri/conf.d/hosts")
	set(&o.FIFOs, filepath.Join(filepath.Dir(o.Socket), "fifo"))
	return &Client{opts: o}
}

// Close ends the connection. Runs that are under way end with an error.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// dialOptions connect lazily and try again often: containerd is local and is back within a second.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
	}
}

// in returns the connection, and ctx for a namespace of containerd.
func (c *Client) in(ctx context.Context, namespace string) (context.Context, *client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		conn, err := grpc.NewClient("unix://"+c.opts.Socket, dialOptions()...)
		if err != nil {
			return nil, nil, fmt.Errorf("connect to containerd at %s: %w", c.opts.Socket, err)
		}
		cl, err := client.NewWithConn(conn, client.WithDefaultRuntime(runtimeName))
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("connect to containerd at %s: %w", c.opts.Socket, err), conn.Close())
		}
		c.conn = cl
	}
	return namespaces.WithNamespace(ctx, namespace), c.conn, nil
}

// Healthy returns nil if containerd answers that it serves. If it cannot be reached, that is waited for until ctx ends.
func (c *Client) Healthy(ctx context.Context) error {
	ctx, conn, err := c.in(ctx, System)
	if err != nil {
		return err
	}
	r, err := conn.HealthService().Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("check containerd: %w", err)
	}
	if r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("check containerd: it says %s", r.Status)
	}
	return nil
}
