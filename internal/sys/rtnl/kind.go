package rtnl

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// NewLink is a link to be made. It is down.
type NewLink struct {
	Name         string
	Kind         string           // "dummy", "bridge", "vlan", "bond", "vrf", "veth", "wireguard"
	Parent       int              // index of the link that a VLAN is on
	HardwareAddr net.HardwareAddr // nil leaves it to the kernel
	VLAN         VLAN             // of the kind "vlan"
	Bond         *Bond            // of the kind "bond"
	Bridge       *Bridge          // of the kind "bridge"
	Table        uint32           // of the kind "vrf"
	Peer         string           // name of the other end, of the kind "veth"
}

// Bridge are the options of a bridge.
type Bridge struct {
	STP           bool // speaks the spanning tree protocol
	VLANFiltering bool // looks at the VLAN of packets
}

// BondOption is an option of a bond that is a number (IFLA_BOND_ of linux/if_link.h).
type BondOption uint16

// Options of a bond. What they mean is in Documentation/networking/bonding.rst.
const (
	BondMIIMon          BondOption = 3
	BondUpDelay         BondOption = 4
	BondDownDelay       BondOption = 5
	BondUseCarrier      BondOption = 6
	BondARPInterval     BondOption = 7
	BondARPValidate     BondOption = 9
	BondARPAllTargets   BondOption = 10
	BondPrimaryReselect BondOption = 12
	BondFailOverMAC     BondOption = 13
	BondXmitHashPolicy  BondOption = 14
	BondResendIGMP      BondOption = 15
	BondNumPeerNotif    BondOption = 16
	BondAllSlavesActive BondOption = 17
	BondMinLinks        BondOption = 18
	BondLPInterval      BondOption = 19
	BondPacketsPerSlave BondOption = 20
	BondLACPRate        BondOption = 21
	BondADSelect        BondOption = 22
	BondADActorSysPrio  BondOption = 24
	BondADUserPortKey   BondOption = 25
	BondTLBDynamicLB    BondOption = 27
	BondPeerNotifDelay  BondOption = 28
	BondLACPActive      BondOption = 29
	BondMissedMax       BondOption = 30
)

const (
	bondMode       = 1
	bondARPTargets = 8
	bondPrimary    = 11
	bondNSTargets  = 31
)

// bondWidths are the sizes of options in bytes.
var bondWidths = map[BondOption]int{
	BondMIIMon: 4, BondUpDelay: 4, BondDownDelay: 4, BondUseCarrier: 1, BondARPInterval: 4, BondARPValidate: 4, BondARPAllTargets: 4,
	BondPrimaryReselect: 1, BondFailOverMAC: 1, BondXmitHashPolicy: 1, BondResendIGMP: 4, BondNumPeerNotif: 1, BondAllSlavesActive: 1,
	BondMinLinks: 4, BondLPInterval: 4, BondPacketsPerSlave: 4, BondLACPRate: 1, BondADSelect: 1, BondADActorSysPrio: 2, BondADUserPortKey: 2,
	BondTLBDynamicLB: 1, BondPeerNotifDelay: 4, BondLACPActive: 1, BondMissedMax: 1,
}

// Bond are the options of a bond.
type Bond struct {
	Mode       uint8                 // 0 balance-rr, 1 active-backup, 2 balance-xor, 3 broadcast, 4 802.3ad, 5 balance-tlb, 6 balance-alb
	Options    map[BondOption]uint32 // to make a bond, those that differ from the kernel's
	ARPTargets []netip.Addr
	NSTargets  []netip.Addr
	Primary    int // index of the member that is preferred; 0 without one
}

// message is a request about links.
func (c *Conn) message(kind, flags int, info *nl.IfInfomsg, attributes ...*nl.RtAttr) error {
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	req.Sockets = c.raw
	req.AddData(info)
	for _, a := range attributes {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// AddLink makes a link. The error is fs.ErrExist if one has the name, and wraps EOPNOTSUPP if the kernel does not know the kind.
func (c *Conn) AddLink(n NewLink) error {
	attributes := []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(n.Name))}
	if n.Parent != 0 {
		attributes = append(attributes, nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(n.Parent))))
	}
	if len(n.HardwareAddr) > 0 {
		attributes = append(attributes, nl.NewRtAttr(unix.IFLA_ADDRESS, n.HardwareAddr))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(n.Kind))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	switch n.Kind {
	case "vlan":
		data.AddRtAttr(nl.IFLA_VLAN_ID, nl.Uint16Attr(n.VLAN.ID))
		protocol := n.VLAN.Protocol
		if protocol == 0 {
			protocol = unix.ETH_P_8021Q
		}
		data.AddRtAttr(nl.IFLA_VLAN_PROTOCOL, nl.BEUint16Attr(protocol))
	case "bond":
		if n.Bond != nil {
			n.Bond.add(data)
		}
	case "bridge":
		if n.Bridge != nil {
			n.Bridge.add(data, Bridge{})
		}
	case "vrf":
		data.AddRtAttr(nl.IFLA_VRF_TABLE, nl.Uint32Attr(n.Table))
	case "veth":
		const infoPeer = 1 // VETH_INFO_PEER of linux/veth.h
		peer := data.AddRtAttr(infoPeer, nil)
		nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
		peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(n.Peer))
	}
	err := c.message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.NewIfInfomsg(unix.AF_UNSPEC), append(attributes, info)...)
	if err != nil {
		return fmt.Errorf("add %s %s: %w", n.Kind, n.Name, err)
	}
	return nil
}

func (b *Bond) add(data *nl.RtAttr) {
	data.AddRtAttr(bondMode, []byte{b.Mode})
	for _, o := range slices.Sorted(maps.Keys(b.Options)) {
		value := b.Options[o]
		switch bondWidths[o] {
		case 1:
			data.AddRtAttr(int(o), []byte{uint8(value)})
		case 2:
			data.AddRtAttr(int(o), nl.Uint16Attr(uint16(value)))
		default:
			data.AddRtAttr(int(o), nl.Uint32Attr(value))
		}
	}
	for kind, targets := range map[int][]netip.Addr{bondARPTargets: b.ARPTargets, bondNSTargets: b.NSTargets} {
		if len(targets) == 0 {
			continue
		}
		list := data.AddRtAttr(kind, nil)
		for i, a := range targets {
			list.AddRtAttr(i, a.AsSlice())
		}
	}
}

// number reads a number of a message, which is in the machine's byte order.
func number(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}

func parseBond(data []byte) (*Bond, error) {
	out := &Bond{Options: map[BondOption]uint32{}}
	var nested error
	targets := func(value []byte) (list []netip.Addr) {
		nested = eachAttribute(value, func(_ uint16, v []byte) {
			if a := addr(v); a.IsValid() && !a.IsUnspecified() {
				list = append(list, a)
			}
		})
		return list
	}
	err := eachAttribute(data, func(kind uint16, value []byte) {
		switch {
		case kind == bondMode:
			out.Mode = uint8(number(value))
		case kind == bondPrimary:
			out.Primary = int(number(value))
		case kind == bondARPTargets:
			out.ARPTargets = targets(value)
		case kind == bondNSTargets:
			out.NSTargets = targets(value)
		case bondWidths[BondOption(kind)] != 0:
			out.Options[BondOption(kind)] = number(value)
		}
	})
	if err == nil {
		err = nested
	}
	return out, err
}

// add adds what differs from have: a kernel without a feature refuses to hear of it, even that it is to be off.
func (b *Bridge) add(data *nl.RtAttr, have Bridge) {
	if b.STP != have.STP {
		data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(bit(b.STP)))
	}
	if b.VLANFiltering != have.VLANFiltering {
		data.AddRtAttr(nl.IFLA_BR_VLAN_FILTERING, []byte{uint8(bit(b.VLANFiltering))})
	}
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// parseKind reads what a link's kind says about it (IFLA_LINKINFO).
func (l *Link) parseKind(info []byte) error {
	var kind string
	var data []byte
	err := eachAttribute(info, func(k uint16, value []byte) {
		switch k {
		case nl.IFLA_INFO_KIND:
			kind = unix.ByteSliceToString(value)
		case nl.IFLA_INFO_DATA:
			data = value
		case nl.IFLA_INFO_SLAVE_KIND:
			l.MasterKind = unix.ByteSliceToString(value)
		}
	})
	if err != nil {
		return err
	}
	switch kind {
	case "bond":
		l.Bond, err = parseBond(data)
	case "bridge":
		l.Bridge = &Bridge{}
		err = eachAttribute(data, func(k uint16, value []byte) {
			switch k {
			case nl.IFLA_BR_STP_STATE:
				l.Bridge.STP = number(value) != 0
			case nl.IFLA_BR_VLAN_FILTERING:
				l.Bridge.VLANFiltering = number(value) != 0
			}
		})
	case "vrf":
		err = eachAttribute(data, func(k uint16, value []byte) {
			if k == nl.IFLA_VRF_TABLE {
				l.Table = number(value)
			}
		})
	}
	return err
}

// DeleteLink removes a link, and of a veth pair both. The error wraps ENODEV if there is none, EOPNOTSUPP for one of the hardware.
func (c *Conn) DeleteLink(index int) error {
	if err := c.h.LinkDel(byIndex(index)); err != nil {
		return fmt.Errorf("remove link %d: %w", index, err)
	}
	return nil
}

// SetMaster puts a link into a bond, a bridge or a VRF; 0 takes it out. A link that goes into a bond has to be down.
func (c *Conn) SetMaster(index, master int) error {
	if err := c.h.LinkSetMasterByIndex(byIndex(index), master); err != nil {
		return fmt.Errorf("set master of link %d to %d: %w", index, master, err)
	}
	return nil
}

// SetBridge sets the options of a bridge. The error wraps EOPNOTSUPP if the kernel does not know one of them.
func (c *Conn) SetBridge(index int, b Bridge) error {
	links, err := c.Links()
	if err != nil {
		return err
	}
	var have Bridge
	for _, l := range links {
		if l.Index == index && l.Bridge != nil {
			have = *l.Bridge
		}
	}
	if err := c.setData(index, "bridge", func(data *nl.RtAttr) { b.add(data, have) }); err != nil {
		return fmt.Errorf("set options of bridge %d: %w", index, err)
	}
	return nil
}

// SetBondPrimary says which member a bond prefers; it has to be one.
func (c *Conn) SetBondPrimary(index, primary int) error {
	add := func(data *nl.RtAttr) { data.AddRtAttr(bondPrimary, nl.Uint32Attr(uint32(primary))) }
	if err := c.setData(index, "bond", add); err != nil {
		return fmt.Errorf("set primary of bond %d to link %d: %w", index, primary, err)
	}
	return nil
}

func (c *Conn) setData(index int, kind string, add func(*nl.RtAttr)) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	add(info.AddRtAttr(nl.IFLA_INFO_DATA, nil))
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return c.message(unix.RTM_NEWLINK, 0, msg, info)
}

// SetMulticast says whether a link is used for multicast.
func (c *Conn) SetMulticast(index int, on bool) error {
	set := c.h.LinkSetMulticastOff
	if on {
		set = c.h.LinkSetMulticastOn
	}
	if err := set(byIndex(index)); err != nil {
		return fmt.Errorf("set multicast of link %d: %w", index, err)
	}
	return nil
}

// SetAlias gives a link a text that describes it; an empty one removes it.
func (c *Conn) SetAlias(index int, alias string) error {
	if err := c.h.LinkSetAlias(byIndex(index), alias); err != nil {
		return fmt.Errorf("set alias of link %d to %q: %w", index, alias, err)
	}
	return nil
}

// ifaRoutePriority is IFA_RT_PRIORITY of linux/if_addr.h.
const ifaRoutePriority = 9

// addPrioritised is AddAddress for one that says what the route to its network is worth, which the library does not know of.
func (c *Conn) addPrioritised(a Address) error {
	family := unix.AF_INET
	if a.Prefix.Addr().Is6() {
		family = unix.AF_INET6
	}
	msg := nl.NewIfAddrmsg(family)
	msg.Index, msg.Prefixlen, msg.Scope = uint32(a.Link), uint8(a.Prefix.Bits()), uint8(a.Scope)
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.Sockets = c.raw
	req.AddData(msg)
	raw := a.Prefix.Addr().AsSlice()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, raw))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, raw))
	req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(a.Flags)))
	if family == unix.AF_INET && a.Prefix.Bits() < 31 {
		broadcast := slices.Clone(raw)
		for i, m := range net.CIDRMask(a.Prefix.Bits(), 32) {
			broadcast[i] |= ^m
		}
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast))
	}
	if a.Valid != 0 || a.Preferred != 0 {
		cache := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: a.Valid, Prefered: a.Preferred}} //nolint:misspell // the kernel's name
		req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, cache.Serialize()))
	}
	req.AddData(nl.NewRtAttr(ifaRoutePriority, nl.Uint32Attr(a.Priority)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// holder is who has an address.
type holder struct {
	link int
	addr netip.Addr
}

// priorities lists the priorities of the routes to addresses' networks, where they were said.
func (c *Conn) priorities() (map[holder]uint32, error) {
	messages, err := c.dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	out := map[holder]uint32{}
	for _, m := range messages {
		if err := parsePriority(m, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parsePriority(m []byte, out map[holder]uint32) error {
	if len(m) < unix.SizeofIfAddrmsg {
		return fmt.Errorf("parse address: %d bytes; want at least %d", len(m), unix.SizeofIfAddrmsg)
	}
	h := holder{link: int(binary.NativeEndian.Uint32(m[4:]))}
	var priority uint32
	err := eachAttribute(m[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.IFA_LOCAL, kind == unix.IFA_ADDRESS && !h.addr.IsValid():
			h.addr = addr(value)
		case kind == ifaRoutePriority:
			priority = number(value)
		}
	})
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if priority != 0 {
		out[h] = priority
	}
	return nil
}
