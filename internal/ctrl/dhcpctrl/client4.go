package dhcpctrl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"talos.internal/resource/network"
)

// NetClients makes clients that speak to the network.
type NetClients struct{}

const (
	// attempt is how long an answer is waited for, and attempts how often a question is asked, before a call gives up.
	attempt, attempts = 3 * time.Second, 3
	dhcp4Server       = 67
	dhcp4Client       = 68
)

// DHCP4 implements [Clients].
func (NetClients) DHCP4(s Subject, o network.DHCP4Operator) Client { return client4{s, o} }

// client4 is a client of DHCPv4 (RFC 2131). Until there is an address it speaks by a packet socket, which needs none.
type client4 struct {
	subject Subject
	options network.DHCP4Operator
}

// requested are the options that are asked for.
var requested = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
	dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionNTPServers, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
}

func (c client4) modifiers() ([]dhcpv4.Modifier, error) {
	want := requested
	if !c.options.SkipHostnameRequest {
		want = append(want[:len(want):len(want)], dhcpv4.OptionHostName)
	}
	out := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptParameterRequestList(want...))}
	if name := c.subject.Hostname(); name != "" {
		out = append(out, dhcpv4.WithOption(dhcpv4.OptHostName(name)))
	}
	const ethernet, rfc4361 = 1, 255
	switch id := c.options.ClientIdentifier; id.Kind {
	case network.ClientIdentifierMAC:
		out = append(out, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{ethernet}, c.subject.HardwareAddr...))))
	case network.ClientIdentifierDUID:
		duid, err := hex.DecodeString(id.DUIDRawHex)
		if err != nil {
			return nil, fmt.Errorf("expected a DUID in hexadecimal, got %q", id.DUIDRawHex)
		}
		out = append(out, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append(append([]byte{rfc4361}, association(c.subject.HardwareAddr)...), duid...))))
	}
	return out, nil
}

// association is the number of a link among those of the machine (RFC 8415, IAID): the end of its hardware address.
func association(a network.HardwareAddr) []byte {
	out := make([]byte, 4)
	copy(out[max(0, 4-len(a)):], a[max(0, len(a)-4):])
	return out
}

// open returns a client that sends to all, or with an address from that to one server.
func (c client4) open(from, server netip.Addr) (*nclient4.Client, error) {
	options := []nclient4.ClientOpt{nclient4.WithTimeout(attempt), nclient4.WithRetry(attempts), nclient4.WithHWAddr(net.HardwareAddr(c.subject.HardwareAddr))}
	if server.IsValid() {
		options = append(options, nclient4.WithUnicast(&net.UDPAddr{IP: from.AsSlice(), Port: dhcp4Client}), nclient4.WithServerAddr(&net.UDPAddr{IP: server.AsSlice(), Port: dhcp4Server}))
	}
	return nclient4.New(c.subject.Link, options...)
}

// Acquire implements [Client].
func (c client4) Acquire(ctx context.Context) (*Lease, error) {
	l, err := c.acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for an address by DHCP on %s: %w", c.subject.Link, plain(err))
	}
	return l, nil
}

// plain returns the cause that people understand.
func plain(err error) error {
	if errors.Is(err, nclient4.ErrNoResponse) {
		return errors.New("no server answers; is the cable in the right network, and is there a DHCP server in it?")
	}
	return err
}

func (c client4) acquire(ctx context.Context) (*Lease, error) {
	modifiers, err := c.modifiers()
	if err != nil {
		return nil, err
	}
	client, err := c.open(netip.Addr{}, netip.Addr{})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	l, err := client.Request(ctx, modifiers...)
	if err != nil {
		return nil, err
	}
	return lease4(l.ACK)
}

// Extend implements [Client].
func (c client4) Extend(ctx context.Context, l *Lease, anyone bool) (*Lease, error) {
	next, err := c.extend(ctx, l, anyone)
	if err != nil {
		return nil, fmt.Errorf("extend the lease of %s on %s: %w", l.text(), c.subject.Link, plain(err))
	}
	return next, nil
}

func (c client4) extend(ctx context.Context, l *Lease, anyone bool) (*Lease, error) {
	ack, ok := l.conversation.(*dhcpv4.DHCPv4)
	if !ok {
		return nil, errors.New("it is none of this client's")
	}
	modifiers, err := c.modifiers()
	if err != nil {
		return nil, err
	}
	from, _ := netip.AddrFromSlice(ack.YourIPAddr)
	server, _ := netip.AddrFromSlice(ack.ServerIdentifier())
	to := &net.UDPAddr{IP: server.Unmap().AsSlice(), Port: dhcp4Server}
	if anyone || !server.IsValid() {
		server, to = netip.Addr{}, nclient4.DefaultServers
	}
	client, err := c.open(from.Unmap(), server.Unmap())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ask, err := dhcpv4.NewRenewFromAck(ack, modifiers...)
	if err != nil {
		return nil, err
	}
	answer, err := client.SendAndRead(ctx, to, ask, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return nil, err
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return nil, ErrRefused
	}
	return lease4(answer)
}

// least and most MTU that a server may give: less would break IPv4 (RFC 791 section 3.1).
const leastMTU, mostMTU = 576, 65535

// lease4 reads an acknowledgement. What it says wrongly of anything but the address is left aside.
func lease4(ack *dhcpv4.DHCPv4) (*Lease, error) {
	address, ok := netip.AddrFromSlice(ack.YourIPAddr)
	if address = address.Unmap(); !ok || address.IsUnspecified() || address.IsMulticast() || address.IsLoopback() {
		return nil, fmt.Errorf("the server gives %s, which is no address for a machine", ack.YourIPAddr)
	}
	bits, size := ack.SubnetMask().Size()
	if size != 32 { // left out, or no mask
		bits, _ = net.IP(address.AsSlice()).DefaultMask().Size()
	}
	l := &Lease{
		Addresses: []netip.Prefix{netip.PrefixFrom(address, bits)}, Hostname: ack.HostName(), Domain: ack.DomainName(), Servers: addrs(ack.DNS()),
		Server: ack.ServerIdentifier().String(), Expire: ack.IPAddressLeaseTime(0), Renew: ack.IPAddressRenewalTime(0), Rebind: ack.IPAddressRebindingTime(0),
		conversation: ack,
	}
	if l.Expire >= (1<<32-1)*time.Second {
		l.Expire = 0
	}
	if search := ack.DomainSearch(); search != nil {
		l.Search = search.Labels
	}
	if len(l.Search) == 0 && l.Domain != "" {
		l.Search = []string{l.Domain}
	}
	for _, a := range addrs(ack.NTPServers()) {
		l.TimeServers = append(l.TimeServers, a.String())
	}
	if raw := ack.Options.Get(dhcpv4.OptionInterfaceMTU); len(raw) == 2 {
		if mtu := uint32(raw[0])<<8 | uint32(raw[1]); mtu >= leastMTU && mtu <= mostMTU {
			l.MTU = mtu
		}
	}
	// A client that knows classless routes ignores the routers (RFC 3442).
	if routes := ack.ClasslessStaticRoute(); len(routes) > 0 {
		for _, r := range routes {
			ones, size := r.Dest.Mask.Size()
			to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
			if !ok || size != 32 {
				continue
			}
			next := Route{Destination: netip.PrefixFrom(to, ones)}
			if via, ok := netip.AddrFromSlice(r.Router.To4()); ok && !via.IsUnspecified() {
				next.Gateway = via
			}
			l.Routes = append(l.Routes, next)
		}
	} else if routers := addrs(ack.Router()); len(routers) > 0 {
		l.Routes = []Route{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), routers[0]}}
	}
	return l, nil
}

func addrs(list []net.IP) []netip.Addr {
	var out []netip.Addr
	for _, ip := range list {
		if a, ok := netip.AddrFromSlice(ip); ok && !a.IsUnspecified() {
			out = append(out, a.Unmap())
		}
	}
	return out
}
