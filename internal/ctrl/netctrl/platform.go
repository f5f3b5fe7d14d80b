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
	"sync"

	"talos.internal/controller"
	"talos.internal/internal/netconf"
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

// platformConfig is the controller that writes what the platform says. A seed may mean links by what they are: it is read anew whenever
// there are other links.
type platformConfig struct {
	platform network.PlatformConfig
	seed     func(context.Context) (netconf.Seed, error)
	cmdline  error // what of the command line cannot be read; said once

	mu   sync.Mutex
	have *netconf.Seed // nil until the platform has spoken
	said string
}

// Name implements [controller.Controller].
func (*platformConfig) Name() string { return "network.PlatformConfigController" }

// Inputs implements [controller.Controller].
func (p *platformConfig) Inputs() []controller.Input {
	own := controller.DestroyReady[network.PlatformConfig]()
	if p.seed == nil {
		return []controller.Input{own}
	}
	return []controller.Input{own, controller.Weak[network.LinkStatus]()}
}

// Outputs implements [controller.Controller].
func (*platformConfig) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[network.PlatformConfig]()}
}

// Run implements [controller.Controller].
func (p *platformConfig) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if p.cmdline != nil {
		log.Warn("a part of the kernel's command line does not count", "why", p.cmdline)
		p.cmdline = nil
	}
	return controller.Watched(ctx, rt, p.wait, func(ctx context.Context) error {
		c, err := p.config(ctx, rt, log)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c.Metadata != nil {
			if err := controller.Put(ctx, rt, network.PlatformConfigActive, c); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// wait waits for the platform's word, once, and then for the end.
func (p *platformConfig) wait(ctx context.Context, changed func()) error {
	if p.seed != nil && p.known() == nil {
		s, err := p.seed(ctx)
		if err != nil {
			return fmt.Errorf("wait for the platform's network config: %w", err)
		}
		p.mu.Lock()
		p.have = &s
		p.mu.Unlock()
		changed()
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (p *platformConfig) known() *netconf.Seed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have
}

func (p *platformConfig) config(ctx context.Context, rt controller.Runtime, log *slog.Logger) (network.PlatformConfig, error) {
	seed := p.known()
	if seed == nil {
		return p.platform, nil
	}
	list, err := controller.Running[network.LinkStatus](ctx, rt)
	if err != nil {
		return p.platform, err
	}
	var links []netconf.Link
	for _, r := range list {
		if netconf.Physical(r.Spec()) {
			links = append(links, netconf.LinkOf(r.Metadata().ID(), r.Spec()))
		}
	}
	c, err := seed.Config(links)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != p.said {
		if p.said = text; text != "" {
			log.Error("a part of what the platform says does not count", "why", text)
		}
	}
	return c, nil
}

// externalLink is the link of addresses that the node does not have itself.
const externalLink = "external"

// platformConfigApply makes wishes of what the platform says: as it says it now, or as it did at an earlier boot.
func platformConfigApply() controller.Controller {
	return controller.Pass{
		ControllerName: "network.PlatformConfigApplyController", From: []controller.Input{controller.Weak[network.PlatformConfig]()},
		To: []controller.Output{
			wishes[network.AddressSpec](), wishes[network.LinkSpec](), wishes[network.RouteSpec](), wishes[network.HostnameSpec](),
			wishes[network.ResolverSpec](), wishes[network.TimeServerSpec](), wishes[network.OperatorSpec](), wishes[network.ProbeSpec](),
			controller.Shared[network.AddressStatus](), controller.Exclusive[runtime.PlatformMetadata](),
		},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			c, ok, err := state.Find[network.PlatformConfig](ctx, rt, network.PlatformConfigActive)
			if err == nil && !ok {
				c, ok, err = state.Find[network.PlatformConfig](ctx, rt, network.PlatformConfigCached)
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
			return s.ID()
		}),
		each(ctx, rt, c.Links, func(s *network.LinkSpec) string {
			s.Layer = layer
			return s.Name
		}),
		each(ctx, rt, c.Routes, func(s *network.RouteSpec) string {
			s.Layer = layer
			return s.ID()
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
			return s.ID()
		}),
		each(ctx, rt, c.Probes, func(s *network.ProbeSpec) string {
			s.Layer = layer
			return probeID(*s)
		}),
	}
	for _, a := range c.ExternalIPs {
		prefix := netip.PrefixFrom(a, a.BitLen())
		errs = append(errs, controller.Put(ctx, rt, network.AddressID(externalLink, prefix), network.AddressStatus{
			Address: prefix, Local: a, LinkName: externalLink, Family: familyOf(a),
		}))
	}
	if c.Metadata != nil {
		errs = append(errs, controller.Put(ctx, rt, runtime.PlatformMetadataID, *c.Metadata))
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
		if err := controller.Put(ctx, rt, network.LayeredID(network.LayerPlatform, name), s, state.In(network.ConfigNamespace)); err != nil {
			return err
		}
	}
	return nil
}
