package netdoc

import (
	"time"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// BGPInstanceConfig makes the machine speak BGP (RFC 4271): it announces the addresses of chosen links to its
// neighbours and takes their routes.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: BGPInstanceConfig
//	name: fabric
//	localASN: 65001
//	routerID: 10.99.0.1
//	advertise:
//	    - dummy0
//	neighbors:
//	    - link: enp1s2
//	    - address: 10.5.0.1
//	      peerASN: 65000
type BGPInstanceConfig struct {
	// Name is the name of the instance.
	Name string `yaml:"name" required:"true"`
	// VRF is the name of the VRFConfig in which the instance works. Left out, it works outside of all.
	VRF string `yaml:"vrf"`
	// LocalASN is the machine's AS number, from 1 to 4294967294.
	LocalASN uint32 `yaml:"localASN" required:"true"`
	// RouterID is what the machine calls itself to its neighbours: an IPv4 address that no other router has. Left out, it
	// is one of the machine's IPv4 addresses.
	RouterID scalar.Addr `yaml:"routerID"`
	// RouteSource is the sender address that packets on the learnt routes prefer. Left out, the kernel chooses.
	RouteSource scalar.Addr `yaml:"routeSource"`
	// Advertise are the links, by name or alias, whose addresses are announced. Left out, none are.
	Advertise []string `yaml:"advertise" merge:"replace"`
	// Multipath uses all equally good routes to a destination at once, not only one. Default: false.
	Multipath bool `yaml:"multipath"`
	// MaxPaths is the most routes to a destination that are used at once. It needs multipath. Left out or 0, there is no
	// limit.
	MaxPaths uint32 `yaml:"maxPaths"`
	// InstallRoutes puts the learnt routes into the kernel's table. Default: true.
	InstallRoutes *bool `yaml:"installRoutes"`
	// ImportRoutes takes routes from other instances, to lead them from one VRF into another.
	//
	// Example:
	//
	//	importRoutes:
	//	    - bgpInstance: storage
	//	      prefixes:
	//	        - 10.30.0.0/16
	ImportRoutes []BGPImport `yaml:"importRoutes" merge:"replace"`
	// Neighbors are the routers to speak with.
	//
	// Example:
	//
	//	neighbors:
	//	    - address: 10.5.0.1
	//	      peerASN: 65000
	Neighbors []BGPNeighbor `yaml:"neighbors" merge:"replace"`
}

// BGPImport takes routes from another instance.
type BGPImport struct {
	// BGPInstance is the name of the other instance.
	BGPInstance string `yaml:"bgpInstance" required:"true"`
	// Prefixes are the networks whose routes are taken; at least one.
	Prefixes []scalar.Prefix `yaml:"prefixes" required:"true"`
}

// BGPNeighbor is a router to speak with. It is found by its address, or, without one, as the only router on a link
// (BGP unnumbered: by its link-local address, which its router advertisements tell).
type BGPNeighbor struct {
	// Address is the neighbour's address. Set this or link.
	Address scalar.Addr `yaml:"address"`
	// Link is the link, by name or alias, on which the neighbour is the only router. Set this or address.
	Link string `yaml:"link"`
	// PeerASN is the neighbour's AS number, from 1 to 4294967294. Left out or 0, any is accepted.
	PeerASN uint32 `yaml:"peerASN"`
	// LocalASN is the AS number that the machine shows to this neighbour. Left out or 0, it is that of the instance.
	LocalASN uint32 `yaml:"localASN"`
	// Passive waits for the neighbour to connect instead of connecting. Default: false.
	Passive bool `yaml:"passive"`
	// HoldTime is how long the neighbour may be silent before it is given up, in whole seconds from 3s to 65535s; the smaller
	// value of both sides counts. Left out, it is 90s.
	HoldTime scalar.Duration `yaml:"holdTime"`
	// BFD watches the way to the neighbour by bidirectional forwarding detection (RFC 5880), which notices a loss much faster
	// than holdTime. Left out, it is not used.
	//
	// Example:
	//
	//	bfd:
	//	    transmitInterval: 300ms
	//	    receiveInterval: 300ms
	//	    detectMultiplier: 3
	BFD *BGPBFD `yaml:"bfd"`
}

// BGPBFD watches the way to a neighbour by bidirectional forwarding detection (RFC 5880).
type BGPBFD struct {
	// TransmitInterval is the time between packets that are sent, from 1ms to 1h. Default: 300ms.
	TransmitInterval *scalar.Duration `yaml:"transmitInterval"`
	// ReceiveInterval is the least time between packets that are taken, from 1ms to 1h. Default: 300ms.
	ReceiveInterval *scalar.Duration `yaml:"receiveInterval"`
	// DetectMultiplier is how many packets in a row may be missing before the way counts as lost, from 1 to 255. Default: 3.
	DetectMultiplier *uint8 `yaml:"detectMultiplier"`
}

const (
	defaultHoldTime   = 90 * time.Second // RFC 4271 §10
	defaultBFD        = 300 * time.Millisecond
	defaultMultiplier = 3
)

func (*BGPInstanceConfig) DocumentKind() string   { return "BGPInstanceConfig" }
func (c *BGPInstanceConfig) DocumentName() string { return c.Name }

// InstallRoutesOrDefault returns whether learnt routes are put into the kernel's table.
func (c *BGPInstanceConfig) InstallRoutesOrDefault() bool { return orDefault(c.InstallRoutes, true) }

// HoldTimeOrDefault returns how long the neighbour may be silent.
func (c *BGPNeighbor) HoldTimeOrDefault() time.Duration {
	if c.HoldTime.Duration == 0 {
		return defaultHoldTime
	}
	return c.HoldTime.Duration
}

// OrDefault returns the settings with their defaults.
func (c *BGPBFD) OrDefault() (transmit, receive time.Duration, multiplier uint8) {
	d := scalar.Duration{Duration: defaultBFD}
	return orDefault(c.TransmitInterval, d).Duration, orDefault(c.ReceiveInterval, d).Duration,
		orDefault(c.DetectMultiplier, defaultMultiplier)
}

// checkASN checks an AS number: 0 is reserved by RFC 7607, 65535 and 4294967295 by RFC 7300, 23456 by RFC 6793.
func checkASN(r *schema.Reporter, n uint32) {
	switch n {
	case 0, 23456, 65535, 1<<32 - 1:
		r.Errorf("the AS number %d is reserved", n)
	}
}

func (c *BGPInstanceConfig) Validate(r *schema.Reporter) {
	checkName(r.At("name"), c.Name)
	checkASN(r.At("localASN"), c.LocalASN)
	if c.VRF != "" {
		checkLink(r.At("vrf"), c.VRF)
	}
	if c.RouterID.IsValid() && (!c.RouterID.Is4() || c.RouterID.IsUnspecified()) {
		r.At("routerID").Errorf("expected an IPv4 address other than 0.0.0.0, got %s", c.RouterID)
	}
	if c.RouteSource.IsValid() {
		checkUnicast(r.At("routeSource"), c.RouteSource.Addr)
	}
	checkLinks(r.At("advertise"), "", c.Advertise)
	if c.MaxPaths > 0 && !c.Multipath {
		r.At("maxPaths").Hintf("set multipath: true, or remove it", "a number of paths needs multipath")
	}
	for i, from := range c.ImportRoutes {
		if from.BGPInstance == c.Name {
			r.At("importRoutes").Item(i).At("bgpInstance").Errorf("the instance %s cannot take routes from itself", c.Name)
		}
	}
	first := firsts[string, int]{}
	for i, n := range c.Neighbors {
		key := n.Link
		if n.Address.IsValid() {
			key = n.Address.String()
		}
		if j, twice := first.seen(key, i); twice && key != "" {
			r.At("neighbors").Item(i).Errorf("the neighbour %s is there twice; it is also neighbors[%d]", key, j)
		}
	}
}

func (c *BGPImport) Validate(r *schema.Reporter) {
	if len(c.Prefixes) == 0 {
		r.At("prefixes").Errorf("expected at least one network, got none")
	}
	for i, p := range c.Prefixes {
		checkNetwork(r.At("prefixes").Item(i), p.Prefix)
	}
}

func (c *BGPNeighbor) Validate(r *schema.Reporter) {
	switch hasAddress, hasLink := c.Address.IsValid(), c.Link != ""; {
	case hasAddress && hasLink:
		r.At("link").Hintf("remove one", "address and link exclude each other")
	case hasAddress:
		c.validateAddress(r)
	case hasLink:
		checkLink(r.At("link"), c.Link)
	default:
		r.Errorf("expected address or link, got neither")
	}
	if c.PeerASN != 0 {
		checkASN(r.At("peerASN"), c.PeerASN)
	}
	if c.LocalASN != 0 {
		checkASN(r.At("localASN"), c.LocalASN)
	}
	if c.HoldTime.Duration != 0 {
		checkWholeSeconds(r.At("holdTime"), c.HoldTime.Duration, 3*time.Second) // RFC 4271 §4.2
	}
}

func (c *BGPNeighbor) validateAddress(r *schema.Reporter) {
	if !checkUnicast(r.At("address"), c.Address.Addr) {
		return
	}
	if c.Address.Is6() && c.Address.IsLinkLocalUnicast() {
		r.At("address").Hintf("set link and remove address", "the link-local address %s does not say on which link it is", c.Address)
	}
	if c.PeerASN == 0 {
		r.Warnf("set peerASN", "the neighbour %s may be of any AS", c.Address)
	}
}

func (c *BGPBFD) Validate(r *schema.Reporter) {
	transmit, receive, multiplier := c.OrDefault()
	checkInterval(r.At("transmitInterval"), transmit)
	checkInterval(r.At("receiveInterval"), receive)
	if multiplier == 0 {
		r.At("detectMultiplier").Errorf("expected a number from 1 to 255, got 0")
	}
}

func checkInterval(r *schema.Reporter, d time.Duration) {
	if d < time.Millisecond || d > time.Hour {
		r.Errorf("expected a duration from 1ms to 1h, got %v", d)
	}
}
