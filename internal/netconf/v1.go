package netconf

import (
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/resource/network"
)

// entry is an entry of version 1 of network-config, a format of cloud-init: a link, or what is about all of them.
type entry struct {
	Type       string               `yaml:"type"`
	Name       string               `yaml:"name"`
	MACAddress string               `yaml:"mac_address"`
	MTU        uint32               `yaml:"mtu"`
	Subnets    []subnet             `yaml:"subnets"`
	VLANLink   string               `yaml:"vlan_link"`
	VLANID     uint32               `yaml:"vlan_id"`
	Bond       []string             `yaml:"bond_interfaces"`
	Bridge     []string             `yaml:"bridge_interfaces"`
	Params     map[string]yaml.Node `yaml:"params"`
	Address    texts                `yaml:"address"` // of servers for names
	Search     texts                `yaml:"search"`
	route      `yaml:",inline"`
}

type subnet struct {
	Type    string  `yaml:"type"`
	Address string  `yaml:"address"`
	Netmask string  `yaml:"netmask"`
	Gateway string  `yaml:"gateway"`
	Servers texts   `yaml:"dns_nameservers"`
	Search  texts   `yaml:"dns_search"`
	Routes  []route `yaml:"routes"`
}

type route struct {
	Destination string `yaml:"destination"` // in an entry; "network" in a subnet
	Network     string `yaml:"network"`
	Netmask     string `yaml:"netmask"`
	Gateway     string `yaml:"gateway"`
	Metric      uint32 `yaml:"metric"`
}

// texts is a list of texts, or one, which may have several with spaces between them.
type texts []string

// UnmarshalYAML implements [yaml.Unmarshaler].
func (t *texts) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*t = strings.Fields(n.Value)
		return nil
	}
	return n.Decode((*[]string)(t))
}

// readV1 reads version 1.
func readV1(n *yaml.Node, links []Link, layer network.ConfigLayer) (network.PlatformConfig, error) {
	var file struct {
		Config []entry `yaml:"config"`
	}
	if err := n.Decode(&file); err != nil {
		return network.PlatformConfig{}, err
	}
	b := &builder{layer: layer}
	real := map[string]string{} // names of links by those of the file
	name := func(given string) string {
		if known, ok := real[given]; ok {
			return known
		}
		return given
	}
	for i, e := range file.Config {
		if e.Type == "physical" {
			real[e.Name] = e.Name
			if e.MACAddress != "" { // the name is what another system would give the link
				found := match{MACAddress: e.MACAddress}.find(links)
				if len(found) == 0 {
					real[e.Name] = ""
					continue
				}
				real[e.Name] = found[0]
			}
			if real[e.Name] == "" {
				return b.out, fmt.Errorf("config[%d]: expected a name or mac_address, got neither", i)
			}
		}
	}
	for i, e := range file.Config {
		if err := e.apply(b, name); err != nil {
			return b.out, fmt.Errorf("config[%d] (%s): %w", i, strings.TrimSpace(e.Type+" "+e.Name), err)
		}
	}
	return b.out, nil
}

func (e entry) apply(b *builder, name func(string) string) error {
	link := name(e.Name)
	switch e.Type {
	case "physical":
		if link == "" {
			return nil // it is not there yet
		}
		b.link(link)
	case "vlan":
		parent := name(e.VLANLink)
		if e.VLANID < 1 || e.VLANID > 4094 {
			return fmt.Errorf("vlan_id: expected a number from 1 to 4094, got %d", e.VLANID)
		}
		if parent == "" {
			return nil
		}
		b.vlan(link, parent, e.VLANID)
	case network.KindBond:
		var options []option
		for _, key := range sorted(e.Params) {
			value := e.Params[key]
			options = append(options, option{key, flatText(&value)})
		}
		spec, err := bond(options)
		if err != nil {
			return err
		}
		if spec.Primary != "" {
			spec.Primary = name(spec.Primary)
		}
		l := b.logical(link, network.KindBond)
		l.BondMaster = &spec
		b.members(link, network.KindBond, named(e.Bond, name))
	case network.KindBridge:
		l := b.logical(link, network.KindBridge)
		stp := e.Params["bridge_stp"]
		l.BridgeMaster = &network.BridgeMasterSpec{STP: network.STPSpec{Enabled: stp.Value == "true" || stp.Value == "on" || stp.Value == "yes"}}
		b.members(link, network.KindBridge, named(e.Bridge, name))
	case "nameserver":
		servers, err := addresses(e.Address)
		if err != nil {
			return fmt.Errorf("address: %w", err)
		}
		b.resolvers(servers, e.Search)
		return nil
	case "route":
		return e.route.apply(b, "")
	default:
		return nil
	}
	l := b.link(link)
	if e.MTU != 0 {
		l.MTU = e.MTU
	}
	if e.MACAddress != "" && e.Type != "physical" {
		if err := l.HardwareAddr.UnmarshalText([]byte(e.MACAddress)); err != nil {
			return fmt.Errorf("mac_address: %w", err)
		}
	}
	for i, s := range e.Subnets {
		if err := s.apply(b, link); err != nil {
			return fmt.Errorf("subnets[%d]: %w", i, err)
		}
	}
	return nil
}

// named returns the links' names; those that are not there yet are left out.
func named(given []string, name func(string) string) []string {
	var out []string
	for _, g := range given {
		if n := name(g); n != "" {
			out = append(out, n)
		}
	}
	return out
}

func (s subnet) apply(b *builder, link string) error {
	switch s.Type {
	case "dhcp", "dhcp4":
		b.dhcp4(link, 0)
	case "dhcp6", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless":
		b.dhcp6(link, 0)
	case "static", "static6":
		p, err := prefix(s.Address, s.Netmask)
		if err != nil {
			return fmt.Errorf("address: %w", err)
		}
		b.address(link, p)
		if s.Gateway != "" {
			via, err := netip.ParseAddr(s.Gateway)
			if err != nil {
				return fmt.Errorf("gateway: expected an address, got %q", s.Gateway)
			}
			b.route(link, netip.Prefix{}, via, 0)
		}
	}
	servers, err := addresses(s.Servers)
	if err != nil {
		return fmt.Errorf("dns_nameservers: %w", err)
	}
	b.resolvers(servers, s.Search)
	for i, r := range s.Routes {
		if err := r.apply(b, link); err != nil {
			return fmt.Errorf("routes[%d]: %w", i, err)
		}
	}
	return nil
}

// apply adds a route. Without a link it goes out of the one that has an address in the gateway's network.
func (r route) apply(b *builder, link string) error {
	text := r.Network
	if r.Destination != "" {
		text = r.Destination
	}
	to, err := prefix(text, r.Netmask)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	via, err := netip.ParseAddr(r.Gateway)
	if err != nil || via.Is4() != to.Addr().Is4() {
		return fmt.Errorf("gateway: expected an address of the family of %s, got %q", to, r.Gateway)
	}
	if link == "" {
		for _, a := range b.out.Addresses {
			if a.Address.Contains(via) {
				link = a.LinkName
			}
		}
		if link == "" {
			return fmt.Errorf("gateway: no link before this entry has an address in the network of %s", via)
		}
	}
	b.route(link, to, via, r.Metric)
	return nil
}
