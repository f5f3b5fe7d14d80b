package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"talos.internal/internal/provision"
)

// The ports of a control-plane node that are published.
const (
	portMachine    = 50000
	portKubernetes = 6443
)

func (p *Provisioner) makeNetwork(ctx context.Context, state *provision.State) error {
	ctx, cancel := within(ctx, makeLimit)
	defer cancel()
	_, err := p.c.NetworkCreate(ctx, state.Network.Name, client.NetworkCreateOptions{
		Driver: "bridge", Labels: labels(state.Name, p.store.Path(state.Name)),
		Options: map[string]string{"com.docker.network.driver.mtu": strconv.Itoa(state.Network.MTU)},
		IPAM:    &network.IPAM{Config: []network.IPAMConfig{{Subnet: state.Network.CIDR, Gateway: state.Network.Gateway}}},
	})
	if err != nil {
		return fmt.Errorf("make network %s: %w", state.Network.Name, err)
	}
	return nil
}

// removeNetwork removes the network with whatever else a person has connected to it.
func (p *Provisioner) removeNetwork(ctx context.Context, state *provision.State) error {
	id, _, err := p.ownNetwork(ctx, state)
	if err != nil || id == "" {
		return err
	}
	if at, err := p.c.NetworkInspect(ctx, id, client.NetworkInspectOptions{}); err == nil {
		for container := range at.Network.Containers {
			_, err := p.c.NetworkDisconnect(ctx, id, client.NetworkDisconnectOptions{Container: container, Force: true})
			if err != nil && !cerrdefs.IsNotFound(err) {
				return fmt.Errorf("take container %.12s out of network %s: %w", container, state.Network.Name, err)
			}
		}
	}
	if _, err := p.c.NetworkRemove(ctx, id, client.NetworkRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("remove network %s: %w", state.Network.Name, err)
	}
	return nil
}

// addressesFree returns an error if this computer has an address of a network, as with another provisioner's cluster.
func addressesFree(cidr netip.Prefix) error {
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("look at the addresses of this computer: %w", err)
	}
	for _, l := range links {
		addresses, err := l.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addresses {
			if err := addressFree(cidr, l.Name, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// addressFree returns an error, which wraps provision.ErrInUse, if the address of an interface is one of a network.
func addressFree(cidr netip.Prefix, link string, a net.Addr) error {
	if have, err := netip.ParsePrefix(a.String()); err == nil && have.Masked().Overlaps(cidr) {
		return fmt.Errorf("network %s: %w: interface %s of this computer has %s; choose another by --cidr", cidr, provision.ErrInUse, link, have)
	}
	return nil
}

// checkPorts returns an error, which wraps provision.ErrInvalid, for ports that cannot be published.
func checkPorts(ports []provision.Port) error {
	for _, p := range ports {
		if p.HostPort == 0 || p.NodePort == 0 || p.Protocol != "tcp" && p.Protocol != "udp" {
			return fmt.Errorf("publish port %d of the node at %d/%s: %w: want ports from 1 and tcp or udp", p.NodePort, p.HostPort, p.Protocol, provision.ErrInvalid)
		}
	}
	return nil
}

// publish returns the ports of a node that are published: those that were asked for and, of the control plane, those of the
// APIs, at free ports of this computer's loopback. They are fixed, so that what a person's files say stays true when the node
// starts again: a daemon that chooses ports itself chooses others each time.
func publish(kind string, asked []provision.Port) ([]provision.Port, error) {
	all := asked
	if kind != provision.ControlPlane {
		return all, nil
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var taken []net.Listener
	defer func() {
		for _, l := range taken {
			_ = l.Close() // the port is free again, which is all
		}
	}()
	for _, port := range []uint16{portMachine, portKubernetes} {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", netip.AddrPortFrom(loopback, 0).String())
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		taken = append(taken, l)
		at, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, errors.New("find a free port: the listener has no TCP address")
		}
		all = append(all[:len(all):len(all)], provision.Port{Host: loopback, HostPort: uint16(at.Port), NodePort: port, Protocol: "tcp"})
	}
	return all, nil
}
