package netdoc

import "talos.internal/config/schema"

// EthernetConfig sets what ethtool sets: the features, queues and wake-on-LAN of a physical link. What is left out stays
// as the driver has it.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: EthernetConfig
//	name: enp1s2
//	features:
//	    tx-tcp-segmentation: false
//	rings:
//	    rx: 4096
//	channels:
//	    combined: 4
//	wakeOnLan:
//	    - magic
type EthernetConfig struct {
	// Name is the link's name or alias.
	Name string `yaml:"name" required:"true"`
	// Features turns features of the driver on and off, by the names that "ethtool -k" shows.
	Features map[string]bool `yaml:"features"`
	// Rings sets the sizes of the packet queues between the card and the kernel.
	Rings *EthernetRings `yaml:"rings"`
	// Channels sets how many queues there are.
	Channels *EthernetChannels `yaml:"channels"`
	// WakeOnLAN says what wakes the machine: activity on the wire (phy), a packet of a kind (unicast, multicast, broadcast,
	// filter), or a magic packet, with a password (magicsecure) or without (magic).
	WakeOnLAN []string `yaml:"wakeOnLan" enum:"phy|unicast|multicast|broadcast|magic|magicsecure|filter"`
}

// EthernetRings sets the sizes of a link's packet queues. Sizes are numbers of packets unless a field says otherwise;
// the largest are what the card has.
type EthernetRings struct {
	// RX is the size of the queue for packets that come in.
	RX *uint32 `yaml:"rx"`
	// TX is the size of the queue for packets that go out.
	TX *uint32 `yaml:"tx"`
	// RXMini is the size of the queue for small packets that come in.
	RXMini *uint32 `yaml:"rx-mini"`
	// RXJumbo is the size of the queue for large packets that come in.
	RXJumbo *uint32 `yaml:"rx-jumbo"`
	// RXBufLen is the size in bytes of the buffers for packets that come in.
	RXBufLen *uint32 `yaml:"rx-buf-len"`
	// CQESize is the size in bytes of an entry of the completion queue.
	CQESize *uint32 `yaml:"cqe-size"`
	// TXPush says whether packets that go out are written to the card at once instead of being fetched by it.
	TXPush *bool `yaml:"tx-push"`
	// RXPush says whether buffers for packets that come in are announced to the card at once.
	RXPush *bool `yaml:"rx-push"`
	// TXPushBufLen is how many bytes of a packet are written to the card at once.
	TXPushBufLen *uint32 `yaml:"tx-push-buf-len"`
	// TCPDataSplit says whether the headers and the data of TCP packets are put into separate buffers.
	TCPDataSplit *bool `yaml:"tcp-data-split"`
}

// EthernetChannels sets how many queues a link has; the most are what the card has.
type EthernetChannels struct {
	// RX is the number of queues that only receive.
	RX *uint32 `yaml:"rx"`
	// TX is the number of queues that only send.
	TX *uint32 `yaml:"tx"`
	// Other is the number of queues for other purposes, such as link interrupts.
	Other *uint32 `yaml:"other"`
	// Combined is the number of queues that send and receive.
	Combined *uint32 `yaml:"combined"`
}

func (*EthernetConfig) DocumentKind() string   { return "EthernetConfig" }
func (c *EthernetConfig) DocumentName() string { return c.Name }

func (c *EthernetConfig) Validate(r *schema.Reporter) {
	checkLink(r.At("name"), c.Name)
	if ch := c.Channels; ch != nil && orDefault(ch.Combined, 1) == 0 && (orDefault(ch.RX, 1) == 0 || orDefault(ch.TX, 1) == 0) {
		r.At("channels").Errorf("expected at least one queue each way, got none")
	}
}
