package netctrl

import (
	"context"
	"log/slog"
	"net/netip"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

func resolverConfig(cmdline []network.ResolverSpec) controller.Controller {
	return effective.Pass("network.ResolverConfigController", []controller.Output{wishes[network.ResolverSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			var doc *netdoc.ResolverConfig
			if c != nil {
				doc, _ = schema.Find[*netdoc.ResolverConfig](c.Set)
			}
			host, _, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
			if err != nil {
				return err
			}
			for _, s := range append(resolverWishes(doc, host.Domainname), cmdline...) {
				if err := wish(ctx, rt, s.Layer, network.ResolverSpecID, s); err != nil {
					return err
				}
			}
			return nil
		}, controller.Weak[network.HostnameStatus]())
}

// defaultResolvers are asked if nobody names others.
var defaultResolvers = []string{"1.1.1.1", "8.8.8.8"}

// resolverWishes is what there is without a config, and what the config wants. The domain of the machine is searched last,
// unless the config says no; then its list of domains counts even if it is empty.
func resolverWishes(doc *netdoc.ResolverConfig, domain string) []network.ResolverSpec {
	var search netdoc.SearchDomains
	if doc != nil && doc.SearchDomains != nil {
		search = *doc.SearchDomains
	}
	own := []string{}
	if domain != "" && !search.DisableDefault {
		own = append(own, domain)
	}
	base := network.ResolverSpec{Layer: network.LayerDefault, SearchDomains: own}
	for _, a := range defaultResolvers {
		addServer(&base, network.NameServer{Addr: netip.MustParseAddr(a)})
	}
	out := []network.ResolverSpec{base}
	if doc == nil {
		return out
	}
	s := network.ResolverSpec{Layer: network.LayerMachineConfiguration, SearchDomainsOverridden: search.DisableDefault}
	for _, n := range doc.Nameservers {
		protocol := network.DNSDo53
		switch n.Protocol {
		case netdoc.DoT:
			protocol = network.DNSDoT
		case netdoc.DoH:
			protocol = network.DNSDoH
		}
		addServer(&s, network.NameServer{Addr: n.Address.Addr, Protocol: protocol, TLSServerName: n.TLSServerName})
	}
	if len(search.Domains) > 0 {
		s.SearchDomains = union(search.Domains, own)
	}
	if len(s.NameServers) > 0 || len(s.SearchDomains) > 0 || s.SearchDomainsOverridden {
		out = append(out, s)
	}
	return out
}

// addServer adds a server, and its address for readers that know no more.
func addServer(s *network.ResolverSpec, n network.NameServer) {
	s.NameServers = append(s.NameServers, n)
	s.DNSServers = append(s.DNSServers, n.Addr)
}

func resolverSpec() controller.Controller {
	return controller.Transform[network.ResolverSpec, network.ResolverStatus]{
		ControllerName: "network.ResolverSpecController",
		Reconcile: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[network.ResolverSpec], _ *resource.Metadata, out *network.ResolverStatus) error {
			s := in.Spec()
			*out = network.ResolverStatus{DNSServers: s.DNSServers, NameServers: s.NameServers, SearchDomains: s.SearchDomains}
			return nil
		},
	}
}

func timeServerConfig(cmdline []network.TimeServerSpec) controller.Controller {
	return effective.Pass("network.TimeServerConfigController", []controller.Output{wishes[network.TimeServerSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			var doc *netdoc.TimeSyncConfig
			if c != nil {
				doc, _ = schema.Find[*netdoc.TimeSyncConfig](c.Set)
			}
			for _, s := range append(timeServerWishes(doc), cmdline...) {
				if err := wish(ctx, rt, s.Layer, network.TimeServerSpecID, s); err != nil {
					return err
				}
			}
			return nil
		})
}

// defaultTimeServer is asked if nobody names another.
const defaultTimeServer = "time.cloudflare.com"

func timeServerWishes(doc *netdoc.TimeSyncConfig) []network.TimeServerSpec {
	out := []network.TimeServerSpec{{Layer: network.LayerDefault, Servers: []string{defaultTimeServer}}}
	s := network.TimeServerSpec{Layer: network.LayerMachineConfiguration}
	switch {
	case doc == nil:
	case doc.PTP != nil:
		s.Servers = doc.PTP.Devices
	case doc.NTP != nil:
		s.Servers, s.UseNTS = doc.NTP.Servers, doc.NTP.UseNTS
	}
	if len(s.Servers) > 0 {
		out = append(out, s)
	}
	return out
}

func timeServerSpec() controller.Controller {
	return controller.Transform[network.TimeServerSpec, network.TimeServerStatus]{
		ControllerName: "network.TimeServerSpecController",
		Reconcile: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[network.TimeServerSpec], _ *resource.Metadata, out *network.TimeServerStatus) error {
			s := in.Spec()
			*out = network.TimeServerStatus{Servers: s.Servers, UseNTS: s.UseNTS}
			return nil
		},
	}
}
