package discoveryctrl

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/discovery"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// rawPrefix stands before the node id in the ids of what this source knows.
const rawPrefix = "service/"

// DiscoveryServiceController tells others what this machine is, and writes down what they say they are.
//
// A machine that is silent stays, with a mark that it is gone: only its own leaving, an operator who forgets it, or half an hour in which
// no service has it takes it out. When this machine is cut off, the others are suspect, none of them gone.
type DiscoveryServiceController struct {
	Door    *Door
	Version string
	Dial    func(ctx context.Context, address string) (net.Conn, error)
}

// Name implements [controller.Controller].
func (*DiscoveryServiceController) Name() string { return "cluster.DiscoveryServiceController" }

// Inputs implements [controller.Controller].
func (*DiscoveryServiceController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[cluster.DiscoveryConfig]().Named(cluster.DiscoveryConfigID),
		controller.Weak[cluster.Identity]().Named(cluster.IdentityID),
		controller.Weak[cluster.Affiliate](),
		controller.Weak[cluster.Member](),
		controller.Weak[kube.Endpoint](),
		controller.Weak[secrets.OSRoot]().Named(secrets.OSRootID),
	}
}

// Outputs implements [controller.Controller].
func (*DiscoveryServiceController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[cluster.Affiliate]().In(cluster.RawNamespace)}
}

// Run implements [controller.Controller].
func (c *DiscoveryServiceController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	s := &service{c: c, rt: rt, log: log}
	defer s.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case err := <-s.ended():
			s.running = nil
			c.Door.set(nil)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it ended because it was to
			}
			return fmt.Errorf("discovery client: %w", err)
		}
		if err := s.reconcile(ctx); err != nil {
			return err
		}
		rt.ResetBackoff()
	}
}

// who is what a client is made for. When it changes there is another client.
type who struct{ nodeID, clusterID, secret string }

// service is the work of one Run.
type service struct {
	c   *DiscoveryServiceController
	rt  controller.Runtime
	log *slog.Logger

	running   *running // nil while there is no client
	heard     bool     // a server has answered since the client was started
	forgotten bool
	problem   string                         // what was last logged of a config or an affiliate that is of no use
	states    map[string]cluster.MemberState // by node id, as last written
	healthy   map[string]bool                // servers by address, as last logged

	roots []byte // the PEM that tls was made of
	tls   map[server]*tls.Config
}

// running is a client at work.
type running struct {
	who    who
	client *discovery.Client
	cancel context.CancelFunc
	done   chan error // one error when it has ended
}

func (s *service) ended() <-chan error {
	if s.running == nil {
		return nil
	}
	return s.running.done
}

// stop ends the client, and waits for it. It does not leave the cluster: the machine is expected back.
func (s *service) stop() {
	if s.running == nil {
		return
	}
	s.c.Door.set(nil)
	s.running.cancel()
	<-s.running.done
	s.running = nil
}

// start makes a client for w, with one goroutine that runs it and one that wakes the controller.
func (s *service) start(ctx context.Context, w who) error {
	client, err := discovery.New(discovery.Options{
		ClusterID: w.clusterID, Secret: []byte(w.secret), NodeID: w.nodeID, Version: s.c.Version, Dial: s.c.Dial,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &running{who: w, client: client, cancel: cancel, done: make(chan error, 1)}
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		for v := uint64(0); ; s.rt.Wake() {
			view, err := client.Next(ctx, v)
			if err != nil {
				return // ctx has ended
			}
			v = view.Revision
		}
	}()
	go func() {
		err := client.Run(ctx)
		cancel()
		<-woken
		r.done <- err
	}()
	s.running, s.heard, s.forgotten, s.states, s.healthy = r, false, false, map[string]cluster.MemberState{}, map[string]bool{}
	s.c.Door.set(client)
	return nil
}

func (s *service) reconcile(ctx context.Context) error {
	config, err := state.Lookup[cluster.DiscoveryConfig](ctx, s.rt, cluster.DiscoveryConfigID)
	if err != nil {
		return err
	}
	identity, err := state.Lookup[cluster.Identity](ctx, s.rt, cluster.IdentityID)
	if err != nil {
		return err
	}
	if config == nil || !config.DiscoveryEnabled || identity == nil {
		s.stop()
		s.rt.TrackOutputs()
		return s.rt.CleanupOutputs(ctx)
	}
	w := who{identity.NodeID, config.ServiceClusterID, string(config.ServiceEncryptionKey)}
	if s.running != nil && s.running.who != w {
		s.stop()
	}
	if s.running == nil {
		if err := s.start(ctx, w); err != nil {
			return err
		}
	}
	servers, root, err := s.servers(ctx, *config)
	if err != nil {
		return err
	}
	self, err := state.Lookup[cluster.Affiliate](ctx, s.rt, w.nodeID)
	if err != nil {
		return err
	}
	s.tell(s.apply(servers, root, self))
	return s.write(ctx, s.running.client.View())
}

// apply tells the client where to register, and what this machine is. What cannot be used is no reason to stop a client that works
// with what it was told before.
func (s *service) apply(servers []server, root *secrets.OSRoot, self *cluster.Affiliate) error {
	list, err := s.withCredentials(servers, root)
	if err == nil {
		err = s.running.client.SetServers(list)
	}
	if self == nil {
		return err
	}
	return errors.Join(err, s.running.client.Publish(nodeOf(*self)))
}

// tell logs what is wrong, once.
func (s *service) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != s.problem {
		s.log.Error("discovery goes on with what it had before", "error", text)
	}
	s.problem = text
}

// servers returns where to register, and what the credentials for that are made from, nil if it is not there yet.
func (s *service) servers(ctx context.Context, config cluster.DiscoveryConfig) ([]server, *secrets.OSRoot, error) {
	list, err := state.List[cluster.Member](ctx, s.rt)
	if err != nil {
		return nil, nil, err
	}
	var members []cluster.Member
	for _, m := range list {
		members = append(members, m.Spec())
	}
	known, err := state.List[kube.Endpoint](ctx, s.rt)
	if err != nil {
		return nil, nil, err
	}
	endpoints := map[string]kube.Endpoint{}
	for _, e := range known {
		endpoints[e.Metadata().ID()] = e.Spec()
	}
	root, err := state.Lookup[secrets.OSRoot](ctx, s.rt, secrets.OSRootID)
	return serversOf(config, members, endpoints), root, err
}

// withCredentials says how servers are reached and what they are shown. Those of the control plane are left out as long as the machine
// has no authorities and no token. Equal servers get the same TLS config, by which the client knows that nothing changed.
func (s *service) withCredentials(servers []server, root *secrets.OSRoot) ([]discovery.Server, error) {
	var pem []byte
	if root != nil {
		for _, ca := range root.AcceptedCAs {
			pem = append(append(pem, ca.Crt...), '\n')
		}
	}
	old := s.tls
	if !bytes.Equal(pem, s.roots) {
		old = nil
	}
	s.roots, s.tls = pem, map[server]*tls.Config{}
	var pool *x509.CertPool
	var out []discovery.Server
	for _, v := range servers {
		d := discovery.Server{Address: v.address, External: v.external, NodeID: v.nodeID}
		if !v.external {
			if root == nil || root.Token == "" || len(root.AcceptedCAs) == 0 {
				continue
			}
			d.Token = root.Token
		}
		if !v.insecure {
			d.TLS = old[v]
			if d.TLS == nil {
				d.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: v.host}
				if !v.external {
					if pool == nil {
						certs, err := secret.ParseCertificates(pem)
						if err != nil {
							return nil, fmt.Errorf("authorities that are accepted: %w", err)
						}
						pool = x509.NewCertPool()
						for _, c := range certs {
							pool.AddCert(c)
						}
					}
					d.TLS.MinVersion, d.TLS.RootCAs = tls.VersionTLS13, pool
				}
			}
			s.tls[v] = d.TLS
		}
		out = append(out, d)
	}
	return out, nil
}

// write brings the affiliates to what the client sees.
func (s *service) write(ctx context.Context, v *discovery.View) error {
	if v.Forgotten && !s.forgotten {
		s.log.Error("this machine was forgotten by an operator while it ran: the others do not hear of it any more; reboot it to join again, or reset it")
	}
	s.forgotten = v.Forgotten
	s.logServers(v.Servers)
	s.rt.TrackOutputs()
	var ids []string
	for _, m := range v.Members {
		if m.Self {
			continue
		}
		a := affiliateOf(m)
		_, err := state.Modify(ctx, s.rt, rawPrefix+m.ID, func(_ *resource.Metadata, out *cluster.Affiliate) error {
			*out = a
			return nil
		}, state.In(cluster.RawNamespace))
		if err != nil {
			return err
		}
		s.logState(a)
		ids = append(ids, m.ID)
	}
	if !s.heard {
		return nil // what an earlier client knew is better than nothing
	}
	for id := range s.states {
		if !slices.Contains(ids, id) {
			s.log.Info("a machine is no longer in the cluster", "id", id)
			delete(s.states, id)
		}
	}
	return s.rt.CleanupOutputs(ctx)
}

// logState says when a machine goes, and when it comes.
func (s *service) logState(a cluster.Affiliate) {
	was, known := s.states[a.NodeID]
	switch {
	case a.State == cluster.MemberGone && was != a.State:
		s.log.Warn("a machine of the cluster is gone", "name", a.Hostname, "id", a.NodeID)
	case a.State == cluster.MemberAlive && (!known || was == cluster.MemberGone):
		s.log.Info("a machine of the cluster is there", "name", a.Hostname, "id", a.NodeID)
	case a.State == cluster.MemberSuspect:
		return // it is there or gone in a moment; for the log it is what it was
	}
	s.states[a.NodeID] = a.State
}

// logServers says when a server answers, and when it does not any more.
func (s *service) logServers(servers []discovery.ServerStatus) {
	for _, v := range servers {
		if v.Healthy == s.healthy[v.Address] {
			continue
		}
		s.healthy[v.Address] = v.Healthy
		if v.Healthy {
			s.heard = true
			s.log.Info("registered with a discovery server", "address", v.Address)
		} else {
			s.log.Warn("a discovery server does not answer any more", "address", v.Address, "error", v.LastError)
		}
	}
}
