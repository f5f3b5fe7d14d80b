package network

import "talos.internal/resource"

// LinkType is a kind of hardware (ARPHRD_ in linux/if_arp.h).
type LinkType int32

// The values of LinkType.
const (
	LinkTypeNetrom     LinkType = 0
	LinkTypeEther      LinkType = 1
	LinkTypeInfiniBand LinkType = 32
	LinkTypeTunnel     LinkType = 768
	LinkTypeTunnel6    LinkType = 769
	LinkTypeLoopback   LinkType = 772
	LinkTypeSIT        LinkType = 776
	LinkTypeIPGRE      LinkType = 778
	LinkTypeNetlink    LinkType = 824
	LinkTypeVoid       LinkType = 65535
	LinkTypeNone       LinkType = 65534
)

var linkTypeNames = resource.NamesOf(map[LinkType]string{
	LinkTypeNetrom: "netrom", LinkTypeEther: "ether", 2: "eether", 3: "ax25", 4: "pronet", 5: "chaos", 6: "ieee802",
	7: "arcnet", 8: "atalk", 15: "dlci", 19: "atm", 23: "metricom", 24: "ieee1394", 27: "eui64",
	LinkTypeInfiniBand: "infiniband", 256: "slip", 257: "cslip", 258: "slip6", 259: "cslip6", 260: "rsrvd",
	264: "adapt", 270: "rose", 271: "x25", 272: "hwx25", 280: "can", 512: "ppp", 513: "cisco", 516: "lapb",
	517: "ddcmp", 518: "rawhdlc", LinkTypeTunnel: "ipip", LinkTypeTunnel6: "ip6tnl", 770: "frad", 771: "skip",
	LinkTypeLoopback: "loopback", 773: "localtlk", 774: "fddi", 775: "bif", LinkTypeSIT: "sit", 777: "ipddp",
	LinkTypeIPGRE: "ipgre", 779: "pimreg", 780: "hippi", 781: "ash", 782: "econet", 783: "irda", 784: "fcpp",
	785: "fcal", 786: "fcpl", 787: "fcfabric", 788: "fcfabric1", 789: "fcfabric2", 790: "fcfabric3", 791: "fcfabric4",
	792: "fcfabric5", 793: "fcfabric6", 794: "fcfabric7", 795: "fcfabric8", 796: "fcfabric9", 797: "fcfabric10",
	798: "fcfabric11", 799: "fcfabric12", 800: "iee802tr", 801: "iee80211", 802: "iee80211prism",
	803: "iee80211radiotap", 804: "iee8021154", 805: "iee8021154monitor", 820: "phonet", 821: "phonetpipe", 822: "caif",
	823: "ip6gre", LinkTypeNetlink: "netlink", 825: "6lowpan", LinkTypeVoid: "void", LinkTypeNone: "none",
})

// String returns the name of l.
func (l LinkType) String() string { return linkTypeNames.Text(l) }

// MarshalText implements [encoding.TextMarshaler].
func (l LinkType) MarshalText() ([]byte, error) { return []byte(linkTypeNames.Text(l)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *LinkType) UnmarshalText(text []byte) error { return linkTypeNames.Set(l, string(text)) }

// LinkFlags are the bits of a link (IFF_ in linux/if.h), named as ip(8) names them.
type LinkFlags uint32

// The bits of LinkFlags.
const (
	LinkUp           LinkFlags = 0x1
	LinkBroadcast    LinkFlags = 0x2
	LinkDebug        LinkFlags = 0x4
	LinkLoopback     LinkFlags = 0x8
	LinkPointToPoint LinkFlags = 0x10
	LinkNoTrailers   LinkFlags = 0x20
	LinkRunning      LinkFlags = 0x40
	LinkNoARP        LinkFlags = 0x80
	LinkPromisc      LinkFlags = 0x100
	LinkAllMulti     LinkFlags = 0x200
	LinkMaster       LinkFlags = 0x400
	LinkSlave        LinkFlags = 0x800
	LinkMulticast    LinkFlags = 0x1000
	LinkPortSel      LinkFlags = 0x2000
	LinkAutoMedia    LinkFlags = 0x4000
	LinkDynamic      LinkFlags = 0x8000
	LinkLowerUp      LinkFlags = 0x10000
	LinkDormant      LinkFlags = 0x20000
	LinkEcho         LinkFlags = 0x40000
)

var linkFlagsNames = resource.FlagNamesOf(map[LinkFlags]string{
	LinkUp:           "UP",
	LinkBroadcast:    "BROADCAST",
	LinkDebug:        "DEBUG",
	LinkLoopback:     "LOOPBACK",
	LinkPointToPoint: "POINTOPOINT",
	LinkNoTrailers:   "NOTRAILERS",
	LinkRunning:      "RUNNING",
	LinkNoARP:        "NOARP",
	LinkPromisc:      "PROMISC",
	LinkAllMulti:     "ALLMULTI",
	LinkMaster:       "MASTER",
	LinkSlave:        "SLAVE",
	LinkMulticast:    "MULTICAST",
	LinkPortSel:      "PORTSEL",
	LinkAutoMedia:    "AUTOMEDIA",
	LinkDynamic:      "DYNAMIC",
	LinkLowerUp:      "LOWER_UP",
	LinkDormant:      "DORMANT",
	LinkEcho:         "ECHO",
})

// String returns the names of the bits of l, by number, with commas between them.
func (l LinkFlags) String() string { return linkFlagsNames.Text(l) }

// MarshalText implements [encoding.TextMarshaler].
func (l LinkFlags) MarshalText() ([]byte, error) { return []byte(linkFlagsNames.Text(l)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *LinkFlags) UnmarshalText(text []byte) error { return linkFlagsNames.Set(l, string(text)) }

// OperationalState is the state of a link (RFC 2863 section 3.1.14).
type OperationalState int32

// The values of OperationalState.
const (
	OperUnknown        OperationalState = 0
	OperNotPresent     OperationalState = 1
	OperDown           OperationalState = 2
	OperLowerLayerDown OperationalState = 3
	OperTesting        OperationalState = 4
	OperDormant        OperationalState = 5
	OperUp             OperationalState = 6
)

var operationalStateNames = resource.NamesOf(map[OperationalState]string{
	OperUnknown:        "unknown",
	OperNotPresent:     "notPresent",
	OperDown:           "down",
	OperLowerLayerDown: "lowerLayerDown",
	OperTesting:        "testing",
	OperDormant:        "dormant",
	OperUp:             "up",
})

// String returns the name of o.
func (o OperationalState) String() string { return operationalStateNames.Text(o) }

// MarshalText implements [encoding.TextMarshaler].
func (o OperationalState) MarshalText() ([]byte, error) {
	return []byte(operationalStateNames.Text(o)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *OperationalState) UnmarshalText(text []byte) error {
	return operationalStateNames.Set(o, string(text))
}

// Port is a connector (PORT_ in linux/ethtool.h).
type Port int32

// The values of Port.
const (
	PortTwistedPair  Port = 0
	PortAUI          Port = 1
	PortMII          Port = 2
	PortFibre        Port = 3
	PortBNC          Port = 4
	PortDirectAttach Port = 5
	PortNone         Port = 239
	PortOther        Port = 255
)

var portNames = resource.NamesOf(map[Port]string{
	PortTwistedPair:  "TwistedPair",
	PortAUI:          "AUI",
	PortMII:          "MII",
	PortFibre:        "Fibre",
	PortBNC:          "BNC",
	PortDirectAttach: "DirectAttach",
	PortNone:         "None",
	PortOther:        "Other",
})

// String returns the name of p.
func (p Port) String() string { return portNames.Text(p) }

// MarshalText implements [encoding.TextMarshaler].
func (p Port) MarshalText() ([]byte, error) { return []byte(portNames.Text(p)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Port) UnmarshalText(text []byte) error { return portNames.Set(p, string(text)) }

// Duplex is whether both ends may send at once (DUPLEX_ in linux/ethtool.h).
type Duplex int32

// The values of Duplex.
const (
	DuplexHalf    Duplex = 0
	DuplexFull    Duplex = 1
	DuplexUnknown Duplex = 255
)

var duplexNames = resource.NamesOf(map[Duplex]string{
	DuplexHalf:    "Half",
	DuplexFull:    "Full",
	DuplexUnknown: "Unknown",
})

// String returns the name of d.
func (d Duplex) String() string { return duplexNames.Text(d) }

// MarshalText implements [encoding.TextMarshaler].
func (d Duplex) MarshalText() ([]byte, error) { return []byte(duplexNames.Text(d)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duplex) UnmarshalText(text []byte) error { return duplexNames.Set(d, string(text)) }

// WOLMode is what wakes a machine (WAKE_ in linux/ethtool.h).
type WOLMode int32

// The values of WOLMode.
const (
	WOLUnspecified WOLMode = 0
	WOLPHY         WOLMode = 1
	WOLUnicast     WOLMode = 2
	WOLMulticast   WOLMode = 4
	WOLBroadcast   WOLMode = 8
	WOLMagic       WOLMode = 32
	WOLMagicSecure WOLMode = 64
	WOLFilter      WOLMode = 128
)

var wolModeNames = resource.NamesOf(map[WOLMode]string{
	WOLUnspecified: "unspecified",
	WOLPHY:         "phy",
	WOLUnicast:     "unicast",
	WOLMulticast:   "multicast",
	WOLBroadcast:   "broadcast",
	WOLMagic:       "magic",
	WOLMagicSecure: "magicsecure",
	WOLFilter:      "filter",
})

// String returns the name of w.
func (w WOLMode) String() string { return wolModeNames.Text(w) }

// MarshalText implements [encoding.TextMarshaler].
func (w WOLMode) MarshalText() ([]byte, error) { return []byte(wolModeNames.Text(w)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (w *WOLMode) UnmarshalText(text []byte) error { return wolModeNames.Set(w, string(text)) }

// VLANProtocol is the EtherType of a VLAN's tags.
type VLANProtocol int32

// The values of VLANProtocol.
const (
	VLANUnspecified VLANProtocol = 0
	VLAN8021Q       VLANProtocol = 33024
	VLAN8021AD      VLANProtocol = 34984
)

var vlanProtocolNames = resource.NamesOf(map[VLANProtocol]string{
	VLANUnspecified: "unspecified",
	VLAN8021Q:       "802.1q",
	VLAN8021AD:      "802.1ad",
})

// String returns the name of v.
func (v VLANProtocol) String() string { return vlanProtocolNames.Text(v) }

// MarshalText implements [encoding.TextMarshaler].
func (v VLANProtocol) MarshalText() ([]byte, error) { return []byte(vlanProtocolNames.Text(v)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (v *VLANProtocol) UnmarshalText(text []byte) error {
	return vlanProtocolNames.Set(v, string(text))
}
