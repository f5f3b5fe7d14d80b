package hostdnsctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// UpstreamController gives the resolver its servers, and says how they are.
type UpstreamController struct{ engine *engine }

// Name implements [controller.Controller].
func (*UpstreamController) Name() string { return "network.DNSUpstreamController" }

// Inputs implements [controller.Controller].
func (*UpstreamController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.HostDNSConfig]().Named(network.HostDNSConfigID),
		controller.Weak[network.ResolverStatus]().Named(network.ResolverStatusID),
		controller.DestroyReady[network.DNSUpstream](),
	}
}

// Outputs implements [controller.Controller].
func (*UpstreamController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[network.DNSUpstream]()}
}

// Run implements [controller.Controller].
func (c *UpstreamController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	defer c.engine.rest()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, _, err := state.Find[network.HostDNSConfig](ctx, rt, network.HostDNSConfigID)
		if err != nil {
			return err
		}
		status, _, err := state.Find[network.ResolverStatus](ctx, rt, network.ResolverStatusID)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		for _, u := range c.engine.use(serversOf(config, status), rt.Wake) {
			if err := state.Put(ctx, rt, u.id(), network.DNSUpstream{Healthy: u.is() == healthy, Addr: u.address()}); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// serversOf returns the servers that the resolver asks: each address once, and never itself.
func serversOf(c network.HostDNSConfig, r network.ResolverStatus) []network.NameServer {
	if !c.Enabled {
		return nil
	}
	seen := map[netip.Addr]bool{}
	for _, a := range c.ListenAddresses {
		seen[a.Addr()] = true
	}
	var out []network.NameServer
	for _, n := range r.NameServers {
		if !seen[n.Addr] {
			seen[n.Addr] = true
			out = append(out, n)
		}
	}
	return out
}

// CacheController has the resolver listen, and tells it the names that need no server.
type CacheController struct{ engine *engine }

// Name implements [controller.Controller].
func (*CacheController) Name() string { return "network.DNSResolveCacheController" }

// Inputs implements [controller.Controller].
func (*CacheController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.HostDNSConfig]().Named(network.HostDNSConfigID),
		controller.Weak[network.StaticHost](), controller.Weak[cluster.Member](),
		controller.DestroyReady[network.DNSResolveCache](),
	}
}

// Outputs implements [controller.Controller].
func (*CacheController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[network.DNSResolveCache]()}
}

// Run implements [controller.Controller].
func (c *CacheController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	running := map[string]*listener{}
	defer func() {
		for _, l := range running {
			l.stop()
		}
	}()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, _, err := state.Find[network.HostDNSConfig](ctx, rt, network.HostDNSConfigID)
		if err != nil {
			return err
		}
		hosts, err := hostsOf(ctx, rt, config.ResolveMemberNames)
		if err != nil {
			return err
		}
		c.engine.know(hosts)
		wanted := map[string]bool{}
		var failed []error
		rt.TrackOutputs()
		if config.Enabled {
			for _, a := range config.ListenAddresses {
				for _, proto := range []string{"udp", "tcp"} {
					id := proto + "-" + a.String()
					wanted[id] = true
					if l, ok := running[id]; ok && !l.ended() {
						continue
					}
					l, err := listen(ctx, proto, a, c.engine, log, rt.Wake)
					if err != nil {
						failed = append(failed, err)
						continue
					}
					running[id] = l
				}
			}
		}
		for _, id := range slices.Sorted(maps.Keys(running)) {
			if !wanted[id] || running[id].ended() {
				running[id].stop()
				delete(running, id)
				continue
			}
			if err := state.Put(ctx, rt, id, network.DNSResolveCache{Status: "running"}); err != nil {
				return err
			}
		}
		if err := rt.CleanupOutputs(ctx); err != nil {
			return err
		}
		if len(failed) == 0 {
			return nil
		}
		// The others go on; what is lacking, an address most likely, is tried again.
		err = errors.Join(failed...)
		log.Warn("the resolver does not listen everywhere yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
			rt.Wake()
		}
		return nil
	})
}

// listenRetry is when an address that was not there is tried again.
const listenRetry = time.Second

// hostsOf returns the addresses of the names that need no server.
func hostsOf(ctx context.Context, rt controller.Runtime, members bool) (map[string][]netip.Addr, error) {
	out := map[string][]netip.Addr{}
	add := func(name string, addresses []netip.Addr) {
		if name = strings.TrimSuffix(strings.ToLower(name), "."); name == "" {
			return
		}
		for _, a := range addresses {
			if !slices.Contains(out[name+"."], a) {
				out[name+"."] = append(out[name+"."], a)
			}
		}
	}
	static, err := state.List[network.StaticHost](ctx, rt)
	if err != nil {
		return nil, err
	}
	for _, r := range static {
		add(r.Metadata().ID(), r.Spec().Addresses)
	}
	if !members {
		return out, nil
	}
	list, err := state.List[cluster.Member](ctx, rt)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.Metadata().Phase() != resource.Running {
			continue
		}
		full := r.Spec().Hostname
		short, _, _ := strings.Cut(full, ".")
		for _, name := range []string{r.Metadata().ID(), full, short} {
			add(name, r.Spec().Addresses)
		}
	}
	return out, nil
}

// listener is one address with one protocol.
type listener struct {
	server *dns.Server
	done   sync.WaitGroup
	over   chan struct{}
}

// listen begins to answer at an address.
func listen(ctx context.Context, proto string, at netip.AddrPort, h dns.Handler, log *slog.Logger, ended func()) (*listener, error) {
	l := &listener{over: make(chan struct{}), server: &dns.Server{
		Handler: h, UDPSize: udpSize, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		IdleTimeout: func() time.Duration { return 10 * time.Second },
	}}
	var err error
	if proto == "udp" {
		l.server.PacketConn, err = (&net.ListenConfig{}).ListenPacket(ctx, proto, at.String())
	} else {
		l.server.Listener, err = (&net.ListenConfig{}).Listen(ctx, proto, at.String())
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s %s: %w", proto, at, err)
	}
	started := make(chan struct{})
	l.server.NotifyStartedFunc = func() { close(started) }
	l.done.Go(func() {
		defer ended()
		defer close(l.over)
		if err := l.server.ActivateAndServe(); err != nil {
			log.Warn("the resolver no longer listens", "protocol", proto, "address", at, "error", err)
		}
	})
	select {
	case <-started:
	case <-l.over:
	}
	return l, nil
}

func (l *listener) ended() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// stop ends it; answers that are under way are still given.
func (l *listener) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit+time.Second)
	defer cancel()
	_ = l.server.ShutdownContext(ctx) // an error says that it has ended already, or that it took too long
	l.done.Wait()
}
