//go:build linux

package native

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"syscall"

	"talos.internal/internal/provision"
	"talos.internal/internal/sys/nat"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/rtnl"
)

// forwarding is the sysctl that lets this computer pass on what is not for itself.
const forwarding = "net.ipv4.ip_forward"

// checkFree fails with provision.ErrInUse if something on this computer, or another cluster, has addresses of the network.
func (p *Provisioner) checkFree(network netip.Prefix) error {
	inUse := func(by string) error {
		return fmt.Errorf("network %s: %w: %s; choose another one with --cidr", network, provision.ErrInUse, by)
	}
	others, err := p.others("")
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Network.CIDR.Overlaps(network) {
			return inUse(fmt.Sprintf("cluster %s has %s; remove it with: talosctl cluster destroy --name %[1]s", o.Name, o.Network.CIDR))
		}
	}
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	addresses, err := c.Addresses()
	if err != nil {
		return err
	}
	links, err := c.Links()
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if !a.Prefix.Masked().Overlaps(network) {
			continue
		}
		for _, l := range links {
			if l.Index == a.Link {
				return inUse(fmt.Sprintf("interface %s has %s", l.Name, a.Prefix))
			}
		}
	}
	return nil
}

// ensureNetwork makes what is missing of a cluster's network on this computer.
func (p *Provisioner) ensureNetwork(state *provision.State) error {
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	bridge, n := state.Data[keyBridge], state.Network
	p.trace("bridge")
	if err := c.AddBridge(bridge, n.MTU); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	link, err := c.LinkByName(bridge)
	if err != nil {
		return err
	}
	// Without an address of its own a bridge takes that of one of its ports, and changes it when that port goes.
	if err := c.SetHardwareAddr(link.Index, link.HardwareAddr); err != nil {
		return err
	}
	p.trace("address of the bridge")
	prefix := netip.PrefixFrom(n.Gateway, n.CIDR.Bits())
	if err := c.AddAddress(rtnl.Address{Link: link.Index, Prefix: prefix}); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := c.SetUp(link.Index, true); err != nil {
		return err
	}
	p.trace("masquerading")
	if err := nat.Masquerade(state.Data[keyTable], n.CIDR); err != nil {
		return err
	}
	p.trace("forwarding")
	return p.forward(state)
}

// forward lets this computer forward. If it did not before, the state says so first: the last cluster puts it back.
func (p *Provisioner) forward(state *provision.State) error {
	now, err := proc.Reader{}.Sysctl(forwarding)
	if err != nil || now == "1" {
		return err
	}
	state.Data[keyForward] = now
	if err := p.store.Save(state); err != nil {
		return err
	}
	p.trace("forwarding set")
	return proc.Reader{}.SetSysctl(forwarding, "1")
}

// removeNetwork removes a cluster's network from this computer, as far as it is there.
func (p *Provisioner) removeNetwork(state *provision.State) error {
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for _, n := range state.Nodes {
		errs = append(errs, c.RemoveLink(portOf(state, n)))
	}
	return errors.Join(append(errs,
		c.RemoveLink(state.Data[keyBridge]),
		nat.Remove(state.Data[keyTable]),
		p.unforward(state),
	)...)
}

// unforward puts forwarding back if the cluster has to, or leaves that to another one.
func (p *Provisioner) unforward(state *provision.State) error {
	was := state.Data[keyForward]
	if was == "" {
		return nil
	}
	others, err := p.others(state.Name)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		heir := others[0]
		if heir.Data[keyForward] == "" {
			heir.Data[keyForward] = was
			return p.store.Save(heir)
		}
		return nil
	}
	return proc.Reader{}.SetSysctl(forwarding, was)
}

// attach gives a container, whose first process is pid and does not run yet, its interface eth0.
func (p *Provisioner) attach(state *provision.State, node provision.StateNode, pid int) error {
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	bridge, err := c.LinkByName(state.Data[keyBridge])
	if err != nil {
		return err
	}
	port := portOf(state, node)
	// One of an earlier life: the kernel removes a pair some time after its namespace ended.
	if err := c.RemoveLink(port); err != nil {
		return err
	}
	pair := rtnl.Veth{Name: port, MTU: state.Network.MTU, Master: bridge.Index, Peer: "eth0", PeerPID: pid}
	if err := c.AddVeth(pair); err != nil {
		return err
	}
	p.trace("veth " + node.Name)
	link, err := c.LinkByName(port)
	if err != nil {
		return err
	}
	if err := c.SetUp(link.Index, true); err != nil {
		return err
	}
	inside, err := rtnl.OpenProcess(pid)
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, name := range []string{"lo", "eth0"} {
		l, err := inside.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			a := rtnl.Address{Link: l.Index, Prefix: netip.PrefixFrom(node.Address, state.Network.CIDR.Bits())}
			if err := inside.AddAddress(a); err != nil {
				return err
			}
		}
		if err := inside.SetUp(l.Index, true); err != nil {
			return err
		}
		if name == "eth0" {
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			err := inside.AddRoute(rtnl.Route{Destination: all, Gateway: state.Network.Gateway, Link: l.Index})
			if err != nil && !errors.Is(err, syscall.EEXIST) {
				return err
			}
		}
	}
	return nil
}

// detach removes a node's interface, if it is there.
func (p *Provisioner) detach(state *provision.State, node provision.StateNode) error {
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.RemoveLink(portOf(state, node))
}
