package netctrl

import (
	"context"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/resource/files"
	"talos.internal/resource/network"
	"talos.internal/state"
)

func status() controller.Controller {
	return controller.Pass{
		ControllerName: "network.StatusController",
		From: []controller.Input{
			controller.Weak[network.NodeAddress]().Named(network.NodeAddressCurrent), controller.Weak[network.RouteStatus](),
			controller.Weak[network.ProbeSpec](), controller.Weak[network.ProbeStatus](),
			controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID), controller.Weak[files.EtcFileStatus](),
		},
		To: []controller.Output{controller.Exclusive[network.Status]()},
		Once: func(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
			var facts readiness
			current, _, err := state.Find[network.NodeAddress](ctx, rt, network.NodeAddressCurrent)
			if err != nil {
				return err
			}
			facts.addresses = len(current.Addresses)
			routes, err := controller.Running[network.RouteStatus](ctx, rt)
			if err != nil {
				return err
			}
			for _, r := range routes {
				facts.routes = append(facts.routes, r.Spec())
			}
			probes, err := controller.Running[network.ProbeSpec](ctx, rt)
			if err != nil {
				return err
			}
			for _, p := range probes {
				s, _, err := state.Find[network.ProbeStatus](ctx, rt, p.Metadata().ID())
				if err != nil {
					return err
				}
				facts.probes = append(facts.probes, s.Success)
			}
			if _, facts.hostname, err = state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID); err != nil {
				return err
			}
			facts.files = true
			for _, name := range []string{etcHosts, etcResolvConf} {
				_, ok, err := state.Find[files.EtcFileStatus](ctx, rt, name)
				if err != nil {
					return err
				}
				facts.files = facts.files && ok
			}
			last, _, err := state.Find[network.Status](ctx, rt, network.StatusID)
			if err != nil {
				return err
			}
			next := facts.status()
			if next != last {
				log.Info("network", "address", next.AddressReady, "connectivity", next.ConnectivityReady, "hostname", next.HostnameReady, "etcFiles", next.EtcFilesReady)
			}
			return controller.Put(ctx, rt, network.StatusID, next)
		},
	}
}

// readiness are the facts that the network's status follows from.
type readiness struct {
	addresses int // that the node has
	routes    []network.RouteStatus
	probes    []bool // for each that is wanted, whether it succeeds
	hostname  bool
	files     bool
}

// status decides. Whoever wants probes means them: without, a default route has to do.
func (r readiness) status() network.Status {
	out := network.Status{AddressReady: r.addresses > 0, HostnameReady: r.hostname, EtcFilesReady: r.files}
	if len(r.probes) > 0 {
		out.ConnectivityReady = true
		for _, ok := range r.probes {
			out.ConnectivityReady = out.ConnectivityReady && ok
		}
		return out
	}
	for _, route := range r.routes {
		// A kernel without IPv6 to anywhere has a default route that is unreachable.
		if !route.Destination.IsValid() && route.Type == network.RouteTypeUnicast && route.Table == network.TableMain {
			out.ConnectivityReady = true
		}
	}
	return out
}
