package rootdoc

import (
	"encoding/base64"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Bond joins links into one. Options that are left out have the kernel's defaults.
type Bond struct {
	// Interfaces are the names of the links that are joined.
	Interfaces []string `yaml:"interfaces"`
	// DeviceSelectors choose links that are joined by their properties.
	DeviceSelectors []DeviceSelector `yaml:"deviceSelectors" deprecated:"LinkAliasConfig"`
	// Mode is how packets are spread over the links. Default: balance-rr.
	Mode string `yaml:"mode" enum:"balance-rr|active-backup|balance-xor|broadcast|802.3ad|balance-tlb|balance-alb"`
	// HardwareAddr is the bond's hardware address. Default: that of the first link.
	HardwareAddr scalar.HardwareAddr `yaml:"hardwareAddr"`
	// XmitHashPolicy chooses the link for a packet in the modes balance-xor, 802.3ad and balance-tlb.
	XmitHashPolicy string `yaml:"xmitHashPolicy" enum:"layer2|layer3+4|layer2+3|encap2+3|encap3+4|vlan+srcmac"`
	// LACPRate is how often LACP packets are asked for in mode 802.3ad: slow is every 30 s, fast every second.
	LACPRate string `yaml:"lacpRate" enum:"slow|fast"`
	// MIIMon is the interval in milliseconds at which links are watched. 0 turns it off.
	MIIMon *uint32 `yaml:"miimon"`
	// UpDelay is the time in milliseconds before a link that came up is used.
	UpDelay *uint32 `yaml:"updelay"`
	// DownDelay is the time in milliseconds before a link that went down is given up.
	DownDelay *uint32 `yaml:"downdelay"`
	// UseCarrier asks the driver for the link's state.
	UseCarrier *bool `yaml:"useCarrier"`
	// ARPInterval is the interval in milliseconds at which links are watched by ARP. It excludes miimon.
	ARPInterval *uint32 `yaml:"arpInterval"`
	// ARPIPTargets are the addresses that are asked for by ARP.
	ARPIPTargets []scalar.Addr `yaml:"arpIpTargets"`
	// ARPIPTarget is the old name of arpIpTargets.
	ARPIPTarget []scalar.Addr `yaml:"arpIPTarget" deprecated:"arpIpTargets"`
	// NSIP6Targets are the IPv6 addresses that are asked for by neighbour discovery.
	NSIP6Targets []scalar.Addr `yaml:"nsIp6Targets"`
	// ARPValidate is which ARP packets count as a sign of life.
	ARPValidate string `yaml:"arpValidate" enum:"none|active|backup|all|filter|filter-active|filter-backup"`
	// ARPAllTargets is whether any or all targets must answer.
	ARPAllTargets string `yaml:"arpAllTargets" enum:"any|all"`
	// FailOverMAC is what happens to hardware addresses in mode active-backup.
	FailOverMAC string `yaml:"failOverMac" enum:"none|active|follow"`
	// ADSelect is how a group of links is chosen in mode 802.3ad.
	ADSelect string `yaml:"adSelect" enum:"stable|bandwidth|count"`
	// ADActorSysPrio is the system priority in mode 802.3ad, from 1 to 65535.
	ADActorSysPrio *uint16 `yaml:"adActorSysPrio"`
	// ADActorSystem is the system's hardware address in mode 802.3ad. Nothing sets it.
	ADActorSystem string `yaml:"adActorSystem" deprecated:"nothing: it never had an effect"`
	// ADUserPortKey is the upper part of the port key in mode 802.3ad, from 0 to 1023.
	ADUserPortKey *uint16 `yaml:"adUserPortKey"`
	// ADLACPActive is whether LACP packets are sent unasked.
	ADLACPActive string `yaml:"adLACPActive" enum:"on|off"`
	// Primary is the link that is preferred in mode active-backup, balance-tlb or balance-alb.
	Primary string `yaml:"primary"`
	// PrimaryReselect is when the primary link takes over again.
	PrimaryReselect string `yaml:"primaryReselect" enum:"always|better|failure"`
	// ResendIGMP is how many membership reports are sent after a fail-over, from 0 to 255.
	ResendIGMP *uint32 `yaml:"resendIGMP"`
	// ResendIgmp is the old name of resendIGMP.
	ResendIgmp *uint32 `yaml:"resendIgmp" deprecated:"resendIGMP"`
	// MinLinks is how many links must be up for the bond to be up in mode 802.3ad.
	MinLinks *uint32 `yaml:"minLinks"`
	// LPInterval is the interval in seconds of learning packets to the switches.
	LPInterval *uint32 `yaml:"lpInterval"`
	// PacketsPerSlave is how many packets go over a link before the next in mode balance-rr; 0 chooses by chance.
	PacketsPerSlave *uint32 `yaml:"packetsPerSlave"`
	// NumPeerNotif is how many notifications are sent after a fail-over, from 0 to 255.
	NumPeerNotif *uint8 `yaml:"numPeerNotif"`
	// TLBLogicalLb turns the shuffling of flows off (0) or on (1) in mode balance-tlb.
	TLBLogicalLb *uint8 `yaml:"tlbLogicalLb"`
	// TLBDynamicLb is the old name of tlbLogicalLb.
	TLBDynamicLb *uint8 `yaml:"tlbDynamicLb" deprecated:"tlbLogicalLb"`
	// AllSlavesActive takes (1) or drops (0) packets that come in over inactive links.
	AllSlavesActive *uint8 `yaml:"allSlavesActive"`
	// PeerNotifDelay is the time in milliseconds between notifications.
	PeerNotifDelay *uint32 `yaml:"peerNotifDelay"`
	// PeerNotifyDelay is the old name of peerNotifDelay.
	PeerNotifyDelay *uint32 `yaml:"peerNotifyDelay" deprecated:"peerNotifDelay"`
	// MissedMax is how many ARP checks may fail before a link is down, from 1 to 255.
	MissedMax *uint8 `yaml:"missedMax"`
}

// Validate implements [schema.Validator].
func (b *Bond) Validate(r *schema.Reporter) {
	if len(b.Interfaces) == 0 && len(b.DeviceSelectors) == 0 {
		r.Hintf("write interfaces or deviceSelectors", "the bond has no links")
	}
	if value(b.MIIMon) > 0 && value(b.ARPInterval) > 0 {
		r.At("arpInterval").Hintf("keep one", "miimon and arpInterval exclude each other")
	}
	for _, pair := range []struct {
		old, name string
		both      bool
	}{
		{"arpIPTarget", "arpIpTargets", len(b.ARPIPTarget) > 0 && len(b.ARPIPTargets) > 0},
		{"resendIgmp", "resendIGMP", b.ResendIgmp != nil && b.ResendIGMP != nil},
		{"tlbDynamicLb", "tlbLogicalLb", b.TLBDynamicLb != nil && b.TLBLogicalLb != nil},
		{"peerNotifyDelay", "peerNotifDelay", b.PeerNotifyDelay != nil && b.PeerNotifDelay != nil},
	} {
		if pair.both {
			r.At(pair.old).Hintf("keep "+pair.name, "%s and %s are the same option", pair.old, pair.name)
		}
	}
	for i, link := range b.Interfaces {
		if !validLinkName(link) {
			r.At("interfaces").Item(i).Errorf("expected a link name, got %q", link)
		}
	}
}

// Bridge joins links as a switch does.
type Bridge struct {
	// Interfaces are the names of the links that are ports of the bridge.
	Interfaces []string `yaml:"interfaces"`
	// STP configures the spanning tree protocol.
	STP *STP `yaml:"stp"`
	// VLAN configures VLANs on the bridge.
	VLAN *BridgeVLAN `yaml:"vlan"`
}

// STP configures the spanning tree protocol.
type STP struct {
	// Enabled turns it on. Default: false.
	Enabled *bool `yaml:"enabled"`
}

// BridgeVLAN configures VLANs on a bridge.
type BridgeVLAN struct {
	// VLANFiltering has the bridge tell VLANs apart. Default: false.
	VLANFiltering *bool `yaml:"vlanFiltering"`
}

// BridgePort makes a link a port of a bridge.
type BridgePort struct {
	// Master is the bridge's name.
	Master string `yaml:"master" required:"true"`
}

// WireGuard makes a link an encrypted tunnel.
type WireGuard struct {
	// PrivateKey is the machine's key: 32 bytes in base64, as wg genkey prints.
	PrivateKey string `yaml:"privateKey" secret:"true"`
	// ListenPort is the UDP port. Default: one that is free.
	ListenPort uint16 `yaml:"listenPort"`
	// FirewallMark marks the tunnel's own packets. Default: none.
	FirewallMark uint32 `yaml:"firewallMark"`
	// Peers are the other ends.
	//
	// Example:
	//
	//	peers:
	//	    - publicKey: 2Wh6Rv4TeUWtPLoDIwxXyfcMPUBA2x3z5pWjMi2HkCk=
	//	      endpoint: 192.0.2.3:51820
	//	      allowedIPs:
	//	          - 10.2.0.0/16
	Peers []WireGuardPeer `yaml:"peers"`
}

// WireGuardPeer is the other end of a tunnel.
type WireGuardPeer struct {
	// PublicKey is the peer's public key: 32 bytes in base64.
	PublicKey string `yaml:"publicKey" required:"true"`
	// Endpoint is where the peer is. Left out, the peer must call.
	Endpoint scalar.AddrPort `yaml:"endpoint"`
	// PersistentKeepaliveInterval is the time between packets that keep the way open. Default: none.
	PersistentKeepaliveInterval scalar.Duration `yaml:"persistentKeepaliveInterval"`
	// AllowedIPs are the prefixes behind the peer.
	AllowedIPs []scalar.Prefix `yaml:"allowedIPs"`
}

// Validate implements [schema.Validator].
func (w *WireGuard) Validate(r *schema.Reporter) {
	if w.PrivateKey != "" && !wireGuardKey(w.PrivateKey) {
		r.At("privateKey").Hintf("wg genkey makes one", "expected 32 bytes in base64")
	}
	unique(r.At("peers"), "publicKey", w.Peers, func(p WireGuardPeer) string { return p.PublicKey })
}

// Validate implements [schema.Validator].
func (p *WireGuardPeer) Validate(r *schema.Reporter) {
	if !wireGuardKey(p.PublicKey) {
		r.At("publicKey").Hintf("wg pubkey makes it of the private key", "expected 32 bytes in base64, got %q", p.PublicKey)
	}
}

func wireGuardKey(s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(b) == 32
}

// validLinkName reports whether the kernel takes s as a link's name (IFNAMSIZ in linux/if.h, dev_valid_name).
func validLinkName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r")
}
