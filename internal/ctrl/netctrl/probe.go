package netctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

func probeConfig() controller.Controller {
	return effective.Pass("network.ProbeConfigController", []controller.Output{wishes[network.ProbeSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			for name, s := range probeWishes(c.Set) {
				if err := wish(ctx, rt, s.Layer, name, s); err != nil {
					return err
				}
			}
			return nil
		})
}

func probeWishes(set schema.Set) map[string]network.ProbeSpec {
	out := map[string]network.ProbeSpec{}
	spec := func(c *netdoc.CommonProbe) network.ProbeSpec {
		return network.ProbeSpec{Interval: c.IntervalOrDefault(), FailureThreshold: int64(c.FailureThreshold), Layer: network.LayerMachineConfiguration}
	}
	for _, doc := range schema.All[*netdoc.TCPProbeConfig](set) {
		s := spec(&doc.CommonProbe)
		s.TCP = &network.TCPProbe{Endpoint: net.JoinHostPort(doc.Endpoint.Host, doc.Endpoint.Port), Timeout: doc.TimeoutOrDefault()}
		out[doc.Name] = s
	}
	for _, doc := range schema.All[*netdoc.HTTPProbeConfig](set) {
		s := spec(&doc.CommonProbe)
		s.HTTP = &network.HTTPProbe{URL: resource.URL{URL: *doc.URL.URL.URL}, Timeout: doc.TimeoutOrDefault()}
		out[doc.Name] = s
	}
	return out
}

// Prober carries out one probe.
type Prober interface {
	// Probe returns nil if what the probe asks answers as it should. ctx has the probe's deadline.
	Probe(ctx context.Context, s network.ProbeSpec) error
}

// NetProber is the [Prober] of the network.
type NetProber struct{}

// Probe implements [Prober].
func (NetProber) Probe(ctx context.Context, s network.ProbeSpec) error {
	switch {
	case s.TCP != nil:
		c, err := new(net.Dialer).DialContext(ctx, "tcp", s.TCP.Endpoint)
		if err != nil {
			return fmt.Errorf("probe %s: %w", s.TCP.Endpoint, reason(err))
		}
		return c.Close()
	case s.HTTP != nil:
		return probeHTTP(ctx, s.HTTP.URL.String())
	}
	return errors.New("probe nothing: the wish has neither tcp nor http")
}

func probeHTTP(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("probe %s: %w", url, err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true} // each probe proves the whole way
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("probe %s: %w", url, reason(err))
	}
	defer a.Body.Close()
	_, _ = io.CopyN(io.Discard, a.Body, 1024)
	if a.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("probe %s: it answers %s", url, a.Status)
	}
	return nil
}

// reason returns the cause of an error of package net, without the addresses of both ends: our port is another one each
// time, and the status would change with it.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}

// probes is the controller that runs each ProbeSpec on its own clock.
type probes struct {
	prober Prober
}

// Name implements [controller.Controller].
func (*probes) Name() string { return "network.ProbeController" }

// Inputs implements [controller.Controller].
func (*probes) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[network.ProbeSpec](), controller.DestroyReady[network.ProbeStatus]()}
}

// Outputs implements [controller.Controller].
func (*probes) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[network.ProbeStatus]()}
}

// verdict is what is known of a probe. The zero verdict is nothing.
type verdict struct {
	known    bool
	success  bool
	err      string
	failures int64 // in a row
}

// after returns the verdict after one more attempt. A probe that succeeded may fail as often as the threshold says; one that
// never did has failed at once.
func (v verdict) after(err error, threshold int64) verdict {
	if err == nil {
		return verdict{known: true, success: true}
	}
	v.failures++
	return verdict{known: true, success: v.success && v.failures <= threshold, err: err.Error(), failures: v.failures}
}

// attempt is one probe that runs.
type attempt struct {
	spec   network.ProbeSpec
	cancel context.CancelFunc
	mu     sync.Mutex
	last   verdict
}

// Run implements [controller.Controller].
func (p *probes) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := map[string]*attempt{}
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		list, err := controller.Running[network.ProbeSpec](ctx, rt)
		if err != nil {
			return err
		}
		wanted := map[string]network.ProbeSpec{}
		for _, r := range list {
			wanted[r.Metadata().ID()] = r.Spec()
		}
		for id, a := range all {
			if s, ok := wanted[id]; !ok || !reflect.DeepEqual(s, a.spec) {
				a.cancel()
				delete(all, id)
			}
		}
		for id, s := range wanted {
			if all[id] != nil {
				continue
			}
			each, stop := context.WithCancel(ctx)
			a := &attempt{spec: s, cancel: stop}
			all[id] = a
			wg.Go(func() { a.run(each, p.prober, rt.Wake) })
		}
		rt.TrackOutputs()
		for id, a := range all {
			a.mu.Lock()
			v := a.last
			a.mu.Unlock()
			if !v.known {
				continue
			}
			last, _, err := state.Find[network.ProbeStatus](ctx, rt, id)
			if err != nil {
				return err
			}
			if last.Success != v.success {
				log.Info("probe", "name", id, "success", v.success, "error", v.err)
			}
			if err := controller.Put(ctx, rt, id, network.ProbeStatus{Success: v.success, LastError: v.err}); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// run probes again and again until ctx ends, and tells of each change of the verdict.
func (a *attempt) run(ctx context.Context, p Prober, changed func()) {
	interval, timeout := max(a.spec.Interval, 100*time.Millisecond), 10*time.Second
	switch {
	case a.spec.TCP != nil && a.spec.TCP.Timeout > 0:
		timeout = a.spec.TCP.Timeout
	case a.spec.HTTP != nil && a.spec.HTTP.Timeout > 0:
		timeout = a.spec.HTTP.Timeout
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
		err := p.Probe(once, a.spec)
		cancel()
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		before := a.last
		a.last = before.after(err, a.spec.FailureThreshold)
		differs := a.last.known != before.known || a.last.success != before.success || a.last.err != before.err
		a.mu.Unlock()
		if differs {
			changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
