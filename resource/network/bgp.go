package network

import (
	"net/netip"
	"time"

	"talos.internal/resource"
)

// BGPInstanceConfig is a BGP speaker (RFC 4271) that the node runs. Its id is its name.
type BGPInstanceConfig struct {
	LocalASN uint32     `yaml:"localASN" proto:"1"`
	RouterID netip.Addr `yaml:"routerID" proto:"2"` // zero takes the node's first IPv4 address
	// RouteSource: preferred source address of the routes that it installs
	RouteSource    netip.Addr          `yaml:"routeSource" proto:"3"`
	AdvertiseLinks []string            `yaml:"advertiseLinks" proto:"4"` // links whose addresses it announces
	Multipath      bool                `yaml:"multipath" proto:"5"`      // install several paths to one destination
	MaxPaths       uint32              `yaml:"maxPaths" proto:"6"`       // at most so many; 0 is no limit
	Neighbors      []BGPNeighborConfig `yaml:"neighbors" proto:"7"`
	VRF            string              `yaml:"vrf" proto:"8"` // the VRF that it runs in; empty is none
	VRFTable       RoutingTable        `yaml:"vrfTable" proto:"9"`
	ImportRoutes   []BGPImportRoute    `yaml:"importRoutes" proto:"10"`  // take routes of other instances
	InstallRoutes  bool                `yaml:"installRoutes" proto:"11"` // write what was learned into the kernel
}

// ResourceDefinition implements [resource.Spec].
func (BGPInstanceConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BGPInstanceConfigs.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Local ASN", JSONPath: "{.localASN}"},
			{Name: "Router ID", JSONPath: "{.routerID}"},
			{Name: "VRF", JSONPath: "{.vrf}"},
			{Name: "Neighbors", JSONPath: "{.neighbors}"},
		},
	}
}

// BGPNeighborConfig is a peer, named by its address or by the link that it is on.
type BGPNeighborConfig struct {
	Address netip.Addr `yaml:"address" proto:"1"`
	Link    string     `yaml:"link" proto:"2"`
	PeerASN uint32     `yaml:"peerASN" proto:"3"` // 0 accepts any
	// HoldTime: 0 is the default of 90 seconds (RFC 4271 section 10)
	HoldTime time.Duration `yaml:"holdTime" proto:"4"`
	BFD      *BGPBFDConfig `yaml:"bfd,omitempty" proto:"5"` // nil is without
	LocalASN uint32        `yaml:"localASN" proto:"6"`      // 0 is that of the instance
	Passive  bool          `yaml:"passive" proto:"7"`       // wait for the peer to connect
}

// BGPBFDConfig is how the loss of a peer is found fast (BFD, RFC 5880).
type BGPBFDConfig struct {
	TransmitInterval time.Duration `yaml:"transmitInterval" proto:"1"`
	ReceiveInterval  time.Duration `yaml:"receiveInterval" proto:"2"`
	// DetectMultiplier: intervals without a packet until the peer is down
	DetectMultiplier uint32 `yaml:"detectMultiplier" proto:"3"`
}

// BGPImportRoute are routes to take from another instance.
type BGPImportRoute struct {
	BgpInstance string         `yaml:"bgpInstance" proto:"1"` // its name
	Prefixes    []netip.Prefix `yaml:"prefixes" proto:"2"`    // what is taken: these and what is within them
}

// BGPPeerStatus is a session with a peer. Its id is "instance/peer".
type BGPPeerStatus struct {
	Peer       string          `yaml:"peer" proto:"1"` // address, or link
	LocalASN   uint32          `yaml:"localASN" proto:"2"`
	PeerASN    uint32          `yaml:"peerASN" proto:"3"`
	State      BGPSessionState `yaml:"state" proto:"4"`
	RouterID   netip.Addr      `yaml:"routerID" proto:"5"`   // of the peer
	Since      time.Time       `yaml:"since" proto:"6"`      // when the state changed
	Received   uint32          `yaml:"received" proto:"7"`   // routes
	Advertised uint32          `yaml:"advertised" proto:"8"` // routes
	Accepted   uint32          `yaml:"accepted" proto:"9"`   // routes
	BFDState   string          `yaml:"bfdState" proto:"10"`  // empty without BFD
	Instance   string          `yaml:"instance" proto:"11"`
}

// ResourceDefinition implements [resource.Spec].
func (BGPPeerStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BGPPeerStatuses.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Instance", JSONPath: "{.instance}"},
			{Name: "Peer", JSONPath: "{.peer}"},
			{Name: "Peer AS", JSONPath: "{.peerASN}"},
			{Name: "State", JSONPath: "{.state}"},
			{Name: "Since", JSONPath: "{.since}"},
			{Name: "Received", JSONPath: "{.received}"},
		},
	}
}
