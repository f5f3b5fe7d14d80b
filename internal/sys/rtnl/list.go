package rtnl

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network device.
type Link struct {
	Index        int
	Name         string
	AltNames     []string
	Kind         string // what made it: "veth", "bridge", "vlan", …; "device" for hardware and lo
	Type         string // of its layer: "ether", "loopback", …
	HardwareType uint16 // the same as a number, ARPHRD_… of linux/if_arp.h
	MTU          int    // bytes
	HardwareAddr net.HardwareAddr
	PermanentMAC net.HardwareAddr // that it was made with; nil where there is none
	Broadcast    net.HardwareAddr // the one that reaches all on the link
	Flags        uint32           // IFF_… of linux/if.h
	Up           bool             // administratively
	Running      bool             // has a carrier, too
	Loopback     bool
	OperState    string // as RFC 2863 has it: "up", "down", "unknown", "lower-layer-down", "dormant", …
	Master       int    // index of the bridge or bond that it is a port of; 0 without one
	Parent       int    // index of the link that it is made of, as a VLAN; for a veth that of its peer. 0 without one
	Alias        string
	QueueDisc    string  // what orders packets to be sent: "noqueue", "fq_codel", …
	MasterKind   string  // the kind of the master; empty without one
	VLAN         VLAN    // of the kind "vlan"
	Bond         *Bond   // of the kind "bond"; nil otherwise
	Bridge       *Bridge // of the kind "bridge"; nil otherwise
	Table        uint32  // of the kind "vrf": the routing table of its members
}

// VLAN is which one a link of that kind carries. The zero value is none.
type VLAN struct {
	ID       uint16
	Protocol uint16 // EtherType of its tag: 0x8100 of 802.1Q, 0x88a8 of 802.1ad
}

// Links lists the links, by their index.
func (c *Conn) Links() ([]Link, error) {
	messages, err := c.dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := make([]Link, 0, len(messages))
	for _, m := range messages {
		l, err := parseLink(m)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Link) int { return a.Index - b.Index })
	return out, nil
}

// eachAttribute calls fn for each attribute of a message (struct nlattr of linux/netlink.h), which has a header of two
// numbers of 16 bits, its length with the header and its type, and starts at a multiple of 4.
func eachAttribute(b []byte, fn func(kind uint16, value []byte)) error {
	const header, kindMask = 4, 1<<14 - 1 // the upper bits of the type are flags
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint16(b))
		if size < header || size > len(b) {
			return fmt.Errorf("an attribute of %d bytes where %d are left", size, len(b))
		}
		fn(binary.NativeEndian.Uint16(b[2:])&kindMask, b[header:size])
		b = b[min(len(b), (size+header-1)&^(header-1)):]
	}
	return nil
}

// parseLink reads a message of the kernel about a link (ifinfomsg and its attributes, rtnetlink(7)).
func parseLink(m []byte) (Link, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("parse link: %d bytes; want at least %d", len(m), unix.SizeofIfInfomsg)
	}
	l, err := netlink.LinkDeserialize(nil, m)
	if err != nil {
		return Link{}, fmt.Errorf("parse link: %w", err)
	}
	out := link(l)
	info := nl.DeserializeIfInfomsg(m)
	out.HardwareType = info.Type
	var nested error
	err = eachAttribute(m[info.Len():], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFLA_BROADCAST:
			if slices.ContainsFunc(value, func(b byte) bool { return b != 0 }) {
				out.Broadcast = net.HardwareAddr(slices.Clone(value))
			}
		case unix.IFLA_QDISC:
			out.QueueDisc = unix.ByteSliceToString(value)
		case unix.IFLA_LINKINFO:
			nested = out.parseKind(value)
		}
	})
	if err == nil {
		err = nested
	}
	if err != nil {
		return Link{}, fmt.Errorf("parse link %s: %w", out.Name, err)
	}
	return out, nil
}

func link(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Index: a.Index, Name: a.Name, AltNames: a.AltNames, Kind: l.Type(), Type: a.EncapType, MTU: a.MTU,
		HardwareAddr: a.HardwareAddr, PermanentMAC: a.PermHWAddr,
		Up: a.Flags&net.FlagUp != 0, Running: a.RawFlags&unix.IFF_RUNNING != 0, Loopback: a.Flags&net.FlagLoopback != 0,
		OperState: a.OperState.String(), Master: a.MasterIndex, Parent: a.ParentIndex, Alias: a.Alias,
		Flags: a.RawFlags,
	}
	if v, ok := l.(*netlink.Vlan); ok {
		out.VLAN = VLAN{ID: uint16(v.VlanId), Protocol: uint16(v.VlanProtocol)}
	}
	return out
}

// Scope is how far an address or a route reaches (rt_scope of rtnetlink(7)).
type Scope uint8

// The scopes.
const (
	ScopeGlobal Scope = unix.RT_SCOPE_UNIVERSE
	ScopeSite   Scope = unix.RT_SCOPE_SITE
	ScopeLink   Scope = unix.RT_SCOPE_LINK
	ScopeHost   Scope = unix.RT_SCOPE_HOST
)

// Address is an address of a link.
type Address struct {
	Link      int
	Prefix    netip.Prefix // the address with the length of its network
	Peer      netip.Prefix // of a point-to-point link; not valid without one
	Broadcast netip.Addr   // not valid without one
	Label     string       // of IPv4
	Scope     Scope
	Flags     uint32 // IFA_F_…: permanent, tentative, dadfailed, …
	// Valid and Preferred are the seconds that it still lives; [Forever] without end. To add one, zero means Forever.
	Valid, Preferred uint32
	Priority         uint32 // metric of the route to its network; 0 is the kernel's choice
}

// Forever is a lifetime without end.
const Forever = ^uint32(0)

// Addresses lists the addresses of all links.
func (c *Conn) Addresses() ([]Address, error) {
	list, err := whole(func() ([]netlink.Addr, error) { return c.h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	priorities, err := c.priorities()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := make([]Address, 0, len(list))
	for _, a := range list {
		b, _ := netip.AddrFromSlice(a.Broadcast)
		out = append(out, Address{
			Link: a.LinkIndex, Prefix: prefix(a.IPNet), Peer: prefix(a.Peer), Broadcast: b.Unmap(), Label: a.Label,
			Scope: Scope(a.Scope), Flags: uint32(a.Flags), Valid: uint32(a.ValidLft), Preferred: uint32(a.PreferedLft),
			Priority: priorities[holder{a.LinkIndex, addr(a.IP)}],
		})
	}
	return out, nil
}

// AddAddress gives a link an address. Zero lifetimes mean for ever. The error is fs.ErrExist if it has it.
func (c *Conn) AddAddress(a Address) error {
	if a.Priority != 0 {
		if err := c.addPrioritised(a); err != nil {
			return fmt.Errorf("add %s to link %d: %w", a.Prefix, a.Link, err)
		}
		return nil
	}
	if err := c.h.AddrAdd(byIndex(a.Link), address(a)); err != nil {
		return fmt.Errorf("add %s to link %d: %w", a.Prefix, a.Link, err)
	}
	return nil
}

// RemoveAddress takes an address from a link. The error wraps EADDRNOTAVAIL if it does not have it.
func (c *Conn) RemoveAddress(a Address) error {
	if err := c.h.AddrDel(byIndex(a.Link), address(a)); err != nil {
		return fmt.Errorf("remove %s from link %d: %w", a.Prefix, a.Link, err)
	}
	return nil
}

func address(a Address) *netlink.Addr {
	out := &netlink.Addr{IPNet: ipNet(a.Prefix), Label: a.Label, Scope: int(a.Scope), Flags: int(a.Flags)}
	if a.Peer.IsValid() {
		out.Peer = ipNet(a.Peer)
	}
	if a.Broadcast.IsValid() {
		out.Broadcast = a.Broadcast.AsSlice()
	}
	// The library leaves lifetimes of zero to the kernel, which then means for ever.
	if a.Valid != 0 || a.Preferred != 0 {
		out.ValidLft, out.PreferedLft = int(a.Valid), int(a.Preferred)
	}
	return out
}

// Route is a route. To a route with several next hops belong no Gateway and no Link.
type Route struct {
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 for the default
	Gateway     netip.Addr   // not valid without one
	Link        int          // index; 0 where the type needs none
	Source      netip.Addr   // preferred for what is sent; not valid without one
	NextHops    []NextHop
	Priority    int   // metric: lower is better. The kernel makes 0 of IPv6 1024
	Table       int   // 254 is the main one, 255 the local one; 0 means 254 for a route to be added
	Protocol    uint8 // who made it: 2 the kernel, 3 at boot, 4 an administrator, 16 DHCP; 0 means 4 for a route to be added
	Type        uint8 // 1 unicast, 2 local, 6 blackhole, 7 unreachable, …; 0 means 1 for a route to be added
	Scope       Scope
	Flags       uint32 // RTNH_F_…: onlink, linkdown, …
	MTU         int    // bytes; 0 is that of the link
}

// NextHop is one of several ways of a route.
type NextHop struct {
	Gateway netip.Addr
	Link    int
	Weight  int // from 1
}

// Routes lists the routes of all tables, those of IPv4 first. Routes that the kernel only remembers from others are not
// among them.
func (c *Conn) Routes() ([]Route, error) {
	var out []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := whole(func() ([]netlink.Route, error) {
			return c.h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range list {
			out = append(out, route(r, family))
		}
	}
	return out, nil
}

func route(r netlink.Route, family int) Route {
	out := Route{
		Destination: prefix(r.Dst), Gateway: addr(r.Gw), Link: r.LinkIndex, Source: addr(r.Src), Priority: r.Priority, Table: r.Table,
		Protocol: uint8(r.Protocol), Type: uint8(r.Type), Scope: Scope(r.Scope), Flags: uint32(r.Flags), MTU: r.MTU,
	}
	if !out.Destination.IsValid() {
		out.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if family == netlink.FAMILY_V6 {
			out.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	for _, h := range r.MultiPath {
		out.NextHops = append(out.NextHops, NextHop{addr(h.Gw), h.LinkIndex, h.Hops + 1})
	}
	return out
}

// AddRoute adds a route. The error is fs.ErrExist if there is one to that destination with that priority in the table.
func (c *Conn) AddRoute(r Route) error {
	if err := c.h.RouteAdd(nlRoute(r)); err != nil {
		return fmt.Errorf("add route to %s: %w", r.Destination, err)
	}
	return nil
}

// ReplaceRoute adds a route, in place of one to that destination with that priority in the table.
func (c *Conn) ReplaceRoute(r Route) error {
	if err := c.h.RouteReplace(nlRoute(r)); err != nil {
		return fmt.Errorf("replace route to %s: %w", r.Destination, err)
	}
	return nil
}

// RemoveRoute removes a route. The error wraps ESRCH if there is none such.
func (c *Conn) RemoveRoute(r Route) error {
	if err := c.h.RouteDel(nlRoute(r)); err != nil {
		return fmt.Errorf("remove route to %s: %w", r.Destination, err)
	}
	return nil
}

func nlRoute(r Route) *netlink.Route {
	out := &netlink.Route{
		Dst: ipNet(r.Destination), LinkIndex: r.Link, Priority: r.Priority, Table: r.Table, Protocol: netlink.RouteProtocol(r.Protocol),
		Type: int(r.Type), Scope: netlink.Scope(r.Scope), Flags: int(r.Flags), MTU: r.MTU,
	}
	if out.Table == 0 {
		out.Table = unix.RT_TABLE_MAIN
	}
	if out.Protocol == 0 {
		out.Protocol = unix.RTPROT_STATIC
	}
	if r.Gateway.IsValid() {
		out.Gw = r.Gateway.AsSlice()
	}
	if r.Source.IsValid() {
		out.Src = r.Source.AsSlice()
	}
	for _, h := range r.NextHops {
		n := &netlink.NexthopInfo{LinkIndex: h.Link, Hops: h.Weight - 1}
		if h.Gateway.IsValid() {
			n.Gw = h.Gateway.AsSlice()
		}
		out.MultiPath = append(out.MultiPath, n)
	}
	return out
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// prefix converts; what is no prefix becomes one that is not valid.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, bits := n.Mask.Size()
	a := addr(n.IP)
	if a.BitLen() != bits {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
