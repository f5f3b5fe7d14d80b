package rtnl

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is what a Conn and a Memory both do.
type namespace interface {
	Links() ([]Link, error)
	LinkByName(name string) (Link, error)
	SetUp(index int, up bool) error
	SetMTU(index, mtu int) error
	SetHardwareAddr(index int, a net.HardwareAddr) error
	Addresses() ([]Address, error)
	AddAddress(Address) error
	RemoveAddress(Address) error
	Routes() ([]Route, error)
	AddRoute(Route) error
	ReplaceRoute(Route) error
	RemoveRoute(Route) error
	Rules() ([]Rule, error)
	AddRule(Rule) error
	RemoveRule(Rule) error
	Watch(ctx context.Context, what Change, fn func(Change) error) error
	AddLink(NewLink) error
	DeleteLink(index int) error
	SetMaster(index, master int) error
	SetBridge(index int, b Bridge) error
	SetBondPrimary(index, primary int) error
	SetMulticast(index int, on bool) error
	SetAlias(index int, alias string) error
}

var (
	_ namespace = (*Conn)(nil)
	_ namespace = (*Memory)(nil)
)

func TestKernelPassesTheSuite(t *testing.T) {
	c, a, b := isolated(t)
	suite(t, c, a, b)
}

func TestMemoryPassesTheSuite(t *testing.T) {
	suite(t, NewMemory(Link{Index: 3, Name: "a", AltNames: []string{"first"}}, Link{Index: 2, Name: "b"}), 3, 2)
}

// suite is what holds for a namespace with two links a and b, which are down, and nothing else but what the kernel makes.
func suite(t *testing.T, n namespace, a, b int) {
	main := func() (out []Route) {
		t.Helper()
		list, err := n.Routes()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if r.Table == unix.RT_TABLE_MAIN && r.Destination.Addr().Is4() {
				out = append(out, r)
			}
		}
		return out
	}
	prefix := netip.MustParsePrefix("192.0.2.7/24")
	address := Address{Link: a, Prefix: prefix}
	wish := Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: a, Priority: 1024}

	if err := errors.Join(n.SetUp(a, true), n.SetUp(b, true), n.SetMTU(a, 1400), n.SetHardwareAddr(a, net.HardwareAddr{2, 0, 0, 0, 0, 1})); err != nil {
		t.Fatal(err)
	}
	if l, err := n.LinkByName("a"); err != nil || l.Index != a || !l.Up || l.MTU != 1400 || l.HardwareAddr.String() != "02:00:00:00:00:01" || l.Flags&unix.IFF_UP == 0 {
		t.Errorf("LinkByName(a) = %+v, %v", l, err)
	}
	if links, err := n.Links(); err != nil || !slices.IsSortedFunc(links, func(a, b Link) int { return a.Index - b.Index }) {
		t.Errorf("Links() = %+v, %v; want them by index", links, err)
	}
	for _, err := range []error{n.SetUp(4711, true), n.SetMTU(4711, 1400), n.AddAddress(Address{Link: 4711, Prefix: prefix})} {
		if !errors.Is(err, unix.ENODEV) {
			t.Errorf("change of a link that is not there = %v; want ENODEV", err)
		}
	}
	if _, err := n.LinkByName("none"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("LinkByName(none) = %v; want ENODEV", err)
	}

	if err := n.AddAddress(address); err != nil {
		t.Fatal(err)
	}
	if err := n.AddAddress(address); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddAddress(again) = %v; want fs.ErrExist", err)
	}
	list, err := n.Addresses()
	if i := slices.IndexFunc(list, func(x Address) bool { return x.Prefix == prefix }); err != nil || i < 0 || list[i].Flags&unix.IFA_F_PERMANENT == 0 || list[i].Valid != Forever {
		t.Errorf("Addresses() = %+v, %v; want %s for ever", list, err, prefix)
	}
	connected := Route{
		Destination: prefix.Masked(), Link: a, Source: prefix.Addr(), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_KERNEL, Type: unix.RTN_UNICAST, Scope: ScopeLink,
	}
	same := func(x Route) func(Route) bool {
		return func(r Route) bool { // but for the flags, which tell of the carrier
			return r.Destination == x.Destination && r.Link == x.Link && r.Gateway == x.Gateway && r.Source == x.Source && r.Table == x.Table &&
				r.Protocol == x.Protocol && r.Type == x.Type && r.Scope == x.Scope && r.Priority == x.Priority
		}
	}
	if got := main(); !slices.ContainsFunc(got, same(connected)) {
		t.Errorf("Routes() after AddAddress = %+v; want %+v", got, connected)
	}

	if err := n.AddRoute(wish); err != nil {
		t.Fatal(err)
	}
	if err := n.AddRoute(wish); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddRoute(again) = %v; want fs.ErrExist", err)
	}
	given := wish
	given.Table, given.Protocol, given.Type = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RTN_UNICAST
	if got := main(); !slices.ContainsFunc(got, same(given)) {
		t.Errorf("Routes() after AddRoute = %+v; want %+v", got, given)
	}
	wish.Gateway = netip.MustParseAddr("192.0.2.2")
	given.Gateway = wish.Gateway
	if err := n.ReplaceRoute(wish); err != nil {
		t.Errorf("ReplaceRoute() = %v", err)
	}
	if got := main(); !slices.ContainsFunc(got, same(given)) || len(got) != 2 {
		t.Errorf("Routes() after ReplaceRoute = %+v; want %+v", got, given)
	}
	if err := n.RemoveRoute(wish); err != nil {
		t.Errorf("RemoveRoute() = %v", err)
	}
	if err := n.RemoveRoute(wish); !errors.Is(err, unix.ESRCH) {
		t.Errorf("RemoveRoute(again) = %v; want ESRCH", err)
	}

	rules(t, n)
	watch(t, n, a)
	kinds(t, n, a)
	priorities(t, n, a)

	if err := n.RemoveAddress(address); err != nil {
		t.Errorf("RemoveAddress() = %v", err)
	}
	if err := n.RemoveAddress(address); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("RemoveAddress(again) = %v; want EADDRNOTAVAIL", err)
	}
	if got := main(); len(got) != 0 {
		t.Errorf("Routes() without addresses = %+v; want none", got)
	}
}

func rules(t *testing.T, n namespace) {
	for _, r := range []Rule{
		{Priority: 1000, Table: 100, Source: netip.MustParsePrefix("10.0.0.0/8"), Destination: netip.MustParsePrefix("192.0.2.0/24"), Input: "a", Action: unix.FR_ACT_TO_TBL},
		{Priority: 900, Table: 300, IPv6: true, Mark: 0x20, Mask: 0x60, Output: "b", Action: unix.FR_ACT_TO_TBL},
		{Priority: 1100, Action: unix.FR_ACT_PROHIBIT, Source: netip.MustParsePrefix("2001:db8::/32"), IPv6: true},
	} {
		if err := n.AddRule(r); err != nil {
			t.Errorf("AddRule(%+v) = %v", r, err)
			continue
		}
		if err := n.AddRule(r); !errors.Is(err, fs.ErrExist) {
			t.Errorf("AddRule(again) = %v; want fs.ErrExist", err)
		}
		if list, err := n.Rules(); err != nil || !slices.Contains(list, r) {
			t.Errorf("Rules() = %+v, %v; want %+v", list, err, r)
		}
		if err := n.RemoveRule(r); err != nil {
			t.Errorf("RemoveRule(%+v) = %v", r, err)
		}
		if err := n.RemoveRule(r); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("RemoveRule(again) = %v; want fs.ErrNotExist", err)
		}
	}
}

// priorities holds that an address may say what the route to its network is worth.
func priorities(t *testing.T, n namespace, a int) {
	for _, p := range []netip.Prefix{netip.MustParsePrefix("198.51.100.9/24"), netip.MustParsePrefix("2001:db8:9::9/64")} {
		x := Address{Link: a, Prefix: p, Priority: 77, Flags: unix.IFA_F_NODAD}
		if err := n.AddAddress(x); err != nil {
			t.Fatal(err)
		}
		if err := n.AddAddress(x); !errors.Is(err, fs.ErrExist) {
			t.Errorf("AddAddress(again) = %v; want fs.ErrExist", err)
		}
		list, err := n.Addresses()
		if !slices.ContainsFunc(list, func(y Address) bool { return y.Prefix == p && y.Priority == 77 && y.Valid == Forever }) {
			t.Errorf("Addresses() = %+v, %v; want %s with a priority", list, err, p)
		}
		routes, err := n.Routes()
		if !slices.ContainsFunc(routes, func(r Route) bool { return r.Destination == p.Masked() && r.Priority == 77 }) {
			t.Errorf("Routes() = %+v, %v; want one to %s with the priority", routes, err, p.Masked())
		}
		if err := n.RemoveAddress(x); err != nil {
			t.Error(err)
		}
	}
}

// kinds holds what is the same for links of all kinds, and what a kernel of any make can do with bridges and pairs.
func kinds(t *testing.T, n namespace, a int) {
	link := func(name string) Link {
		t.Helper()
		l, err := n.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	if err := n.AddLink(NewLink{Name: "br0", Kind: "bridge", HardwareAddr: mac, Bridge: &Bridge{STP: true}}); err != nil {
		t.Fatal(err)
	}
	if err := n.AddLink(NewLink{Name: "br0", Kind: "bridge"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddLink(again) = %v; want fs.ErrExist", err)
	}
	br := link("br0")
	if br.Kind != "bridge" || br.Bridge == nil || *br.Bridge != (Bridge{STP: true}) || br.HardwareAddr.String() != mac.String() || br.Up {
		t.Errorf("br0 = %+v, %+v", br, br.Bridge)
	}
	if err := errors.Join(n.SetBridge(br.Index, Bridge{}), n.SetAlias(br.Index, "lan"), n.SetMulticast(br.Index, false), n.SetMaster(a, br.Index)); err != nil {
		t.Fatal(err)
	}
	if br = link("br0"); *br.Bridge != (Bridge{}) || br.Alias != "lan" || br.Flags&unix.IFF_MULTICAST != 0 {
		t.Errorf("br0 after changes = %+v, %+v", br, br.Bridge)
	}
	switch err := n.SetBridge(br.Index, Bridge{VLANFiltering: true}); {
	case errors.Is(err, unix.EOPNOTSUPP):
		t.Log("bridges of this kernel do not look at VLANs")
	case err != nil || !link("br0").Bridge.VLANFiltering:
		t.Errorf("SetBridge(VLAN filtering) = %v; br0 = %+v", err, link("br0"))
	}
	if l := link("a"); l.Master != br.Index || l.MasterKind != "bridge" {
		t.Errorf("a as a port = %+v", l)
	}
	if err := n.SetMaster(a, 0); err != nil || link("a").Master != 0 {
		t.Errorf("SetMaster(a, 0) = %v; a = %+v", err, link("a"))
	}
	if err := errors.Join(n.SetMulticast(br.Index, true), n.SetMaster(a, br.Index), n.DeleteLink(br.Index)); err != nil {
		t.Error(err)
	}
	if l := link("a"); l.Master != 0 {
		t.Errorf("a after its bridge is gone = %+v", l)
	}
	if err := n.AddLink(NewLink{Name: "x", Kind: "veth", Peer: "y"}); err != nil {
		t.Fatal(err)
	}
	if x, y := link("x"), link("y"); x.Parent != y.Index || y.Parent != x.Index || x.Kind != "veth" {
		t.Errorf("x = %+v, y = %+v; want a pair", x, y)
	}
	if err := n.DeleteLink(link("y").Index); err != nil {
		t.Error(err)
	}
	if _, err := n.LinkByName("x"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("LinkByName(x) without its peer = %v; want ENODEV", err)
	}
	if err := n.DeleteLink(4711); !errors.Is(err, unix.ENODEV) {
		t.Errorf("DeleteLink(4711) = %v; want ENODEV", err)
	}
	optionalKinds(t, n, a)
}

// optionalKinds are those that not every kernel has: who has none of a kind says so, and nothing else.
func optionalKinds(t *testing.T, n namespace, a int) {
	bond := &Bond{Mode: 1, Options: map[BondOption]uint32{BondMIIMon: 200, BondNumPeerNotif: 3, BondUpDelay: 400}}
	for _, k := range []NewLink{
		{Name: "vlan", Kind: "vlan", Parent: a, VLAN: VLAN{ID: 100, Protocol: unix.ETH_P_8021AD}},
		{Name: "bond", Kind: "bond", Bond: bond},
		{Name: "dummy", Kind: "dummy", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 8}},
		{Name: "vrf", Kind: "vrf", Table: 100},
		{Name: "wg", Kind: "wireguard"},
	} {
		err := n.AddLink(k)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Logf("this kernel makes no %s", k.Kind)
			continue
		}
		l, err2 := n.LinkByName(k.Name)
		if err != nil || err2 != nil {
			t.Errorf("AddLink(%+v) = %v, %v", k, err, err2)
			continue
		}
		if l.Kind != k.Kind || l.VLAN != k.VLAN || l.Table != k.Table || k.Parent != 0 && l.Parent != a || k.HardwareAddr != nil && l.HardwareAddr.String() != k.HardwareAddr.String() {
			t.Errorf("AddLink(%+v) made %+v", k, l)
		}
		if k.Kind == "bond" {
			members(t, n, a, l, *bond)
		}
		if err := n.DeleteLink(l.Index); err != nil {
			t.Error(err)
		}
	}
}

// members holds what a bond does with a member.
func members(t *testing.T, n namespace, a int, l Link, want Bond) {
	if l.Bond == nil || l.Bond.Mode != want.Mode {
		t.Fatalf("bond = %+v; want mode %d", l.Bond, want.Mode)
	}
	for o, v := range want.Options {
		if l.Bond.Options[o] != v {
			t.Errorf("option %d = %d; want %d", o, l.Bond.Options[o], v)
		}
	}
	if err := n.SetMaster(a, l.Index); err == nil {
		t.Error("a link that is up went into a bond")
	}
	if err := errors.Join(n.SetUp(a, false), n.SetMaster(a, l.Index), n.SetBondPrimary(l.Index, a)); err != nil {
		t.Error(err)
	}
	if b, err := n.LinkByName(l.Name); err != nil || b.Bond.Primary != a {
		t.Errorf("primary = %+v, %v; want %d", b.Bond, err, a)
	}
	if err := errors.Join(n.SetMaster(a, 0), n.SetUp(a, true)); err != nil {
		t.Error(err)
	}
}

// watch is told of what it asked for, at first of all of that.
func watch(t *testing.T, n namespace, a int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enough := errors.New("enough")
	var steps []Change
	other := Address{Link: a, Prefix: netip.MustParsePrefix("198.51.100.7/32")}
	err := n.Watch(ctx, Addresses|Rules, func(ch Change) error {
		steps = append(steps, ch)
		if len(steps) > 1 {
			return enough
		}
		return errors.Join(n.SetMTU(a, 1300), n.AddAddress(other))
	})
	if want := []Change{Addresses | Rules, Addresses}; !errors.Is(err, enough) || !slices.Equal(steps, want) {
		t.Errorf("Watch(addresses and rules) told of %b, %v; want %b", steps, err, want)
	}
	if err := n.RemoveAddress(other); err != nil {
		t.Error(err)
	}
}

// FuzzMessages holds that no message of whatever bytes is more than an error.
func FuzzMessages(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add(append(make([]byte, 12), 8, 0, 15, 0, 1, 0, 0, 0))
	f.Fuzz(func(_ *testing.T, m []byte) {
		_, _ = parseRule(m)
		_, _ = parseBond(m)
		_ = parsePriority(m, map[holder]uint32{})
		_ = eachAttribute(m, func(uint16, []byte) {})
	})
}
