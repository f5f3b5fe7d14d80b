package rootdoc

import (
	"net/netip"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Network configures links, addresses, routes and name resolution.
type Network struct {
	// Hostname is the machine's name, with or without its domain.
	Hostname string `yaml:"hostname" deprecated:"HostnameConfig"`
	// Interfaces are the links that are configured. One that is not named here gets its addresses by DHCP.
	Interfaces []Interface `yaml:"interfaces" merge:"key=interface,deviceSelector" deprecated:"LinkConfig, BondConfig, BridgeConfig, VLANConfig and others"`
	// Nameservers are the DNS servers. Default: 1.1.1.1 and 8.8.8.8.
	Nameservers []scalar.Addr `yaml:"nameservers" deprecated:"ResolverConfig"`
	// SearchDomains are appended to names that are looked up.
	SearchDomains []string `yaml:"searchDomains" deprecated:"ResolverConfig"`
	// ExtraHostEntries are names that are known without DNS.
	//
	// Example:
	//
	//	extraHostEntries:
	//	    - ip: 10.5.0.20
	//	      aliases:
	//	          - registry.example.com
	ExtraHostEntries []HostEntry `yaml:"extraHostEntries" deprecated:"StaticHostConfig"`
	// KubeSpan is a network of encrypted links between all machines of the cluster.
	KubeSpan *KubeSpan `yaml:"kubespan" deprecated:"KubeSpanConfig"`
	// DisableSearchDomain leaves the machine's own domain out of the search domains. Default: false.
	DisableSearchDomain *bool `yaml:"disableSearchDomain" deprecated:"ResolverConfig"`
}

// HostEntry gives names to an address.
type HostEntry struct {
	// IP is the address.
	IP scalar.Addr `yaml:"ip" required:"true"`
	// Aliases are its names.
	Aliases []string `yaml:"aliases"`
}

// KubeSpan is a network of encrypted links between all machines of the cluster.
type KubeSpan struct {
	// Enabled turns it on. Default: false.
	Enabled *bool `yaml:"enabled"`
	// AdvertiseKubernetesNetworks sends the traffic of pods over it. Default: false.
	AdvertiseKubernetesNetworks *bool `yaml:"advertiseKubernetesNetworks"`
	// AllowDownPeerBypass sends traffic to a peer that is down in clear. Default: false.
	AllowDownPeerBypass *bool `yaml:"allowDownPeerBypass"`
	// HarvestExtraEndpoints tells other machines the endpoints at which a peer was seen. Default: false.
	HarvestExtraEndpoints *bool `yaml:"harvestExtraEndpoints"`
	// MTU is the largest packet in bytes, at least 1280. Default: 1420.
	MTU uint32 `yaml:"mtu"`
	// Filters limit what is announced and sent.
	Filters *KubeSpanFilters `yaml:"filters"`
}

// KubeSpanFilters limit what a machine announces to its peers.
type KubeSpanFilters struct {
	// Endpoints are the subnets whose addresses are announced as endpoints; those with a leading "!" are not.
	//
	// Example:
	//
	//	endpoints:
	//	    - 0.0.0.0/0
	//	    - '!192.168.0.0/16'
	Endpoints []scalar.Subnet `yaml:"endpoints"`
	// ExcludeAdvertisedNetworks are prefixes that are not sent over KubeSpan.
	ExcludeAdvertisedNetworks []scalar.Prefix `yaml:"excludeAdvertisedNetworks"`
}

// Validate implements [schema.Validator].
func (k *KubeSpan) Validate(r *schema.Reporter) {
	if k.MTU != 0 && k.MTU < 1280 {
		r.At("mtu").Errorf("expected at least 1280, which IPv6 needs, got %d", k.MTU)
	}
}

// Validate implements [schema.Validator].
func (n *Network) Validate(r *schema.Reporter) {
	if n.Hostname != "" && !scalar.ValidHostname(n.Hostname) {
		r.At("hostname").Errorf("expected a host name of letters, digits, hyphens and dots, got %q", n.Hostname)
	}
	for i, d := range n.SearchDomains {
		if !scalar.ValidHostname(d) {
			r.At("searchDomains").Item(i).Errorf("expected a domain such as example.com, got %q", d)
		}
	}
	for i, e := range n.ExtraHostEntries {
		for j, name := range e.Aliases {
			if !scalar.ValidHostname(name) {
				r.At("extraHostEntries").Item(i).At("aliases").Item(j).Errorf("expected a host name, got %q", name)
			}
		}
	}
	unique(r.At("interfaces"), "interface", n.Interfaces, func(i Interface) string { return i.Name })
	n.validateMasters(r.At("interfaces"))
}

// validateMasters reports a link that is to be part of two others.
func (n *Network) validateMasters(r *schema.Reporter) {
	master := map[string]string{}
	claim := func(at *schema.Reporter, link, by string) {
		if first, taken := master[link]; taken && first != by {
			at.Errorf("%s is part of %s already", link, first)
			return
		}
		master[link] = by
	}
	for i, iface := range n.Interfaces {
		at := r.Item(i)
		for j, link := range value(iface.Bond).Interfaces {
			claim(at.At("bond").At("interfaces").Item(j), link, iface.Name)
		}
		for j, link := range value(iface.Bridge).Interfaces {
			claim(at.At("bridge").At("interfaces").Item(j), link, iface.Name)
		}
		if iface.BridgePort != nil {
			claim(at.At("bridgePort"), iface.Name, iface.BridgePort.Master)
		}
	}
}

// Interface configures one link: a physical one, or one that is made here (bond, bridge, dummy, wireguard).
type Interface struct {
	// Name is the link's name. Either it or deviceSelector is there.
	Name string `yaml:"interface"`
	// DeviceSelector chooses a physical link by its properties.
	//
	// Example:
	//
	//	deviceSelector:
	//	    hardwareAddr: "*:f0:ab"
	//	    driver: virtio_net
	DeviceSelector *DeviceSelector `yaml:"deviceSelector" deprecated:"LinkAliasConfig"`
	// Addresses are the link's addresses, with a prefix length; without one it is all of the address.
	//
	// Example:
	//
	//	addresses:
	//	    - 10.5.0.2/24
	Addresses []InterfaceAddr `yaml:"addresses"`
	// Routes are the routes over the link.
	//
	// Example:
	//
	//	routes:
	//	    - network: 0.0.0.0/0
	//	      gateway: 10.5.0.1
	Routes []Route `yaml:"routes"`
	// Bond makes the link one that joins others.
	Bond *Bond `yaml:"bond" deprecated:"BondConfig"`
	// Bridge makes the link a bridge of others.
	Bridge *Bridge `yaml:"bridge" deprecated:"BridgeConfig"`
	// BridgePort makes the link a port of a bridge.
	BridgePort *BridgePort `yaml:"bridgePort" deprecated:"BridgeConfig"`
	// VLANs are virtual networks on the link, each with a link of its own that is named LINK.ID.
	VLANs []VLAN `yaml:"vlans" merge:"key=vlanId" deprecated:"VLANConfig"`
	// MTU is the largest packet in bytes. Default: what the link has.
	MTU uint32 `yaml:"mtu"`
	// DHCP gets addresses, routes and name servers by DHCP. Default: false.
	DHCP *bool `yaml:"dhcp" deprecated:"DHCPv4Config and DHCPv6Config"`
	// DHCPOptions configure DHCP.
	DHCPOptions *DHCPOptions `yaml:"dhcpOptions" deprecated:"DHCPv4Config and DHCPv6Config"`
	// Ignore leaves the link alone: it gets no addresses, not even by DHCP. Default: false.
	Ignore *bool `yaml:"ignore" deprecated:"LinkConfig"`
	// Dummy makes the link one that goes nowhere, to hold addresses. Default: false.
	Dummy *bool `yaml:"dummy" deprecated:"DummyLinkConfig"`
	// WireGuard makes the link an encrypted tunnel.
	WireGuard *WireGuard `yaml:"wireguard" deprecated:"WireguardConfig"`
	// VIP is an address that one control-plane node at a time has on this link.
	VIP *VIP `yaml:"vip" deprecated:"Layer2VIPConfig"`
}

// Validate implements [schema.Validator].
func (i *Interface) Validate(r *schema.Reporter) {
	switch {
	case i.Name == "" && i.DeviceSelector == nil:
		r.Hintf("write interface: eth0, or a deviceSelector", "the link is not named")
	case i.Name != "" && i.DeviceSelector != nil:
		r.At("deviceSelector").Hintf("keep one", "interface and deviceSelector exclude each other")
	case i.Name != "" && !validLinkName(i.Name):
		r.At("interface").Errorf("expected a link name of at most 15 characters without / and spaces, got %q", i.Name)
	}
	var kinds []string
	for _, k := range []struct {
		name  string
		there bool
	}{
		{"bond", i.Bond != nil}, {"bridge", i.Bridge != nil},
		{"dummy", value(i.Dummy)}, {"wireguard", i.WireGuard != nil},
	} {
		if k.there {
			kinds = append(kinds, k.name)
		}
	}
	if len(kinds) > 1 {
		r.At(kinds[1]).Hintf("keep one", "%s and %s exclude each other", kinds[0], kinds[1])
	}
	if len(kinds) > 0 && i.DeviceSelector != nil {
		r.At("deviceSelector").Hintf("name the link with interface", "a %s is made, not selected", kinds[0])
	}
	uniqueNumbers(r.At("vlans"), i.VLANs)
}

func uniqueNumbers(r *schema.Reporter, vlans []VLAN) {
	seen := map[uint16]bool{}
	for i, v := range vlans {
		if seen[v.ID] {
			r.Item(i).At("vlanId").Errorf("VLAN %d is there twice", v.ID)
		}
		seen[v.ID] = true
	}
}

// DeviceSelector chooses one physical link: all properties that are given must agree. An asterisk in a text stands for
// any characters.
type DeviceSelector struct {
	// BusPath is the place on the bus, such as 0000:03:00.0.
	BusPath string `yaml:"busPath"`
	// HardwareAddr is the link's current hardware address.
	HardwareAddr string `yaml:"hardwareAddr"`
	// PermanentAddr is the hardware address that the device was made with.
	PermanentAddr string `yaml:"permanentAddr"`
	// PCIID is the PCI vendor and product, such as 8086:1533.
	PCIID string `yaml:"pciID"`
	// Driver is the kernel's driver, such as virtio_net.
	Driver string `yaml:"driver"`
	// Physical selects links that are devices, or if false those that are not. Default: both.
	Physical *bool `yaml:"physical"`
}

// Validate implements [schema.Validator].
func (d *DeviceSelector) Validate(r *schema.Reporter) {
	if *d == (DeviceSelector{}) {
		r.Hintf("give at least one of busPath, hardwareAddr, permanentAddr, pciID, driver, physical", "the selector is empty")
		return
	}
	for _, exact := range []string{d.BusPath, d.HardwareAddr, d.PermanentAddr} {
		if exact != "" && !strings.Contains(exact, "*") {
			return
		}
	}
	r.Notef("it must match one link only: of several, none is configured")
}

// Route is a route over a link.
type Route struct {
	// Network is the destination. Default: everything (0.0.0.0/0 or ::/0, as the gateway is).
	Network scalar.Prefix `yaml:"network"`
	// Gateway is the next hop. Without one the destination is on the link itself.
	Gateway scalar.Addr `yaml:"gateway"`
	// Source is the source address of packets that take the route.
	Source scalar.Addr `yaml:"source"`
	// Metric is the route's rank: the lowest wins. Default: 1024.
	Metric uint32 `yaml:"metric"`
	// MTU is the largest packet in bytes that takes the route. Default: the link's.
	MTU uint32 `yaml:"mtu"`
}

// Validate implements [schema.Validator].
func (t *Route) Validate(r *schema.Reporter) {
	network, gateway, source := t.Network.Addr(), t.Gateway.Addr, t.Source.Addr
	if !network.IsValid() && !gateway.IsValid() {
		r.Hintf("write network, gateway or both", "the route leads nowhere")
		return
	}
	for _, pair := range []struct {
		key  string
		a, b netip.Addr
	}{{"gateway", network, gateway}, {"source", network, source}, {"source", gateway, source}} {
		if pair.a.IsValid() && pair.b.IsValid() && pair.a.Is4() != pair.b.Is4() {
			r.At(pair.key).Errorf("%s is not of the same family as %s", pair.b, pair.a)
			return
		}
	}
}

// DHCPOptions configure DHCP on a link.
type DHCPOptions struct {
	// RouteMetric is the metric of routes that DHCP gives. Default: 1024.
	RouteMetric uint32 `yaml:"routeMetric"`
	// IPv4 asks for IPv4 addresses. Default: true.
	IPv4 *bool `yaml:"ipv4" deprecated:"DHCPv4Config"`
	// IPv6 asks for IPv6 addresses. Default: false.
	IPv6 *bool `yaml:"ipv6" deprecated:"DHCPv6Config"`
	// DUIDv6 is the client's identifier for DHCPv6 (RFC 8415 §11) in hexadecimal digits.
	DUIDv6 string `yaml:"duidv6" deprecated:"DHCPv6Config"`
}

// Validate implements [schema.Validator].
func (o *DHCPOptions) Validate(r *schema.Reporter) {
	if _, ok := o.DUID(); !ok {
		r.At("duidv6").Errorf("expected pairs of hexadecimal digits, got %q", o.DUIDv6)
	}
}

// DUID returns the identifier for DHCPv6 in lower case with colons, or "" if there is none. It is written with or without
// colons; ok is false if it is not pairs of hexadecimal digits.
func (o *DHCPOptions) DUID() (text string, ok bool) {
	digits := strings.ToLower(strings.ReplaceAll(o.DUIDv6, ":", ""))
	if len(digits)%2 != 0 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(digits[i : i+2])
	}
	return b.String(), true
}

// VLAN is a virtual network on a link.
type VLAN struct {
	// Addresses are the addresses of the VLAN's link.
	Addresses []InterfaceAddr `yaml:"addresses"`
	// Routes are the routes over it.
	Routes []Route `yaml:"routes"`
	// DHCP gets addresses, routes and name servers by DHCP. Default: false.
	DHCP *bool `yaml:"dhcp" deprecated:"DHCPv4Config and DHCPv6Config"`
	// ID is the VLAN's number, from 1 to 4094.
	ID uint16 `yaml:"vlanId" required:"true"`
	// MTU is the largest packet in bytes. Default: the parent's.
	MTU uint32 `yaml:"mtu"`
	// VIP is an address that one control-plane node at a time has on this link.
	VIP *VIP `yaml:"vip" deprecated:"Layer2VIPConfig"`
	// DHCPOptions configure DHCP.
	DHCPOptions *DHCPOptions `yaml:"dhcpOptions" deprecated:"DHCPv4Config and DHCPv6Config"`
}

// Validate implements [schema.Validator].
func (v *VLAN) Validate(r *schema.Reporter) {
	if v.ID < 1 || v.ID > 4094 {
		r.At("vlanId").Errorf("expected a number from 1 to 4094, got %d", v.ID)
	}
}

// VIP is an address that one control-plane node at a time has.
type VIP struct {
	// IP is the address.
	IP scalar.Addr `yaml:"ip" required:"true"`
	// EquinixMetal moved the address in that cloud, which is closed. It is not supported.
	EquinixMetal *VIPCloud `yaml:"equinixMetal" deprecated:"nothing: the cloud is closed"`
	// HCloud moves the address in Hetzner's cloud.
	HCloud *VIPCloud `yaml:"hcloud" deprecated:"HCloudVIPConfig"`
}

// VIPCloud is access to the cloud that moves an address.
type VIPCloud struct {
	// APIToken is the token for the cloud's API.
	APIToken string `yaml:"apiToken" secret:"true"`
}

// Validate implements [schema.Validator].
func (v *VIP) Validate(r *schema.Reporter) {
	switch {
	case v.EquinixMetal != nil && v.HCloud != nil:
		r.At("hcloud").Hintf("keep one", "equinixMetal and hcloud exclude each other")
	case v.EquinixMetal != nil:
		r.At("equinixMetal").Warnf("remove the virtual IP", "that cloud is closed: the address is not set up")
	}
}
