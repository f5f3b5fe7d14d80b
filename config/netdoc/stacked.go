package netdoc

import (
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// BridgeConfig makes a bridge, which passes packets between its links like a switch.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: BridgeConfig
//	name: br0
//	links:
//	    - enp1s2
//	    - enp1s3
//	stp:
//	    enabled: true
//	addresses:
//	    - address: 10.5.0.2/24
type BridgeConfig struct {
	// Name is the name of the new link, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// HardwareAddr is the bridge's hardware address. Left out, it is the lowest of the links'.
	HardwareAddr scalar.HardwareAddr `yaml:"hardwareAddr"`
	// Links are the ports of the bridge, by name or alias; the list may be empty. A port has no addresses of its own.
	Links []string `yaml:"links" required:"true" encode:"always"`
	// STP sets the spanning tree protocol, which breaks loops between bridges.
	STP *BridgeSTP `yaml:"stp"`
	// VLAN sets how the bridge treats VLANs.
	VLAN       *BridgeVLAN `yaml:"vlan"`
	CommonLink `yaml:",inline"`
}

// BridgeSTP sets the spanning tree protocol of a bridge.
type BridgeSTP struct {
	// Enabled turns the protocol on. Default: false.
	Enabled bool `yaml:"enabled"`
}

// BridgeVLAN sets how a bridge treats VLANs.
type BridgeVLAN struct {
	// Filtering makes the bridge pass packets only to ports that are in the packet's VLAN. Default: false.
	Filtering bool `yaml:"filtering"`
}

func (*BridgeConfig) DocumentKind() string   { return "BridgeConfig" }
func (c *BridgeConfig) DocumentName() string { return c.Name }

func (c *BridgeConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	checkEthernetAddr(r.At("hardwareAddr"), c.HardwareAddr)
	checkLinks(r.At("links"), c.Name, c.Links)
	c.CommonLink.Validate(r)
}

// VLANConfig makes a link for one VLAN of another link: its packets carry a tag with the VLAN's number.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: VLANConfig
//	name: enp1s2.100
//	vlanID: 100
//	parent: enp1s2
//	addresses:
//	    - address: 10.6.0.2/24
type VLANConfig struct {
	// Name is the name of the new link, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// VLANID is the number of the VLAN, from 1 to 4094.
	VLANID uint16 `yaml:"vlanID" required:"true"`
	// VLANMode is the kind of tag: 802.1q, or 802.1ad for the outer tag of two. Default: 802.1q.
	VLANMode string `yaml:"vlanMode" enum:"802.1q|802.1ad"`
	// Parent is the link that carries the VLAN, by name or alias.
	Parent     string `yaml:"parent" required:"true"`
	CommonLink `yaml:",inline"`
}

func (*VLANConfig) DocumentKind() string   { return "VLANConfig" }
func (c *VLANConfig) DocumentName() string { return c.Name }

// VLANModeOrDefault returns the kind of tag.
func (c *VLANConfig) VLANModeOrDefault() string {
	if c.VLANMode == "" {
		return "802.1q"
	}
	return c.VLANMode
}

func (c *VLANConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	if c.VLANID < 1 || c.VLANID > 4094 { // IEEE 802.1Q §9.6: 0 is priority only, 4095 reserved
		r.At("vlanID").Errorf("expected a number from 1 to 4094, got %d", c.VLANID)
	}
	checkLink(r.At("parent"), c.Parent)
	if c.Parent == c.Name {
		r.At("parent").Errorf("the link %s cannot be its own parent", c.Name)
	}
	c.CommonLink.Validate(r)
}

// VRFConfig makes a link that gives its members routes of their own (virtual routing and forwarding): their packets are
// routed by one table and not by main.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: VRFConfig
//	name: vrf-blue
//	links:
//	    - enp1s2
//	    - enp1s3
//	table: 100
type VRFConfig struct {
	// Name is the name of the new link, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// HardwareAddr is the link's hardware address. Left out, the kernel makes one up.
	HardwareAddr scalar.HardwareAddr `yaml:"hardwareAddr"`
	// Links are the members, by name or alias; the list may be empty. Unlike those of a bond they keep their addresses.
	//
	// Example:
	//
	//	links:
	//	    - enp1s2
	Links []string `yaml:"links" required:"true" encode:"always"`
	// Table is the routing table of the members, a number from 1 to 252.
	Table      RoutingTable `yaml:"table" required:"true"`
	CommonLink `yaml:",inline"`
}

func (*VRFConfig) DocumentKind() string   { return "VRFConfig" }
func (c *VRFConfig) DocumentName() string { return c.Name }

func (c *VRFConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	checkEthernetAddr(r.At("hardwareAddr"), c.HardwareAddr)
	checkLinks(r.At("links"), c.Name, c.Links)
	if id := c.Table.ID(); id == tableUnspec || id >= tableDefault {
		r.At("table").Hintf("the tables main, local and default serve the links that are in no VRF",
			"expected a table from 1 to 252, got %s", c.Table)
	}
	c.CommonLink.Validate(r)
}

// VethConfig makes a pair of links that are the two ends of one cable: what goes into one comes out of the other. One
// end is typically put into a bridge or a VRF.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: VethConfig
//	name: veth0
//	addresses:
//	    - address: 10.7.0.1/30
//	peer:
//	    name: veth1
//	    addresses:
//	        - address: 10.7.0.2/30
type VethConfig struct {
	// Name is the name of one end, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// Peer is the other end.
	Peer       VethPeer `yaml:"peer" required:"true"`
	CommonLink `yaml:",inline"`
}

// VethPeer is the other end of a pair of links.
type VethPeer struct {
	// Name is the name of the link, 1 to 15 bytes.
	Name       string `yaml:"name" required:"true"`
	CommonLink `yaml:",inline"`
}

func (c *VethPeer) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	c.CommonLink.Validate(r)
}

func (*VethConfig) DocumentKind() string   { return "VethConfig" }
func (c *VethConfig) DocumentName() string { return c.Name }

func (c *VethConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	if c.Name == c.Peer.Name {
		r.At("peer").At("name").Errorf("expected another name than the first end's, got %q", c.Peer.Name)
	}
	c.CommonLink.Validate(r)
}
