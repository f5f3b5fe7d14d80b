package dhcpctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"talos.internal/internal/netconf"
	"talos.internal/resource/network"
)

const (
	// firstRetry and lastRetry are the pauses between attempts to get a lease; they double from one to the other. A machine that
	// has no address is good for nothing, so it asks often.
	firstRetry, lastRetry = time.Second, 32 * time.Second
	// leastRetry is the shortest pause between attempts to extend a lease (RFC 2131 section 4.4.5).
	leastRetry = time.Minute
	// shortest is the shortest lease that counts: a server that gives less would have us ask without end.
	shortest = 30 * time.Second
)

// leased is an operator that lives by a lease.
type leased struct {
	spec    network.OperatorSpec
	client  Client
	publish func(*Lease) // nil takes back what was offered
	log     *slog.Logger
}

// run keeps a lease until ctx ends. wake says that the link came back: whether the lease still counts there has to be asked.
func (o *leased) run(ctx context.Context, wake <-chan struct{}) {
	for ctx.Err() == nil {
		l, asked, ok := o.acquire(ctx, wake)
		if !ok {
			return
		}
		o.log.Info("a lease is there", "operator", o.spec.ID(), "addresses", l.text(), "server", l.Server, "for", l.Expire)
		o.publish(l)
		why := o.keep(ctx, wake, l, asked)
		o.publish(nil)
		if why != nil {
			o.log.Warn("the lease is lost", "operator", o.spec.ID(), "addresses", l.text(), "why", why)
		}
	}
}

func (l *Lease) text() string {
	var out []string
	for _, a := range l.Addresses {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// pause waits for d, about: machines that start together do not ask together. It reports whether it was woken, and false for ok when ctx
// has ended.
func pause(ctx context.Context, wake <-chan struct{}, d time.Duration) (woken, ok bool) {
	timer := time.NewTimer(d - d/8 + rand.N(d/4+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-wake:
		return true, ctx.Err() == nil
	case <-timer.C:
		return false, ctx.Err() == nil
	}
}

// acquire asks until there is a lease, and returns it with the time at which it was asked for.
func (o *leased) acquire(ctx context.Context, wake <-chan struct{}) (l *Lease, asked time.Time, ok bool) {
	retry, said := firstRetry, ""
	for ctx.Err() == nil {
		asked = time.Now()
		l, err := o.client.Acquire(ctx)
		if err == nil {
			return l, asked, true
		}
		if ctx.Err() != nil {
			break
		}
		if text := err.Error(); text != said {
			said = text
			o.log.Warn("no lease yet", "operator", o.spec.ID(), "error", err)
		}
		woken, ok := pause(ctx, wake, retry)
		if !ok {
			break
		}
		if retry = min(2*retry, lastRetry); woken {
			retry = firstRetry
		}
	}
	return nil, asked, false
}

// times returns when a lease has to be renewed, rebound and given up, after it was asked for. What the server left out or has in a
// wrong order is half and seven eighths of the whole (RFC 2131 section 4.4.5). Zero is never.
func (l *Lease) times() (renew, rebind, expire time.Duration) {
	if l.Expire == 0 {
		return 0, 0, 0
	}
	expire = max(l.Expire, shortest)
	renew, rebind = l.Renew, l.Rebind
	if rebind <= 0 || rebind >= expire {
		rebind = expire * 7 / 8
	}
	if renew <= 0 || renew >= rebind {
		renew = min(expire/2, rebind)
	}
	return renew, rebind, expire
}

// keep extends a lease until it is lost, and says why it is; nil means that ctx has ended.
func (o *leased) keep(ctx context.Context, wake <-chan struct{}, l *Lease, asked time.Time) error {
	var last error
	for {
		renew, rebind, expire := l.times()
		age := time.Since(asked)
		left := expire - age
		if expire != 0 && left <= 0 {
			return fmt.Errorf("it has expired, and nobody extended it: %w", last)
		}
		// The next attempt: at the time of the server, then halfway to the next one, and never more than once a minute.
		var wait time.Duration
		switch {
		case expire == 0:
			wait = 1<<63 - 1
		case age < renew:
			wait = renew - age
		case age < rebind:
			wait = min(max((rebind-age)/2, leastRetry), left)
		default:
			wait = min(max(left/2, leastRetry), left)
		}
		woken, ok := o.sleep(ctx, wake, wait)
		if !ok {
			return nil
		}
		if expire != 0 && time.Since(asked) >= expire {
			return fmt.Errorf("it has expired, and nobody extended it: %w", last)
		}
		began := time.Now()
		next, err := o.client.Extend(ctx, l, woken || expire != 0 && time.Since(asked) >= rebind)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrRefused):
			return err
		case err != nil:
			last = err
			o.log.Warn("the lease is not extended yet", "operator", o.spec.ID(), "error", err)
		default:
			if l, asked, last = next, began, nil; woken {
				o.log.Info("the lease is confirmed", "operator", o.spec.ID(), "addresses", l.text())
			}
			o.publish(l)
		}
	}
}

// sleep is pause without chance: servers say when to ask.
func (o *leased) sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) (woken, ok bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-wake:
		return true, ctx.Err() == nil
	case <-timer.C:
		return false, ctx.Err() == nil
	}
}

// offers are wishes of an operator.
type offers struct {
	addresses   []network.AddressSpec
	links       []network.LinkSpec
	routes      []network.RouteSpec
	hostnames   []network.HostnameSpec
	resolvers   []network.ResolverSpec
	timeServers []network.TimeServerSpec
}

// offersOf returns what a lease comes to for the operator that has it.
func offersOf(s network.OperatorSpec, l *Lease) offers {
	const layer = network.LayerOperator
	var out offers
	var metric uint32
	var skipName, skipRoutes bool
	switch {
	case s.Dhcp4 != nil:
		metric, skipName, skipRoutes = s.Dhcp4.RouteMetric, s.Dhcp4.SkipHostnameRequest, s.Dhcp4.SkipRoutes
	case s.Dhcp6 != nil:
		metric, skipName = s.Dhcp6.RouteMetric, s.Dhcp6.SkipHostnameRequest
	}
	for _, a := range l.Addresses {
		out.addresses = append(out.addresses, netconf.Address(layer, s.LinkName, a))
	}
	if l.MTU != 0 {
		out.links = append(out.links, network.LinkSpec{Name: s.LinkName, Up: true, MTU: l.MTU, Layer: layer})
	}
	if !skipRoutes {
		for _, r := range l.Routes {
			next := netconf.Route(layer, s.LinkName, r.Destination, r.Gateway, metric)
			next.Protocol = network.RouteProtocolDHCP
			for _, a := range l.Addresses {
				if a.Addr().Is4() == r.Destination.Addr().Is4() && !next.Source.IsValid() {
					next.Source = a.Addr()
				}
			}
			out.routes = append(out.routes, next)
		}
	}
	host, domain, _ := strings.Cut(strings.TrimSuffix(l.Hostname, "."), ".")
	if domain == "" {
		domain = l.Domain
	}
	if host != "" && !skipName {
		out.hostnames = append(out.hostnames, network.HostnameSpec{Hostname: host, Domainname: domain, Layer: layer})
	}
	if len(l.Servers)+len(l.Search) > 0 {
		r := network.ResolverSpec{DNSServers: l.Servers, SearchDomains: l.Search, Layer: layer}
		for _, a := range l.Servers {
			r.NameServers = append(r.NameServers, network.NameServer{Addr: a})
		}
		out.resolvers = append(out.resolvers, r)
	}
	if len(l.TimeServers) > 0 {
		out.timeServers = append(out.timeServers, network.TimeServerSpec{Servers: l.TimeServers, Layer: layer})
	}
	return out
}
