package dhcpctrl

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// operators is the controller that runs operators.
type operators struct {
	clients  Clients
	election Election
}

// Name implements [controller.Controller].
func (*operators) Name() string { return "network.OperatorSpecController" }

// Inputs implements [controller.Controller].
func (*operators) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.OperatorSpec](), controller.Weak[network.LinkStatus](), controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID),
	}
}

// Outputs implements [controller.Controller].
func (*operators) Outputs() []controller.Output {
	return []controller.Output{
		wishes[network.AddressSpec](), wishes[network.LinkSpec](), wishes[network.RouteSpec](), wishes[network.HostnameSpec](),
		wishes[network.ResolverSpec](), wishes[network.TimeServerSpec](),
	}
}

func wishes[S resource.Spec]() controller.Output {
	return controller.Shared[S]().In(network.ConfigNamespace)
}

// identity is what an operator belongs to: with another one it begins anew.
type identity struct {
	spec         network.OperatorSpec
	index        uint32
	hardwareAddr network.HardwareAddr
}

// running is an operator that runs.
type running struct {
	identity
	cancel context.CancelFunc
	wake   chan struct{} // holds one if the link came back
	up     bool          // the link was, when last looked at

	mu   sync.Mutex
	last offers
}

func (r *running) offer(o offers) {
	r.mu.Lock()
	r.last = o
	r.mu.Unlock()
}

func (r *running) offers() offers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// hostname is the machine's name, for whoever tells it to servers.
type hostname struct {
	mu   sync.Mutex
	name string
}

func (h *hostname) get() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.name
}

func (h *hostname) set(name string) {
	h.mu.Lock()
	h.name = name
	h.mu.Unlock()
}

// Run implements [controller.Controller].
func (c *operators) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all, name := map[string]*running{}, &hostname{}
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		host, _, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
		if err != nil {
			return err
		}
		name.set(host.Hostname)
		specs, err := controller.Running[network.OperatorSpec](ctx, rt)
		if err != nil {
			return err
		}
		wanted := map[string]bool{}
		for _, r := range specs {
			id, s := r.Metadata().ID(), r.Spec()
			link, there, err := state.Find[network.LinkStatus](ctx, rt, s.LinkName)
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			up := isUp(link)
			next := identity{s, link.Index, link.HardwareAddr}
			old := all[id]
			if old != nil && !reflect.DeepEqual(old.identity, next) {
				old.cancel()
				delete(all, id)
				old = nil
			}
			switch {
			case old != nil:
				wanted[id] = true
				if up && !old.up {
					select {
					case old.wake <- struct{}{}:
					default:
					}
				}
				old.up = up
			case up || !s.RequireUp:
				wanted[id] = true
				each, stop := context.WithCancel(ctx)
				r := &running{identity: next, cancel: stop, wake: make(chan struct{}, 1), up: up}
				all[id] = r
				wg.Go(func() { c.operate(each, r, name.get, rt.Wake, log) })
			}
		}
		for id, r := range all {
			if !wanted[id] {
				r.cancel()
				delete(all, id)
			}
		}
		// A restart of the controller would end all operators: whoever has an address keeps it, and writing is tried again.
		if err := write(ctx, rt, all); err != nil && ctx.Err() == nil {
			log.Warn("what operators offer is not written yet", "error", err)
			time.AfterFunc(time.Second, rt.Wake)
		}
		return nil
	})
}

func isUp(l network.LinkStatus) bool {
	return l.OperationalState == network.OperUp || l.OperationalState == network.OperUnknown && l.Flags&network.LinkUp != 0
}

// operate runs one operator until ctx ends.
func (c *operators) operate(ctx context.Context, r *running, name func() string, changed func(), log *slog.Logger) {
	subject := Subject{Link: r.spec.LinkName, HardwareAddr: slices.Clone(r.hardwareAddr), Hostname: name}
	offer := func(o offers) {
		r.offer(o)
		changed()
	}
	l := leased{spec: r.spec, log: log, publish: func(l *Lease) {
		if l == nil {
			offer(offers{})
		} else {
			offer(offersOf(r.spec, l))
		}
	}}
	switch {
	case r.spec.Operator == network.OperatorDHCP4 && r.spec.Dhcp4 != nil:
		l.client = c.clients.DHCP4(subject, *r.spec.Dhcp4)
		l.run(ctx, r.wake)
	case r.spec.Operator == network.OperatorDHCP6 && r.spec.Dhcp6 != nil:
		l.client = c.clients.DHCP6(subject, *r.spec.Dhcp6)
		l.run(ctx, r.wake)
	case r.spec.Operator == network.OperatorVIP && r.spec.VIP != nil:
		share(ctx, r.spec, c.election, offer, log)
	}
}

// write writes what all operators offer.
func write(ctx context.Context, rt controller.Runtime, all map[string]*running) error {
	rt.TrackOutputs()
	var errs []error
	for id, r := range all {
		o := r.offers()
		prefix := id + "/"
		for _, s := range o.addresses {
			errs = append(errs, put(ctx, rt, prefix+s.ID(), s))
		}
		for _, s := range o.links {
			errs = append(errs, put(ctx, rt, prefix+s.ID(), s))
		}
		for _, s := range o.routes {
			errs = append(errs, put(ctx, rt, prefix+s.ID(), s))
		}
		for _, s := range o.hostnames {
			errs = append(errs, put(ctx, rt, prefix+network.HostnameSpecID, s))
		}
		for _, s := range o.resolvers {
			errs = append(errs, put(ctx, rt, prefix+network.ResolverSpecID, s))
		}
		for _, s := range o.timeServers {
			errs = append(errs, put(ctx, rt, prefix+network.TimeServerSpecID, s))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return rt.CleanupOutputs(ctx)
}

func put[S resource.Spec](ctx context.Context, rt controller.Runtime, id string, s S) error {
	return controller.Put(ctx, rt, network.LayeredID(network.LayerOperator, id), s, state.In(network.ConfigNamespace))
}
