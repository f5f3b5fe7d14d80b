package network

import "talos.internal/resource"

// EthernetSpec are settings that an Ethernet device should have, as ethtool(8) makes them. Its id is
// the name of the link. Nil leaves a setting as it is.
type EthernetSpec struct {
	Rings     *EthernetRingsSpec    `yaml:"rings,omitempty" proto:"1"`
	Features  map[string]bool       `yaml:"features" proto:"2"` // by the kernel's names
	Channels  *EthernetChannelsSpec `yaml:"channels,omitempty" proto:"3"`
	WakeOnLan []WOLMode             `yaml:"wakeOnLan" proto:"4"` // empty leaves it as it is
}

// ResourceDefinition implements [resource.Spec].
func (EthernetSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EthernetSpecs.net.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// EthernetRingsSpec are the sizes of the rings of descriptors. Nil leaves a value as it is.
type EthernetRingsSpec struct {
	Rx           *uint32 `yaml:"rx,omitempty" proto:"1"`
	RxMini       *uint32 `yaml:"rx-mini,omitempty" proto:"2"`
	RxJumbo      *uint32 `yaml:"rx-jumbo,omitempty" proto:"3"`
	Tx           *uint32 `yaml:"tx,omitempty" proto:"4"`
	RxBufLen     *uint32 `yaml:"rx-buf-len,omitempty" proto:"5"` // in bytes
	CQESize      *uint32 `yaml:"cqe-size,omitempty" proto:"6"`   // in bytes
	TxPush       *bool   `yaml:"tx-push,omitempty" proto:"7"`
	RxPush       *bool   `yaml:"rx-push,omitempty" proto:"8"`
	TxPushBufLen *uint32 `yaml:"tx-push-buf-len,omitempty" proto:"9"` // in bytes
	TCPDataSplit *bool   `yaml:"tcp-data-split,omitempty" proto:"10"`
}

// EthernetChannelsSpec are numbers of queues. Nil leaves one as it is.
type EthernetChannelsSpec struct {
	Rx       *uint32 `yaml:"rx,omitempty" proto:"1"`
	Tx       *uint32 `yaml:"tx,omitempty" proto:"2"`
	Other    *uint32 `yaml:"other,omitempty" proto:"3"`
	Combined *uint32 `yaml:"combined,omitempty" proto:"4"`
}

// EthernetStatus is what ethtool(8) tells of an Ethernet device. Its id is the name of the link.
type EthernetStatus struct {
	// LinkState: there is a carrier; nil if the driver does not tell
	LinkState     *bool                   `yaml:"linkState,omitempty" proto:"1"`
	SpeedMegabits int64                   `yaml:"speedMbit" proto:"2"` // in Mbit/s; 0 or less if not known
	Port          Port                    `yaml:"port" proto:"3"`
	Duplex        Duplex                  `yaml:"duplex" proto:"4"`
	OurModes      []string                `yaml:"ourModes" proto:"5"`           // link modes that are announced
	PeerModes     []string                `yaml:"peerModes" proto:"6"`          // link modes that the other end announces
	Rings         *EthernetRingsStatus    `yaml:"rings,omitempty" proto:"7"`    // nil if the driver has none
	Features      []EthernetFeature       `yaml:"features" proto:"8"`           // in the kernel's order
	Channels      *EthernetChannelsStatus `yaml:"channels,omitempty" proto:"9"` // nil if the driver has none
	WakeOnLAN     []WOLMode               `yaml:"wakeOnLAN" proto:"10"`
}

// ResourceDefinition implements [resource.Spec].
func (EthernetStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EthernetStatuses.net.talos.dev", Namespace: Namespace, Sensitive: true,
		Aliases: []string{"ethtool"},
		Columns: []resource.Column{
			{Name: "Link", JSONPath: "{.linkState}"},
			{Name: "Speed", JSONPath: "{.speedMbit}"},
		},
	}
}

// EthernetRingsStatus are the sizes of the rings of descriptors, and their limits. Nil is not
// supported.
type EthernetRingsStatus struct {
	RxMax           *uint32 `yaml:"rx-max,omitempty" proto:"1"`
	RxMiniMax       *uint32 `yaml:"rx-mini-max,omitempty" proto:"2"`
	RxJumboMax      *uint32 `yaml:"rx-jumbo-max,omitempty" proto:"3"`
	TxMax           *uint32 `yaml:"tx-max,omitempty" proto:"4"`
	TxPushBufLenMax *uint32 `yaml:"tx-push-buf-len-max,omitempty" proto:"5"` // in bytes
	Rx              *uint32 `yaml:"rx,omitempty" proto:"6"`
	RxMini          *uint32 `yaml:"rx-mini,omitempty" proto:"7"`
	RxJumbo         *uint32 `yaml:"rx-jumbo,omitempty" proto:"8"`
	Tx              *uint32 `yaml:"tx,omitempty" proto:"9"`
	RxBufLen        *uint32 `yaml:"rx-buf-len,omitempty" proto:"10"` // in bytes
	CQESize         *uint32 `yaml:"cqe-size,omitempty" proto:"11"`   // in bytes
	TxPush          *bool   `yaml:"tx-push,omitempty" proto:"12"`
	RxPush          *bool   `yaml:"rx-push,omitempty" proto:"13"`
	TxPushBufLen    *uint32 `yaml:"tx-push-buf-len,omitempty" proto:"14"` // in bytes
	TCPDataSplit    *bool   `yaml:"tcp-data-split,omitempty" proto:"15"`
}

// EthernetChannelsStatus are numbers of queues, and their limits. Nil is not supported.
type EthernetChannelsStatus struct {
	RxMax       *uint32 `yaml:"rx-max,omitempty" proto:"1"`
	TxMax       *uint32 `yaml:"tx-max,omitempty" proto:"2"`
	OtherMax    *uint32 `yaml:"other-max,omitempty" proto:"3"`
	CombinedMax *uint32 `yaml:"combined-max,omitempty" proto:"4"`
	Rx          *uint32 `yaml:"rx,omitempty" proto:"5"`
	Tx          *uint32 `yaml:"tx,omitempty" proto:"6"`
	Other       *uint32 `yaml:"other,omitempty" proto:"7"`
	Combined    *uint32 `yaml:"combined,omitempty" proto:"8"`
}

// EthernetFeature is an offload or another feature of a device.
type EthernetFeature struct {
	Name   string `yaml:"name" proto:"1"`
	Status string `yaml:"status" proto:"2"` // "on" or "off", with " [fixed]" if it cannot be changed
}
