package network

import "talos.internal/resource"

// Family is an address family; the numbers are Linux's AF_INET and AF_INET6.
type Family int32

// The values of Family.
const (
	FamilyUnspec Family = 0
	FamilyInet4  Family = 2
	FamilyInet6  Family = 10
)

var familyNames = resource.NamesOf(map[Family]string{
	FamilyUnspec: "unspec",
	FamilyInet4:  "inet4",
	FamilyInet6:  "inet6",
})

// String returns the name of f.
func (f Family) String() string { return familyNames.Text(f) }

// MarshalText implements [encoding.TextMarshaler].
func (f Family) MarshalText() ([]byte, error) { return []byte(familyNames.Text(f)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *Family) UnmarshalText(text []byte) error { return familyNames.Set(f, string(text)) }

// Scope is how far an address or route reaches (rtnetlink(7)).
type Scope int32

// The values of Scope.
const (
	ScopeGlobal  Scope = 0
	ScopeSite    Scope = 200
	ScopeLink    Scope = 253
	ScopeHost    Scope = 254
	ScopeNowhere Scope = 255
)

var scopeNames = resource.NamesOf(map[Scope]string{
	ScopeGlobal:  "global",
	ScopeSite:    "site",
	ScopeLink:    "link",
	ScopeHost:    "host",
	ScopeNowhere: "nowhere",
})

// String returns the name of s.
func (s Scope) String() string { return scopeNames.Text(s) }

// MarshalText implements [encoding.TextMarshaler].
func (s Scope) MarshalText() ([]byte, error) { return []byte(scopeNames.Text(s)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Scope) UnmarshalText(text []byte) error { return scopeNames.Set(s, string(text)) }

// AddressFlags are the bits of an address (IFA_F_ in linux/if_addr.h).
type AddressFlags uint32

// The bits of AddressFlags.
const (
	AddressTemporary      AddressFlags = 0x1
	AddressNoDAD          AddressFlags = 0x2 // no duplicate address detection
	AddressOptimistic     AddressFlags = 0x4
	AddressDADFailed      AddressFlags = 0x8
	AddressHome           AddressFlags = 0x10
	AddressDeprecated     AddressFlags = 0x20
	AddressTentative      AddressFlags = 0x40
	AddressPermanent      AddressFlags = 0x80
	AddressManagementTemp AddressFlags = 0x100
	AddressNoPrefixRoute  AddressFlags = 0x200
	AddressMCAutoJoin     AddressFlags = 0x400
	AddressStablePrivacy  AddressFlags = 0x800
)

var addressFlagsNames = resource.FlagNamesOf(map[AddressFlags]string{
	AddressTemporary:      "temporary",
	AddressNoDAD:          "nodad",
	AddressOptimistic:     "optimistic",
	AddressDADFailed:      "dadfailed",
	AddressHome:           "homeaddress",
	AddressDeprecated:     "deprecated",
	AddressTentative:      "tentative",
	AddressPermanent:      "permanent",
	AddressManagementTemp: "mngmtmpaddr",
	AddressNoPrefixRoute:  "noprefixroute",
	AddressMCAutoJoin:     "mcautojoin",
	AddressStablePrivacy:  "stableprivacy",
})

// String returns the names of the bits of a, by number, with commas between them.
func (a AddressFlags) String() string { return addressFlagsNames.Text(a) }

// MarshalText implements [encoding.TextMarshaler].
func (a AddressFlags) MarshalText() ([]byte, error) { return []byte(addressFlagsNames.Text(a)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *AddressFlags) UnmarshalText(text []byte) error {
	return addressFlagsNames.Set(a, string(text))
}

// AddressSortAlgorithm is an order of addresses.
type AddressSortAlgorithm int32

// The values of AddressSortAlgorithm.
const (
	SortV1 AddressSortAlgorithm = 0 // IPv4 first, then by number
	SortV2 AddressSortAlgorithm = 1 // global before local, IPv6 by the rules of RFC 6724
)

var addressSortAlgorithmNames = resource.NamesOf(map[AddressSortAlgorithm]string{
	SortV1: "v1",
	SortV2: "v2",
})

// String returns the name of a.
func (a AddressSortAlgorithm) String() string { return addressSortAlgorithmNames.Text(a) }

// MarshalText implements [encoding.TextMarshaler].
func (a AddressSortAlgorithm) MarshalText() ([]byte, error) {
	return []byte(addressSortAlgorithmNames.Text(a)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *AddressSortAlgorithm) UnmarshalText(text []byte) error {
	return addressSortAlgorithmNames.Set(a, string(text))
}

// ConfigLayer is where a wish is from. The higher goes before the lower.
type ConfigLayer int32

// The values of ConfigLayer.
const (
	LayerDefault              ConfigLayer = 0
	LayerCmdline              ConfigLayer = 1 // the kernel's command line
	LayerPlatform             ConfigLayer = 2
	LayerOperator             ConfigLayer = 3 // DHCP and the like
	LayerMachineConfiguration ConfigLayer = 4
)

var configLayerNames = resource.NamesOf(map[ConfigLayer]string{
	LayerDefault:              "default",
	LayerCmdline:              "cmdline",
	LayerPlatform:             "platform",
	LayerOperator:             "operator",
	LayerMachineConfiguration: "configuration",
})

// String returns the name of c.
func (c ConfigLayer) String() string { return configLayerNames.Text(c) }

// MarshalText implements [encoding.TextMarshaler].
func (c ConfigLayer) MarshalText() ([]byte, error) { return []byte(configLayerNames.Text(c)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *ConfigLayer) UnmarshalText(text []byte) error { return configLayerNames.Set(c, string(text)) }

// LayeredID returns the id of a wish that is not merged yet: the layer and then the id that it has afterwards.
func LayeredID(l ConfigLayer, id string) string { return l.String() + "/" + id }

// DNSProtocol is how a DNS server is asked.
type DNSProtocol int32

// The values of DNSProtocol.
const (
	DNSDo53 DNSProtocol = 0 // plain, RFC 1035
	DNSDoT  DNSProtocol = 1 // over TLS, RFC 7858
	DNSDoH  DNSProtocol = 2 // over HTTPS, RFC 8484
)

var dnsProtocolNames = resource.NamesOf(map[DNSProtocol]string{
	DNSDo53: "Do53",
	DNSDoT:  "DoT",
	DNSDoH:  "DoH",
})

// String returns the name of d.
func (d DNSProtocol) String() string { return dnsProtocolNames.Text(d) }

// MarshalText implements [encoding.TextMarshaler].
func (d DNSProtocol) MarshalText() ([]byte, error) { return []byte(dnsProtocolNames.Text(d)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *DNSProtocol) UnmarshalText(text []byte) error { return dnsProtocolNames.Set(d, string(text)) }

// Operator is a kind of [OperatorSpec].
type Operator int32

// The values of Operator.
const (
	OperatorDHCP4 Operator = 0
	OperatorDHCP6 Operator = 1
	OperatorVIP   Operator = 2
)

var operatorNames = resource.NamesOf(map[Operator]string{
	OperatorDHCP4: "dhcp4",
	OperatorDHCP6: "dhcp6",
	OperatorVIP:   "vip",
})

// String returns the name of o.
func (o Operator) String() string { return operatorNames.Text(o) }

// MarshalText implements [encoding.TextMarshaler].
func (o Operator) MarshalText() ([]byte, error) { return []byte(operatorNames.Text(o)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *Operator) UnmarshalText(text []byte) error { return operatorNames.Set(o, string(text)) }

// ClientIdentifierKind is what a DHCP client identifies itself by.
type ClientIdentifierKind int32

// The values of ClientIdentifierKind.
const (
	ClientIdentifierNone ClientIdentifierKind = 0
	ClientIdentifierMAC  ClientIdentifierKind = 1
	ClientIdentifierDUID ClientIdentifierKind = 2
)

var clientIdentifierKindNames = resource.NamesOf(map[ClientIdentifierKind]string{
	ClientIdentifierNone: "none",
	ClientIdentifierMAC:  "mac",
	ClientIdentifierDUID: "duid",
})

// String returns the name of c.
func (c ClientIdentifierKind) String() string { return clientIdentifierKindNames.Text(c) }

// MarshalText implements [encoding.TextMarshaler].
func (c ClientIdentifierKind) MarshalText() ([]byte, error) {
	return []byte(clientIdentifierKindNames.Text(c)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *ClientIdentifierKind) UnmarshalText(text []byte) error {
	return clientIdentifierKindNames.Set(c, string(text))
}
