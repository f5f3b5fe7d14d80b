package linkctrl

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"syscall"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
)

func links(k Kernel, w Wireguard) controller.Controller {
	l := &linkPlanner{wireguard: w, tunnels: map[string]tunnel{}, before: map[string]original{}}
	return &applier[network.LinkSpec]{
		name: "network.LinkSpecController", kernel: k, watch: rtnl.Links,
		plan: func(w kept[network.LinkSpec]) ([]step, error) {
			have, err := k.Links()
			if err != nil {
				return nil, err
			}
			return l.plan(have, w), nil
		},
	}
}

// linkPlanner plans links. What it remembers is what the kernel cannot be asked for.
type linkPlanner struct {
	wireguard Wireguard
	tunnels   map[string]tunnel   // what was configured, by name of the link
	before    map[string]original // how links were before they were changed, by name
}

// tunnel is a WireGuard link as it was configured.
type tunnel struct {
	index int
	spec  network.WireguardSpec
}

// original is how a link of the hardware was before it was changed; what was not changed is zero.
type original struct {
	index        int
	mtu          int
	hardwareAddr net.HardwareAddr
}

// linkPlan is one plan in the making.
type linkPlan struct {
	*linkPlanner
	have  map[string]rtnl.Link
	names map[int]string
	ours  map[string]bool // links that the node makes
	steps []step
}

func (p *linkPlan) add(name, text string, do func(Kernel) error) {
	p.steps = append(p.steps, step{name, text, do})
}

// plan returns the steps that can be done now. A link whose parts cannot be changed is removed, to be made again in the next round.
func (l *linkPlanner) plan(have []rtnl.Link, w kept[network.LinkSpec]) []step {
	p := &linkPlan{linkPlanner: l, have: map[string]rtnl.Link{}, names: map[int]string{}, ours: map[string]bool{}}
	for _, x := range have {
		p.have[x.Name], p.names[x.Index] = x, x.Name
	}
	wanted := map[string]network.LinkSpec{}
	for _, s := range w.want {
		wanted[s.Name] = s
		p.ours[s.Name] = s.Logical
	}
	for _, s := range w.gone {
		p.release(s)
	}
	// Below before above, and members in their order: the first gives a bond its hardware address.
	depth := func(s network.LinkSpec) (n int) {
		for ; n < len(wanted) && s.ParentName != ""; n++ {
			s = wanted[s.ParentName]
		}
		return n
	}
	for _, s := range slices.SortedStableFunc(slices.Values(w.want), func(a, b network.LinkSpec) int {
		return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(place(a), place(b)), cmp.Compare(a.Name, b.Name))
	}) {
		p.link(s)
	}
	return p.steps
}

// place is the place of a member among those of its bond. Other links, the bond itself included, go before them.
func place(s network.LinkSpec) int64 {
	if s.BondSlave == nil {
		return 0
	}
	return 1 + s.BondSlave.SlaveIndex
}

// release undoes what was done for a wish that is no more.
func (p *linkPlan) release(s network.LinkSpec) {
	l, ok := p.have[s.Name]
	switch {
	case !ok:
	case s.Logical && l.Kind == s.Kind:
		p.remove(s, l, "its wish is gone")
	case !s.Logical:
		if m := master(s); m != "" && m == p.names[l.Master] {
			p.add(s.Name, fmt.Sprintf("take link %s out of %s", s.Name, m), func(k Kernel) error { return k.SetMaster(l.Index, 0) })
		}
		p.restore(network.LinkSpec{Name: s.Name}, l)
	}
}

func (p *linkPlan) remove(s network.LinkSpec, l rtnl.Link, why string) {
	p.add(s.Name, fmt.Sprintf("remove %s %s: %s", l.Kind, s.Name, why), func(k Kernel) error {
		if err := k.DeleteLink(l.Index); err != nil && !errors.Is(err, syscall.ENODEV) { // it may have gone with another one
			return err
		}
		return nil
	})
}

// restore gives a link back the MTU and the hardware address that it had, where they were changed and the wish says nothing about them.
func (p *linkPlan) restore(s network.LinkSpec, l rtnl.Link) {
	was, ok := p.before[s.Name]
	if !ok || was.index != l.Index {
		return
	}
	if s.MTU == 0 && was.mtu != 0 {
		p.add(s.Name, fmt.Sprintf("set MTU of link %s back to %d", s.Name, was.mtu), func(k Kernel) error {
			err := k.SetMTU(l.Index, was.mtu)
			if err == nil {
				p.forget(s.Name, func(o *original) { o.mtu = 0 })
			}
			return err
		})
	}
	if len(s.HardwareAddr) == 0 && was.hardwareAddr != nil {
		p.add(s.Name, fmt.Sprintf("set hardware address of link %s back to %s", s.Name, was.hardwareAddr), func(k Kernel) error {
			err := setHardwareAddr(k, l, was.hardwareAddr)
			if err == nil {
				p.forget(s.Name, func(o *original) { o.hardwareAddr = nil })
			}
			return err
		})
	}
}

func (p *linkPlan) forget(name string, part func(*original)) {
	o := p.before[name]
	part(&o)
	p.before[name] = o
}

func master(s network.LinkSpec) string {
	switch {
	case s.BondSlave != nil:
		return s.BondSlave.MasterName
	case s.BridgeSlave != nil:
		return s.BridgeSlave.MasterName
	case s.VRFSlave != nil:
		return s.VRFSlave.MasterName
	}
	return ""
}

// link plans what one wish needs.
func (p *linkPlan) link(s network.LinkSpec) {
	l, ok := p.have[s.Name]
	if !ok {
		if s.Logical {
			p.make(s)
		}
		return
	}
	if s.Logical {
		if l.Kind == "device" {
			p.add(s.Name, fmt.Sprintf("make %s %s", s.Kind, s.Name), func(Kernel) error {
				return fmt.Errorf("a link of the hardware has that name; choose another one in the config")
			})
			return
		}
		if why := p.differs(s, l); why != "" {
			p.remove(s, l, why)
			return
		}
		p.options(s, l)
	}
	p.attributes(s, l)
}

// make makes a link, if what it stands on is there.
func (p *linkPlan) make(s network.LinkSpec) {
	next := rtnl.NewLink{Name: s.Name, Kind: s.Kind, HardwareAddr: net.HardwareAddr(s.HardwareAddr)}
	what := fmt.Sprintf("make %s %s", s.Kind, s.Name)
	switch s.Kind {
	case network.KindVLAN:
		parent, ok := p.have[s.ParentName]
		if !ok || s.VLAN == nil {
			return
		}
		next.Parent, next.VLAN = parent.Index, vlan(*s.VLAN)
		what += fmt.Sprintf(" of %s with id %d", s.ParentName, s.VLAN.VID)
	case network.KindBond:
		if s.BondMaster == nil {
			return
		}
		b := bond(*s.BondMaster)
		usual := bond(defaults(s.BondMaster.Mode))
		maps.DeleteFunc(b.Options, func(o rtnl.BondOption, v uint32) bool { return usual.Options[o] == v })
		next.Bond = &b
		what += fmt.Sprintf(" of mode %s", s.BondMaster.Mode)
	case network.KindBridge:
		if s.BridgeMaster != nil {
			b := bridge(*s.BridgeMaster)
			next.Bridge = &b
		}
	case network.KindVRF:
		if s.VRFMaster == nil {
			return
		}
		next.Table = uint32(s.VRFMaster.Table)
	case network.KindVeth:
		if s.Veth == nil || s.Name > s.Veth.PeerName {
			return // the other end's wish makes both
		}
		next.Peer = s.Veth.PeerName
	}
	p.add(s.Name, what, func(k Kernel) error { return k.AddLink(next) })
}

func vlan(s network.VLANSpec) rtnl.VLAN {
	return rtnl.VLAN{ID: uint16(s.VID), Protocol: uint16(cmp.Or(s.Protocol, network.VLAN8021Q))}
}

func bridge(s network.BridgeMasterSpec) rtnl.Bridge {
	return rtnl.Bridge{STP: s.STP.Enabled, VLANFiltering: s.VLAN.FilteringEnabled}
}

// differs says what of a link of the node's own making is not as it should be and cannot be changed, or returns "".
func (p *linkPlan) differs(s network.LinkSpec, l rtnl.Link) string {
	switch {
	case l.Kind != s.Kind:
		return fmt.Sprintf("it has to be a %s", s.Kind)
	case s.VLAN != nil && (l.VLAN != vlan(*s.VLAN) || p.names[l.Parent] != s.ParentName):
		return fmt.Sprintf("it has to be id %d of %s", s.VLAN.VID, s.ParentName)
	case s.VRFMaster != nil && l.Table != uint32(s.VRFMaster.Table):
		return fmt.Sprintf("it has to be of table %s", s.VRFMaster.Table)
	case s.Veth != nil && p.names[l.Parent] != s.Veth.PeerName:
		return fmt.Sprintf("its other end has to be %s", s.Veth.PeerName)
	case s.BondMaster != nil && l.Bond != nil:
		want := bond(*s.BondMaster)
		if l.Bond.Mode != want.Mode {
			return fmt.Sprintf("its mode has to be %s", s.BondMaster.Mode)
		}
		for o, v := range want.Options {
			if have, known := l.Bond.Options[o]; known && have != v {
				return "other options were asked for"
			}
		}
		if !slices.Equal(l.Bond.ARPTargets, want.ARPTargets) || !slices.Equal(l.Bond.NSTargets, want.NSTargets) {
			return "other targets were asked for"
		}
	}
	return ""
}

// options changes what belongs to the kind of a link.
func (p *linkPlan) options(s network.LinkSpec, l rtnl.Link) {
	if s.BridgeMaster != nil && l.Bridge != nil && *l.Bridge != bridge(*s.BridgeMaster) {
		b := bridge(*s.BridgeMaster)
		p.add(s.Name, fmt.Sprintf("set options of bridge %s", s.Name), func(k Kernel) error { return k.SetBridge(l.Index, b) })
	}
	if s.BondMaster != nil && l.Bond != nil && s.BondMaster.Primary != "" {
		if m, ok := p.have[s.BondMaster.Primary]; ok && m.Master == l.Index && l.Bond.Primary != m.Index {
			p.add(s.Name, fmt.Sprintf("make %s the primary member of bond %s", m.Name, s.Name), func(k Kernel) error { return k.SetBondPrimary(l.Index, m.Index) })
		}
	}
	if s.Wireguard == nil {
		return
	}
	if last, ok := p.tunnels[s.Name]; ok && last.index == l.Index && reflect.DeepEqual(last.spec, *s.Wireguard) {
		return
	}
	p.add(s.Name, fmt.Sprintf("configure WireGuard link %s with %d peers", s.Name, len(s.Wireguard.Peers)), func(Kernel) error {
		if p.wireguard == nil {
			return fmt.Errorf("the kernel has no WireGuard")
		}
		cfg, err := tunnelConfig(*s.Wireguard)
		if err == nil {
			err = p.wireguard.Configure(s.Name, cfg)
		}
		if err == nil {
			p.tunnels[s.Name] = tunnel{l.Index, *s.Wireguard}
		}
		return err
	})
}

// attributes changes what links of all kinds have.
func (p *linkPlan) attributes(s network.LinkSpec, l rtnl.Link) {
	inBond := s.BondSlave != nil
	p.member(s, l)
	want := net.HardwareAddr(s.HardwareAddr)
	if len(want) > 0 && !inBond && !slices.Equal(want, l.HardwareAddr) { // the members' is the bond's
		p.remember(s, l, func(o *original) {
			if o.hardwareAddr == nil {
				o.hardwareAddr = slices.Clone(l.HardwareAddr)
			}
		})
		p.add(s.Name, fmt.Sprintf("set hardware address of link %s to %s", s.Name, want), func(k Kernel) error { return setHardwareAddr(k, l, want) })
	}
	switch {
	case s.MTU != 0 && int(s.MTU) != l.MTU:
		p.remember(s, l, func(o *original) { o.mtu = cmp.Or(o.mtu, l.MTU) })
		p.add(s.Name, fmt.Sprintf("set MTU of link %s to %d", s.Name, s.MTU), func(k Kernel) error { return k.SetMTU(l.Index, int(s.MTU)) })
	case !inBond:
		p.restore(s, l)
	}
	if on := l.Flags&uint32(network.LinkMulticast) != 0; s.Multicast != nil && *s.Multicast != on {
		p.add(s.Name, fmt.Sprintf("set multicast of link %s to %t", s.Name, *s.Multicast), func(k Kernel) error { return k.SetMulticast(l.Index, *s.Multicast) })
	}
	if s.Up != l.Up && !(inBond && p.names[l.Master] != master(s)) {
		word := map[bool]string{true: "up", false: "down"}[s.Up]
		p.add(s.Name, fmt.Sprintf("take link %s %s", s.Name, word), func(k Kernel) error { return k.SetUp(l.Index, s.Up) })
	}
}

// member puts a link into what it should be in, or takes it out of what the node made and it should not be in.
func (p *linkPlan) member(s network.LinkSpec, l rtnl.Link) {
	want, have := master(s), p.names[l.Master]
	if want == have {
		return
	}
	if want == "" {
		if p.ours[have] {
			p.add(s.Name, fmt.Sprintf("take link %s out of %s", s.Name, have), func(k Kernel) error { return k.SetMaster(l.Index, 0) })
		}
		return
	}
	m, ok := p.have[want]
	if !ok {
		return
	}
	p.add(s.Name, fmt.Sprintf("put link %s into %s", s.Name, want), func(k Kernel) error {
		if s.BondSlave != nil && l.Up { // a bond takes only links that are down, and takes them up
			if err := k.SetUp(l.Index, false); err != nil {
				return err
			}
		}
		return k.SetMaster(l.Index, m.Index)
	})
}

// remember keeps how a link of the hardware was before it is changed for the first time.
func (p *linkPlan) remember(s network.LinkSpec, l rtnl.Link, part func(*original)) {
	if s.Logical {
		return
	}
	o := p.before[s.Name]
	if o.index != l.Index {
		o = original{index: l.Index}
	}
	part(&o)
	p.before[s.Name] = o
}

// setHardwareAddr takes the link down for the time of the change if its driver wants that.
func setHardwareAddr(k Kernel, l rtnl.Link, a net.HardwareAddr) error {
	err := k.SetHardwareAddr(l.Index, a)
	if !errors.Is(err, syscall.EBUSY) || !l.Up {
		return err
	}
	if err := k.SetUp(l.Index, false); err != nil {
		return err
	}
	return errors.Join(k.SetHardwareAddr(l.Index, a), k.SetUp(l.Index, true))
}
