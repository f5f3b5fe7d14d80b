package network

import "talos.internal/resource"

// NfTablesChainHook is where on its way a packet meets a chain.
type NfTablesChainHook int32

// The values of NfTablesChainHook.
const (
	HookPrerouting  NfTablesChainHook = 0
	HookInput       NfTablesChainHook = 1
	HookForward     NfTablesChainHook = 2
	HookOutput      NfTablesChainHook = 3
	HookPostrouting NfTablesChainHook = 4
)

var nfTablesChainHookNames = resource.NamesOf(map[NfTablesChainHook]string{
	HookPrerouting:  "prerouting",
	HookInput:       "input",
	HookForward:     "forward",
	HookOutput:      "output",
	HookPostrouting: "postrouting",
})

// String returns the name of n.
func (n NfTablesChainHook) String() string { return nfTablesChainHookNames.Text(n) }

// MarshalText implements [encoding.TextMarshaler].
func (n NfTablesChainHook) MarshalText() ([]byte, error) {
	return []byte(nfTablesChainHookNames.Text(n)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *NfTablesChainHook) UnmarshalText(text []byte) error {
	return nfTablesChainHookNames.Set(n, string(text))
}

// NfTablesChainPriority is the order of chains at a hook. A number between those with a name is written
// as the number.
type NfTablesChainPriority int32

// The values of NfTablesChainPriority.
const (
	PriorityFilter          NfTablesChainPriority = 0
	PriorityFirst           NfTablesChainPriority = -2147483648
	PriorityConntrackDefrag NfTablesChainPriority = -400
	PriorityRaw             NfTablesChainPriority = -300
	PrioritySELinuxFirst    NfTablesChainPriority = -225
	PriorityConntrack       NfTablesChainPriority = -200
	PriorityMangle          NfTablesChainPriority = -150
	PriorityNATDest         NfTablesChainPriority = -100
	PrioritySecurity        NfTablesChainPriority = 50
	PriorityNATSource       NfTablesChainPriority = 100
	PrioritySELinuxLast     NfTablesChainPriority = 225
	PriorityConntrackHelper NfTablesChainPriority = 300
	PriorityLast            NfTablesChainPriority = 2147483647
)

var nfTablesChainPriorityNames = resource.NamesOf(map[NfTablesChainPriority]string{
	PriorityFilter:          "filter",
	PriorityFirst:           "first",
	PriorityConntrackDefrag: "conntrack-defrag",
	PriorityRaw:             "raw",
	PrioritySELinuxFirst:    "selinux-first",
	PriorityConntrack:       "conntrack",
	PriorityMangle:          "mangle",
	PriorityNATDest:         "nat-dest",
	PrioritySecurity:        "security",
	PriorityNATSource:       "nat-source",
	PrioritySELinuxLast:     "selinux-last",
	PriorityConntrackHelper: "conntrack-helper",
	PriorityLast:            "last",
})

// String returns the name of n.
func (n NfTablesChainPriority) String() string { return nfTablesChainPriorityNames.Text(n) }

// MarshalText implements [encoding.TextMarshaler].
func (n NfTablesChainPriority) MarshalText() ([]byte, error) {
	return []byte(nfTablesChainPriorityNames.Text(n)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *NfTablesChainPriority) UnmarshalText(text []byte) error {
	return nfTablesChainPriorityNames.Set(n, string(text))
}

// NfTablesVerdict is what becomes of a packet.
type NfTablesVerdict int32

// The values of NfTablesVerdict.
const (
	VerdictDrop   NfTablesVerdict = 0
	VerdictAccept NfTablesVerdict = 1
)

var nfTablesVerdictNames = resource.NamesOf(map[NfTablesVerdict]string{
	VerdictDrop:   "drop",
	VerdictAccept: "accept",
})

// String returns the name of n.
func (n NfTablesVerdict) String() string { return nfTablesVerdictNames.Text(n) }

// MarshalText implements [encoding.TextMarshaler].
func (n NfTablesVerdict) MarshalText() ([]byte, error) {
	return []byte(nfTablesVerdictNames.Text(n)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *NfTablesVerdict) UnmarshalText(text []byte) error {
	return nfTablesVerdictNames.Set(n, string(text))
}

// MatchOperator compares with a list.
type MatchOperator int32

// The values of MatchOperator.
const (
	MatchEqual    MatchOperator = 0 // with one of the list
	MatchNotEqual MatchOperator = 1 // with none of the list
)

var matchOperatorNames = resource.NamesOf(map[MatchOperator]string{
	MatchEqual:    "==",
	MatchNotEqual: "!=",
})

// String returns the name of m.
func (m MatchOperator) String() string { return matchOperatorNames.Text(m) }

// MarshalText implements [encoding.TextMarshaler].
func (m MatchOperator) MarshalText() ([]byte, error) { return []byte(matchOperatorNames.Text(m)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MatchOperator) UnmarshalText(text []byte) error {
	return matchOperatorNames.Set(m, string(text))
}

// Protocol is a protocol above IP, by its number in IP.
type Protocol int32

// The values of Protocol.
const (
	ProtocolUnspecified Protocol = 0
	ProtocolICMP        Protocol = 1
	ProtocolTCP         Protocol = 6
	ProtocolUDP         Protocol = 17
	ProtocolICMPv6      Protocol = 58
)

var protocolNames = resource.NamesOf(map[Protocol]string{
	ProtocolUnspecified: "unspecified",
	ProtocolICMP:        "icmp",
	ProtocolTCP:         "tcp",
	ProtocolUDP:         "udp",
	ProtocolICMPv6:      "icmpv6",
})

// String returns the name of p.
func (p Protocol) String() string { return protocolNames.Text(p) }

// MarshalText implements [encoding.TextMarshaler].
func (p Protocol) MarshalText() ([]byte, error) { return []byte(protocolNames.Text(p)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Protocol) UnmarshalText(text []byte) error { return protocolNames.Set(p, string(text)) }

// ICMPType is a type of ICMP message.
type ICMPType int32

// The values of ICMPType.
const (
	ICMPTypeUnspecified        ICMPType = 0
	ICMPTypeTimestampRequest   ICMPType = 13
	ICMPTypeTimestampReply     ICMPType = 14
	ICMPTypeAddressMaskRequest ICMPType = 17
	ICMPTypeAddressMaskReply   ICMPType = 18
)

var icmpTypeNames = resource.NamesOf(map[ICMPType]string{
	ICMPTypeUnspecified:        "unspecified",
	ICMPTypeTimestampRequest:   "timestamp-request",
	ICMPTypeTimestampReply:     "timestamp-reply",
	ICMPTypeAddressMaskRequest: "address-mask-request",
	ICMPTypeAddressMaskReply:   "address-mask-reply",
})

// String returns the name of i.
func (i ICMPType) String() string { return icmpTypeNames.Text(i) }

// MarshalText implements [encoding.TextMarshaler].
func (i ICMPType) MarshalText() ([]byte, error) { return []byte(icmpTypeNames.Text(i)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *ICMPType) UnmarshalText(text []byte) error { return icmpTypeNames.Set(i, string(text)) }

// ConntrackState is the state of a connection, by the bits of nftables.
type ConntrackState int32

// The values of ConntrackState.
const (
	ConntrackUnspecified ConntrackState = 0
	ConntrackNew         ConntrackState = 8
	ConntrackRelated     ConntrackState = 4
	ConntrackEstablished ConntrackState = 2
	ConntrackInvalid     ConntrackState = 1
)

var conntrackStateNames = resource.NamesOf(map[ConntrackState]string{
	ConntrackUnspecified: "unspecified",
	ConntrackNew:         "new",
	ConntrackRelated:     "related",
	ConntrackEstablished: "established",
	ConntrackInvalid:     "invalid",
})

// String returns the name of c.
func (c ConntrackState) String() string { return conntrackStateNames.Text(c) }

// MarshalText implements [encoding.TextMarshaler].
func (c ConntrackState) MarshalText() ([]byte, error) {
	return []byte(conntrackStateNames.Text(c)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *ConntrackState) UnmarshalText(text []byte) error {
	return conntrackStateNames.Set(c, string(text))
}
