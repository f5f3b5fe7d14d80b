// Package kubeprismctrl has KubePrism: a balancer on the node's loopback that leads to every API server of the cluster, so that
// kubelet and the rest of the node need no load balancer outside.
//
// The candidates are the endpoint of the cluster, the API server of this node if it has one, and the addresses of the control-plane
// members. A connection goes to a healthy one of those that are nearest, as their latency tells. One that refuses, or does not answer
// soon, is passed over within the same connection of the client. One that is found to be gone loses the connections it has, so that
// their owners come again at once. While none is ready a connection waits for a few seconds, since a client that is refused would come
// again much later than the API server.
//
// Whoever composes a node imports this package, and nobody else.
package kubeprismctrl

import (
	"context"
	"net"
	"time"

	"talos.internal/controller"
)

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Listen listens for connections; nil means the network of the node.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Dial connects to an API server; nil means the network of the node.
	Dial Dial
	// Check tells why the API server at an address cannot serve; nil means that it is asked, over HTTPS. An error that wraps
	// ErrNotReady says that it is there and only not ready.
	Check func(ctx context.Context, address string) error
	// Hold is how long a connection waits for an API server when none is ready; zero means five seconds, which is below the time that
	// clients give to the handshake that follows (10 s in client-go).
	Hold time.Duration
}

// Dial makes a connection.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.Listen == nil {
		d.Listen = (&net.ListenConfig{}).Listen
	}
	if d.Dial == nil {
		// An API server that has vanished without a word is noticed on idle connections, too.
		d.Dial = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}}).DialContext
	}
	if d.Check == nil {
		d.Check = newProbe(d.Dial)
	}
	if d.Hold == 0 {
		d.Hold = 5 * time.Second
	}
	return []controller.Controller{
		EndpointsController{}, ConfigController{}, &BalancerController{Deps: d},
	}
}
