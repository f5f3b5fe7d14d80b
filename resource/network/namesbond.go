package network

import "talos.internal/resource"

// BondMode is how a bond uses its ports.
type BondMode int32

// The values of BondMode.
const (
	BondRoundRobin   BondMode = 0
	BondActiveBackup BondMode = 1
	BondXOR          BondMode = 2
	BondBroadcast    BondMode = 3
	Bond8023AD       BondMode = 4
	BondTLB          BondMode = 5
	BondALB          BondMode = 6
)

var bondModeNames = resource.NamesOf(map[BondMode]string{
	BondRoundRobin:   "balance-rr",
	BondActiveBackup: "active-backup",
	BondXOR:          "balance-xor",
	BondBroadcast:    "broadcast",
	Bond8023AD:       "802.3ad",
	BondTLB:          "balance-tlb",
	BondALB:          "balance-alb",
})

// String returns the name of b.
func (b BondMode) String() string { return bondModeNames.Text(b) }

// MarshalText implements [encoding.TextMarshaler].
func (b BondMode) MarshalText() ([]byte, error) { return []byte(bondModeNames.Text(b)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *BondMode) UnmarshalText(text []byte) error { return bondModeNames.Set(b, string(text)) }

// BondXmitHashPolicy is what chooses the port of a packet.
type BondXmitHashPolicy int32

// The values of BondXmitHashPolicy.
const (
	XmitHashLayer2  BondXmitHashPolicy = 0
	XmitHashLayer34 BondXmitHashPolicy = 1
	XmitHashLayer23 BondXmitHashPolicy = 2
	XmitHashEncap23 BondXmitHashPolicy = 3
	XmitHashEncap34 BondXmitHashPolicy = 4
)

var bondXmitHashPolicyNames = resource.NamesOf(map[BondXmitHashPolicy]string{
	XmitHashLayer2:  "layer2",
	XmitHashLayer34: "layer3+4",
	XmitHashLayer23: "layer2+3",
	XmitHashEncap23: "encap2+3",
	XmitHashEncap34: "encap3+4",
})

// String returns the name of b.
func (b BondXmitHashPolicy) String() string { return bondXmitHashPolicyNames.Text(b) }

// MarshalText implements [encoding.TextMarshaler].
func (b BondXmitHashPolicy) MarshalText() ([]byte, error) {
	return []byte(bondXmitHashPolicyNames.Text(b)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *BondXmitHashPolicy) UnmarshalText(text []byte) error {
	return bondXmitHashPolicyNames.Set(b, string(text))
}

// LACPRate is how often the other end is asked to send LACP packets.
type LACPRate int32

// The values of LACPRate.
const (
	LACPRateSlow LACPRate = 0 // every 30 seconds
	LACPRateFast LACPRate = 1 // every second
)

var lacpRateNames = resource.NamesOf(map[LACPRate]string{
	LACPRateSlow: "slow",
	LACPRateFast: "fast",
})

// String returns the name of l.
func (l LACPRate) String() string { return lacpRateNames.Text(l) }

// MarshalText implements [encoding.TextMarshaler].
func (l LACPRate) MarshalText() ([]byte, error) { return []byte(lacpRateNames.Text(l)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *LACPRate) UnmarshalText(text []byte) error { return lacpRateNames.Set(l, string(text)) }

// ARPValidate is which ports believe ARP packets only from the targets.
type ARPValidate int32

// The values of ARPValidate.
const (
	ARPValidateNone         ARPValidate = 0
	ARPValidateActive       ARPValidate = 1
	ARPValidateBackup       ARPValidate = 2
	ARPValidateAll          ARPValidate = 3
	ARPValidateFilter       ARPValidate = 4
	ARPValidateFilterActive ARPValidate = 5
	ARPValidateFilterBackup ARPValidate = 6
)

var arpValidateNames = resource.NamesOf(map[ARPValidate]string{
	ARPValidateNone:         "none",
	ARPValidateActive:       "active",
	ARPValidateBackup:       "backup",
	ARPValidateAll:          "all",
	ARPValidateFilter:       "filter",
	ARPValidateFilterActive: "filter-active",
	ARPValidateFilterBackup: "filter-backup",
})

// String returns the name of a.
func (a ARPValidate) String() string { return arpValidateNames.Text(a) }

// MarshalText implements [encoding.TextMarshaler].
func (a ARPValidate) MarshalText() ([]byte, error) { return []byte(arpValidateNames.Text(a)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *ARPValidate) UnmarshalText(text []byte) error { return arpValidateNames.Set(a, string(text)) }

// ARPAllTargets is how many targets must answer.
type ARPAllTargets int32

// The values of ARPAllTargets.
const (
	ARPAllTargetsAny ARPAllTargets = 0
	ARPAllTargetsAll ARPAllTargets = 1
)

var arpAllTargetsNames = resource.NamesOf(map[ARPAllTargets]string{
	ARPAllTargetsAny: "any",
	ARPAllTargetsAll: "all",
})

// String returns the name of a.
func (a ARPAllTargets) String() string { return arpAllTargetsNames.Text(a) }

// MarshalText implements [encoding.TextMarshaler].
func (a ARPAllTargets) MarshalText() ([]byte, error) { return []byte(arpAllTargetsNames.Text(a)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *ARPAllTargets) UnmarshalText(text []byte) error {
	return arpAllTargetsNames.Set(a, string(text))
}

// PrimaryReselect is when the preferred port is used again.
type PrimaryReselect int32

// The values of PrimaryReselect.
const (
	PrimaryReselectAlways  PrimaryReselect = 0
	PrimaryReselectBetter  PrimaryReselect = 1
	PrimaryReselectFailure PrimaryReselect = 2
)

var primaryReselectNames = resource.NamesOf(map[PrimaryReselect]string{
	PrimaryReselectAlways:  "always",
	PrimaryReselectBetter:  "better",
	PrimaryReselectFailure: "failure",
})

// String returns the name of p.
func (p PrimaryReselect) String() string { return primaryReselectNames.Text(p) }

// MarshalText implements [encoding.TextMarshaler].
func (p PrimaryReselect) MarshalText() ([]byte, error) {
	return []byte(primaryReselectNames.Text(p)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *PrimaryReselect) UnmarshalText(text []byte) error {
	return primaryReselectNames.Set(p, string(text))
}

// FailOverMAC is whose hardware address a bond has.
type FailOverMAC int32

// The values of FailOverMAC.
const (
	FailOverMACNone   FailOverMAC = 0
	FailOverMACActive FailOverMAC = 1
	FailOverMACFollow FailOverMAC = 2
)

var failOverMACNames = resource.NamesOf(map[FailOverMAC]string{
	FailOverMACNone:   "none",
	FailOverMACActive: "active",
	FailOverMACFollow: "follow",
})

// String returns the name of f.
func (f FailOverMAC) String() string { return failOverMACNames.Text(f) }

// MarshalText implements [encoding.TextMarshaler].
func (f FailOverMAC) MarshalText() ([]byte, error) { return []byte(failOverMACNames.Text(f)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *FailOverMAC) UnmarshalText(text []byte) error { return failOverMACNames.Set(f, string(text)) }

// ADSelect is which aggregator of 802.3ad is used.
type ADSelect int32

// The values of ADSelect.
const (
	ADSelectStable    ADSelect = 0
	ADSelectBandwidth ADSelect = 1
	ADSelectCount     ADSelect = 2
)

var adSelectNames = resource.NamesOf(map[ADSelect]string{
	ADSelectStable:    "stable",
	ADSelectBandwidth: "bandwidth",
	ADSelectCount:     "count",
})

// String returns the name of a.
func (a ADSelect) String() string { return adSelectNames.Text(a) }

// MarshalText implements [encoding.TextMarshaler].
func (a ADSelect) MarshalText() ([]byte, error) { return []byte(adSelectNames.Text(a)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *ADSelect) UnmarshalText(text []byte) error { return adSelectNames.Set(a, string(text)) }

// ADLACPActive is whether a bond sends LACP packets by itself.
type ADLACPActive int32

// The values of ADLACPActive.
const (
	ADLACPActiveOff ADLACPActive = 0
	ADLACPActiveOn  ADLACPActive = 1
)

var adlacpActiveNames = resource.NamesOf(map[ADLACPActive]string{
	ADLACPActiveOff: "off",
	ADLACPActiveOn:  "on",
})

// String returns the name of a.
func (a ADLACPActive) String() string { return adlacpActiveNames.Text(a) }

// MarshalText implements [encoding.TextMarshaler].
func (a ADLACPActive) MarshalText() ([]byte, error) { return []byte(adlacpActiveNames.Text(a)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *ADLACPActive) UnmarshalText(text []byte) error {
	return adlacpActiveNames.Set(a, string(text))
}
