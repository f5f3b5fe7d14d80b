package rtnl

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// AddLink is [Conn.AddLink]. Every kind is known.
func (m *Memory) AddLink(n NewLink) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := func(name string) bool {
		return slices.ContainsFunc(m.links, func(l Link) bool { return l.Name == name })
	}
	if taken(n.Name) || n.Peer != "" && taken(n.Peer) {
		return fmt.Errorf("add %s %s: %w", n.Kind, n.Name, unix.EEXIST)
	}
	if n.Kind == "vlan" && m.index(n.Parent) < 0 {
		return fmt.Errorf("add %s %s: %w", n.Kind, n.Name, unix.ENODEV)
	}
	next := 1
	for _, l := range m.links {
		next = max(next, l.Index+1)
	}
	l := Link{
		Index: next, Name: n.Name, Kind: n.Kind, Type: "ether", HardwareType: unix.ARPHRD_ETHER, MTU: 1500, OperState: "down",
		HardwareAddr: slices.Clone(n.HardwareAddr), Parent: n.Parent, VLAN: n.VLAN, Table: n.Table,
	}
	switch n.Kind {
	case "bond":
		b := Bond{Options: map[BondOption]uint32{}}
		if n.Bond != nil {
			b = Bond{Mode: n.Bond.Mode, Options: maps.Clone(n.Bond.Options), ARPTargets: slices.Clone(n.Bond.ARPTargets), NSTargets: slices.Clone(n.Bond.NSTargets)}
		}
		l.Bond = &b
	case "bridge":
		l.Bridge = &Bridge{}
		if n.Bridge != nil {
			*l.Bridge = *n.Bridge
		}
	case "veth":
		peer := l
		l.Parent, peer.Parent, peer.Index, peer.Name = next+1, next, next+1, n.Peer
		m.links = append(m.links, peer)
	}
	m.links = append(m.links, l)
	m.changed(Links)
	return nil
}

// DeleteLink is [Conn.DeleteLink].
func (m *Memory) DeleteLink(index int) error {
	m.mu.Lock()
	i := m.index(index)
	var l Link
	if i >= 0 {
		l = m.links[i]
	}
	m.mu.Unlock()
	switch {
	case i < 0:
		return fmt.Errorf("remove link %d: %w", index, unix.ENODEV)
	case l.Kind == "device":
		return fmt.Errorf("remove link %d: %w", index, unix.EOPNOTSUPP)
	}
	m.RemoveLink(index)
	if l.Kind == "veth" {
		m.RemoveLink(l.Parent)
	}
	m.mu.Lock()
	var above []int
	for i := range m.links {
		if m.links[i].Master == index {
			m.links[i].Master, m.links[i].MasterKind = 0, ""
		}
		if m.links[i].Kind == "vlan" && m.links[i].Parent == index {
			above = append(above, m.links[i].Index)
		}
	}
	m.mu.Unlock()
	for _, a := range above { // what is on it goes with it
		m.RemoveLink(a)
	}
	return nil
}

// SetMaster is [Conn.SetMaster].
func (m *Memory) SetMaster(index, master int) error {
	var kind string
	m.mu.Lock()
	i := m.index(master)
	if i >= 0 {
		kind = m.links[i].Kind
	}
	up := m.index(index) >= 0 && m.links[m.index(index)].Up
	m.mu.Unlock()
	switch {
	case master != 0 && i < 0:
		return fmt.Errorf("set master of link %d to %d: %w", index, master, unix.ENODEV)
	case kind == "bond" && up:
		return fmt.Errorf("set master of link %d to %d: %w", index, master, unix.EPERM)
	}
	err := m.edit(index, "set master", func(l *Link) { l.Master, l.MasterKind = master, kind })
	if err == nil && kind == "bond" {
		err = m.SetUp(index, true) // the bond takes it up
	}
	return err
}

// SetBridge is [Conn.SetBridge].
func (m *Memory) SetBridge(index int, b Bridge) error {
	return m.edit(index, "set options of bridge", func(l *Link) { l.Bridge = &b })
}

// SetBondPrimary is [Conn.SetBondPrimary].
func (m *Memory) SetBondPrimary(index, primary int) error {
	return m.edit(index, "set primary of bond", func(l *Link) {
		b := Bond{}
		if l.Bond != nil {
			b = *l.Bond
		}
		b.Primary = primary
		l.Bond = &b
	})
}

// SetMulticast is [Conn.SetMulticast].
func (m *Memory) SetMulticast(index int, on bool) error {
	return m.edit(index, "set multicast", func(l *Link) {
		l.Flags &^= unix.IFF_MULTICAST
		if on {
			l.Flags |= unix.IFF_MULTICAST
		}
	})
}

// SetAlias is [Conn.SetAlias].
func (m *Memory) SetAlias(index int, alias string) error {
	return m.edit(index, "set alias", func(l *Link) { l.Alias = alias })
}
