// Package netctrl has the controllers of the node's network: what the machine should be called and reach, and what the
// kernel has.
//
// A wish comes from a layer: the defaults, the kernel's command line, the platform, an operator such as DHCP, the machine
// config. Its controller writes it into the namespace network-config. A merge controller for each kind leaves one of each
// in the namespace network, where the controllers read it that carry it out; what came of it is a Status. Merging, as all
// else that decides, is done by pure functions, which know neither the state nor the kernel.
//
// In a container the links, addresses and routes are the container runtime's: they are observed here and changed by
// nobody. Names, resolvers, time servers, the files in /etc and the readiness of the network are the same on every machine.
// Controllers of package filesctrl put the files in place. Whoever composes a node imports this package, and nobody else.
package netctrl

import (
	"context"

	"talos.internal/controller"
	"talos.internal/internal/netconf"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
)

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Kernel is the network namespace of the node.
	Kernel Kernel
	// Host is named by the controllers.
	Host Host
	// Platform is what the platform says, once and for all. Without metadata it says nothing, and there is no resource of it.
	// [Container.Config] makes it for a container.
	Platform network.PlatformConfig
	// Seed returns what the platform has handed over, as soon as that is known; nil if Platform says all. It is asked until it answers.
	Seed func(ctx context.Context) (netconf.Seed, error)
	// Cmdline is the kernel's command line; empty where it is not the node's.
	Cmdline string
	// Devices tells what hardware is behind a link; nil if that is nobody's business, as in a container.
	Devices func(link string) Device
	// Events is told of the node's addresses; nil if nobody listens.
	Events Events
	// Prober carries out probes; nil means [NetProber].
	Prober Prober
}

// Kernel lists and watches a network namespace, as [rtnl.Conn] and [rtnl.Memory] do.
type Kernel interface {
	Links() ([]rtnl.Link, error)
	Addresses() ([]rtnl.Address, error)
	Routes() ([]rtnl.Route, error)
	Rules() ([]rtnl.Rule, error)
	Watch(ctx context.Context, what rtnl.Change, fn func(rtnl.Change) error) error
}

// Device is the hardware behind a link. What is not known is empty.
type Device struct {
	Driver  string // the module that drives it
	BusPath string // as its bus names its place: "0000:00:03.0"
	PCIID   string // "1AF4:1000"
}

// Host is a machine that has a name.
type Host interface {
	// SetHostname names the machine, with at most 64 bytes.
	SetHostname(name string) error
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.Prober == nil {
		d.Prober = NetProber{}
	}
	cmdline, wrong := netconf.ReadCmdline(d.Cmdline, nil) // what is not about links
	all := []controller.Controller{
		linkStatus(d.Kernel, d.Devices), addressStatus(d.Kernel), routeStatus(d.Kernel), routingRuleStatus(d.Kernel), hardwareAddr(),
		hostnameConfig(d.Platform.Metadata != nil && len(d.Platform.Hostnames) > 0, cmdline.Hostnames), resolverConfig(cmdline.Resolvers),
		timeServerConfig(cmdline.TimeServers), probeConfig(), routingRuleConfig(),
		&platformConfig{platform: d.Platform, seed: d.Seed, cmdline: wrong}, platformConfigApply(),
		mergeAddresses(), mergeLinks(), mergeRoutes(), mergeRoutingRules(), mergeHostnames(), mergeResolvers(), mergeTimeServers(),
		mergeOperators(), mergeProbes(),
		hostnameSpec(d.Host), resolverSpec(), timeServerSpec(), &probes{prober: d.Prober},
		addressFilter(), sortAlgorithm(), nodeAddress(), staticHost(), etcFile(), status(),
	}
	if d.Events != nil {
		all = append(all, addressEvent(d.Events))
	}
	return all
}
