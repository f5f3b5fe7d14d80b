package successor

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config/expr"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// network converts names, resolvers and links.
func (v *converter) network() {
	n := value(v.machine.Network)
	switch {
	case n.Hostname != "":
		v.add(&netdoc.HostnameConfig{Hostname: n.Hostname})
	case isTrue(v.features.StableHostname):
		v.add(&netdoc.HostnameConfig{Auto: "stable"})
	}
	if v.says("ResolverConfig") {
		v.add(v.resolver(n))
	}
	v.hosts(n)
	if k := n.KubeSpan; k != nil && rootdoc.IsSet(k) {
		v.add(kubeSpan(k))
	}
	v.interfaces(n)
}

func (v *converter) resolver(n rootdoc.Network) *netdoc.ResolverConfig {
	d := &netdoc.ResolverConfig{}
	for _, a := range n.Nameservers {
		d.Nameservers = append(d.Nameservers, netdoc.Nameserver{Address: a})
	}
	if len(n.SearchDomains) > 0 || n.DisableSearchDomain != nil {
		d.SearchDomains = &netdoc.SearchDomains{Domains: n.SearchDomains, DisableDefault: isTrue(n.DisableSearchDomain)}
	}
	if h := v.features.HostDNS; h != nil && rootdoc.IsSet(h) {
		d.HostDNS = &netdoc.HostDNS{
			Enabled: isTrue(h.Enabled), ForwardKubeDNSToHost: isTrue(h.ForwardKubeDNSToHost),
			ResolveMemberNames: isTrue(h.ResolveMemberNames),
		}
	}
	return d
}

// hosts converts names without DNS; entries of one address become one document.
func (v *converter) hosts(n rootdoc.Network) {
	docs := map[string]*netdoc.StaticHostConfig{}
	for i, e := range n.ExtraHostEntries {
		name := e.IP.String()
		if d := docs[name]; d != nil {
			d.Hostnames = append(d.Hostnames[:len(d.Hostnames):len(d.Hostnames)], e.Aliases...)
			continue
		}
		docs[name] = &netdoc.StaticHostConfig{Name: name, Hostnames: e.Aliases}
		v.named(docs[name], schema.Index("machine.network.extraHostEntries", i))
	}
}

func kubeSpan(k *rootdoc.KubeSpan) *netdoc.KubeSpanConfig {
	d := &netdoc.KubeSpanConfig{
		Enabled: isTrue(k.Enabled), AdvertiseKubernetesNetworks: isTrue(k.AdvertiseKubernetesNetworks),
		AllowDownPeerBypass: isTrue(k.AllowDownPeerBypass), HarvestExtraEndpoints: isTrue(k.HarvestExtraEndpoints),
		MTU: nonZero(k.MTU),
	}
	if f := k.Filters; f != nil {
		d.Filters = &netdoc.KubeSpanFilters{Endpoints: f.Endpoints, ExcludeAdvertisedNetworks: f.ExcludeAdvertisedNetworks}
	}
	return d
}

// interfaces converts links. Each becomes at least one document, so that one without settings is known to be configured
// and gets no DHCP by default.
func (v *converter) interfaces(n rootdoc.Network) {
	a := &aliases{taken: map[string]bool{}}
	for _, i := range n.Interfaces {
		a.taken[i.Name] = true
	}
	bridges := map[string]*netdoc.BridgeConfig{}
	for i, iface := range n.Interfaces {
		at := schema.Index("machine.network.interfaces", i)
		name := iface.Name
		if iface.DeviceSelector != nil {
			name = v.alias(a, *iface.DeviceSelector, at+".deviceSelector")
		}
		if isTrue(iface.Ignore) {
			v.named(&netdoc.LinkConfig{Name: name}, at)
			continue
		}
		v.link(a, iface, name, at, bridges)
		if iface.BridgePort != nil {
			v.port(n, bridges, iface.BridgePort.Master, name, at)
		}
		v.dhcp(name, iface.DHCP, iface.DHCPOptions, at)
		v.vip(name, iface.VIP, at)
		for j, vlan := range iface.VLANs {
			below := schema.Index(at+".vlans", j)
			d := &netdoc.VLANConfig{
				Name: vlanName(name, vlan.ID), VLANID: vlan.ID, Parent: name,
				CommonLink: common(vlan.MTU, vlan.Addresses, vlan.Routes),
			}
			v.named(d, below)
			v.dhcp(d.Name, vlan.DHCP, vlan.DHCPOptions, below)
			v.vip(d.Name, vlan.VIP, below)
		}
	}
}

// link adds the document of the link itself.
func (v *converter) link(a *aliases, i rootdoc.Interface, name, at string, bridges map[string]*netdoc.BridgeConfig) {
	c := common(i.MTU, i.Addresses, i.Routes)
	switch {
	case i.Bond != nil:
		links := slices.Clone(i.Bond.Interfaces)
		for j, s := range i.Bond.DeviceSelectors {
			links = append(links, v.alias(a, s, schema.Index(at+".bond.deviceSelectors", j)))
		}
		d := bond(i.Bond, name, links)
		d.CommonLink = c
		v.named(d, at)
	case i.Bridge != nil:
		d := bridge(bridges, name)
		d.Links = append(slices.Clone(i.Bridge.Interfaces), d.Links...)
		d.CommonLink = c
		if s := i.Bridge.STP; s != nil {
			d.STP = &netdoc.BridgeSTP{Enabled: isTrue(s.Enabled)}
		}
		if s := i.Bridge.VLAN; s != nil {
			d.VLAN = &netdoc.BridgeVLAN{Filtering: isTrue(s.VLANFiltering)}
		}
		v.named(d, at)
	case isTrue(i.Dummy):
		v.named(&netdoc.DummyLinkConfig{Name: name, CommonLink: c}, at)
	case i.WireGuard != nil:
		d := wireGuard(i.WireGuard, name)
		d.CommonLink = c
		v.named(d, at)
	default:
		v.named(&netdoc.LinkConfig{Name: name, CommonLink: c}, at)
	}
}

// bridge returns the document of the bridge with the given name, which may be added later.
func bridge(bridges map[string]*netdoc.BridgeConfig, name string) *netdoc.BridgeConfig {
	if bridges[name] == nil {
		bridges[name] = &netdoc.BridgeConfig{Name: name}
	}
	return bridges[name]
}

// port makes link a port of the bridge master. A bridge that no interface is gets its document here.
func (v *converter) port(n rootdoc.Network, bridges map[string]*netdoc.BridgeConfig, master, link, at string) {
	made := bridges[master] != nil ||
		slices.ContainsFunc(n.Interfaces, func(i rootdoc.Interface) bool { return i.Name == master && i.Bridge != nil })
	d := bridge(bridges, master)
	d.Links = append(d.Links, link)
	if !made {
		v.named(d, at+".bridgePort")
	}
}

func common(mtu uint32, addresses []rootdoc.InterfaceAddr, routes []rootdoc.Route) netdoc.CommonLink {
	c := netdoc.CommonLink{MTU: mtu}
	for _, a := range addresses {
		c.Addresses = append(c.Addresses, netdoc.Address{Address: scalar.Prefix{Prefix: a.Prefix}})
	}
	for _, r := range routes {
		c.Routes = append(c.Routes, netdoc.Route{
			Destination: r.Network, Gateway: r.Gateway, Source: r.Source, Metric: netdoc.Metric(r.Metric), MTU: r.MTU,
		})
	}
	return c
}

// dhcp adds the DHCP clients of a link: IPv4 unless it is turned off, IPv6 if it is turned on.
func (v *converter) dhcp(link string, on *bool, options *rootdoc.DHCPOptions, at string) {
	if !isTrue(on) {
		return
	}
	o := value(options)
	c := netdoc.CommonDHCP{Name: link, RouteMetric: nonZero(o.RouteMetric)}
	if o.IPv4 == nil || *o.IPv4 {
		v.named(&netdoc.DHCPv4Config{CommonDHCP: c}, at)
	}
	if isTrue(o.IPv6) {
		d := &netdoc.DHCPv6Config{CommonDHCP: c}
		if duid, ok := o.DUID(); ok && duid != "" {
			d.ClientIdentifier, d.DUIDRaw = "duid", netdoc.DUID(duid)
		}
		v.named(d, at)
	}
}

// vip adds the shared address of a link. One that a closed cloud moved has no document.
func (v *converter) vip(link string, p *rootdoc.VIP, at string) {
	switch {
	case p == nil || p.EquinixMetal != nil:
	case p.HCloud != nil:
		v.named(&netdoc.HCloudVIPConfig{
			VIP: netdoc.VIP{Name: p.IP.String(), Link: link}, APIToken: p.HCloud.APIToken,
		}, at+".vip")
	default:
		v.named(&netdoc.Layer2VIPConfig{VIP: netdoc.VIP{Name: p.IP.String(), Link: link}}, at+".vip")
	}
}

// vlanName returns the name of the link of VLAN id on parent: PARENT.ID, as ever. Where that is longer than the kernel
// allows, the parent's name is cut and told from others by a hash.
func vlanName(parent string, id uint16) string {
	suffix := "." + strconv.Itoa(int(id))
	if len(parent)+len(suffix) <= 15 {
		return parent + suffix
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(parent)) // a hash takes everything
	return parent[:15-4-len(suffix)] + fmt.Sprintf("%04x", h.Sum32()&0xffff) + suffix
}

func bond(b *rootdoc.Bond, name string, links []string) *netdoc.BondConfig {
	d := &netdoc.BondConfig{
		Name: name, Links: links, BondMode: b.Mode, HardwareAddr: b.HardwareAddr,
		XmitHashPolicy: b.XmitHashPolicy, LACPRate: b.LACPRate,
		MIIMon: b.MIIMon, UpDelay: value(b.UpDelay), DownDelay: value(b.DownDelay), UseCarrier: b.UseCarrier,
		ARPInterval: value(b.ARPInterval), ARPIPTargets: slices.Concat(b.ARPIPTargets, b.ARPIPTarget),
		NSIP6Targets: b.NSIP6Targets, ARPValidate: b.ARPValidate, ARPAllTargets: b.ARPAllTargets,
		FailOverMAC: b.FailOverMAC, ADSelect: b.ADSelect, ADUserPortKey: uint32(value(b.ADUserPortKey)), ADLACPActive: b.ADLACPActive,
		Primary: b.Primary, PrimaryReselect: b.PrimaryReselect,
		ResendIGMP: either(b.ResendIGMP, b.ResendIgmp), MinLinks: value(b.MinLinks), LPInterval: b.LPInterval,
		PacketsPerSlave: b.PacketsPerSlave, AllSlavesActive: uint32(value(b.AllSlavesActive)),
		PeerNotifDelay: value(either(b.PeerNotifDelay, b.PeerNotifyDelay)),
	}
	if d.BondMode == "" {
		d.BondMode = netdoc.BondRoundRobin
	}
	d.ADActorSysPrio = widen(b.ADActorSysPrio)
	d.NumPeerNotif = widen(b.NumPeerNotif)
	d.TLBLogicalLB = widen(either(b.TLBLogicalLb, b.TLBDynamicLb))
	d.MissedMax = widen(b.MissedMax)
	return d
}

// either returns the first of two pointers that is there.
func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func widen[T uint8 | uint16](p *T) *uint32 {
	if p == nil {
		return nil
	}
	return new(uint32(*p))
}

func wireGuard(w *rootdoc.WireGuard, name string) *netdoc.WireguardConfig {
	d := &netdoc.WireguardConfig{
		Name: name, PrivateKey: netdoc.WireguardSecret{WireguardKey: netdoc.WireguardKey(w.PrivateKey)},
		ListenPort: w.ListenPort, FirewallMark: w.FirewallMark,
	}
	for _, p := range w.Peers {
		d.Peers = append(d.Peers, netdoc.WireguardPeer{
			PublicKey: netdoc.WireguardKey(p.PublicKey), Endpoint: p.Endpoint,
			PersistentKeepaliveInterval: p.PersistentKeepaliveInterval, AllowedIPs: p.AllowedIPs,
		})
	}
	return d
}

// aliases gives names to links that are selected by their properties.
type aliases struct {
	taken map[string]bool
	next  int
}

// alias adds an alias for the link that s selects, and returns it. The alias is one name, by which the other documents
// mean one link; where s selects several, there is none (DeviceSelector.Validate has noted it).
func (v *converter) alias(a *aliases, s rootdoc.DeviceSelector, at string) string {
	name := ""
	for name == "" || a.taken[name] {
		name = "sel" + strconv.Itoa(a.next)
		a.next++
	}
	a.taken[name] = true
	v.named(&netdoc.LinkAliasConfig{Name: name, Selector: netdoc.LinkSelector{Match: expr.LinkSelector(linkExpression(s))}}, at)
	return name
}

// linkExpression selects the links that s does.
func linkExpression(s rootdoc.DeviceSelector) string {
	var all []string
	for _, p := range []struct{ variable, pattern string }{
		{"link.bus_path", s.BusPath},
		{"mac(link.hardware_addr)", strings.ToLower(s.HardwareAddr)},
		{"mac(link.permanent_addr)", strings.ToLower(s.PermanentAddr)},
		{"link.pciid", s.PCIID},
		{"link.driver", s.Driver},
	} {
		switch {
		case p.pattern == "":
		case strings.Contains(p.pattern, "*"):
			all = append(all, "glob("+strconv.Quote(escapeGlob(p.pattern))+", "+p.variable+")")
		default:
			all = append(all, p.variable+" == "+strconv.Quote(p.pattern))
		}
	}
	if s.Physical != nil {
		physical := `link.type == "ether" && link.kind == ""`
		if !*s.Physical {
			physical = "!(" + physical + ")"
		}
		all = append(all, physical)
	}
	return strings.Join(all, " && ")
}

// escapeGlob quotes what [path.Match] reads as more than itself, except asterisks.
func escapeGlob(pattern string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `?`, `\?`).Replace(pattern)
}
