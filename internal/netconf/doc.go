// Package netconf reads what others than the machine config say about a machine's network: the network-config of a nocloud seed, in
// version 1 and 2, and arguments of the kernel's command line.
//
// What it returns are wishes as package resource/network has them, of the layer that they belong to. Everything is pure: which links
// the machine has is an argument, because a seed may mean links by their hardware address; whoever learns of other links asks again.
// A link that is not there yet is no error: there are no wishes for it. What a source says beyond what is known here, as a sibling
// program of another maker may read it, is left aside; what is known and wrong is an error that names the place.
//
// Anything may import the package that may import resource.
package netconf

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"talos.internal/resource/network"
)

// Link is what the machine knows of a link that is meant by a source.
type Link struct {
	Name          string
	HardwareAddr  network.HardwareAddr // that it has now
	PermanentAddr network.HardwareAddr // that it was made with; empty if that is not known
	Driver        string               // empty if that is not known
	Kind          string               // empty for a physical one
}

// LinkOf returns what is known of a link.
func LinkOf(name string, s network.LinkStatus) Link {
	return Link{Name: name, HardwareAddr: s.HardwareAddr, PermanentAddr: s.PermanentAddr, Driver: s.Driver, Kind: s.Kind}
}

// Physical reports whether s is a link of the machine's hardware, which may have addresses.
func Physical(s network.LinkStatus) bool { return s.Kind == "" && s.Type == network.LinkTypeEther }

// Names are what links are called: by their names, and by others that the machine config and the kernel gave them.
type Names struct {
	Links   map[string]network.LinkStatus // by name
	Aliases map[string]string             // names of links by their aliases
}

// Find returns the name of the link that is meant by a name, an alias or an alternative name. What no link is called is a name.
func (n Names) Find(given string) string {
	if _, ok := n.Links[given]; ok {
		return given
	}
	if name, ok := n.Aliases[given]; ok {
		return name
	}
	for _, name := range slices.Sorted(maps.Keys(n.Links)) {
		if slices.Contains(n.Links[name].AltNames, given) {
			return name
		}
	}
	return given
}

// Hardware returns the links of the hardware, by name.
func (n Names) Hardware() []Link {
	var out []Link
	for _, name := range slices.Sorted(maps.Keys(n.Links)) {
		if s := n.Links[name]; Physical(s) {
			out = append(out, LinkOf(name, s))
		}
	}
	return out
}

// match is a condition on a link; empty parts match any.
type match struct {
	Name       string `yaml:"name"` // a pattern as path.Match has it
	MACAddress string `yaml:"macaddress"`
	Driver     string `yaml:"driver"` // a pattern, too
}

func (m match) ok(l Link) bool {
	same := func(pattern, text string) bool {
		ok, err := path.Match(pattern, text)
		return err == nil && ok
	}
	mac := strings.ToLower(m.MACAddress)
	return (m.Name == "" || same(m.Name, l.Name)) && (m.Driver == "" || same(m.Driver, l.Driver)) &&
		(mac == "" || l.Kind == "" && (mac == l.PermanentAddr.String() || len(l.PermanentAddr) == 0 && mac == l.HardwareAddr.String()))
}

// find returns the names of the physical links that m matches, sorted.
func (m match) find(links []Link) []string {
	var out []string
	for _, l := range links {
		if l.Kind == "" && m.ok(l) {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// defaultMetric is the metric of routes for which nothing else is said.
const defaultMetric = 1024

// builder collects wishes of one layer.
type builder struct {
	layer network.ConfigLayer
	out   network.PlatformConfig
}

// link returns the wish for a link, which is made if it is not there yet, to be changed.
func (b *builder) link(name string) *network.LinkSpec {
	for i := range b.out.Links {
		if b.out.Links[i].Name == name {
			return &b.out.Links[i]
		}
	}
	b.out.Links = append(b.out.Links, network.LinkSpec{Name: name, Up: true, Layer: b.layer})
	return &b.out.Links[len(b.out.Links)-1]
}

func (b *builder) logical(name, kind string) *network.LinkSpec {
	l := b.link(name)
	l.Logical, l.Kind, l.Type = true, kind, network.LinkTypeEther
	return l
}

func (b *builder) vlan(name, parent string, id uint32) {
	l := b.logical(name, network.KindVLAN)
	l.ParentName, l.VLAN = parent, &network.VLANSpec{VID: id, Protocol: network.VLAN8021Q}
}

// members puts links into a bond or a bridge.
func (b *builder) members(master, kind string, names []string) {
	for i, name := range names {
		l := b.link(name)
		if kind == network.KindBond {
			l.BondSlave = &network.BondSlave{MasterName: master, SlaveIndex: int64(i)}
		} else {
			l.BridgeSlave = &network.BridgeSlave{MasterName: master}
		}
	}
}

func (b *builder) address(link string, p netip.Prefix) {
	b.out.Addresses = append(b.out.Addresses, Address(b.layer, link, p))
}

// Address returns the wish for an address. A link with IPv4 addresses of the loopback network has them for the machine alone.
func Address(l network.ConfigLayer, link string, p netip.Prefix) network.AddressSpec {
	s := network.AddressSpec{Address: p, LinkName: link, Family: FamilyOf(p.Addr()), Flags: network.AddressPermanent, Layer: l}
	switch a := p.Addr(); {
	case a.IsLoopback():
		s.Scope = network.ScopeHost
	case a.IsLinkLocalUnicast():
		s.Scope = network.ScopeLink
	}
	return s
}

// Route returns the wish for a unicast route: by a gateway, or directly on the link if there is none. A destination of no bits or none
// at all is the default route of the gateway's family. A metric of 0 is the usual one.
func Route(l network.ConfigLayer, link string, to netip.Prefix, via netip.Addr, metric uint32) network.RouteSpec {
	s := network.RouteSpec{
		Family: FamilyOf(via), Gateway: via, OutLinkName: link, Table: network.TableMain, Priority: metric,
		Type: network.RouteTypeUnicast, Protocol: network.RouteProtocolStatic, Layer: l,
	}
	if to.IsValid() {
		s.Family = FamilyOf(to.Addr())
	}
	if to.Bits() > 0 {
		s.Destination = to.Masked()
	}
	if !via.IsValid() && s.Family == network.FamilyInet4 {
		s.Scope = network.ScopeLink
	}
	if metric == 0 {
		s.Priority = defaultMetric
	}
	return s
}

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) network.Family {
	switch {
	case a.Is4():
		return network.FamilyInet4
	case a.Is6():
		return network.FamilyInet6
	}
	return network.FamilyUnspec
}

func (b *builder) route(link string, to netip.Prefix, via netip.Addr, metric uint32) *network.RouteSpec {
	b.out.Routes = append(b.out.Routes, Route(b.layer, link, to, via, metric))
	return &b.out.Routes[len(b.out.Routes)-1]
}

func (b *builder) dhcp4(link string, metric uint32) {
	b.out.Operators = append(b.out.Operators, DHCP4(b.layer, link, metric))
}

// DHCP4 returns the wish to run a DHCP client on a link as long as that is up. A metric of 0 is the usual one.
func DHCP4(l network.ConfigLayer, link string, metric uint32) network.OperatorSpec {
	if metric == 0 {
		metric = defaultMetric
	}
	return network.OperatorSpec{
		Operator: network.OperatorDHCP4, LinkName: link, RequireUp: true, Layer: l,
		Dhcp4: &network.DHCP4Operator{RouteMetric: metric, ClientIdentifier: network.ClientIdentifier{Kind: network.ClientIdentifierMAC}},
	}
}

func (b *builder) dhcp6(link string, metric uint32) {
	if metric == 0 {
		metric = defaultMetric
	}
	b.out.Operators = append(b.out.Operators, network.OperatorSpec{
		Operator: network.OperatorDHCP6, LinkName: link, RequireUp: true, Layer: b.layer,
		Dhcp6: &network.DHCP6Operator{RouteMetric: metric, ClientIdentifier: network.ClientIdentifier{Kind: network.ClientIdentifierMAC}},
	})
}

// resolvers adds servers and domains to the one wish for resolvers.
func (b *builder) resolvers(servers []netip.Addr, domains []string) {
	if len(servers)+len(domains) == 0 {
		return
	}
	if len(b.out.Resolvers) == 0 {
		b.out.Resolvers = []network.ResolverSpec{{Layer: b.layer}}
	}
	s := &b.out.Resolvers[0]
	for _, a := range servers {
		if !slices.Contains(s.DNSServers, a) {
			s.DNSServers = append(s.DNSServers, a)
			s.NameServers = append(s.NameServers, network.NameServer{Addr: a})
		}
	}
	for _, d := range domains {
		if !slices.Contains(s.SearchDomains, d) {
			s.SearchDomains = append(s.SearchDomains, d)
		}
	}
}

// hostname adds a name, with a domain behind the first dot. An empty one is none.
func (b *builder) hostname(name string) {
	if name == "" {
		return
	}
	host, domain, _ := strings.Cut(strings.TrimSuffix(name, "."), ".")
	b.out.Hostnames = []network.HostnameSpec{{Hostname: host, Domainname: domain, Layer: b.layer}}
}

// prefix reads an address with the length of its network, or with a netmask of its own; without either it is a single address.
func prefix(address, netmask string) (netip.Prefix, error) {
	if strings.Contains(address, "/") {
		p, err := netip.ParsePrefix(address)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("expected an address with the length of its network, got %q", address)
		}
		return p, nil
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("expected an address, got %q", address)
	}
	bits := a.BitLen()
	if netmask != "" {
		if bits, err = maskBits(netmask, a.BitLen()); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.PrefixFrom(a, bits), nil
}

// maskBits reads a netmask as a number of bits or as an address.
func maskBits(text string, most int) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= most {
		return n, nil
	}
	n := 0
	bad := fmt.Errorf("expected a netmask such as 255.255.255.0 or 24, got %q", text)
	m, err := netip.ParseAddr(text)
	if err != nil || m.BitLen() != most {
		return 0, bad
	}
	ended := false
	for _, b := range m.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			switch set := b&(1<<bit) != 0; {
			case set && ended:
				return 0, bad
			case set:
				n++
			default:
				ended = true
			}
		}
	}
	return n, nil
}
