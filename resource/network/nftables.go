package network

import (
	"net/netip"

	"talos.internal/resource"
)

// NfTablesChain is a chain that the packet filter should have in the node's table. Its id is its name.
type NfTablesChain struct {
	Type     string                `yaml:"type" proto:"1"` // "filter", "nat" or "route"
	Hook     NfTablesChainHook     `yaml:"hook" proto:"2"`
	Priority NfTablesChainPriority `yaml:"priority" proto:"3"`
	Policy   NfTablesVerdict       `yaml:"policy" proto:"5"` // what happens to a packet that no rule decides
	Rules    []NfTablesRule        `yaml:"rules" proto:"4"`  // tried in this order
}

// ResourceDefinition implements [resource.Spec].
func (NfTablesChain) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NfTablesChains.net.talos.dev", Namespace: Namespace, Sensitive: true,
		Aliases: []string{"chain", "chains"},
		Columns: []resource.Column{
			{Name: "Type", JSONPath: "{.type}"},
			{Name: "Hook", JSONPath: "{.hook}"},
			{Name: "Priority", JSONPath: "{.priority}"},
			{Name: "Policy", JSONPath: "{.policy}"},
		},
	}
}

// NfTablesRule matches a packet if all its conditions do, nil ones always. Then it does what it says,
// in the order of the fields.
type NfTablesRule struct {
	// MatchIIfName: the link that the packet came by
	MatchIIfName            *NfTablesIfNameMatch         `yaml:"matchIIfName,omitempty" proto:"8"`
	MatchOIfName            *NfTablesIfNameMatch         `yaml:"matchOIfName,omitempty" proto:"1"` // the link that it leaves by
	MatchMark               *NfTablesMark                `yaml:"matchMark,omitempty" proto:"3"`
	MatchConntrackState     *NfTablesConntrackStateMatch `yaml:"matchConntrackState,omitempty" proto:"11"`
	MatchSourceAddress      *NfTablesAddressMatch        `yaml:"matchSourceAddress,omitempty" proto:"5"`
	MatchDestinationAddress *NfTablesAddressMatch        `yaml:"matchDestinationAddress,omitempty" proto:"6"`
	MatchLayer4             *NfTablesLayer4Match         `yaml:"matchLayer4,omitempty" proto:"7"`
	MatchLimit              *NfTablesLimitMatch          `yaml:"matchLimit,omitempty" proto:"10"`
	// ClampMSS: lower the segment size of new TCP connections
	ClampMSS    *NfTablesClampMSS `yaml:"clampMSS,omitempty" proto:"9"`
	SetMark     *NfTablesMark     `yaml:"setMark,omitempty" proto:"4"`
	AnonCounter bool              `yaml:"anonCounter" proto:"12"`      // count the packets
	Verdict     *NfTablesVerdict  `yaml:"verdict,omitempty" proto:"2"` // nil goes on with the next rule
}

// NfTablesIfNameMatch is a condition on the name of a link.
type NfTablesIfNameMatch struct {
	Operator       MatchOperator `yaml:"operator" proto:"2"`
	InterfaceNames []string      `yaml:"interfaceNames" proto:"3"`
}

// NfTablesMark is an operation on the packet's mark: it is masked with Mask and then combined with Xor
// by exclusive or. A condition compares the result with Value; otherwise the result is the new mark.
type NfTablesMark struct {
	Mask  uint32 `yaml:"mask" proto:"1"`
	XOR   uint32 `yaml:"xor" proto:"2"`
	Value uint32 `yaml:"value" proto:"3"`
}

// NfTablesAddressMatch is a condition on an address: it is within the first list and not within the
// second.
type NfTablesAddressMatch struct {
	IncludeSubnets []netip.Prefix `yaml:"includeSubnets" proto:"1"` // empty is every address
	ExcludeSubnets []netip.Prefix `yaml:"excludeSubnets" proto:"2"`
	Invert         bool           `yaml:"invert" proto:"3"` // turn the condition round
}

// NfTablesLayer4Match is a condition on the protocol above IP.
type NfTablesLayer4Match struct {
	Protocol             Protocol               `yaml:"protocol" proto:"1"`
	MatchSourcePort      *NfTablesPortMatch     `yaml:"matchSourcePort,omitempty" proto:"2"`
	MatchDestinationPort *NfTablesPortMatch     `yaml:"matchDestinationPort,omitempty" proto:"3"`
	MatchICMPType        *NfTablesICMPTypeMatch `yaml:"matchICMPType,omitempty" proto:"4"`
}

// NfTablesPortMatch is a condition on a port: it is in one of the ranges.
type NfTablesPortMatch struct {
	Ranges []PortRange `yaml:"ranges" proto:"1"`
}

// PortRange are the ports from Lo to Hi, both included.
type PortRange struct {
	Lo uint16 `yaml:"lo" proto:"1"`
	Hi uint16 `yaml:"hi" proto:"2"`
}

// NfTablesICMPTypeMatch is a condition on the type of an ICMP message.
type NfTablesICMPTypeMatch struct {
	Types []ICMPType `yaml:"types" proto:"1"`
}

// NfTablesLimitMatch matches while there are no more packets than this.
type NfTablesLimitMatch struct {
	PacketRatePerSecond uint64 `yaml:"packetRatePerSecond" proto:"1"`
}

// NfTablesConntrackStateMatch is a condition on the state of the packet's connection: it is one of
// these.
type NfTablesConntrackStateMatch struct {
	States []ConntrackState `yaml:"states" proto:"1"`
}

// NfTablesClampMSS lowers the maximum segment size of a TCP connection to what fits.
type NfTablesClampMSS struct {
	MTU uint32 `yaml:"mtu" proto:"1"` // in bytes, of the path
}
