package dhcpctrl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"github.com/insomniacslk/dhcp/iana"

	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
)

// wire is a network namespace of the test's own with a pair of links that are up: the client's eth0, and the server's peer0. The thread
// is the test's, and ends with it.
func wire(t *testing.T) (k *rtnl.Conn, eth0, peer0 rtnl.Link) {
	t.Helper()
	goruntime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	k, err := rtnl.OpenAt(fmt.Sprintf("/proc/self/task/%d/ns/net", syscall.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	if err := k.AddVeth(rtnl.Veth{Name: "eth0", Peer: "peer0"}); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*rtnl.Link{"eth0": &eth0, "peer0": &peer0} {
		if *l, err = k.LinkByName(name); err != nil {
			t.Fatal(err)
		}
		if err := k.SetUp(l.Index, true); err != nil {
			t.Fatal(err)
		}
	}
	return k, eth0, peer0
}

func subject(l rtnl.Link) Subject {
	return Subject{Link: l.Name, HardwareAddr: network.HardwareAddr(l.HardwareAddr), Hostname: func() string { return "node-1" }}
}

// TestDHCP4OnTheWire gets a lease from a server, renews it, has it confirmed, and is refused.
func TestDHCP4OnTheWire(t *testing.T) {
	k, eth0, peer0 := wire(t)
	if err := k.AddAddress(rtnl.Address{Link: peer0.Index, Prefix: netip.MustParsePrefix("10.5.0.1/24")}); err != nil {
		t.Fatal(err)
	}
	conn, err := server4.NewIPv4UDPConn("peer0", &net.UDPAddr{Port: dhcp4Server})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan *dhcpv4.DHCPv4, 16)
	refuse := make(chan bool, 1)
	refuse <- false
	server, err := server4.NewServer("", nil, func(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
		asked <- m
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			no := <-refuse
			refuse <- no
			if kind = dhcpv4.MessageTypeAck; no {
				kind = dhcpv4.MessageTypeNak
			}
		}
		answer, err := dhcpv4.NewReplyFromRequest(m,
			dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 2)), dhcpv4.WithServerIP(net.IPv4(10, 5, 0, 1)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 5, 0, 1))), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(3600),
			dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 5, 0, 1))), dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(10, 5, 0, 1))),
			dhcpv4.WithOption(dhcpv4.OptHostName("given")), dhcpv4.WithOption(dhcpv4.OptDomainName("lab.example")))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(answer.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcp4Client}); err != nil {
			t.Log(err)
		}
	}, server4.WithConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve() }()
	defer func() { _ = server.Close(); <-done }()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := NetClients{}.DHCP4(subject(eth0), network.DHCP4Operator{ClientIdentifier: network.ClientIdentifier{Kind: network.ClientIdentifierMAC}})
	l, err := c.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := &Lease{
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.5.0.1")}},
		Hostname: "given", Domain: "lab.example", Servers: []netip.Addr{netip.MustParseAddr("10.5.0.1")}, Search: []string{"lab.example"}, Server: "10.5.0.1", Expire: time.Hour,
	}
	if d := diff(want, l); d != "" {
		t.Errorf("Acquire (-want +got):\n%s", d)
	}
	discover := <-asked
	if id := discover.Options.Get(dhcpv4.OptionClientIdentifier); string(id) != "\x01"+string(eth0.HardwareAddr) || discover.HostName() != "node-1" {
		t.Errorf("the server is told that it is %x, %q", id, discover.HostName())
	}
	<-asked // the request

	l, err = c.Extend(ctx, l, true)
	if d := diff(want, l); err != nil || d != "" {
		t.Fatalf("Extend by anyone = %v (-want +got):\n%s", err, d)
	}
	if m := <-asked; m.MessageType() != dhcpv4.MessageTypeRequest || !m.ClientIPAddr.Equal(net.IPv4(10, 5, 0, 2)) || m.ServerIdentifier() != nil {
		t.Errorf("to extend it asks %s", m.Summary())
	}
	// By its server alone: from the address, which has to be there.
	if err := k.AddAddress(rtnl.Address{Link: eth0.Index, Prefix: netip.MustParsePrefix("10.5.0.2/24")}); err != nil {
		t.Fatal(err)
	}
	<-refuse
	refuse <- true
	if _, err := c.Extend(ctx, l, true); !errors.Is(err, ErrRefused) {
		t.Errorf("Extend = %v; want ErrRefused", err)
	}
}

// TestNobodyAnswers holds that a silent network ends in words.
func TestNobodyAnswers(t *testing.T) {
	_, eth0, _ := wire(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, c := range []Client{NetClients{}.DHCP4(subject(eth0), network.DHCP4Operator{}), NetClients{}.DHCP6(subject(eth0), network.DHCP6Operator{})} {
		began := time.Now()
		if l, err := c.Acquire(ctx); err == nil || !strings.Contains(err.Error(), "on eth0") {
			t.Errorf("Acquire = %+v, %v; want an error that names the link", l, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Acquire took %v after its context had ended", took)
		}
	}
}

func diff(want, got *Lease) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(Lease{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

// TestDHCP6OnTheWire gets an address, renews it, and learns that the server knows it no more.
func TestDHCP6OnTheWire(t *testing.T) {
	k, eth0, _ := wire(t)
	deadline := time.Now().Add(20 * time.Second)
	for ready := 0; ready < 2; { // duplicate address detection takes its time
		list, err := k.Addresses()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the links have no addresses of their own: %+v, %v", list, err)
		}
		ready = 0
		for _, a := range list {
			if a.Prefix.Addr().IsLinkLocalUnicast() && a.Flags&uint32(network.AddressTentative) == 0 {
				ready++
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	conn, err := server6.NewIPv6UDPConn("peer0", &net.UDPAddr{IP: net.IPv6unspecified, Port: 547})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := net.InterfaceByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	if err := join(conn, peer.Index); err != nil {
		t.Fatal(err)
	}
	address := net.ParseIP("2001:db8::2")
	known := true
	server, err := server6.NewServer("", nil, func(conn net.PacketConn, from net.Addr, m dhcpv6.DHCPv6) {
		msg, err := m.GetInnerMessage()
		if err != nil {
			return
		}
		id := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}}
		options := []dhcpv6.Modifier{
			dhcpv6.WithServerID(id), dhcpv6.WithDNS(net.ParseIP("2001:db8::1")), dhcpv6.WithDomainSearchList("lab.example"),
			dhcpv6.WithIAID(msg.Options.OneIANA().IaId),
			dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: address, PreferredLifetime: time.Hour, ValidLifetime: 2 * time.Hour}),
		}
		if !known {
			options = []dhcpv6.Modifier{dhcpv6.WithServerID(id), dhcpv6.WithOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoBinding, StatusMessage: "who?"})}
		}
		var answer *dhcpv6.Message
		if msg.MessageType == dhcpv6.MessageTypeSolicit {
			answer, err = dhcpv6.NewAdvertiseFromSolicit(msg, options...)
		} else {
			answer, err = dhcpv6.NewReplyFromMessage(msg, options...)
		}
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(answer.ToBytes(), from); err != nil {
			t.Log(err)
		}
	}, server6.WithConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve() }()
	defer func() { _ = server.Close(); <-done }()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := NetClients{}.DHCP6(subject(eth0), network.DHCP6Operator{})
	l, err := c.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := &Lease{
		Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::2/128")}, Servers: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Search: []string{"lab.example"},
		Server: l.Server, Expire: 2 * time.Hour,
	}
	if d := diff(want, l); d != "" || l.Server == "" {
		t.Errorf("Acquire (-want +got):\n%s", d)
	}
	for _, anyone := range []bool{false, true} {
		if l, err = c.Extend(ctx, l, anyone); err != nil {
			t.Fatalf("Extend(anyone %t) = %v", anyone, err)
		}
	}
	known = false
	if _, err := c.Extend(ctx, l, false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "who?") {
		t.Errorf("Extend = %v; want ErrRefused with the server's words", err)
	}
}

// join makes a socket hear what is sent to all DHCP servers (RFC 8415 section 7.1).
func join(conn *net.UDPConn, link int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	group := &syscall.IPv6Mreq{Interface: uint32(link)}
	copy(group.Multiaddr[:], net.ParseIP("ff02::1:2"))
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptIPv6Mreq(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_JOIN_GROUP, group)
	})
	return errors.Join(err, failed)
}

func ack(t testing.TB, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithYourIP(net.IPv4(10, 5, 0, 2)), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)}, modifiers...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatAServerSays(t *testing.T) {
	route := func(to string, via net.IP) *dhcpv4.Route {
		_, n, err := net.ParseCIDR(to)
		if err != nil {
			t.Fatal(err)
		}
		return &dhcpv4.Route{Dest: n, Router: via}
	}
	plain := Lease{Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/8")}, Server: "<nil>"}
	with := func(change func(*Lease)) *Lease {
		l := plain
		change(&l)
		return &l
	}
	for _, tc := range []struct {
		name string
		m    *dhcpv4.DHCPv4
		want *Lease
	}{
		{"hardly anything", ack(t), &plain},
		{"a lease for ever", ack(t, dhcpv4.WithLeaseTime(1<<32-1)), &plain},
		{"its own times", ack(t, dhcpv4.WithLeaseTime(60), dhcpv4.WithGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 10}), dhcpv4.WithGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, 20})),
			with(func(l *Lease) { l.Expire, l.Renew, l.Rebind = time.Minute, 10*time.Second, 20*time.Second })},
		{"classless routes go before routers", ack(t, dhcpv4.WithNetmask(net.CIDRMask(32, 32)), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 5, 0, 1))),
			dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(route("10.5.0.1/32", net.IPv4zero), route("0.0.0.0/0", net.IPv4(10, 5, 0, 1))))), with(func(l *Lease) {
			l.Addresses = []netip.Prefix{netip.MustParsePrefix("10.5.0.2/32")}
			l.Routes = []Route{{Destination: netip.MustParsePrefix("10.5.0.1/32")}, {netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.5.0.1")}}
		})},
		{"an MTU", ack(t, dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{5, 0x78})), with(func(l *Lease) { l.MTU = 1400 })},
		{"an MTU that breaks IP", ack(t, dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{0, 68})), &plain},
		{"servers of time, and a list of domains", ack(t, dhcpv4.WithOption(dhcpv4.OptNTPServers(net.IPv4(10, 5, 0, 3))), dhcpv4.WithOption(dhcpv4.OptDomainName("a")), dhcpv4.WithDomainSearchList("b", "c")),
			with(func(l *Lease) { l.TimeServers, l.Domain, l.Search = []string{"10.5.0.3"}, "a", []string{"b", "c"} })},
		{"no address", ack(t, dhcpv4.WithYourIP(net.IPv4zero)), nil},
		{"the address of a group", ack(t, dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1))), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := lease4(tc.m)
			if (err == nil) != (tc.want != nil) {
				t.Fatalf("lease4 = %+v, %v", got, err)
			}
			if tc.want != nil {
				if d := diff(tc.want, got); d != "" {
					t.Errorf("lease4 (-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestAssociation(t *testing.T) {
	for _, tc := range []struct{ in, want string }{{"\x01\x02\x03\x04\x05\x06", "\x03\x04\x05\x06"}, {"\x05\x06", "\x00\x00\x05\x06"}, {"", "\x00\x00\x00\x00"}} {
		if got := association(network.HardwareAddr(tc.in)); string(got) != tc.want {
			t.Errorf("association(%x) = %x", tc.in, got)
		}
	}
}

// FuzzMessages holds that no answer is more than an error, and that what is made of one are valid addresses.
func FuzzMessages(f *testing.F) {
	f.Add(ack(f, dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 5, 0, 1)))).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(l *Lease, err error) {
			if err != nil {
				return
			}
			for _, a := range l.Addresses {
				if !a.IsValid() {
					t.Errorf("an address that is none: %+v", l)
				}
			}
			offersOf(network.OperatorSpec{Dhcp4: &network.DHCP4Operator{}}, l)
			l.times()
		}
		if m, err := dhcpv4.FromBytes(b); err == nil {
			check(lease4(m))
		}
		if m, err := dhcpv6.MessageFromBytes(b); err == nil {
			check(lease6(m))
		}
	})
}
