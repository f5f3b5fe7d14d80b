package rtnl

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OpenProcess returns a Conn to the network namespace that a process is in: see [OpenAt].
func OpenProcess(pid int) (*Conn, error) {
	return OpenAt(filepath.Join("/proc", strconv.Itoa(pid), "ns", "net"))
}

// AddBridge makes a bridge without ports, which is down. The error is fs.ErrExist if a link has the name.
func (c *Conn) AddBridge(name string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	if err := c.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	return nil
}

// Veth is a pair of links to be made: what goes into one comes out of the other.
type Veth struct {
	Name   string
	MTU    int
	Master int    // index of the bridge that the link of Name becomes a port of; 0 for none
	Peer   string // name of the other link
	// PeerPID is a process in whose network namespace the other link is made; 0 for the one of the Conn.
	PeerPID int
}

// AddVeth makes a pair, both of them down. The error is fs.ErrExist if one of the names is taken in its namespace; nothing
// is made then.
func (c *Conn) AddVeth(v Veth) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = v.Name, v.MTU, v.Master
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerMTU = v.Peer, uint32(v.MTU)
	if v.PeerPID != 0 {
		pair.PeerNamespace = netlink.NsPid(v.PeerPID)
	}
	if err := c.h.LinkAdd(pair); err != nil {
		return fmt.Errorf("add veth pair %s and %s: %w", v.Name, v.Peer, err)
	}
	return nil
}

// RemoveLink removes a link of a name, and of a veth pair both. It is no error if there is none.
func (c *Conn) RemoveLink(name string) error {
	l, err := c.h.LinkByName(name)
	if err == nil {
		err = c.h.LinkDel(l)
	}
	var missing netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &missing) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}
