package network

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"talos.internal/resource"
)

// LinkSpec is how a link should be, and that it should exist if it is logical. Its id is its name, with
// the layer before it if it is not merged. The part that belongs to its kind is set, the others are
// nil.
type LinkSpec struct {
	Name    string `yaml:"name" proto:"1"`
	Logical bool   `yaml:"logical" proto:"2"` // the node makes the link; a physical one is only changed
	Up      bool   `yaml:"up" proto:"3"`
	MTU     uint32 `yaml:"mtu" proto:"4"` // in bytes; 0 leaves it as it is
	// Kind: as the kernel names it: "bond", "vlan", "dummy" …; empty for a physical link
	Kind         string       `yaml:"kind" proto:"5"`
	Type         LinkType     `yaml:"type" proto:"6"`
	HardwareAddr HardwareAddr `yaml:"hardwareAddr" proto:"15"` // empty leaves it as it is
	ParentName   string       `yaml:"parentName" proto:"7"`    // of the link below, for a VLAN
	// BondSlave: the bond that the link is a port of; its keys are in line
	BondSlave *BondSlave `yaml:",inline" proto:"8"`
	// BridgeSlave: the bridge that the link is a port of
	BridgeSlave  *BridgeSlave      `yaml:"bridgeSlave,omitempty" proto:"9"`
	VRFSlave     *VRFSlave         `yaml:"vrfSlave,omitempty" proto:"18"` // the VRF that the link is in
	VLAN         *VLANSpec         `yaml:"vlan,omitempty" proto:"10"`
	BondMaster   *BondMasterSpec   `yaml:"bondMaster,omitempty" proto:"11"`
	BridgeMaster *BridgeMasterSpec `yaml:"bridgeMaster,omitempty" proto:"12"`
	VRFMaster    *VRFMasterSpec    `yaml:"vrfMaster,omitempty" proto:"17"`
	Wireguard    *WireguardSpec    `yaml:"wireguard,omitempty" proto:"13"`
	Veth         *VethSpec         `yaml:"veth,omitempty" proto:"19"`
	Layer        ConfigLayer       `yaml:"layer" proto:"14"`               // where the wish is from
	Multicast    *bool             `yaml:"multicast,omitempty" proto:"16"` // nil leaves it as it is
}

// ResourceDefinition implements [resource.Spec].
func (LinkSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LinkSpecs.net.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// LinkStatus is a link of the kernel. Its id is its name. The part that belongs to its kind is set, the
// others are nil.
type LinkStatus struct {
	Alias         string       `yaml:"alias" proto:"31"`    // a second name, which the machine config gave
	AltNames      []string     `yaml:"altNames" proto:"32"` // further names, which the kernel or udev gave
	Index         uint32       `yaml:"index" proto:"1"`
	Type          LinkType     `yaml:"type" proto:"2"`
	LinkIndex     uint32       `yaml:"linkIndex" proto:"3"` // of the link below; 0 if there is none
	Flags         LinkFlags    `yaml:"flags" proto:"4"`
	HardwareAddr  HardwareAddr `yaml:"hardwareAddr" proto:"5"`
	PermanentAddr HardwareAddr `yaml:"permanentAddr" proto:"30"` // the one that the device was made with
	BroadcastAddr HardwareAddr `yaml:"broadcastAddr" proto:"6"`
	MTU           uint32       `yaml:"mtu" proto:"7"` // in bytes
	QueueDisc     string       `yaml:"queueDisc" proto:"8"`
	// MasterIndex: of the bond, bridge or VRF that the link is in; 0 if it is in none
	MasterIndex      uint32            `yaml:"masterIndex" proto:"9"`
	OperationalState OperationalState  `yaml:"operationalState" proto:"10"`
	Kind             string            `yaml:"kind" proto:"11"`      // as the kernel names it; empty for a physical link
	SlaveKind        string            `yaml:"slaveKind" proto:"12"` // the kind of the master
	BusPath          string            `yaml:"busPath" proto:"13"`   // as the bus of the device names its place
	PCIID            string            `yaml:"pciID" proto:"14"`     // "vendor:device" in hexadecimal
	Driver           string            `yaml:"driver" proto:"15"`
	DriverVersion    string            `yaml:"driverVersion" proto:"16"`
	FirmwareVersion  string            `yaml:"firmwareVersion" proto:"17"`
	ProductID        string            `yaml:"productID" proto:"18"`
	VendorID         string            `yaml:"vendorID" proto:"19"`
	Product          string            `yaml:"product" proto:"20"`
	Vendor           string            `yaml:"vendor" proto:"21"`
	LinkState        bool              `yaml:"linkState" proto:"22"` // there is a carrier
	SpeedMegabits    int64             `yaml:"speedMbit" proto:"23"` // in Mbit/s; 0 or less if not known
	Port             Port              `yaml:"port" proto:"24"`
	Duplex           Duplex            `yaml:"duplex" proto:"25"`
	VLAN             *VLANSpec         `yaml:"vlan,omitempty" proto:"26"`
	BridgeMaster     *BridgeMasterSpec `yaml:"bridgeMaster,omitempty" proto:"27"`
	BondMaster       *BondMasterSpec   `yaml:"bondMaster,omitempty" proto:"28"`
	VRFMaster        *VRFMasterSpec    `yaml:"vrfMaster,omitempty" proto:"33"`
	Wireguard        *WireguardSpec    `yaml:"wireguard,omitempty" proto:"29"`
	Veth             *VethSpec         `yaml:"veth,omitempty" proto:"34"`
}

// ResourceDefinition implements [resource.Spec].
func (LinkStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LinkStatuses.net.talos.dev", Namespace: Namespace, Sensitive: true,
		Aliases: []string{"link", "links"},
		Columns: []resource.Column{
			{Name: "Alias", JSONPath: "{.alias}"},
			{Name: "Type", JSONPath: "{.type}"},
			{Name: "Kind", JSONPath: "{.kind}"},
			{Name: "Hw Addr", JSONPath: "{.hardwareAddr}"},
			{Name: "Oper State", JSONPath: "{.operationalState}"},
			{Name: "Link State", JSONPath: "{.linkState}"},
		},
	}
}

// LinkAliasSpec is a second name for a link, by which the machine config knows it. Its id is the link's
// name.
type LinkAliasSpec struct {
	Alias string `yaml:"alias" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (LinkAliasSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LinkAliasSpecs.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Alias", JSONPath: "{.alias}"}},
	}
}

// LinkRefresh asks for links to be read again, although the kernel told of no change.
type LinkRefresh struct {
	Generation int64 `yaml:"generation" proto:"1"` // a new number is a new request
}

// ResourceDefinition implements [resource.Spec].
func (LinkRefresh) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LinkRefreshes.net.talos.dev", Namespace: Namespace,
	}
}

// DeviceConfigSpec is what the machine config in its old form says about one interface, after its
// selector was matched. Its id is the name of the interface. As YAML it is the document itself.
type DeviceConfigSpec struct {
	Document string `yaml:"-" proto:"1"` // a YAML document
}

// ResourceDefinition implements [resource.Spec].
func (DeviceConfigSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DeviceConfigSpecs.net.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// MarshalYAML implements [yaml.Marshaler].
func (s DeviceConfigSpec) MarshalYAML() (any, error) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(s.Document), &n); err != nil {
		return nil, fmt.Errorf("parse the config of a device: %w", err)
	}
	if len(n.Content) == 0 {
		return nil, nil
	}
	return n.Content[0], nil
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (s *DeviceConfigSpec) UnmarshalYAML(n *yaml.Node) error {
	text, err := yaml.Marshal(n)
	s.Document = string(text)
	return err
}
