// Package discoveryctrl keeps this machine registered where the machines of its cluster meet, and tells the rest of the system whom
// it has found there, and who is gone.
//
// [DiscoveryServiceController] runs a client of package discovery. It registers with the control-plane machines that are known, which
// serve discovery themselves, and with the services that the config names. What it hears of a machine it writes as an affiliate into
// the namespace cluster-raw; clusterctrl makes members of them.
//
// [Door] is the way to the client for the API server, and [Remover] takes a machine out of the cluster for good: out of etcd, Kubernetes
// and the members.
//
// The composition of the node and internal/server import this package.
package discoveryctrl

import (
	"context"
	"net"

	"talos.internal/controller"
)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	// Door is given the client while there is one. Required.
	Door *Door
	// Version is the version of the system, which services are told.
	Version string
	// Dial connects to host:port; nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Controllers returns the controllers of discovery.
func Controllers(deps Deps) []controller.Controller {
	return []controller.Controller{&DiscoveryServiceController{Door: deps.Door, Version: deps.Version, Dial: deps.Dial}}
}
