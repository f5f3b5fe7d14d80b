package netconf

import (
	"encoding"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"talos.internal/resource/network"
)

// NewBond returns the options of a bond of a mode as the kernel has them if nobody says otherwise
// (Documentation/networking/bonding.rst).
func NewBond(mode network.BondMode) network.BondMasterSpec {
	s := network.BondMasterSpec{
		Mode: mode, ResendIGMP: 1, LPInterval: 1, PacketsPerSlave: 1, NumPeerNotify: 1, TLBDynamicLB: 1, UseCarrier: true,
		ADActorSysPrio: 65535, ADLACPActive: network.ADLACPActiveOn, MissedMax: 2,
	}
	if mode == network.Bond8023AD || mode == network.BondTLB || mode == network.BondALB {
		s.MIIMon = 100 // nothing else can watch the members in these modes
	}
	return s
}

// bondOption sets an option by the kernel's name, with - or _ between words and with "bond-" before it or without. A name that is not
// known is none.
func bondOption(s *network.BondMasterSpec, name, value string) error {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	name = strings.TrimPrefix(name, "bond_")
	numbers := map[string]*uint32{
		"miimon": &s.MIIMon, "updelay": &s.UpDelay, "downdelay": &s.DownDelay, "arp_interval": &s.ARPInterval, "resend_igmp": &s.ResendIGMP,
		"min_links": &s.MinLinks, "lp_interval": &s.LPInterval, "packets_per_slave": &s.PacketsPerSlave, "num_grat_arp": &s.NumPeerNotify,
		"num_unsol_na": &s.NumPeerNotify, "num_peer_notif": &s.NumPeerNotify, "tlb_dynamic_lb": &s.TLBDynamicLB,
		"all_slaves_active": &s.AllSlavesActive, "ad_actor_sys_prio": &s.ADActorSysPrio, "ad_user_port_key": &s.ADUserPortKey,
		"peer_notif_delay": &s.PeerNotifyDelay, "arp_missed_max": &s.MissedMax,
	}
	words := map[string]encoding.TextUnmarshaler{
		"mode": &s.Mode, "xmit_hash_policy": &s.HashPolicy, "lacp_rate": &s.LACPRate, "arp_validate": &s.ARPValidate,
		"arp_all_targets": &s.ARPAllTargets, "primary_reselect": &s.PrimaryReselect, "fail_over_mac": &s.FailOverMAC, "ad_select": &s.ADSelect,
		"lacp_active": &s.ADLACPActive,
	}
	switch word, number := words[name], numbers[name]; {
	case number != nil:
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("bond option %s: expected a number, got %q", name, value)
		}
		*number = uint32(n)
	case word != nil:
		if err := word.UnmarshalText([]byte(value)); err != nil {
			return fmt.Errorf("bond option %s: %w", name, err)
		}
	case name == "primary":
		s.Primary = value
	case name == "use_carrier":
		s.UseCarrier = value != "0"
	case name == "arp_ip_target":
		for _, text := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return fmt.Errorf("bond option %s: expected addresses, got %q", name, value)
			}
			s.ARPIPTargets = append(s.ARPIPTargets, a)
		}
	}
	return nil
}

// option is the name and the value of an option of a bond.
type option struct{ name, value string }

// bond returns the options of a bond. The mode counts first, because it decides on what the others are without a word. Without one the
// mode is the kernel's, balance-rr.
func bond(options []option) (network.BondMasterSpec, error) {
	var mode network.BondMasterSpec
	for _, o := range options {
		if strings.HasSuffix(o.name, "mode") {
			if err := bondOption(&mode, o.name, o.value); err != nil {
				return mode, err
			}
		}
	}
	s := NewBond(mode.Mode)
	for _, o := range options {
		if err := bondOption(&s, o.name, o.value); err != nil {
			return s, err
		}
	}
	if s.ARPInterval != 0 {
		s.MIIMon = 0 // they exclude each other
	}
	return s, nil
}
