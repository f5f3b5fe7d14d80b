package netdoc

import (
	"net/netip"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// The modes of a bond.
const (
	BondRoundRobin   = "balance-rr"
	BondActiveBackup = "active-backup"
	BondXOR          = "balance-xor"
	BondBroadcast    = "broadcast"
	Bond8023AD       = "802.3ad"
	BondTLB          = "balance-tlb"
	BondALB          = "balance-alb"
)

// BondConfig joins several links into one that is faster, survives the loss of a member, or both. What each option
// does in detail is in the kernel's document networking/bonding; an option that is left out has the kernel's default.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: BondConfig
//	name: bond0
//	links:
//	    - enp1s2
//	    - enp1s3
//	bondMode: 802.3ad
//	miimon: 100
//	lacpRate: fast
//	xmitHashPolicy: layer3+4
//	addresses:
//	    - address: 10.5.0.2/24
type BondConfig struct {
	// Name is the name of the new link, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// HardwareAddr is the bond's hardware address. Left out, it is that of the first member.
	HardwareAddr scalar.HardwareAddr `yaml:"hardwareAddr"`
	// Links are the members, by name or alias; at least one. A member has no addresses of its own.
	//
	// Example:
	//
	//	links:
	//	    - enp1s2
	//	    - enp1s3
	Links []string `yaml:"links" required:"true"`
	// BondMode says how traffic is spread: in turn (balance-rr), one member and the others in reserve (active-backup), by
	// a hash (balance-xor), over all at once (broadcast), by agreement with the switch (802.3ad, LACP), by load when
	// sending (balance-tlb), by load both ways (balance-alb).
	BondMode string `yaml:"bondMode" required:"true" enum:"balance-rr|active-backup|balance-xor|broadcast|802.3ad|balance-tlb|balance-alb"`
	// MIIMon is how often, in milliseconds, the members' carrier is looked at. 0 turns it off. Left out, it is 100 in the
	// modes 802.3ad, balance-tlb and balance-alb, and off in the others. It excludes arpInterval.
	MIIMon *uint32 `yaml:"miimon"`
	// UpDelay is the time in milliseconds before a member that has its carrier back is used; a multiple of miimon.
	// Default: 0.
	UpDelay uint32 `yaml:"updelay"`
	// DownDelay is the time in milliseconds before a member that lost its carrier is left; a multiple of miimon.
	// Default: 0.
	DownDelay uint32 `yaml:"downdelay"`
	// UseCarrier says whether the carrier is asked of the driver's common interface (true) or by MII ioctl. Default: true.
	UseCarrier *bool `yaml:"useCarrier"`
	// XmitHashPolicy says by which headers a packet's member is chosen, in the modes balance-xor, 802.3ad and balance-tlb.
	// Default: layer2.
	XmitHashPolicy string `yaml:"xmitHashPolicy" enum:"layer2|layer3+4|layer2+3|encap2+3|encap3+4"`
	// ARPInterval is how often, in milliseconds, the members are watched by ARP; not in the modes 802.3ad, balance-tlb and
	// balance-alb. It needs targets. 0 turns it off. Default: 0.
	ARPInterval uint32 `yaml:"arpInterval"`
	// ARPIPTargets are the IPv4 addresses that are asked for by ARP; at most 16.
	ARPIPTargets []scalar.Addr `yaml:"arpIpTargets"`
	// NSIP6Targets are the IPv6 addresses that are asked for by neighbour solicitation; at most 16.
	NSIP6Targets []scalar.Addr `yaml:"nsIp6Targets"`
	// ARPValidate says on which members the answers are examined, or with filter, which other traffic counts.
	// Default: none.
	ARPValidate string `yaml:"arpValidate" enum:"none|active|backup|all|filter|filter-active|filter-backup"`
	// ARPAllTargets says whether a member is up if any target answers or only if all do. Default: any.
	ARPAllTargets string `yaml:"arpAllTargets" enum:"any|all"`
	// LACPRate says how often the partner is asked for its packets: every 30 seconds (slow) or every second (fast); in the
	// mode 802.3ad. Default: slow.
	LACPRate string `yaml:"lacpRate" enum:"slow|fast"`
	// FailOverMAC says what happens to the hardware address when the active member changes, in the mode active-backup: all
	// members have the bond's (none), the bond takes the active one's (active), or the address follows (follow).
	// Default: none.
	FailOverMAC string `yaml:"failOverMac" enum:"none|active|follow"`
	// ADSelect says by what the active aggregator is chosen, in the mode 802.3ad. Default: stable.
	ADSelect string `yaml:"adSelect" enum:"stable|bandwidth|count"`
	// ADActorSysPrio is the system priority in LACP, from 1 to 65535, in the mode 802.3ad. Default: 65535.
	ADActorSysPrio *uint32 `yaml:"adActorSysPrio"`
	// ADUserPortKey is the upper 10 bits of the port key in LACP, from 0 to 1023, in the mode 802.3ad. Default: 0.
	ADUserPortKey uint32 `yaml:"adUserPortKey"`
	// ADLACPActive says whether LACP packets are sent unasked (on) or only in answer (off), in the mode 802.3ad.
	// Default: on.
	ADLACPActive string `yaml:"adLACPActive" enum:"on|off"`
	// Primary is the member that is used whenever it is up, in the modes active-backup, balance-tlb and balance-alb. It is
	// one of links.
	Primary string `yaml:"primary"`
	// PrimaryReselect says when the primary takes over again after a failure: always, when it is better than the active
	// member, or only when that fails. Default: always.
	PrimaryReselect string `yaml:"primaryReselect" enum:"always|better|failure"`
	// ResendIGMP is how many IGMP membership reports follow a change of the active member, from 0 to 255. Default: 1.
	ResendIGMP *uint32 `yaml:"resendIGMP"`
	// MinLinks is how many members must be up before the bond has a carrier, in the mode 802.3ad. Default: 0, which is the
	// same as 1.
	MinLinks uint32 `yaml:"minLinks"`
	// LPInterval is the time in seconds between the learning packets to the switches, from 1 to 2147483647, in the modes
	// balance-tlb and balance-alb. Default: 1.
	LPInterval *uint32 `yaml:"lpInterval"`
	// PacketsPerSlave is how many packets go to a member before it is the next one's turn, from 0 to 65535, in the mode
	// balance-rr; 0 chooses at random. Default: 1.
	PacketsPerSlave *uint32 `yaml:"packetsPerSlave"`
	// NumPeerNotif is how many gratuitous ARPs and neighbour advertisements follow a change of the active member, from 0 to
	// 255. Default: 1.
	NumPeerNotif *uint32 `yaml:"numPeerNotif"`
	// TLBLogicalLB says whether traffic is spread by load (1) or by hash (0) in the modes balance-tlb and balance-alb.
	// Default: 1.
	TLBLogicalLB *uint32 `yaml:"tlbLogicalLb"`
	// AllSlavesActive says whether packets that come in on an inactive member are taken (1) or dropped (0). Default: 0.
	AllSlavesActive uint32 `yaml:"allSlavesActive"`
	// PeerNotifDelay is the time in milliseconds between the notifications of numPeerNotif, from 0 to 300000; a multiple of
	// miimon or arpInterval. Default: 0, which is that interval itself.
	PeerNotifDelay uint32 `yaml:"peerNotifDelay"`
	// MissedMax is how many arpIntervals may pass without an answer before a member is down, from 1 to 255. Default: 2.
	MissedMax  *uint32 `yaml:"missedMax"`
	CommonLink `yaml:",inline"`
}

func (*BondConfig) DocumentKind() string   { return "BondConfig" }
func (c *BondConfig) DocumentName() string { return c.Name }

// usesARP reports whether the mode can be watched by ARP.
func (c *BondConfig) usesARP() bool {
	return c.BondMode != Bond8023AD && c.BondMode != BondTLB && c.BondMode != BondALB
}

// MIIMonOrDefault returns the interval of the carrier's watch in milliseconds; 0 if it is off. The kernel turns it on for
// the modes that nothing else can watch (bond_option_mode_set in drivers/net/bonding/bond_options.c).
func (c *BondConfig) MIIMonOrDefault() uint32 {
	if c.usesARP() {
		return orDefault(c.MIIMon, 0)
	}
	return orDefault(c.MIIMon, 100)
}

func (c *BondConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	checkEthernetAddr(r.At("hardwareAddr"), c.HardwareAddr)
	if len(c.Links) == 0 {
		r.At("links").Errorf("expected at least one link, got none")
	}
	checkLinks(r.At("links"), c.Name, c.Links)
	if c.Primary != "" && !slices.Contains(c.Links, c.Primary) {
		r.At("primary").Errorf("expected one of links (%s), got %q", strings.Join(c.Links, ", "), c.Primary)
	}
	c.validateRanges(r)
	c.validateModes(r)
	c.validateWatch(r)
	c.CommonLink.Validate(r)
}

func (c *BondConfig) validateRanges(r *schema.Reporter) {
	for _, o := range []struct {
		key                string
		value, least, most uint32
	}{
		{"adActorSysPrio", orDefault(c.ADActorSysPrio, 1), 1, 65535},
		{"adUserPortKey", c.ADUserPortKey, 0, 1023},
		{"resendIGMP", orDefault(c.ResendIGMP, 0), 0, 255},
		{"lpInterval", orDefault(c.LPInterval, 1), 1, 1<<31 - 1},
		{"packetsPerSlave", orDefault(c.PacketsPerSlave, 0), 0, 65535},
		{"numPeerNotif", orDefault(c.NumPeerNotif, 0), 0, 255},
		{"tlbLogicalLb", orDefault(c.TLBLogicalLB, 0), 0, 1},
		{"allSlavesActive", c.AllSlavesActive, 0, 1},
		{"peerNotifDelay", c.PeerNotifDelay, 0, 300_000},
		{"missedMax", orDefault(c.MissedMax, 1), 1, 255},
	} {
		if o.value < o.least || o.value > o.most {
			r.At(o.key).Errorf("expected a number from %d to %d, got %d", o.least, o.most, o.value)
		}
	}
}

// validateModes checks options against the mode. An option with its default value does nothing in any mode; configs that
// list all options rely on that. Where the kernel refuses another value it is an error, where it ignores it a warning.
func (c *BondConfig) validateModes(r *schema.Reporter) {
	differs := func(value, normal string) bool { return value != "" && value != normal }
	const refused, ignored = true, false
	for _, o := range []struct {
		key     string
		set     bool
		refused bool
		modes   []string
	}{
		{"lacpRate", differs(c.LACPRate, "slow"), refused, []string{Bond8023AD}},
		{"adSelect", differs(c.ADSelect, "stable"), refused, []string{Bond8023AD}},
		{"adActorSysPrio", orDefault(c.ADActorSysPrio, 65535) != 65535, refused, []string{Bond8023AD}},
		{"adUserPortKey", c.ADUserPortKey != 0, refused, []string{Bond8023AD}},
		{"adLACPActive", differs(c.ADLACPActive, "on"), refused, []string{Bond8023AD}},
		{"minLinks", c.MinLinks > 1, ignored, []string{Bond8023AD}},
		{"primary", c.Primary != "", refused, []string{BondActiveBackup, BondTLB, BondALB}},
		{"primaryReselect", differs(c.PrimaryReselect, "always"), ignored, []string{BondActiveBackup, BondTLB, BondALB}},
		{"failOverMac", differs(c.FailOverMAC, "none"), ignored, []string{BondActiveBackup}},
		{"packetsPerSlave", orDefault(c.PacketsPerSlave, 1) != 1, refused, []string{BondRoundRobin}},
		{"tlbLogicalLb", orDefault(c.TLBLogicalLB, 1) != 1, ignored, []string{BondTLB, BondALB}},
		{"lpInterval", orDefault(c.LPInterval, 1) != 1, ignored, []string{BondTLB, BondALB}},
		{"xmitHashPolicy", differs(c.XmitHashPolicy, "layer2"), ignored, []string{BondXOR, Bond8023AD, BondTLB, BondALB}},
	} {
		switch {
		case !o.set || slices.Contains(o.modes, c.BondMode):
		case o.refused:
			r.At(o.key).Errorf("expected the mode %s for this option, got %s", strings.Join(o.modes, " or "), c.BondMode)
		default:
			r.At(o.key).Warnf("remove it", "it has no effect in the mode %s, only in %s", c.BondMode, strings.Join(o.modes, " or "))
		}
	}
}

// validateWatch checks the options by which the bond learns that a member is down.
func (c *BondConfig) validateWatch(r *schema.Reporter) {
	miimon := c.MIIMonOrDefault()
	if c.ARPInterval == 0 {
		c.validateUnwatched(r, miimon)
	} else {
		c.validateARP(r)
	}
	checkDelay(r.At("updelay"), c.UpDelay, miimon)
	checkDelay(r.At("downdelay"), c.DownDelay, miimon)
	if c.PeerNotifDelay == 0 {
		return
	}
	switch interval := max(miimon, c.ARPInterval); {
	case interval == 0:
		r.At("peerNotifDelay").Hintf("set miimon or arpInterval", "the delay needs the members to be watched")
	case c.PeerNotifDelay%interval != 0:
		r.At("peerNotifDelay").Errorf("expected a multiple of miimon or arpInterval (%d), got %d", interval, c.PeerNotifDelay)
	}
}

func checkDelay(r *schema.Reporter, delay, miimon uint32) {
	switch {
	case delay == 0:
	case miimon == 0:
		r.Hintf("set miimon", "the delay needs the carrier to be watched")
	case delay%miimon != 0:
		r.Errorf("expected a multiple of miimon (%d), got %d", miimon, delay)
	}
}

// validateUnwatched checks what must not be there without arpInterval.
func (c *BondConfig) validateUnwatched(r *schema.Reporter, miimon uint32) {
	const hint = "set arpInterval, or remove it"
	if len(c.ARPIPTargets) > 0 {
		r.At("arpIpTargets").Hintf(hint, "targets are only asked with an arpInterval")
	}
	if len(c.NSIP6Targets) > 0 {
		r.At("nsIp6Targets").Hintf(hint, "targets are only asked with an arpInterval")
	}
	if c.ARPValidate != "" && c.ARPValidate != "none" {
		r.At("arpValidate").Hintf(hint, "there are only answers to examine with an arpInterval")
	}
	if miimon == 0 {
		r.At("miimon").Warnf("set miimon: 100", "nothing watches the members: one that loses its carrier stays in use")
	}
}

// maxTargets is the kernel's BOND_MAX_ARP_TARGETS and BOND_MAX_NS_TARGETS.
const maxTargets = 16

func (c *BondConfig) validateARP(r *schema.Reporter) {
	at := r.At("arpInterval")
	if !c.usesARP() {
		at.Hintf("use miimon", "members cannot be watched by ARP in the mode %s", c.BondMode)
	}
	if orDefault(c.MIIMon, 0) != 0 {
		at.Hintf("remove one", "arpInterval and miimon exclude each other")
	}
	if len(c.ARPIPTargets) == 0 && len(c.NSIP6Targets) == 0 {
		at.Hintf("set arpIpTargets or nsIp6Targets", "there are no targets to ask")
	}
	checkTargets(r.At("arpIpTargets"), c.ARPIPTargets, "an IPv4 address", netip.Addr.Is4)
	checkTargets(r.At("nsIp6Targets"), c.NSIP6Targets, "an IPv6 address", netip.Addr.Is6)
}

func checkTargets(r *schema.Reporter, targets []scalar.Addr, what string, ok func(netip.Addr) bool) {
	if len(targets) > maxTargets {
		r.Errorf("expected at most %d targets, got %d", maxTargets, len(targets))
	}
	for i, target := range targets {
		if at := r.Item(i); checkUnicast(at, target.Addr) && !ok(target.Addr) {
			at.Errorf("expected %s, got %s", what, target)
		}
	}
}
