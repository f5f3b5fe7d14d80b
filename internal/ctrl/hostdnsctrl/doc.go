// Package hostdnsctrl has the node's own resolver: it listens on 127.0.0.53 and, for pods, on link-local addresses of the loopback
// device, remembers answers, and asks the servers of the node for what it does not know.
//
// Names of the machine config, of the node and, where the config wants it, of the members are answered from the state. Servers are
// asked in their order, those that answer before those that did not; they are probed, so that the resolver says SERVFAIL at once
// when nobody answers, instead of letting its callers wait. Plain DNS, DNS over TLS and DNS over HTTPS are spoken.
//
// The resolver is an engine that the controllers share: one gives it the servers and says how they are, one has it listen. What
// pods find in their resolv.conf is written here, too.
//
// Whoever composes a node imports this package, and nobody else.
package hostdnsctrl

import (
	"net/netip"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
)

// Addresses at which the resolver listens: for the node, and for pods.
var (
	nodeAddress = netip.MustParseAddr("127.0.0.53")
	podAddress4 = netip.MustParseAddr("169.254.116.108")
	podAddress6 = netip.MustParseAddr("fd54:616c:6f73::204f:5320:444e:531")
)

const dnsPort = 53

// PodResolvConf is the file that kubelet gives to pods.
const PodResolvConf = "/system/resolved/resolv.conf"

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Root is before every file; empty is the real root.
	Root string
	// Kernel gets the addresses for pods, where no other controller carries addresses out, as in a container. Nil leaves them to the
	// controllers of addresses, for which a wish is written.
	Kernel Kernel
}

// Kernel is the part of a network namespace that is needed, as [rtnl.Conn] and [rtnl.Memory] have it.
type Kernel interface {
	LinkByName(name string) (rtnl.Link, error)
	AddAddress(a rtnl.Address) error
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	e := newEngine()
	return []controller.Controller{
		&ConfigController{Kernel: d.Kernel}, &PodResolvConfController{Root: d.Root},
		&UpstreamController{engine: e}, &CacheController{engine: e},
	}
}
