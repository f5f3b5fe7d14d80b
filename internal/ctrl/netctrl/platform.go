package netctrl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// Container is what a container runtime has told the node by the time that it starts, before anything of it is replaced.
type Container struct {
	Hostname   string // of the UTS namespace, or the contents of /etc/hostname
	ResolvConf string // contents of /etc/resolv.conf
	SKU        string // what the machine is called, as "2CPU-2048RAM"; empty if nobody said
}

// Config returns what the runtime says, as that of a platform.
func (c Container) Config() network.PlatformConfig {
	out := network.PlatformConfig{Metadata: &runtime.PlatformMetadata{Platform: "container", Hostname: strings.TrimSpace(c.Hostname), InstanceType: c.SKU}}
	if name := out.Metadata.Hostname; name != "" {
		s := splitHostname(name)
		s.Layer = network.LayerPlatform
		out.Hostnames = []network.HostnameSpec{s}
	}
	servers, search := ParseResolvConf(c.ResolvConf)
	if len(servers)+len(search) > 0 {
		s := network.ResolverSpec{Layer: network.LayerPlatform, SearchDomains: search}
		for _, a := range servers {
			addServer(&s, network.NameServer{Addr: a})
		}
		out.Resolvers = []network.ResolverSpec{s}
	}
	return out
}

// ParseResolvConf returns the servers and the search domains of a resolv.conf(5). What it does not understand it leaves out.
// Servers with a zone, which is a link that may not be there, are left out, too.
func ParseResolvConf(text string) (servers []netip.Addr, search []string) {
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		words := strings.Fields(scan.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil && a.Zone() == "" && !slices.Contains(servers, a.Unmap()) {
				servers = append(servers, a.Unmap())
			}
		case "domain", "search": // of several the last one counts
			search = nil
			for _, w := range words[1:] {
				if w != "." {
					search = append(search, w)
				}
			}
		}
	}
	return servers, search
}

func platformConfig(c network.PlatformConfig) controller.Controller {
	return &pass{
		name: "network.PlatformConfigController", outputs: []controller.Output{controller.Exclusive[network.PlatformConfig]()},
		once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			if c.Metadata == nil {
				return nil
			}
			return put(ctx, rt, network.PlatformConfigActive, c)
		},
	}
}

// externalLink is the link of addresses that the node does not have itself.
const externalLink = "external"

// platformConfigApply makes wishes of what the platform says: as it says it now, or as it did at an earlier boot.
func platformConfigApply() controller.Controller {
	return &pass{
		name: "network.PlatformConfigApplyController", inputs: []controller.Input{controller.Weak[network.PlatformConfig]()},
		outputs: []controller.Output{
			wishes[network.AddressSpec](), wishes[network.LinkSpec](), wishes[network.RouteSpec](), wishes[network.HostnameSpec](),
			wishes[network.ResolverSpec](), wishes[network.TimeServerSpec](), wishes[network.OperatorSpec](), wishes[network.ProbeSpec](),
			controller.Shared[network.AddressStatus](), controller.Exclusive[runtime.PlatformMetadata](),
		},
		once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			c, ok, err := find[network.PlatformConfig](ctx, rt, network.PlatformConfigActive)
			if err == nil && !ok {
				c, ok, err = find[network.PlatformConfig](ctx, rt, network.PlatformConfigCached)
			}
			if err != nil || !ok {
				return err
			}
			return applyPlatform(ctx, rt, c)
		},
	}
}

func applyPlatform(ctx context.Context, rt controller.Runtime, c network.PlatformConfig) error {
	const layer = network.LayerPlatform
	errs := []error{
		each(ctx, rt, c.Addresses, func(s *network.AddressSpec) string {
			s.Layer = layer
			return AddressID(s.LinkName, s.Address.String())
		}),
		each(ctx, rt, c.Links, func(s *network.LinkSpec) string {
			s.Layer = layer
			return s.Name
		}),
		each(ctx, rt, c.Routes, func(s *network.RouteSpec) string {
			s.Layer = layer
			return routeID(s.Table, s.Family, s.Gateway, s.Destination, s.Priority)
		}),
		each(ctx, rt, c.Hostnames, func(s *network.HostnameSpec) string {
			s.Layer = layer
			return network.HostnameSpecID
		}),
		each(ctx, rt, c.Resolvers, func(s *network.ResolverSpec) string {
			s.Layer = layer
			return network.ResolverSpecID
		}),
		each(ctx, rt, c.TimeServers, func(s *network.TimeServerSpec) string {
			s.Layer = layer
			return network.TimeServerSpecID
		}),
		each(ctx, rt, c.Operators, func(s *network.OperatorSpec) string {
			s.Layer = layer
			return operatorID(*s)
		}),
		each(ctx, rt, c.Probes, func(s *network.ProbeSpec) string {
			s.Layer = layer
			return probeID(*s)
		}),
	}
	for _, a := range c.ExternalIPs {
		prefix := netip.PrefixFrom(a, a.BitLen())
		errs = append(errs, put(ctx, rt, AddressID(externalLink, prefix.String()), network.AddressStatus{
			Address: prefix, Local: a, LinkName: externalLink, Family: familyOf(a),
		}))
	}
	if c.Metadata != nil {
		errs = append(errs, put(ctx, rt, runtime.PlatformMetadataID, *c.Metadata))
	}
	return errors.Join(errs...)
}

// each writes wishes of the platform. Of several with one id the further ones get a number.
func each[S resource.Spec](ctx context.Context, rt controller.Runtime, list []S, id func(*S) string) error {
	seen := map[string]int{}
	for _, s := range list {
		name := id(&s)
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s/%d", name, seen[name])
		}
		if err := put(ctx, rt, network.LayeredID(network.LayerPlatform, name), s, state.In(network.ConfigNamespace)); err != nil {
			return err
		}
	}
	return nil
}
