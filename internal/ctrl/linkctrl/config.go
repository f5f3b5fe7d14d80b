package linkctrl

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"talos.internal/config/netdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/netconf"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// facts are what wishes are made of.
type facts struct {
	netconf.Names
	cmdline netconf.Cmdline
	set     schema.Set // the documents of the machine config; empty as long as there is none
}

// gather reads the facts. What the command line has wrong was said at boot.
func gather(ctx context.Context, rt controller.Runtime, c *effective.Config, cmdline string) (facts, error) {
	f := facts{Names: netconf.Names{Links: map[string]network.LinkStatus{}, Aliases: map[string]string{}}}
	list, err := controller.Running[network.LinkStatus](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, r := range list {
		f.Links[r.Metadata().ID()] = r.Spec()
	}
	aliases, err := controller.Running[network.LinkAliasSpec](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, r := range aliases {
		f.Aliases[r.Spec().Alias] = r.Metadata().ID()
	}
	f.cmdline, _ = netconf.ReadCmdline(cmdline, f.Hardware())
	if c != nil {
		f.set = c.Set
	}
	return f, nil
}

func (f facts) names(given []string) []string {
	out := make([]string, 0, len(given))
	for _, g := range given {
		out = append(out, f.Find(g))
	}
	return out
}

// inputs are what gather reads, with the machine config.
func inputs() []controller.Input {
	return []controller.Input{controller.Weak[network.LinkStatus](), controller.Weak[network.LinkAliasSpec]()}
}

// wishes is a controller that writes wishes of one kind.
func wishes[S interface {
	resource.Spec
	ID() string
}](name, cmdline string, decide func(facts) []S, layer func(S) network.ConfigLayer) controller.Controller {
	return effective.Pass(name, []controller.Output{controller.Shared[S]().In(network.ConfigNamespace)},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			f, err := gather(ctx, rt, c, cmdline)
			if err != nil {
				return err
			}
			for _, s := range decide(f) {
				if err := controller.Put(ctx, rt, network.LayeredID(layer(s), s.ID()), s, state.In(network.ConfigNamespace)); err != nil {
					return err
				}
			}
			return nil
		}, inputs()...)
}

func linkConfig(cmdline string) controller.Controller {
	return wishes("network.LinkConfigController", cmdline, linkWishes, func(s network.LinkSpec) network.ConfigLayer { return s.Layer })
}

func addressConfig(cmdline string) controller.Controller {
	return wishes("network.AddressConfigController", cmdline, addressWishes, func(s network.AddressSpec) network.ConfigLayer { return s.Layer })
}

func routeConfig(cmdline string) controller.Controller {
	return wishes("network.RouteConfigController", cmdline, routeWishes, func(s network.RouteSpec) network.ConfigLayer { return s.Layer })
}

const (
	config   = network.LayerMachineConfiguration
	loopback = "lo"
)

// addressWishes are those of the loopback, the command line and the config.
func addressWishes(f facts) []network.AddressSpec {
	out := []network.AddressSpec{netconf.Address(network.LayerDefault, loopback, netip.MustParsePrefix("127.0.0.1/8"))}
	out = append(out, f.cmdline.Addresses...)
	each(f, func(link string, c *netdoc.CommonLink) {
		for _, a := range c.Addresses {
			s := netconf.Address(config, link, a.Address.Prefix)
			s.Priority = a.RoutePriority
			out = append(out, s)
		}
	})
	return out
}

// routeWishes are those of the command line and the config.
func routeWishes(f facts) []network.RouteSpec {
	out := slices.Clone(f.cmdline.Routes)
	each(f, func(link string, c *netdoc.CommonLink) {
		for _, r := range c.Routes {
			s := netconf.Route(config, link, r.To(), r.Gateway.Addr, r.Metric.OrDefault())
			s.Source, s.MTU, s.Table = r.Source.Addr, r.MTU, network.RoutingTable(r.Table.ID())
			out = append(out, s)
		}
	})
	for _, d := range schema.All[*netdoc.BlackholeRouteConfig](f.set) {
		s := netconf.Route(config, "", d.Prefix(), netip.Addr{}, d.Metric.OrDefault())
		s.Scope, s.Type = network.ScopeGlobal, network.RouteTypeBlackhole
		out = append(out, s)
	}
	return out
}

// each calls fn for each document of a link, with the link's name and what all links have.
func each(f facts, fn func(link string, c *netdoc.CommonLink)) {
	for _, e := range f.set {
		switch d := e.Value.(type) {
		case *netdoc.LinkConfig:
			fn(f.Find(d.Name), &d.CommonLink)
		case *netdoc.DummyLinkConfig:
			fn(d.Name, &d.CommonLink)
		case *netdoc.WireguardConfig:
			fn(d.Name, &d.CommonLink)
		case *netdoc.BondConfig:
			fn(d.Name, &d.CommonLink)
		case *netdoc.BridgeConfig:
			fn(d.Name, &d.CommonLink)
		case *netdoc.VRFConfig:
			fn(d.Name, &d.CommonLink)
		case *netdoc.VLANConfig:
			fn(d.Name, &d.CommonLink)
		case *netdoc.VethConfig:
			fn(d.Name, &d.CommonLink)
			fn(d.Peer.Name, &d.Peer.CommonLink)
		}
	}
}

// linkWishes are: that the loopback and all links of the hardware are up, what the command line says, and what the config says.
func linkWishes(f facts) []network.LinkSpec {
	out := []network.LinkSpec{{Name: loopback, Up: true, Layer: network.LayerDefault}}
	for _, l := range f.Hardware() {
		if !slices.Contains(f.cmdline.Ignored, l.Name) {
			out = append(out, network.LinkSpec{Name: l.Name, Up: true, Layer: network.LayerDefault})
		}
	}
	out = append(out, f.cmdline.Links...)
	d := documents{facts: f, specs: map[string]*network.LinkSpec{}}
	each(f, d.common)
	for _, e := range f.set {
		d.add(e.Value)
	}
	for _, name := range sortedKeys(d.specs) {
		out = append(out, *d.specs[name])
	}
	return out
}

// documents makes one wish for each link of what several documents say about it.
type documents struct {
	facts
	specs map[string]*network.LinkSpec
}

// link returns the wish for a link, to be changed.
func (d *documents) link(name string) *network.LinkSpec {
	if d.specs[name] == nil {
		d.specs[name] = &network.LinkSpec{Name: name, Up: true, Layer: config}
	}
	return d.specs[name]
}

func (d *documents) common(name string, c *netdoc.CommonLink) {
	s := d.link(name)
	s.Up, s.MTU, s.Multicast = c.UpOrDefault(), c.MTU, c.Multicast
}

func (d *documents) logical(name, kind string, a scalar.HardwareAddr) *network.LinkSpec {
	s := d.link(name)
	s.Logical, s.Kind, s.Type = true, kind, network.LinkTypeEther
	_ = s.HardwareAddr.UnmarshalText([]byte(a)) // checked when the config was read
	return s
}

func (d *documents) add(doc schema.Document) {
	switch v := doc.(type) {
	case *netdoc.DummyLinkConfig:
		d.logical(v.Name, network.KindDummy, v.HardwareAddr)
	case *netdoc.BridgeConfig:
		s := network.BridgeMasterSpec{}
		if v.STP != nil {
			s.STP.Enabled = v.STP.Enabled
		}
		if v.VLAN != nil {
			s.VLAN.FilteringEnabled = v.VLAN.Filtering
		}
		d.logical(v.Name, network.KindBridge, v.HardwareAddr).BridgeMaster = &s
		for _, name := range d.names(v.Links) {
			d.link(name).BridgeSlave = &network.BridgeSlave{MasterName: v.Name}
		}
	case *netdoc.BondConfig:
		s := d.bond(v)
		d.logical(v.Name, network.KindBond, v.HardwareAddr).BondMaster = &s
		for i, name := range d.names(v.Links) {
			d.link(name).BondSlave = &network.BondSlave{MasterName: v.Name, SlaveIndex: int64(i)}
		}
	case *netdoc.VLANConfig:
		protocol := network.VLAN8021Q
		if v.VLANModeOrDefault() == "802.1ad" {
			protocol = network.VLAN8021AD
		}
		s := d.logical(v.Name, network.KindVLAN, "")
		s.ParentName, s.VLAN = d.Find(v.Parent), &network.VLANSpec{VID: uint32(v.VLANID), Protocol: protocol}
	case *netdoc.VRFConfig:
		d.logical(v.Name, network.KindVRF, v.HardwareAddr).VRFMaster = &network.VRFMasterSpec{Table: network.RoutingTable(v.Table.ID())}
		for _, name := range d.names(v.Links) {
			d.link(name).VRFSlave = &network.VRFSlave{MasterName: v.Name}
		}
	case *netdoc.VethConfig:
		d.logical(v.Name, network.KindVeth, "").Veth = &network.VethSpec{PeerName: v.Peer.Name}
		d.logical(v.Peer.Name, network.KindVeth, "").Veth = &network.VethSpec{PeerName: v.Name}
	case *netdoc.WireguardConfig:
		s := d.logical(v.Name, network.KindWireguard, "")
		s.Type, s.Wireguard = network.LinkTypeNone, wireguard(v)
	}
}

func wireguard(v *netdoc.WireguardConfig) *network.WireguardSpec {
	s := &network.WireguardSpec{PrivateKey: string(v.PrivateKey.WireguardKey), ListenPort: int64(v.ListenPort), FirewallMark: int64(v.FirewallMark)}
	for _, p := range v.Peers {
		peer := network.WireguardPeer{
			PublicKey: string(p.PublicKey), PresharedKey: string(p.PresharedKey.WireguardKey),
			PersistentKeepaliveInterval: p.PersistentKeepaliveInterval.Duration.Round(time.Second),
		}
		if p.Endpoint.IsValid() {
			peer.Endpoint = p.Endpoint.AddrPort.String()
		}
		for _, n := range p.AllowedIPs {
			peer.AllowedIPs = append(peer.AllowedIPs, n.Masked())
		}
		s.Peers = append(s.Peers, peer)
	}
	slices.SortFunc(s.Peers, func(a, b network.WireguardPeer) int {
		if a.PublicKey < b.PublicKey {
			return -1
		}
		return 1
	})
	return s
}

// word sets a value to what a text of the config means; the config was checked.
func word(to interface{ UnmarshalText([]byte) error }, text string) {
	if text != "" {
		_ = to.UnmarshalText([]byte(text))
	}
}

func number(to *uint32, from *uint32) {
	if from != nil {
		*to = *from
	}
}

func (d *documents) bond(v *netdoc.BondConfig) network.BondMasterSpec {
	var mode network.BondMode
	word(&mode, v.BondMode)
	s := netconf.NewBond(mode)
	s.MIIMon, s.UpDelay, s.DownDelay, s.ARPInterval = v.MIIMonOrDefault(), v.UpDelay, v.DownDelay, v.ARPInterval
	s.MinLinks, s.AllSlavesActive, s.ADUserPortKey, s.PeerNotifyDelay = v.MinLinks, v.AllSlavesActive, v.ADUserPortKey, v.PeerNotifDelay
	if v.UseCarrier != nil {
		s.UseCarrier = *v.UseCarrier
	}
	word(&s.HashPolicy, v.XmitHashPolicy)
	word(&s.ARPValidate, v.ARPValidate)
	word(&s.ARPAllTargets, v.ARPAllTargets)
	word(&s.LACPRate, v.LACPRate)
	word(&s.FailOverMAC, v.FailOverMAC)
	word(&s.ADSelect, v.ADSelect)
	word(&s.ADLACPActive, v.ADLACPActive)
	word(&s.PrimaryReselect, v.PrimaryReselect)
	number(&s.ADActorSysPrio, v.ADActorSysPrio)
	number(&s.ResendIGMP, v.ResendIGMP)
	number(&s.LPInterval, v.LPInterval)
	number(&s.PacketsPerSlave, v.PacketsPerSlave)
	number(&s.NumPeerNotify, v.NumPeerNotif)
	number(&s.TLBDynamicLB, v.TLBLogicalLB)
	number(&s.MissedMax, v.MissedMax)
	if v.Primary != "" {
		s.Primary = d.Find(v.Primary)
	}
	for _, a := range v.ARPIPTargets {
		s.ARPIPTargets = append(s.ARPIPTargets, a.Addr)
	}
	for _, a := range v.NSIP6Targets {
		s.NSIP6Targets = append(s.NSIP6Targets, a.Addr)
	}
	return s
}
