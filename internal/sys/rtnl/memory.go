package rtnl

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is a network namespace in memory: what a [Conn] lists and changes, with the same errors, and with what the kernel
// does by itself as far as those above see it: an address of a link that is up brings the route to its network, and the
// routes of a link go when it goes down. There are no link-local addresses. It is safe for concurrent use.
type Memory struct {
	mu        sync.Mutex
	links     []Link
	addresses []Address
	routes    []Route
	rules     []Rule
	watchers  map[*pending]bool
}

// NewMemory returns a namespace with these links.
func NewMemory(links ...Link) *Memory {
	return &Memory{links: slices.Clone(links), watchers: map[*pending]bool{}}
}

// changed tells the watchers. The caller holds the lock.
func (m *Memory) changed(what Change) {
	for p := range m.watchers {
		p.add(what)
	}
}

// Watch is [Conn.Watch].
func (m *Memory) Watch(ctx context.Context, what Change, fn func(Change) error) error {
	p := &pending{wake: make(chan struct{}, 1), watched: what}
	p.add(All)
	m.mu.Lock()
	m.watchers[p] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.watchers, p)
		m.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.wake:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			what := p.take()
			if what == 0 {
				continue // told of already
			}
			if err := fn(what); err != nil {
				return err
			}
		}
	}
}

// Links is [Conn.Links].
func (m *Memory) Links() ([]Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.links)
	slices.SortFunc(out, func(a, b Link) int { return a.Index - b.Index })
	return out, nil
}

// LinkByName is [Conn.LinkByName].
func (m *Memory) LinkByName(name string) (Link, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return byName(m.links, name)
}

// SetLink adds a link, or replaces the one of the same index: what a driver, or somebody else, does.
func (m *Memory) SetLink(l Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.index(l.Index); i >= 0 {
		m.links[i] = l
	} else {
		m.links = append(m.links, l)
	}
	m.changed(Links)
}

// RemoveLink removes a link with its addresses and routes.
func (m *Memory) RemoveLink(index int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.links = slices.DeleteFunc(m.links, func(l Link) bool { return l.Index == index })
	m.addresses = slices.DeleteFunc(m.addresses, func(a Address) bool { return a.Link == index })
	m.routes = slices.DeleteFunc(m.routes, func(r Route) bool { return r.Link == index })
	m.changed(All &^ Rules)
}

func (m *Memory) index(link int) int {
	return slices.IndexFunc(m.links, func(l Link) bool { return l.Index == link })
}

// edit changes a link.
func (m *Memory) edit(index int, what string, change func(*Link)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.index(index)
	if i < 0 {
		return fmt.Errorf("%s of link %d: %w", what, index, unix.ENODEV)
	}
	change(&m.links[i])
	m.changed(Links)
	return nil
}

// SetUp is [Conn.SetUp]. The carrier is there at once.
func (m *Memory) SetUp(index int, up bool) error {
	const flags = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	return m.edit(index, "set state", func(l *Link) {
		l.Up, l.Running, l.OperState, l.Flags = up, up, "down", l.Flags&^flags
		m.routes = slices.DeleteFunc(m.routes, func(r Route) bool { return r.Link == index && (!up || r.Protocol == unix.RTPROT_KERNEL) })
		if up {
			l.OperState, l.Flags = "up", l.Flags|flags
			for _, a := range m.addresses {
				if a.Link == index {
					m.routes = append(m.routes, connected(a))
				}
			}
		}
		m.changed(Routes)
	})
}

// SetMTU is [Conn.SetMTU].
func (m *Memory) SetMTU(index, mtu int) error {
	return m.edit(index, "set MTU", func(l *Link) { l.MTU = mtu })
}

// SetHardwareAddr is [Conn.SetHardwareAddr].
func (m *Memory) SetHardwareAddr(index int, a net.HardwareAddr) error {
	return m.edit(index, "set address", func(l *Link) { l.HardwareAddr = slices.Clone(a) })
}

// Addresses is [Conn.Addresses].
func (m *Memory) Addresses() ([]Address, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.addresses), nil
}

func (m *Memory) address(a Address) int {
	return slices.IndexFunc(m.addresses, func(b Address) bool { return b.Link == a.Link && b.Prefix == a.Prefix })
}

// AddAddress is [Conn.AddAddress].
func (m *Memory) AddAddress(a Address) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	link := m.index(a.Link)
	switch {
	case link < 0:
		return fmt.Errorf("add %s to link %d: %w", a.Prefix, a.Link, unix.ENODEV)
	case m.address(a) >= 0:
		return fmt.Errorf("add %s to link %d: %w", a.Prefix, a.Link, unix.EEXIST)
	}
	if a.Valid == 0 {
		a.Valid, a.Preferred = Forever, Forever
	}
	if a.Valid == Forever {
		a.Flags |= unix.IFA_F_PERMANENT
	}
	m.addresses = append(m.addresses, a)
	m.changed(Addresses)
	if m.links[link].Up {
		m.routes = append(m.routes, connected(a))
		m.changed(Routes)
	}
	return nil
}

// connected is the route to an address's own network.
func connected(a Address) Route {
	r := Route{
		Destination: a.Prefix.Masked(), Link: a.Link, Source: a.Prefix.Addr(),
		Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_KERNEL, Type: unix.RTN_UNICAST, Scope: ScopeLink,
	}
	if a.Prefix.Addr().Is6() {
		r.Source, r.Scope, r.Priority = netip.Addr{}, ScopeGlobal, 256
	}
	if a.Priority != 0 {
		r.Priority = int(a.Priority)
	}
	return r
}

// RemoveAddress is [Conn.RemoveAddress].
func (m *Memory) RemoveAddress(a Address) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.address(a)
	if i < 0 {
		return fmt.Errorf("remove %s from link %d: %w", a.Prefix, a.Link, unix.EADDRNOTAVAIL)
	}
	m.addresses = slices.Delete(m.addresses, i, i+1)
	gone := connected(a)
	m.routes = slices.DeleteFunc(m.routes, func(r Route) bool {
		return r.Destination == gone.Destination && r.Link == gone.Link && r.Protocol == unix.RTPROT_KERNEL
	})
	m.changed(Addresses | Routes)
	return nil
}

// Routes is [Conn.Routes].
func (m *Memory) Routes() ([]Route, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.routes)
	slices.SortStableFunc(out, func(a, b Route) int { return a.Destination.Addr().BitLen() - b.Destination.Addr().BitLen() })
	return out, nil
}

// kept returns a route as the kernel gives it back.
func kept(r Route) Route {
	r.Destination = r.Destination.Masked()
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Protocol == 0 {
		r.Protocol = unix.RTPROT_STATIC
	}
	if r.Type == 0 {
		r.Type = unix.RTN_UNICAST
	}
	if r.Destination.Addr().Is6() && r.Priority == 0 {
		r.Priority = 1024
	}
	return r
}

func (m *Memory) route(r Route) int {
	return slices.IndexFunc(m.routes, func(b Route) bool {
		return b.Destination == r.Destination && b.Priority == r.Priority && b.Table == r.Table
	})
}

// AddRoute is [Conn.AddRoute].
func (m *Memory) AddRoute(r Route) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r = kept(r)
	if m.route(r) >= 0 {
		return fmt.Errorf("add route to %s: %w", r.Destination, unix.EEXIST)
	}
	m.routes = append(m.routes, r)
	m.changed(Routes)
	return nil
}

// ReplaceRoute is [Conn.ReplaceRoute].
func (m *Memory) ReplaceRoute(r Route) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r = kept(r)
	if i := m.route(r); i >= 0 {
		m.routes[i] = r
	} else {
		m.routes = append(m.routes, r)
	}
	m.changed(Routes)
	return nil
}

// RemoveRoute is [Conn.RemoveRoute].
func (m *Memory) RemoveRoute(r Route) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.route(kept(r))
	if i < 0 {
		return fmt.Errorf("remove route to %s: %w", r.Destination, unix.ESRCH)
	}
	m.routes = slices.Delete(m.routes, i, i+1)
	m.changed(Routes)
	return nil
}

// Rules is [Conn.Rules].
func (m *Memory) Rules() ([]Rule, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.rules)
	slices.SortStableFunc(out, func(a, b Rule) int {
		switch {
		case a.IPv6 == b.IPv6:
			return int(int64(a.Priority) - int64(b.Priority))
		case a.IPv6:
			return 1
		}
		return -1
	})
	return out, nil
}

// AddRule is [Conn.AddRule].
func (m *Memory) AddRule(r Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r = r.normal(); slices.Contains(m.rules, r) {
		return fmt.Errorf("add routing rule %d: %w", r.Priority, unix.EEXIST)
	}
	m.rules = append(m.rules, r)
	m.changed(Rules)
	return nil
}

// RemoveRule is [Conn.RemoveRule].
func (m *Memory) RemoveRule(r Rule) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.rules, r.normal())
	if i < 0 {
		return fmt.Errorf("remove routing rule %d: %w", r.Priority, unix.ENOENT)
	}
	m.rules = slices.Delete(m.rules, i, i+1)
	m.changed(Rules)
	return nil
}
