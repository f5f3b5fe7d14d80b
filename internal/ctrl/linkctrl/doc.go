// Package linkctrl gives the machine its links, addresses, routes and routing rules: it makes wishes of the machine config and of the
// kernel's command line, and carries out what the merge of all layers leaves (package netctrl).
//
// Four controllers change the kernel, one each for links, addresses, routes and rules. Each compares what should be with what the kernel
// has, in a pure function that returns steps, and carries the steps out; it does so again whenever a wish or the kernel changes, so that
// it does not matter in which order things come, or who takes them away. A step that cannot be done yet, because its link is not there,
// is none. A finalizer on each wish remembers what was done for it: when the wish goes, so does that, and nothing else. What others
// made, such as a CNI, is never looked at.
//
// In a container there is nothing to do for this package, and it is not registered. Whoever composes a node imports it.
package linkctrl

import (
	"context"
	"net"
	"net/netip"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/internal/sys/wg"
)

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Kernel is the network namespace of the node.
	Kernel Kernel
	// Wireguard configures links of that kind; nil if the kernel cannot.
	Wireguard Wireguard
	// Announcer tells the neighbours of an address that has moved; nil if nobody is to be told.
	Announcer Announcer
	// Cmdline is the kernel's command line.
	Cmdline string
}

// Kernel is a network namespace, as [rtnl.Conn] and [rtnl.Memory] are.
type Kernel interface {
	Links() ([]rtnl.Link, error)
	AddLink(rtnl.NewLink) error
	DeleteLink(index int) error
	SetUp(index int, up bool) error
	SetMTU(index, mtu int) error
	SetHardwareAddr(index int, a net.HardwareAddr) error
	SetMulticast(index int, on bool) error
	SetMaster(index, master int) error
	SetBridge(index int, b rtnl.Bridge) error
	SetBondPrimary(index, primary int) error
	SetAlias(index int, alias string) error
	Addresses() ([]rtnl.Address, error)
	AddAddress(rtnl.Address) error
	RemoveAddress(rtnl.Address) error
	Routes() ([]rtnl.Route, error)
	AddRoute(rtnl.Route) error
	ReplaceRoute(rtnl.Route) error
	RemoveRoute(rtnl.Route) error
	Rules() ([]rtnl.Rule, error)
	AddRule(rtnl.Rule) error
	RemoveRule(rtnl.Rule) error
	Watch(ctx context.Context, what rtnl.Change, fn func(rtnl.Change) error) error
}

// Wireguard configures links, as [wg.Conn] does.
type Wireguard interface {
	Configure(name string, cfg wg.Config) error
}

// Announcer tells the neighbours on a link that an address is there now.
type Announcer interface {
	Announce(link string, a netip.Addr) error
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	return []controller.Controller{
		linkConfig(d.Cmdline), addressConfig(d.Cmdline), routeConfig(d.Cmdline), linkAliasConfig(), aliasController{d.Kernel},
		links(d.Kernel, d.Wireguard), addresses(d.Kernel, d.Announcer), routes(d.Kernel), rules(d.Kernel),
	}
}
