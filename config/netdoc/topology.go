package netdoc

import (
	"net/netip"
	"slices"
	"strings"

	"talos.internal/config/schema"
)

// linkEntry is a link that a document makes or describes.
type linkEntry struct {
	name   string
	kind   string
	title  string // of the document
	common *CommonLink
	r      *schema.Reporter // at the object that has the fields of common
	// below are the links that this one stands on, and key is the field that names them, a list unless it is "parent".
	below []string
	key   string
}

// at returns the reporter for link i of below.
func (l *linkEntry) at(i int) *schema.Reporter {
	if l.key == "parent" {
		return l.r.At(l.key)
	}
	return l.r.At(l.key).Item(i)
}

// topology is the links of a config and how they stand on each other.
type topology struct {
	links []*linkEntry
	// byName has the first entry of each name.
	byName map[string]*linkEntry
	// owner has the first bond, bridge or VRF of each member.
	owner map[string]*linkEntry
}

func newTopology(c *schema.Check) *topology {
	t := &topology{byName: map[string]*linkEntry{}, owner: map[string]*linkEntry{}}
	for _, e := range c.Set {
		l := &linkEntry{kind: e.Value.DocumentKind(), title: e.Title()}
		switch d := e.Value.(type) {
		case *LinkConfig:
			l.name, l.common = d.Name, &d.CommonLink
		case *DummyLinkConfig:
			l.name, l.common = d.Name, &d.CommonLink
		case *WireguardConfig:
			l.name, l.common = d.Name, &d.CommonLink
		case *BondConfig:
			l.name, l.common, l.below, l.key = d.Name, &d.CommonLink, d.Links, "links"
		case *BridgeConfig:
			l.name, l.common, l.below, l.key = d.Name, &d.CommonLink, d.Links, "links"
		case *VRFConfig:
			l.name, l.common, l.below, l.key = d.Name, &d.CommonLink, d.Links, "links"
		case *VLANConfig:
			l.name, l.common, l.below, l.key = d.Name, &d.CommonLink, []string{d.Parent}, "parent"
		case *VethConfig:
			peer := *l
			peer.name, peer.common, peer.r = d.Peer.Name, &d.Peer.CommonLink, c.Reporter(e).At("peer")
			l.name, l.common, l.r = d.Name, &d.CommonLink, c.Reporter(e)
			t.add(l)
			t.add(&peer)
			continue
		default:
			continue
		}
		l.r = c.Reporter(e)
		t.add(l)
	}
	return t
}

func (t *topology) add(l *linkEntry) {
	t.links = append(t.links, l)
	if t.byName[l.name] == nil {
		t.byName[l.name] = l
	}
}

// checkNames reports links that two documents define, but not the second of one kind and name: two such documents are
// one too many by themselves.
func (t *topology) checkNames(c *schema.Check) {
	for _, l := range t.links {
		first := t.byName[l.name]
		if first == l || first.kind == l.kind && first.title == l.title || l.name == "" {
			continue
		}
		hint := "choose another name"
		if first.kind == "LinkConfig" || l.kind == "LinkConfig" {
			hint = "a LinkConfig is for links that no other document makes; give the link all its settings in one document"
		}
		l.r.At("name").Hintf(hint, "the link %s is already defined by %s", l.name, first.title)
	}
	schema.Each(c, func(d *LinkAliasConfig, r *schema.Reporter) {
		for _, l := range t.links {
			if l.kind != "LinkConfig" && d.covers(l.name) {
				r.At("name").Hintf("choose another alias", "%s stands for the link that %s makes", l.name, l.title)
				return
			}
		}
	})
}

// covers reports whether name is the alias, or one that its pattern makes.
func (c *LinkAliasConfig) covers(name string) bool {
	before, after, pattern := strings.Cut(c.Name, "%d")
	if !pattern {
		return name == c.Name
	}
	rest, ok1 := strings.CutPrefix(name, before)
	number, ok2 := strings.CutSuffix(rest, after)
	return ok1 && ok2 && number != "" && strings.Trim(number, "0123456789") == ""
}

// refusedMembers are, for each kind that owns links, the kinds that the kernel does not let it own.
var refusedMembers = map[string][]string{
	"BondConfig":   {"VRFConfig", "WireguardConfig"},
	"BridgeConfig": {"BridgeConfig", "VRFConfig", "WireguardConfig"},
	"VRFConfig":    {"VRFConfig"},
}

// checkOwners fills t.owner and reports members that have two owners or one that cannot own them.
func (t *topology) checkOwners() {
	for _, l := range t.links {
		if l.key != "links" {
			continue
		}
		for i, name := range l.below {
			first := t.owner[name]
			switch {
			case name == l.name || first == l:
				continue // said by Validate
			case first != nil:
				l.at(i).Hintf("remove it from one", "the link %s is already a member of %s", name, first.title)
				continue
			}
			t.owner[name] = l
			if m := t.byName[name]; m != nil && slices.Contains(refusedMembers[l.kind], m.kind) {
				l.at(i).Errorf("%s cannot be a member of %s", m.title, l.title)
			}
		}
	}
}

// checkLoop reports the first link that stands on itself by way of others. Others may show up once that is put right.
func (t *topology) checkLoop() {
	const open, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(l *linkEntry) (found bool)
	visit = func(l *linkEntry) bool {
		state[l.name] = open
		path = append(path, l.name)
		for i, name := range l.below {
			below := t.byName[name]
			if below == nil || name == l.name || state[name] == done { // itself: said by Validate
				continue
			}
			if state[name] == open {
				round := append(path[slices.Index(path, name):], name)
				if len(round) > 12 {
					round = append(round[:12], "…")
				}
				l.at(i).Errorf("the links stand on each other in a circle: %s", strings.Join(round, " → "))
				return true
			}
			if visit(below) {
				return true
			}
		}
		path = path[:len(path)-1]
		state[l.name] = done
		return false
	}
	for _, l := range t.links {
		if t.byName[l.name] == l && state[l.name] == 0 && visit(l) {
			return
		}
	}
}

// domain returns the VRF to which the link's addresses belong, or "".
func (t *topology) domain(l *linkEntry) string {
	if l.kind == "VRFConfig" {
		return l.name
	}
	if o := t.owner[l.name]; o != nil && o.kind == "VRFConfig" {
		return o.name
	}
	return ""
}

// checkAddresses reports an address that two links of one routing domain have. Two links may have the same single
// address (unnumbered links borrow one) and link-local ones. It returns the document of each address.
func (t *topology) checkAddresses() map[netip.Addr]string {
	type key struct {
		domain string
		addr   netip.Addr
	}
	type holder struct {
		l      *linkEntry
		single bool
	}
	first := firsts[key, holder]{}
	titles := map[netip.Addr]string{}
	for _, l := range t.links {
		for i, a := range l.common.Addresses {
			addr := a.Address.Addr()
			if addr.IsLinkLocalUnicast() {
				continue
			}
			k := key{t.domain(l), addr}
			titles[addr] = l.title
			h, twice := first.seen(k, holder{l, a.Address.IsSingleIP()})
			if twice && h.l.name != l.name && !(h.single && a.Address.IsSingleIP()) {
				l.r.At("addresses").Item(i).At("address").Errorf("the address %s is also that of %s", addr, h.l.title)
			}
		}
	}
	return titles
}

// checkMembers warns of addresses on members of bonds and bridges, which never see the traffic to them.
func (t *topology) checkMembers(c *schema.Check) {
	warn := func(r *schema.Reporter, link, what string) {
		if o := t.owner[link]; o != nil && o.kind != "VRFConfig" {
			r.Warnf("give it to "+o.name, "%s is a member of %s and does not see the traffic for %s", link, o.title, what)
		}
	}
	for _, l := range t.links {
		if len(l.common.Addresses) > 0 {
			warn(l.r.At("addresses"), l.name, "an address of its own")
		}
	}
	schema.Each(c, func(d *DHCPv4Config, r *schema.Reporter) { warn(r.At("name"), d.Name, "DHCP") })
	schema.Each(c, func(d *DHCPv6Config, r *schema.Reporter) { warn(r.At("name"), d.Name, "DHCP") })
	schema.Each(c, func(d *Layer2VIPConfig, r *schema.Reporter) { warn(r.At("link"), d.Link, "a shared address") })
	schema.Each(c, func(d *HCloudVIPConfig, r *schema.Reporter) { warn(r.At("link"), d.Link, "a shared address") })
}

// checkVLANs reports VLANs that the kernel refuses beside their siblings or on their parent.
func (t *topology) checkVLANs(c *schema.Check) {
	type tag struct {
		parent, mode string
		id           uint16
	}
	first := firsts[tag, string]{}
	schema.Each(c, func(d *VLANConfig, r *schema.Reporter) {
		k := tag{d.Parent, d.VLANModeOrDefault(), d.VLANID}
		if name, twice := first.seen(k, d.Name); twice && name != d.Name {
			r.At("vlanID").Errorf("the VLAN %d of %s is already that of VLANConfig %s", d.VLANID, d.Parent, name)
		}
		if p := t.byName[d.Parent]; p != nil && p.common.MTU != 0 && d.MTU > p.common.MTU {
			r.At("mtu").Errorf("expected at most the parent's MTU (%d), got %d", p.common.MTU, d.MTU)
		}
	})
}
