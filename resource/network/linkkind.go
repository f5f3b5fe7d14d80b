package network

import (
	"net/netip"
	"time"
)

// Kinds of links, as the kernel names them, that the node makes.
const (
	KindBond      = "bond"
	KindBridge    = "bridge"
	KindDummy     = "dummy"
	KindVeth      = "veth"
	KindVLAN      = "vlan"
	KindVRF       = "vrf"
	KindWireguard = "wireguard"
)

// VLANSpec is a VLAN on a link.
type VLANSpec struct {
	VID      uint32       `yaml:"vid" proto:"1"` // 1 to 4094
	Protocol VLANProtocol `yaml:"protocol" proto:"2"`
}

// VethSpec is one end of a pair of virtual links.
type VethSpec struct {
	PeerName string `yaml:"peerName" proto:"1"` // the other end
}

// VRFMasterSpec is a virtual routing domain.
type VRFMasterSpec struct {
	Table RoutingTable `yaml:"table" proto:"1"` // the table of its routes
}

// VRFSlave says which VRF a link is in.
type VRFSlave struct {
	MasterName string `yaml:"masterName" proto:"1"` // the VRF
}

// BridgeMasterSpec is a bridge.
type BridgeMasterSpec struct {
	STP  STPSpec        `yaml:"stp" proto:"1"` // spanning tree
	VLAN BridgeVLANSpec `yaml:"vlan" proto:"2"`
}

// STPSpec is the spanning tree protocol of a bridge (IEEE 802.1D).
type STPSpec struct {
	Enabled bool `yaml:"enabled" proto:"1"`
}

// BridgeVLANSpec is how a bridge treats VLANs.
type BridgeVLANSpec struct {
	FilteringEnabled bool `yaml:"filtering" proto:"1"` // the bridge looks at VLAN tags
}

// BridgeSlave says which bridge a link is a port of.
type BridgeSlave struct {
	MasterName string `yaml:"masterName" proto:"1"` // the bridge
}

// BondSlave says which bond a link is a port of.
type BondSlave struct {
	MasterName string `yaml:"masterName" proto:"1"` // the bond
	SlaveIndex int64  `yaml:"slaveIndex" proto:"2"` // place among its ports, from 0
}

// BondMasterSpec are the options of a bond, by the kernel's names
// (Documentation/networking/bonding.rst). Times are in milliseconds unless said otherwise. Nil and zero
// mean the kernel's default.
type BondMasterSpec struct {
	Mode            BondMode           `yaml:"mode" proto:"1"`
	HashPolicy      BondXmitHashPolicy `yaml:"xmitHashPolicy" proto:"2"`
	LACPRate        LACPRate           `yaml:"lacpRate" proto:"3"`
	ARPValidate     ARPValidate        `yaml:"arpValidate" proto:"4"`
	ARPAllTargets   ARPAllTargets      `yaml:"arpAllTargets" proto:"5"`
	PrimaryIndex    *uint32            `yaml:"primaryIndex,omitempty" proto:"6"` // index of the link that is preferred
	Primary         string             `yaml:"primary" proto:"29"`               // its name, which goes before the index
	PrimaryReselect PrimaryReselect    `yaml:"primaryReselect" proto:"7"`
	FailOverMAC     FailOverMAC        `yaml:"failOverMac" proto:"8"`
	ADSelect        ADSelect           `yaml:"adSelect" proto:"9"`
	MIIMon          uint32             `yaml:"miimon" proto:"10"`          // between two looks at a port's carrier
	UpDelay         uint32             `yaml:"updelay" proto:"11"`         // before a port with a carrier is used
	DownDelay       uint32             `yaml:"downdelay" proto:"12"`       // before a port without one is given up
	ARPInterval     uint32             `yaml:"arpInterval" proto:"13"`     // between two ARP requests
	ResendIGMP      uint32             `yaml:"resendIgmp" proto:"14"`      // reports after a fail-over
	MinLinks        uint32             `yaml:"minLinks" proto:"15"`        // ports that must be up for the bond to be up
	LPInterval      uint32             `yaml:"lpInterval" proto:"16"`      // seconds between two learning packets
	PacketsPerSlave uint32             `yaml:"packetsPerSlave" proto:"17"` // before the next port is used, for balance-rr
	NumPeerNotify   uint32             `yaml:"numPeerNotif" proto:"18"`    // notifications after a fail-over
	TLBDynamicLB    uint32             `yaml:"tlbLogicalLb" proto:"19"`    // 1 moves flows by the load of the ports
	AllSlavesActive uint32             `yaml:"allSlavesActive" proto:"20"` // 1 takes what arrives at ports that are not used
	UseCarrier      bool               `yaml:"useCarrier" proto:"21"`      // ask the driver for the carrier
	ADActorSysPrio  uint32             `yaml:"adActorSysPrio" proto:"22"`
	ADUserPortKey   uint32             `yaml:"adUserPortKey" proto:"23"`
	PeerNotifyDelay uint32             `yaml:"peerNotifyDelay" proto:"24"` // between two notifications
	ARPIPTargets    []netip.Addr       `yaml:"arpIpTargets" proto:"25"`    // whom to ask by ARP
	NSIP6Targets    []netip.Addr       `yaml:"nsIp6Targets" proto:"26"`    // whom to ask by neighbour solicitation
	ADLACPActive    ADLACPActive       `yaml:"adLACPActive" proto:"27"`
	MissedMax       uint32             `yaml:"missedMax" proto:"28"` // missed answers until a port is down
}

// WireguardSpec is a WireGuard link. Keys are in base64 (RFC 4648 section 4), as wg(8) writes them.
type WireguardSpec struct {
	PrivateKey   string          `yaml:"privateKey" proto:"1"`   // empty in a status
	PublicKey    string          `yaml:"publicKey" proto:"2"`    // of the private key; empty in a wish
	ListenPort   int64           `yaml:"listenPort" proto:"3"`   // 0 lets the kernel choose
	FirewallMark int64           `yaml:"firewallMark" proto:"4"` // on packets that leave the tunnel; 0 is none
	Peers        []WireguardPeer `yaml:"peers" proto:"5"`        // sorted by public key
}

// WireguardPeer is the other end of a tunnel.
type WireguardPeer struct {
	PublicKey                   string         `yaml:"publicKey" proto:"1"`
	PresharedKey                string         `yaml:"presharedKey" proto:"2"`                // empty if there is none
	Endpoint                    string         `yaml:"endpoint" proto:"3"`                    // "address:port"; empty until the peer calls
	PersistentKeepaliveInterval time.Duration  `yaml:"persistentKeepaliveInterval" proto:"4"` // 0 sends none
	AllowedIPs                  []netip.Prefix `yaml:"allowedIPs" proto:"5"`                  // what the peer may send from, and is sent to
}
