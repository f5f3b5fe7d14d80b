package rtnl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// isolated gives the test's goroutine a thread of its own in a network namespace of its own, with a veth pair: a has the
// index that is returned, b is its peer. The goroutine never gives the thread back, so the runtime ends it with the test,
// and the namespace with it.
func isolated(t *testing.T) (c *Conn, a, b int) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "a"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "b"}); err != nil {
		t.Skipf("no veth pair can be made: %v", err)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for name, p := range map[string]*int{"a": &a, "b": &b} {
		l, err := c.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		*p = l.Index
	}
	return c, a, b
}

// until waits until a link is as it should be: the kernel tells of carriers when it comes to it. The last answer is
// returned in any case.
func until(t *testing.T, c *Conn, name string, ok func(Link) bool) Link {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var l Link
	done := errors.New("done")
	if err := c.Watch(ctx, All, func(Change) error {
		var err error
		if l, err = c.LinkByName(name); err == nil && ok(l) {
			err = done
		}
		return err
	}); !errors.Is(err, done) {
		t.Errorf("link %s stays %+v: %v", name, l, err)
	}
	return l
}

func TestLinks(t *testing.T) {
	c, a, b := isolated(t)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	if err := errors.Join(c.SetMTU(a, 1400), c.SetHardwareAddr(a, mac), c.SetUp(a, true), c.SetUp(b, true)); err != nil {
		t.Fatal(err)
	}
	got := until(t, c, "a", func(l Link) bool { return l.Running })
	links, err := c.Links()
	if err != nil {
		t.Fatal(err)
	}
	var lo Link
	for _, l := range links {
		if l.Name == "lo" {
			lo = l
		}
	}
	if !lo.Loopback || lo.Up || lo.Type != "loopback" || lo.MTU != 65536 {
		t.Errorf("lo = %+v", lo)
	}
	want := Link{
		Index: a, Name: "a", Kind: "veth", Type: "ether", HardwareType: unix.ARPHRD_ETHER, MTU: 1400, HardwareAddr: mac, Up: true, Running: true,
		OperState: "up", Parent: b, Broadcast: net.HardwareAddr{255, 255, 255, 255, 255, 255}, QueueDisc: "noqueue",
		Flags: unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_RUNNING | unix.IFF_MULTICAST | unix.IFF_LOWER_UP,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("LinkByName(a) (-want +got):\n%s", d)
	}
	if !slices.ContainsFunc(links, func(l Link) bool { return cmp.Equal(l, got) }) {
		t.Errorf("Links() has no %+v: %+v", got, links)
	}
	if err := c.SetUp(b, false); err != nil {
		t.Fatal(err)
	}
	if got := until(t, c, "a", func(l Link) bool { return !l.Running }); !got.Up {
		t.Errorf("LinkByName(a) without a carrier = %+v", got)
	}
	if _, err := c.LinkByName("none"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("LinkByName(none) = %v; want ENODEV", err)
	}
	if err := c.SetUp(4711, true); !errors.Is(err, unix.ENODEV) {
		t.Errorf("SetUp(4711) = %v; want ENODEV", err)
	}
}

func TestAddresses(t *testing.T) {
	c, a, _ := isolated(t)
	v4 := Address{Link: a, Prefix: netip.MustParsePrefix("192.0.2.7/24"), Label: "a", Broadcast: netip.MustParseAddr("192.0.2.255")}
	v6 := Address{Link: a, Prefix: netip.MustParsePrefix("2001:db8::7/64"), Flags: unix.IFA_F_NODAD, Valid: 3600, Preferred: 1800}
	if err := errors.Join(c.AddAddress(v4), c.AddAddress(v6)); err != nil {
		t.Fatal(err)
	}
	if err := c.AddAddress(v4); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddAddress(again) = %v; want fs.ErrExist", err)
	}
	list, err := c.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	find := func(p netip.Prefix) (Address, bool) {
		i := slices.IndexFunc(list, func(x Address) bool { return x.Prefix == p })
		if i < 0 {
			return Address{}, false
		}
		return list[i], true
	}
	got, ok := find(v4.Prefix)
	if !ok || got.Link != a || got.Label != "a" || got.Broadcast != v4.Broadcast || got.Flags&unix.IFA_F_PERMANENT == 0 || got.Valid != Forever || got.Scope != ScopeGlobal {
		t.Errorf("IPv4 = %+v, %t", got, ok)
	}
	if got, ok = find(v6.Prefix); !ok || got.Valid > 3600 || got.Valid < 3500 || got.Preferred > 1800 || got.Flags&unix.IFA_F_NODAD == 0 {
		t.Errorf("IPv6 = %+v, %t", got, ok)
	}
	if err := errors.Join(c.RemoveAddress(v4), c.RemoveAddress(v6)); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveAddress(v4); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("RemoveAddress(again) = %v; want EADDRNOTAVAIL", err)
	}
	if list, err = c.Addresses(); len(list) != 0 || err != nil {
		t.Errorf("Addresses() = %+v, %v; want none", list, err)
	}
}

func TestRoutes(t *testing.T) {
	c, a, b := isolated(t)
	if err := errors.Join(c.SetUp(a, true), c.SetUp(b, true), c.AddAddress(Address{Link: a, Prefix: netip.MustParsePrefix("192.0.2.7/24")}),
		c.AddAddress(Address{Link: a, Prefix: netip.MustParsePrefix("2001:db8::7/64"), Flags: unix.IFA_F_NODAD})); err != nil {
		t.Fatal(err)
	}
	gw := netip.MustParseAddr("192.0.2.1")
	for _, tc := range []struct {
		name      string
		add, want Route
	}{
		{"default", Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gw, Link: a, Priority: 1024},
			Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gw, Link: a, Priority: 1024, Table: 254, Protocol: 4, Type: 1}},
		{"default of IPv6", Route{Destination: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("2001:db8::1"), Link: a, MTU: 1300},
			Route{Destination: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("2001:db8::1"), Link: a, Priority: 1024, Table: 254, Protocol: 4, Type: 1, MTU: 1300}},
		{"of a link, in another table", Route{Destination: netip.MustParsePrefix("198.51.100.0/24"), Link: a, Table: 100, Scope: ScopeLink, Source: netip.MustParseAddr("192.0.2.7"), Protocol: 16},
			Route{Destination: netip.MustParsePrefix("198.51.100.0/24"), Link: a, Table: 100, Scope: ScopeLink, Source: netip.MustParseAddr("192.0.2.7"), Protocol: 16, Type: 1}},
		{"black hole", Route{Destination: netip.MustParsePrefix("203.0.113.0/24"), Type: unix.RTN_BLACKHOLE},
			Route{Destination: netip.MustParsePrefix("203.0.113.0/24"), Type: unix.RTN_BLACKHOLE, Table: 254, Protocol: 4}},
		{"of several hops", Route{Destination: netip.MustParsePrefix("10.0.0.0/8"), NextHops: []NextHop{{gw, a, 1}, {netip.MustParseAddr("192.0.2.2"), a, 5}}},
			Route{Destination: netip.MustParsePrefix("10.0.0.0/8"), NextHops: []NextHop{{gw, a, 1}, {netip.MustParseAddr("192.0.2.2"), a, 5}}, Table: 254, Protocol: 4, Type: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			find := func() (Route, bool) {
				list, err := c.Routes()
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(list, func(r Route) bool { return r.Destination == tc.add.Destination && r.Table == tc.want.Table })
				if i < 0 {
					return Route{}, false
				}
				return list[i], true
			}
			if err := c.AddRoute(tc.add); err != nil {
				t.Fatal(err)
			}
			if got, ok := find(); !ok || !cmp.Equal(tc.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
				t.Errorf("Routes() = %+v, %t; want %+v", got, ok, tc.want)
			}
			if err := c.AddRoute(tc.add); !errors.Is(err, fs.ErrExist) {
				t.Errorf("AddRoute(again) = %v; want fs.ErrExist", err)
			}
			if err := c.ReplaceRoute(tc.add); err != nil {
				t.Errorf("ReplaceRoute() = %v", err)
			}
			if err := c.RemoveRoute(tc.add); err != nil {
				t.Errorf("RemoveRoute() = %v", err)
			}
			if err := c.RemoveRoute(tc.add); !errors.Is(err, unix.ESRCH) {
				t.Errorf("RemoveRoute(again) = %v; want ESRCH", err)
			}
			if got, ok := find(); ok {
				t.Errorf("Routes() still has %+v", got)
			}
		})
	}
}

func TestWatchTellsWhatChanged(t *testing.T) {
	c, a, _ := isolated(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enough := errors.New("enough")
	var steps []Change
	seen := Change(0)
	err := c.Watch(ctx, All, func(ch Change) error {
		steps = append(steps, ch)
		seen |= ch
		switch {
		case len(steps) == 1:
			if ch != All {
				t.Errorf("first change = %b; want all", ch)
			}
			seen = 0
			return c.SetUp(a, true)
		case seen == Links:
			return c.AddAddress(Address{Link: a, Prefix: netip.MustParsePrefix("192.0.2.7/24")})
		case seen == All&^Rules:
			if err := c.AddRule(Rule{Priority: 1000, Table: 100}); !errors.Is(err, fs.ErrExist) {
				return err
			}
		case seen == All:
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("Watch() = %v after %b; want links, addresses, routes and rules", err, steps)
	}
	ended, stop := context.WithCancelCause(t.Context())
	stop(enough)
	if err := c.Watch(ended, All, func(Change) error { return nil }); !errors.Is(err, enough) {
		t.Errorf("Watch() = %v; want the cause of the context", err)
	}
}

func TestAnotherNamespace(t *testing.T) {
	_, a, _ := isolated(t)
	file := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	// The Conn is used by another goroutine, whose thread is elsewhere.
	type result struct {
		link Link
		err  error
	}
	done := make(chan result)
	go func() {
		c, err := OpenAt(file)
		if err != nil {
			done <- result{err: err}
			return
		}
		defer c.Close()
		l, err := c.LinkByName("a")
		enough := errors.New("enough")
		if werr := c.Watch(context.Background(), All, func(Change) error { return enough }); !errors.Is(werr, enough) {
			err = errors.Join(err, werr)
		}
		done <- result{l, err}
	}()
	if r := <-done; r.link.Index != a || r.err != nil {
		t.Errorf("OpenAt() found %+v, %v; want link %d", r.link, r.err, a)
	}
	if _, err := OpenAt("/no/such/namespace"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenAt() = %v; want fs.ErrNotExist", err)
	}
}

func TestReceiveAfterALossTellsOfAll(t *testing.T) {
	p := pending{wake: make(chan struct{}, 1), watched: All}
	broken := errors.New("broken")
	answers := []struct {
		kind uint16
		pid  uint32
		err  error
	}{{kind: unix.RTM_NEWADDR}, {kind: unix.RTM_NEWLINK, pid: 7}, {err: unix.EINTR}, {kind: unix.RTM_NEWNEIGH}, {err: broken}, {err: unix.ENOBUFS}, {err: broken}}
	next := func() ([]syscall.NetlinkMessage, *unix.SockaddrNetlink, error) {
		a := answers[0]
		answers = answers[1:]
		return []syscall.NetlinkMessage{{Header: syscall.NlMsghdr{Type: a.kind}}}, &unix.SockaddrNetlink{Pid: a.pid}, a.err
	}
	for _, want := range []Change{Addresses, All} {
		if err := p.receive(next); !errors.Is(err, broken) {
			t.Errorf("receive() = %v; want the error of the socket", err)
		}
		if got := p.take(); got != want {
			t.Errorf("changes = %b; want %b", got, want)
		}
	}
	if len(p.wake) != 1 {
		t.Error("nobody was woken")
	}
}
