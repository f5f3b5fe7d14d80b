package rtnl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Conn speaks to the kernel about one network namespace. Close it at the end. It is safe for concurrent use.
type Conn struct {
	h   *netlink.Handle
	raw map[int]*nl.SocketHandle // for the dumps that the library does not keep all of
	ns  netns.NsHandle           // none if it is that of whoever calls
}

// Open returns a Conn to the network namespace of the calling thread. Watch has to be called in it, too.
func Open() (*Conn, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	c := &Conn{h: h, ns: netns.None()}
	if err := c.openRaw(); err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return c, nil
}

// openRaw opens the socket for dumps of our own. After an error the Conn is closed.
func (c *Conn) openRaw() error {
	s, err := nl.GetNetlinkSocketAt(c.ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		_ = c.Close()
		return err
	}
	c.raw = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	return nil
}

// dump asks for all objects of a kind and returns the messages.
func (c *Conn) dump(ask, answer uint16, family int) ([][]byte, error) {
	return whole(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(int(ask), unix.NLM_F_DUMP)
		req.Sockets = c.raw
		req.AddData(nl.NewIfInfomsg(family))
		return req.Execute(unix.NETLINK_ROUTE, answer)
	})
}

// OpenAt returns a Conn to the network namespace that a file stands for: of a process (/proc/PID/ns/net) or one that was
// mounted. It needs CAP_SYS_ADMIN.
func OpenAt(file string) (*Conn, error) {
	ns, err := netns.GetFromPath(file)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink of %s: %w", file, err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("open rtnetlink of %s: %w", file, err)
	}
	c := &Conn{h: h, ns: ns}
	if err := c.openRaw(); err != nil {
		return nil, fmt.Errorf("open rtnetlink of %s: %w", file, err)
	}
	return c, nil
}

// Close ends the Conn. Watches of it go on.
func (c *Conn) Close() error {
	c.h.Close()
	for _, s := range c.raw {
		s.Close()
	}
	if c.ns.IsOpen() {
		return c.ns.Close()
	}
	return nil
}

// whole calls a dump again if something changed under it, so that what it gave may not fit together.
func whole[T any](dump func() (T, error)) (T, error) {
	var v T
	var err error
	for range 10 {
		if v, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return v, err
}

// Change is a set of what may have changed.
type Change uint8

// What may have changed.
const (
	Links Change = 1 << iota
	Addresses
	Routes
	Rules
)

// All is everything.
const All = Links | Addresses | Routes | Rules

// groups are the multicast groups of rtnetlink that tell of what.
func groups(what Change) []uint {
	var out []uint
	for _, g := range []struct {
		what Change
		ids  []uint
	}{
		{Links, []uint{unix.RTNLGRP_LINK}},
		{Addresses, []uint{unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR}},
		{Routes, []uint{unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE}},
		{Rules, []uint{unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE}},
	} {
		if what&g.what != 0 {
			out = append(out, g.ids...)
		}
	}
	return out
}

// Watch calls fn when something of what may have changed: at first with all of it, so that nothing is missed between a
// list and the watch, then for what the kernel tells of. While fn runs, what comes is put together into one call. After
// a loss in the kernel's buffer it is all of it again.
//
// It returns the cause of the context's end, or an error of fn or of the socket.
func (c *Conn) Watch(ctx context.Context, what Change, fn func(Change) error) error {
	s, err := nl.SubscribeAt(c.ns, netns.None(), unix.NETLINK_ROUTE, groups(what)...)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	p := pending{wake: make(chan struct{}, 1), watched: what}
	p.add(All)
	done := make(chan error, 1)
	go func() { done <- p.receive(s.Receive) }()
	defer func() {
		s.Close() // ends the receive
		<-done
		close(done)
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-done:
			done <- nil
			return fmt.Errorf("watch links: %w", err)
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

// pending are changes that nobody was told of yet.
type pending struct {
	wake    chan struct{} // holds one if there are some
	watched Change        // others are not kept
	mu      sync.Mutex
	what    Change
}

func (p *pending) add(c Change) {
	if c &= p.watched; c == 0 {
		return
	}
	p.mu.Lock()
	p.what |= c
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pending) take() Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.what
	p.what = 0
	return c
}

// LinkByName returns the link of a name, or of one of its alternative names. The error wraps ENODEV if there is none.
func (c *Conn) LinkByName(name string) (Link, error) {
	links, err := c.Links()
	if err != nil {
		return Link{}, err
	}
	return byName(links, name)
}

func byName(links []Link, name string) (Link, error) {
	for _, l := range links {
		if l.Name == name || slices.Contains(l.AltNames, name) {
			return l, nil
		}
	}
	return Link{}, fmt.Errorf("link %s: %w", name, unix.ENODEV)
}

// byIndex names a link for the library, which looks only at the index then.
func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// SetUp takes a link up or down.
func (c *Conn) SetUp(index int, up bool) error {
	set, what := c.h.LinkSetDown, "down"
	if up {
		set, what = c.h.LinkSetUp, "up"
	}
	if err := set(byIndex(index)); err != nil {
		return fmt.Errorf("set link %d %s: %w", index, what, err)
	}
	return nil
}

// SetMTU sets the largest size of a packet on a link, in bytes.
func (c *Conn) SetMTU(index, mtu int) error {
	if err := c.h.LinkSetMTU(byIndex(index), mtu); err != nil {
		return fmt.Errorf("set MTU of link %d to %d: %w", index, mtu, err)
	}
	return nil
}

// SetHardwareAddr sets the address of a link.
func (c *Conn) SetHardwareAddr(index int, a net.HardwareAddr) error {
	if err := c.h.LinkSetHardwareAddr(byIndex(index), a); err != nil {
		return fmt.Errorf("set address of link %d to %s: %w", index, a, err)
	}
	return nil
}
