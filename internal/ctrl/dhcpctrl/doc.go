// Package dhcpctrl runs operators: protocols on a link that make wishes for the network, DHCP of both versions and addresses that
// machines share.
//
// Which operators there should be comes from the machine config, the kernel's command line and the platform; a link of the hardware of
// which nobody says anything has DHCPv4. An operator runs while its link is there. What it was given it offers as wishes of the layer
// operator, which go when it ends.
//
// A lease is renewed, rebound and given up at the times that its server said (RFC 2131 section 4.4.5, RFC 8415 section 18.2). A link that
// loses its carrier keeps its lease: when it comes back, the address is asked for again at once, because the cable may lead elsewhere now.
//
// In a container there is nothing to do for this package, and it is not registered. Whoever composes a node imports it.
package dhcpctrl

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/network"
)

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Cmdline is the kernel's command line.
	Cmdline string
	// Election decides which machine has a shared address; nil where there is none to be had, as on a worker.
	Election Election
	// Clients makes clients of DHCP; nil means [NetClients].
	Clients Clients
}

// Election is how machines agree on which of them has something.
type Election interface {
	// Hold waits until it is this machine's turn to have what key names, and calls had with a context that ends when its turn
	// is over, or in doubt. It returns when had has returned, or with the cause why there is no turn.
	Hold(ctx context.Context, key string, had func(ctx context.Context)) error
}

// Clients makes clients.
type Clients interface {
	DHCP4(s Subject, o network.DHCP4Operator) Client
	DHCP6(s Subject, o network.DHCP6Operator) Client
}

// Subject is on whose behalf a client asks.
type Subject struct {
	Link         string
	HardwareAddr network.HardwareAddr
	// Hostname returns the machine's name, to tell the server; empty as long as there is none.
	Hostname func() string
}

// Client speaks to the servers on a link. Calls return soon after ctx ends, and by themselves after a few attempts.
type Client interface {
	// Acquire asks whoever is there for a lease.
	Acquire(ctx context.Context) (*Lease, error)
	// Extend asks for a lease once more: its own server, or with anyone any server. The error is ErrRefused if it may not be used
	// any longer.
	Extend(ctx context.Context, l *Lease, anyone bool) (*Lease, error)
}

// ErrRefused says that a server does not want a lease to be used.
var ErrRefused = errors.New("the server refuses the lease")

// Lease is what a server gave. Times are from the moment at which it was asked for.
type Lease struct {
	Addresses    []netip.Prefix
	Routes       []Route
	Hostname     string // may have a domain
	Domain       string
	Servers      []netip.Addr // for names
	Search       []string
	TimeServers  []string
	MTU          uint32 // 0 if it says nothing
	Server       string // for people
	Renew        time.Duration
	Rebind       time.Duration
	Expire       time.Duration // 0 is never
	conversation any           // what the client needs to go on
}

// Route is a route of a lease; without a gateway it is directly on the link.
type Route struct {
	Destination netip.Prefix // of no bits for the default route
	Gateway     netip.Addr
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.Clients == nil {
		d.Clients = NetClients{}
	}
	return []controller.Controller{operatorConfig(d.Cmdline), operatorVIPConfig(), &operators{clients: d.Clients, election: d.Election}}
}
