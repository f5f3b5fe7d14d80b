package dhcpctrl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"

	"talos.internal/resource/network"
)

// DHCP6 implements [Clients].
func (NetClients) DHCP6(s Subject, o network.DHCP6Operator) Client { return client6{s, o} }

// client6 is a client of DHCPv6 (RFC 8415) that asks for one address. It speaks from the link's own address.
type client6 struct {
	subject Subject
	options network.DHCP6Operator
}

// duid is who the client is. A server cannot do without: for the kind none it is the link's address, too.
func (c client6) duid() (dhcpv6.DUID, error) {
	if id := c.options.ClientIdentifier; id.Kind == network.ClientIdentifierDUID {
		raw, err := hex.DecodeString(id.DUIDRawHex)
		if err == nil {
			var d dhcpv6.DUID
			if d, err = dhcpv6.DUIDFromBytes(raw); err == nil {
				return d, nil
			}
		}
		return nil, fmt.Errorf("expected a DUID in hexadecimal, got %q", id.DUIDRawHex)
	}
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr(c.subject.HardwareAddr)}, nil
}

func (c client6) modifiers() ([]dhcpv6.Modifier, error) {
	id, err := c.duid()
	if err != nil {
		return nil, err
	}
	out := []dhcpv6.Modifier{
		dhcpv6.WithClientID(id), dhcpv6.WithIAID([4]byte(association(c.subject.HardwareAddr))),
		dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer),
	}
	if name := c.subject.Hostname(); name != "" {
		const serverUpdates = 1 // the S bit of RFC 4704: the server may keep the name in DNS
		out = append(out, dhcpv6.WithFQDN(serverUpdates, name))
	}
	return out, nil
}

func (c client6) open() (*nclient6.Client, error) {
	return nclient6.New(c.subject.Link, nclient6.WithTimeout(attempt), nclient6.WithRetry(attempts))
}

// Acquire implements [Client].
func (c client6) Acquire(ctx context.Context) (*Lease, error) {
	l, err := c.acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for an address by DHCPv6 on %s: %w", c.subject.Link, plain6(err))
	}
	return l, nil
}

func plain6(err error) error {
	if errors.Is(err, nclient6.ErrNoResponse) {
		return errors.New("no server answers; is there a DHCPv6 server in this network?")
	}
	return err
}

func (c client6) acquire(ctx context.Context) (*Lease, error) {
	modifiers, err := c.modifiers()
	if err != nil {
		return nil, err
	}
	client, err := c.open()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	advertise, err := client.Solicit(ctx, modifiers...)
	if err != nil {
		return nil, err
	}
	reply, err := client.Request(ctx, advertise, modifiers[2:]...) // it repeats who asks, and for what
	if err != nil {
		return nil, err
	}
	return lease6(reply)
}

// Extend implements [Client].
func (c client6) Extend(ctx context.Context, l *Lease, anyone bool) (*Lease, error) {
	next, err := c.extend(ctx, l, anyone)
	if err != nil {
		return nil, fmt.Errorf("extend the lease of %s on %s: %w", l.text(), c.subject.Link, plain6(err))
	}
	return next, nil
}

func (c client6) extend(ctx context.Context, l *Lease, anyone bool) (*Lease, error) {
	reply, ok := l.conversation.(*dhcpv6.Message)
	if !ok || reply.Options.OneIANA() == nil {
		return nil, errors.New("it is none of this client's")
	}
	modifiers, err := c.modifiers()
	if err != nil {
		return nil, err
	}
	client, err := c.open()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ask, err := dhcpv6.NewMessage(modifiers[0])
	if err != nil {
		return nil, err
	}
	ask.MessageType = dhcpv6.MessageTypeRebind
	if !anyone {
		ask.MessageType = dhcpv6.MessageTypeRenew
		ask.AddOption(dhcpv6.OptServerID(reply.Options.ServerID()))
	}
	ask.AddOption(reply.Options.OneIANA())
	ask.AddOption(dhcpv6.OptElapsedTime(0))
	for _, m := range modifiers[2:] {
		m(ask)
	}
	answer, err := client.SendAndRead(ctx, nclient6.AllDHCPRelayAgentsAndServers, ask, nclient6.IsMessageType(dhcpv6.MessageTypeReply))
	if err != nil {
		return nil, err
	}
	next, err := lease6(answer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err) // no binding, not on this link, or no address (RFC 8415 section 18.2.10.1)
	}
	return next, nil
}

// lease6 reads a reply. A lifetime of zero says that the address is not to be used.
func lease6(reply *dhcpv6.Message) (*Lease, error) {
	if s := reply.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
		return nil, fmt.Errorf("the server says %s: %s", s.StatusCode, s.StatusMessage)
	}
	ia := reply.Options.OneIANA()
	if ia == nil {
		return nil, errors.New("the server gives no address")
	}
	if s := ia.Options.Status(); s != nil && s.StatusCode != iana.StatusSuccess {
		return nil, fmt.Errorf("the server says %s: %s", s.StatusCode, s.StatusMessage)
	}
	l := &Lease{Servers: addrs(reply.Options.DNS()), Renew: ia.T1, Rebind: ia.T2, conversation: reply}
	const forever = (1<<32 - 1) * time.Second
	for _, o := range ia.Options.Addresses() {
		a, ok := netip.AddrFromSlice(o.IPv6Addr)
		if !ok || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || o.ValidLifetime == 0 {
			continue
		}
		l.Addresses = append(l.Addresses, netip.PrefixFrom(a, a.BitLen())) // the routers tell what network it is in (RFC 5942)
		if l.Expire == 0 || o.ValidLifetime < l.Expire {
			l.Expire = o.ValidLifetime
		}
	}
	if len(l.Addresses) == 0 {
		return nil, errors.New("the server gives no address")
	}
	if l.Expire >= forever {
		l.Expire = 0
	}
	if search := reply.Options.DomainSearchList(); search != nil {
		l.Search = search.Labels
	}
	for _, a := range addrs(reply.Options.NTPServers()) {
		l.TimeServers = append(l.TimeServers, a.String())
	}
	if f := reply.Options.FQDN(); f != nil && f.DomainName != nil && len(f.DomainName.Labels) > 0 {
		l.Hostname = f.DomainName.Labels[0]
	}
	if id := reply.Options.ServerID(); id != nil {
		l.Server = id.String()
	}
	return l, nil
}
