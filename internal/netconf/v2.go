package netconf

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"talos.internal/resource/network"
)

// netplan is version 2 of network-config: the format of netplan.io, of which this is the part for servers.
type netplan struct {
	Ethernets map[string]ethernet `yaml:"ethernets"`
	Bonds     map[string]struct {
		stacked    `yaml:",inline"`
		Parameters map[string]yaml.Node `yaml:"parameters"`
	} `yaml:"bonds"`
	Bridges map[string]struct {
		stacked    `yaml:",inline"`
		Parameters struct {
			STP *bool `yaml:"stp"`
		} `yaml:"parameters"`
	} `yaml:"bridges"`
	VLANs map[string]struct {
		device `yaml:",inline"`
		ID     uint32 `yaml:"id"`
		Link   string `yaml:"link"`
	} `yaml:"vlans"`
}

type ethernet struct {
	device `yaml:",inline"`
	Match  *match `yaml:"match"`
}

type stacked struct {
	device     `yaml:",inline"`
	Interfaces []string `yaml:"interfaces"`
}

// device is what all devices have.
type device struct {
	DHCP4          bool        `yaml:"dhcp4"`
	DHCP6          bool        `yaml:"dhcp6"`
	DHCP4Overrides overrides   `yaml:"dhcp4-overrides"`
	DHCP6Overrides overrides   `yaml:"dhcp6-overrides"`
	Addresses      []yaml.Node `yaml:"addresses"` // a text, or an object with the text as its only key
	Gateway4       string      `yaml:"gateway4"`
	Gateway6       string      `yaml:"gateway6"`
	MTU            uint32      `yaml:"mtu"`
	MACAddress     string      `yaml:"macaddress"`
	Nameservers    struct {
		Search    []string `yaml:"search"`
		Addresses []string `yaml:"addresses"`
	} `yaml:"nameservers"`
	Routes []planRoute `yaml:"routes"`
}

type overrides struct {
	RouteMetric uint32 `yaml:"route-metric"`
	UseHostname *bool  `yaml:"use-hostname"`
	UseRoutes   *bool  `yaml:"use-routes"`
}

type planRoute struct {
	To     string `yaml:"to"` // a network, an address, or "default"
	Via    string `yaml:"via"`
	From   string `yaml:"from"`
	Metric uint32 `yaml:"metric"`
	MTU    uint32 `yaml:"mtu"`
	Table  uint32 `yaml:"table"`
}

// planBond are the names of bond options that differ from the kernel's.
var planBond = map[string]string{
	"mii-monitor-interval": "miimon", "up-delay": "updelay", "down-delay": "downdelay", "transmit-hash-policy": "xmit_hash_policy",
	"arp-ip-targets": "arp_ip_target", "fail-over-mac-policy": "fail_over_mac", "gratuitous-arp": "num_grat_arp",
	"gratuitious-arp":         "num_grat_arp", //nolint:misspell // netplan wrote it so once, and still reads it
	"primary-reselect-policy": "primary_reselect", "learn-packet-interval": "lp_interval",
	"all-members-active": "all_slaves_active", "resend-igmp": "resend_igmp", "packets-per-member": "packets_per_slave",
}

// readV2 reads version 2.
func readV2(n *yaml.Node, links []Link, layer network.ConfigLayer) (network.PlatformConfig, error) {
	var plan netplan
	if err := n.Decode(&plan); err != nil {
		return network.PlatformConfig{}, err
	}
	b := &builder{layer: layer}
	real := map[string][]string{} // names of links by the ids of the plan, of which a match may have several
	names := func(ids []string) (out []string) {
		for _, id := range ids {
			if known, ok := real[id]; ok {
				out = append(out, known...)
			} else {
				out = append(out, id)
			}
		}
		return out
	}
	for _, id := range sorted(plan.Ethernets) {
		e := plan.Ethernets[id]
		real[id] = []string{id}
		if e.Match != nil {
			real[id] = e.Match.find(links)
		}
		for _, name := range real[id] {
			b.link(name)
			if err := e.device.apply(b, name); err != nil {
				return b.out, fmt.Errorf("ethernets.%s: %w", id, err)
			}
		}
	}
	for _, id := range sorted(plan.Bonds) {
		d := plan.Bonds[id]
		var options []option
		for _, key := range sorted(d.Parameters) {
			value := d.Parameters[key]
			name := key
			if known := planBond[key]; known != "" {
				name = known
			}
			options = append(options, option{name, flatText(&value)})
		}
		spec, err := bond(options)
		if err != nil {
			return b.out, fmt.Errorf("bonds.%s: %w", id, err)
		}
		if known := names([]string{spec.Primary}); spec.Primary != "" && len(known) > 0 {
			spec.Primary = known[0]
		}
		b.logical(id, network.KindBond).BondMaster = &spec
		b.members(id, network.KindBond, names(d.Interfaces))
		if err := d.device.apply(b, id); err != nil {
			return b.out, fmt.Errorf("bonds.%s: %w", id, err)
		}
	}
	for _, id := range sorted(plan.Bridges) {
		d := plan.Bridges[id]
		l := b.logical(id, network.KindBridge)
		l.BridgeMaster = &network.BridgeMasterSpec{STP: network.STPSpec{Enabled: d.Parameters.STP != nil && *d.Parameters.STP}}
		b.members(id, network.KindBridge, names(d.Interfaces))
		if err := d.device.apply(b, id); err != nil {
			return b.out, fmt.Errorf("bridges.%s: %w", id, err)
		}
	}
	for _, id := range sorted(plan.VLANs) {
		d := plan.VLANs[id]
		if d.Link == "" || d.ID < 1 || d.ID > 4094 {
			return b.out, fmt.Errorf("vlans.%s: expected a link and an id from 1 to 4094, got %q and %d", id, d.Link, d.ID)
		}
		parent := names([]string{d.Link})
		if len(parent) == 0 {
			continue // its link is not there yet
		}
		b.vlan(id, parent[0], d.ID)
		if err := d.device.apply(b, id); err != nil {
			return b.out, fmt.Errorf("vlans.%s: %w", id, err)
		}
	}
	return b.out, nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// flatText returns a scalar's text, and those of a list with commas between them.
func flatText(n *yaml.Node) string {
	text := n.Value
	for i, item := range n.Content {
		if i > 0 {
			text += ","
		}
		text += item.Value
	}
	switch n.Tag {
	case "!!bool":
		if n.Value == "true" {
			return "1"
		}
		return "0"
	}
	return text
}

// apply adds what a device says for the link of a name.
func (d device) apply(b *builder, name string) error {
	l := b.link(name)
	if d.MTU != 0 {
		l.MTU = d.MTU
	}
	if d.MACAddress != "" {
		if err := l.HardwareAddr.UnmarshalText([]byte(d.MACAddress)); err != nil {
			return fmt.Errorf("macaddress: %w", err)
		}
	}
	for i := range d.Addresses {
		n := &d.Addresses[i]
		text := n.Value
		if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
			text = n.Content[0].Value
		}
		p, err := prefix(text, "")
		if err != nil {
			return fmt.Errorf("addresses[%d]: %w", i, err)
		}
		b.address(name, p)
	}
	for _, g := range []struct{ key, text string }{{"gateway4", d.Gateway4}, {"gateway6", d.Gateway6}} {
		if g.text == "" {
			continue
		}
		via, err := netip.ParseAddr(g.text)
		if err != nil || via.Is4() != (g.key == "gateway4") {
			return fmt.Errorf("%s: expected an address, got %q", g.key, g.text)
		}
		b.route(name, netip.Prefix{}, via, 0)
	}
	for i, r := range d.Routes {
		if err := r.apply(b, name); err != nil {
			return fmt.Errorf("routes[%d]: %w", i, err)
		}
	}
	if d.DHCP4 {
		b.dhcp4(name, d.DHCP4Overrides.RouteMetric)
		o := b.out.Operators[len(b.out.Operators)-1].Dhcp4
		o.SkipHostnameRequest = d.DHCP4Overrides.UseHostname != nil && !*d.DHCP4Overrides.UseHostname
		o.SkipRoutes = d.DHCP4Overrides.UseRoutes != nil && !*d.DHCP4Overrides.UseRoutes
	}
	if d.DHCP6 {
		b.dhcp6(name, d.DHCP6Overrides.RouteMetric)
	}
	servers, err := addresses(d.Nameservers.Addresses)
	if err != nil {
		return fmt.Errorf("nameservers: %w", err)
	}
	b.resolvers(servers, d.Nameservers.Search)
	return nil
}

func addresses(texts []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("expected an address, got %q", text)
		}
		out = append(out, a)
	}
	return out, nil
}

func (r planRoute) apply(b *builder, link string) error {
	var via, from netip.Addr
	var to netip.Prefix
	var err error
	if r.Via != "" {
		if via, err = netip.ParseAddr(r.Via); err != nil {
			return fmt.Errorf("via: expected an address, got %q", r.Via)
		}
	}
	if r.From != "" {
		if from, err = netip.ParseAddr(r.From); err != nil {
			return fmt.Errorf("from: expected an address, got %q", r.From)
		}
	}
	switch {
	case r.To != "default" && r.To != "":
		if to, err = prefix(r.To, ""); err != nil {
			return fmt.Errorf("to: %w", err)
		}
	case !via.IsValid():
		return fmt.Errorf("expected via for a default route, got nothing")
	}
	if via.IsValid() && to.IsValid() && via.Is4() != to.Addr().Is4() {
		return fmt.Errorf("via: expected a gateway of the family of %s, got %s", to, via)
	}
	s := b.route(link, to, via, r.Metric)
	s.Source, s.MTU = from, r.MTU
	if r.Table != 0 {
		s.Table = network.RoutingTable(r.Table)
	}
	return nil
}
