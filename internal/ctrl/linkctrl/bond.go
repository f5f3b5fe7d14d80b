package linkctrl

import (
	"fmt"
	"net/netip"
	"slices"

	"talos.internal/internal/netconf"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/internal/sys/wg"
	"talos.internal/resource/network"
)

// defaults are a bond's options without a word about them.
func defaults(mode network.BondMode) network.BondMasterSpec { return netconf.NewBond(mode) }

// bond converts the options that count in the bond's mode: others are refused by the kernel (bond_opts in
// drivers/net/bonding/bond_options.c). The primary member is set once it is one.
func bond(s network.BondMasterSpec) rtnl.Bond {
	in := func(modes ...network.BondMode) bool { return slices.Contains(modes, s.Mode) }
	flag := func(b bool) uint32 {
		if b {
			return 1
		}
		return 0
	}
	out := rtnl.Bond{Mode: uint8(s.Mode), Options: map[rtnl.BondOption]uint32{
		rtnl.BondMIIMon: s.MIIMon, rtnl.BondUpDelay: s.UpDelay, rtnl.BondDownDelay: s.DownDelay, rtnl.BondUseCarrier: flag(s.UseCarrier),
		rtnl.BondXmitHashPolicy: uint32(s.HashPolicy), rtnl.BondResendIGMP: s.ResendIGMP, rtnl.BondNumPeerNotif: s.NumPeerNotify,
		rtnl.BondAllSlavesActive: s.AllSlavesActive, rtnl.BondMinLinks: s.MinLinks, rtnl.BondLPInterval: s.LPInterval,
		rtnl.BondPeerNotifDelay: s.PeerNotifyDelay, rtnl.BondFailOverMAC: uint32(s.FailOverMAC), rtnl.BondPrimaryReselect: uint32(s.PrimaryReselect),
	}}
	if in(network.BondRoundRobin) {
		out.Options[rtnl.BondPacketsPerSlave] = s.PacketsPerSlave
	}
	if in(network.Bond8023AD) {
		out.Options[rtnl.BondLACPRate], out.Options[rtnl.BondADSelect] = uint32(s.LACPRate), uint32(s.ADSelect)
		out.Options[rtnl.BondADActorSysPrio], out.Options[rtnl.BondADUserPortKey] = s.ADActorSysPrio, s.ADUserPortKey
		out.Options[rtnl.BondLACPActive] = uint32(s.ADLACPActive)
	}
	if in(network.BondTLB) {
		out.Options[rtnl.BondTLBDynamicLB] = s.TLBDynamicLB
	}
	if !in(network.Bond8023AD, network.BondTLB, network.BondALB) {
		out.Options[rtnl.BondARPInterval], out.Options[rtnl.BondARPAllTargets] = s.ARPInterval, uint32(s.ARPAllTargets)
		out.Options[rtnl.BondARPValidate], out.Options[rtnl.BondMissedMax] = uint32(s.ARPValidate), s.MissedMax
		out.ARPTargets, out.NSTargets = s.ARPIPTargets, s.NSIP6Targets
	}
	return out
}

// tunnelConfig converts.
func tunnelConfig(s network.WireguardSpec) (wg.Config, error) {
	out := wg.Config{PrivateKey: s.PrivateKey, ListenPort: int(s.ListenPort), FirewallMark: int(s.FirewallMark)}
	for _, p := range s.Peers {
		peer := wg.Peer{PublicKey: p.PublicKey, PresharedKey: p.PresharedKey, Keepalive: p.PersistentKeepaliveInterval, AllowedIPs: p.AllowedIPs}
		if p.Endpoint != "" {
			var err error
			if peer.Endpoint, err = netip.ParseAddrPort(p.Endpoint); err != nil {
				return out, fmt.Errorf("endpoint of peer %s: expected an address and a port, got %q", p.PublicKey, p.Endpoint)
			}
		}
		out.Peers = append(out.Peers, peer)
	}
	return out, nil
}
