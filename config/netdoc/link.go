package netdoc

import (
	"net/netip"
	"strings"

	"talos.internal/config/expr"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// CommonLink is what the documents of all links have in common.
type CommonLink struct {
	// Up says whether the link is brought up. Default: true.
	Up *bool `yaml:"up"`
	// MTU is the size in bytes of the largest packet that the link carries, from 68 to 65535; with an IPv6 address at
	// least 1280. Left out, the driver's own value stays.
	MTU uint32 `yaml:"mtu"`
	// Addresses are the static addresses of the link.
	//
	// Example:
	//
	//	addresses:
	//	    - address: 10.5.0.2/24
	//	    - address: fd00:5::2/64
	//	      routePriority: 512
	Addresses []Address `yaml:"addresses"`
	// Routes are the routes that go out of the link.
	//
	// Example:
	//
	//	routes:
	//	    - gateway: 10.5.0.1
	//	    - destination: 10.20.0.0/16
	//	      gateway: 10.5.0.254
	//	      metric: 100
	Routes []Route `yaml:"routes"`
	// Multicast sets the link's multicast flag. Left out, the driver's own value stays.
	Multicast *bool `yaml:"multicast"`
}

// UpOrDefault returns whether the link is brought up.
func (c *CommonLink) UpOrDefault() bool { return orDefault(c.Up, true) }

func (c *CommonLink) Validate(r *schema.Reporter) {
	checkMTU(r.At("mtu"), c.MTU)
	first := firsts[netip.Addr, int]{}
	for i, a := range c.Addresses {
		at := r.At("addresses").Item(i).At("address")
		if c.MTU >= minMTU && c.MTU < minMTUv6 && a.Address.Addr().Is6() {
			at.Hintf("raise mtu", "the IPv6 address %s needs an MTU of at least %d, got %d", a.Address.Addr(), minMTUv6, c.MTU)
		}
		if j, twice := first.seen(a.Address.Addr(), i); twice {
			at.Errorf("the address %s is there twice; it is also addresses[%d]", a.Address.Addr(), j)
		}
	}
	c.validateRoutes(r.At("routes"), first)
}

// validateRoutes checks the routes together; own holds the link's addresses.
func (c *CommonLink) validateRoutes(r *schema.Reporter, own map[netip.Addr]int) {
	type key struct {
		to     netip.Prefix
		via    netip.Addr
		metric Metric
		table  uint8
	}
	first := firsts[key, int]{}
	for i, route := range c.Routes {
		at := r.Item(i)
		if _, ok := own[route.Gateway.Addr]; ok {
			at.At("gateway").Errorf("the gateway %s is an address of the link itself", route.Gateway)
		}
		key := key{route.To(), route.Gateway.Addr, route.Metric, route.Table.ID()}
		if j, twice := first.seen(key, i); twice {
			at.Errorf("the route is there twice; it is also routes[%d]", j)
		}
	}
}

// Address is a static address of a link.
type Address struct {
	// Address is the address with the length of the network's prefix.
	Address scalar.Prefix `yaml:"address" required:"true"`
	// RoutePriority is the metric of the route to the address's own network, which the kernel adds. Of two such routes
	// the one with the lower metric is used. Left out, it is the kernel's choice: 0 for IPv4, 256 for IPv6.
	RoutePriority uint32 `yaml:"routePriority"`
}

func (a *Address) Validate(r *schema.Reporter) {
	at := r.At("address")
	p := a.Address.Prefix
	if !checkUnicast(at, p.Addr()) || !p.Addr().Is4() || p.Bits() > 30 {
		return
	}
	if p.Addr() == p.Masked().Addr() {
		at.Warnf("take an address inside the network", "%s is the address of the network itself", p)
	}
}

// Route is a route that goes out of a link.
type Route struct {
	// Destination is the network that the route leads to. Left out, it is all of the gateway's family: the default route.
	Destination scalar.Prefix `yaml:"destination"`
	// Gateway is the address of the next router. Left out, the destination is reached directly on the link.
	Gateway scalar.Addr `yaml:"gateway"`
	// Source is the sender address that packets on this route prefer. Left out, the kernel chooses.
	Source scalar.Addr `yaml:"source"`
	// Metric orders routes to the same destination: the lowest is used. Left out, it is 1024.
	Metric Metric `yaml:"metric"`
	// MTU is the size in bytes of the largest packet on this route, from 68 to 65535. Left out, the link's MTU counts.
	MTU uint32 `yaml:"mtu"`
	// Table is the routing table that holds the route: main, local, default, or a number from 1 to 255. Left out, it is
	// main.
	Table RoutingTable `yaml:"table"`
}

// To returns the network that the route leads to, without bits beyond its length: all addresses of the gateway's family
// for a default route. It is the zero prefix if the route has neither destination nor gateway.
func (c *Route) To() netip.Prefix {
	switch {
	case c.Destination.IsValid():
		return c.Destination.Masked()
	case c.Gateway.Is4():
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	case c.Gateway.IsValid():
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.Prefix{}
}

// defaultRouteMetric is the metric of routes for which nothing else is said.
const defaultRouteMetric = 1024

// Metric orders routes to the same destination: the lowest is used. 0 is not set.
type Metric uint32

// OrDefault returns m, or 1024 if it is not set.
func (m Metric) OrDefault() uint32 {
	if m == 0 {
		return defaultRouteMetric
	}
	return uint32(m)
}

func (c *Route) Validate(r *schema.Reporter) {
	checkMTU(r.At("mtu"), c.MTU)
	to := c.To()
	if !to.IsValid() {
		r.Hintf("for the default route set gateway alone", "expected destination, gateway or both, got neither")
		return
	}
	checkNetwork(r.At("destination"), c.Destination.Prefix)
	if c.Gateway.IsValid() && checkUnicast(r.At("gateway"), c.Gateway.Addr) && !sameFamily(to.Addr(), c.Gateway.Addr) {
		r.At("gateway").Errorf("expected a gateway of the destination's family, got %s for %s", c.Gateway, to)
	}
	if c.Source.IsValid() && checkUnicast(r.At("source"), c.Source.Addr) && !sameFamily(to.Addr(), c.Source.Addr) {
		r.At("source").Errorf("expected a source of the destination's family, got %s for %s", c.Source, to)
	}
}

// LinkConfig gives a physical link its addresses, routes and settings. It also serves for a link that exists by other
// means, such as lo.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: LinkConfig
//	name: enp1s2
//	addresses:
//	    - address: 10.5.0.2/24
//	routes:
//	    - gateway: 10.5.0.1
type LinkConfig struct {
	// Name is the link's name, one of its alternative names, or an alias from a LinkAliasConfig.
	Name       string `yaml:"name" required:"true"`
	CommonLink `yaml:",inline"`
}

func (*LinkConfig) DocumentKind() string   { return "LinkConfig" }
func (c *LinkConfig) DocumentName() string { return c.Name }

func (c *LinkConfig) Validate(r *schema.Reporter) {
	checkLink(r.At("name"), c.Name)
	c.CommonLink.Validate(r)
}

// LinkAliasConfig gives a link a second name that the other documents can use, so that one config fits machines whose
// links are named differently.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: LinkAliasConfig
//	name: uplink
//	selector:
//	    match: mac(link.permanent_addr) == "2e:3c:4d:5e:6f:70"
type LinkAliasConfig struct {
	// Name is the alias, 1 to 15 bytes. With %d in it, each link that the selector matches gets an alias, numbered from
	// 0 in the order of the links. Without it, the selector must match one link only.
	//
	// Example:
	//
	//	name: net%d
	Name string `yaml:"name" required:"true"`
	// Selector says which links get the alias. It must be there.
	//
	// Example:
	//
	//	selector:
	//	    match: link.driver == "mlx5_core"
	Selector LinkSelector `yaml:"selector"`
}

func (*LinkAliasConfig) DocumentKind() string   { return "LinkAliasConfig" }
func (c *LinkAliasConfig) DocumentName() string { return c.Name }

// Pattern reports whether the name has %d in it: the document may give several links an alias.
func (c *LinkAliasConfig) Pattern() bool { return strings.Contains(c.Name, "%d") }

func (c *LinkAliasConfig) Validate(r *schema.Reporter) {
	if strings.Count(c.Name, "%d") > 1 {
		r.At("name").Errorf("expected %%d once, got %q", c.Name)
	} else {
		checkNewLink(r.At("name"), strings.Replace(c.Name, "%d", "0", 1))
	}
	if c.Selector.Match == "" {
		r.At("selector").At("match").Hintf(`for all physical links write link.type == "ether" && link.kind == ""`,
			"expected an expression that selects links, got nothing")
	}
}

// LinkSelector selects links by what they are.
type LinkSelector struct {
	// Match is a CEL expression over link that is true for the links that are meant. Beside CEL's own it has the
	// functions mac(bytes), which prints a hardware address, and glob(pattern, string).
	//
	// Example:
	//
	//	match: glob("00:1a:2b:*", mac(link.permanent_addr))
	Match expr.LinkSelector `yaml:"match"`
}

// DummyLinkConfig makes a link that carries no traffic, to hold addresses that belong to no wire.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: DummyLinkConfig
//	name: dummy0
//	addresses:
//	    - address: 10.99.0.1/32
type DummyLinkConfig struct {
	// Name is the name of the new link, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// HardwareAddr is the link's hardware address. Left out, the kernel makes one up.
	HardwareAddr scalar.HardwareAddr `yaml:"hardwareAddr"`
	CommonLink   `yaml:",inline"`
}

func (*DummyLinkConfig) DocumentKind() string   { return "DummyLinkConfig" }
func (c *DummyLinkConfig) DocumentName() string { return c.Name }

func (c *DummyLinkConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	checkEthernetAddr(r.At("hardwareAddr"), c.HardwareAddr)
	c.CommonLink.Validate(r)
}
