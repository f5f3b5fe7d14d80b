package etcdctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/etcd"
	"talos.internal/resource/kube"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// ServiceController runs etcd.
type ServiceController struct {
	Services   Services
	Client     *container.Client
	Door       *Door
	Conditions []supervise.Condition
	PKI        string
	Cgroup     string
	Operator   etcdop.Operator

	mu        sync.Mutex
	spec      etcd.Spec
	endpoints []string // of other members
}

// endpointInputs are the inputs of endpointsOf.
func endpointInputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.Endpoint](),
		controller.Weak[network.NodeAddress]().Named(network.NodeAddressCurrent),
	}
}

// endpointsOf returns where members of etcd may be: at the addresses of the control plane, as far as any source knows them, but for
// this node's own.
func endpointsOf(ctx context.Context, st state.Reader) ([]string, error) {
	list, err := state.List[kube.Endpoint](ctx, st)
	if err != nil {
		return nil, err
	}
	own, _, err := state.Find[network.NodeAddress](ctx, st, network.NodeAddressCurrent)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, r := range list {
		for _, a := range r.Spec().Addresses {
			all[etcdop.Endpoint(a)] = true
		}
	}
	for _, p := range own.Addresses {
		delete(all, etcdop.Endpoint(p.Addr()))
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// Name implements [controller.Controller].
func (*ServiceController) Name() string { return "etcd.ServiceController" }

// Inputs implements [controller.Controller].
func (*ServiceController) Inputs() []controller.Input {
	return append(endpointInputs(),
		controller.Weak[etcd.Spec]().Named(etcd.SpecID),
		controller.Weak[etcd.PKIStatus]().Named(etcd.PKIStatusID),
	)
}

// Outputs implements [controller.Controller].
func (*ServiceController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *ServiceController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	err := controller.Loop(ctx, rt, func(ctx context.Context) error { return c.reconcile(ctx, rt, log) })
	if errors.Is(err, supervise.ErrShutdown) {
		return nil
	}
	return err
}

func (c *ServiceController) reconcile(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	spec, wanted, err := state.Find[etcd.Spec](ctx, rt, etcd.SpecID)
	if err != nil {
		return err
	}
	_, ready, err := state.Find[etcd.PKIStatus](ctx, rt, etcd.PKIStatusID)
	if err != nil {
		return err
	}
	endpoints, err := endpointsOf(ctx, rt)
	if err != nil {
		return err
	}
	status, err := c.Services.Status(ServiceID)
	loaded := err == nil
	if !wanted {
		if loaded {
			return c.Services.Unload(ctx, ServiceID)
		}
		return nil
	}
	c.mu.Lock()
	changed := loaded && !resource.New(etcd.SpecID, spec).SpecEqual(resource.New(etcd.SpecID, c.spec))
	c.spec, c.endpoints = spec, endpoints
	c.mu.Unlock()
	switch {
	case !loaded && ready:
		if err := c.Services.Load(c.service()); err != nil {
			return err
		}
		return c.Services.Start(ServiceID)
	case changed && (status.State == supervise.Running || status.State == supervise.Starting):
		// Whatever else it does, it takes the new specification at its next run.
		log.Info("etcd is restarted, because what it is started with has changed")
		return c.Services.Restart(ctx, ServiceID)
	}
	return nil
}

// service describes the service.
func (c *ServiceController) service() supervise.Service {
	return supervise.Service{
		ID:         ServiceID,
		Runner:     runner{c},
		After:      []string{"containerd"},
		Conditions: append(slices.Clone(c.Conditions), membership{c}),
		Health:     &supervise.Check{Probe: c.probe, Delay: 200 * time.Millisecond, Period: 5 * time.Second, Timeout: 5 * time.Second},
		Grace:      15 * time.Second,
	}
}

// probe is a read that a quorum has to agree on. It tries until it succeeds or ctx ends: a member that has just started answers soon,
// and who needs it should not have to wait for the next probe.
func (c *ServiceController) probe(ctx context.Context) error {
	for {
		err := c.Operator.Healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *ServiceController) current() (etcd.Spec, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec, c.endpoints
}

// facts finds out how etcd can start. It waits at most for one probe.
func (c *ServiceController) facts(ctx context.Context) facts {
	f := facts{data: c.Door.hasData()}
	f.order, _ = c.Door.pending()
	if _, endpoints := c.current(); !f.data && f.order == nil && len(endpoints) > 0 {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		f.found = c.Operator.Probe(ctx, endpoints) == nil
	}
	return f
}

// membership is the condition that there is a way to start.
type membership struct{ c *ServiceController }

// String implements [supervise.Condition].
func (membership) String() string {
	return `a cluster of etcd to join, or "talosctl bootstrap" on one control-plane node`
}

// Wait implements [supervise.Condition].
func (m membership) Wait(ctx context.Context) error {
	for {
		_, changed := m.c.Door.pending()
		if w, _ := decide(m.c.facts(ctx)); w != wait {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(2 * time.Second):
		}
	}
}

// runner runs etcd with what the controller knows at the time.
type runner struct{ c *ServiceController }

// Run implements [supervise.Runner].
func (r runner) Run(ctx context.Context, env supervise.Env) error {
	spec, endpoints := r.c.current()
	return container.Runner{Client: r.c.Client, Spec: r.c.container(spec), Prepare: func(ctx context.Context, s container.Spec) (container.Spec, error) {
		if err := r.c.makeData(); err != nil {
			return s, err
		}
		f := r.c.facts(ctx)
		w, why := decide(f)
		_, _ = fmt.Fprintln(env.Log, why)
		cluster, existing := alone(spec), true
		if w == begin || w == recovery || w == join {
			if err := r.c.Door.Wipe(); err != nil { // what an earlier start left that did not get far
				return s, err
			}
		}
		switch w {
		case goOn:
		case wait:
			return s, errors.New(why)
		case begin:
			existing = false
		case recovery:
			if err := r.c.restore(ctx, env, spec, f.order.SkipHashCheck); err != nil {
				return s, err
			}
		case join:
			joined, err := r.c.Operator.Join(ctx, endpoints, spec.Name, peerURLs(spec))
			if err != nil {
				return s, err
			}
			_, _ = fmt.Fprintf(env.Log, "joined as learner %016x\n", joined.ID)
			cluster = joined.InitialCluster
		}
		s.Args = args(spec, r.c.Door.data, r.c.PKI, cluster, existing)
		return s, nil
	}}.Run(ctx, env)
}

// container describes the container, but for its command line.
func (c *ServiceController) container(s etcd.Spec) container.Spec {
	return container.Spec{
		ID: ServiceID, Image: s.Image, User: &container.User{UID: etcdUser, GID: etcdUser},
		Mounts: []container.Mount{
			{Source: c.Door.data, Target: c.Door.data, Options: []string{"rw", "nosuid", "nodev", "noexec"}},
			{Source: c.PKI, Target: c.PKI, Options: []string{"ro", "nosuid", "nodev", "noexec"}},
		},
		HostNetwork: true, ReadonlyRootfs: true, Cgroup: c.Cgroup, OOMScoreAdj: -998,
	}
}

// makeData makes etcd's directory, and gives it and what is in it to etcd: an earlier version may have run as another user.
func (c *ServiceController) makeData() error {
	if err := os.MkdirAll(c.Door.data, 0o700); err != nil {
		return fmt.Errorf("make etcd's directory: %w", err)
	}
	if err := os.Chmod(c.Door.data, 0o700); err != nil {
		return fmt.Errorf("make etcd's directory: %w", err)
	}
	if err := own(c.Door.data); err != nil {
		return fmt.Errorf("give etcd its directory: %w", err)
	}
	return nil
}

// restore makes etcd's data of the snapshot. It is made beside its place and renamed: a restore that was cut off is no data.
func (c *ServiceController) restore(ctx context.Context, env supervise.Env, spec etcd.Spec, skipHashCheck bool) error {
	dir := filepath.Join(c.Door.data, "restore")
	s := c.container(spec)
	s.ID, s.Cgroup = ServiceID+"-restore", c.Cgroup+"-restore"
	s.Mounts = append(s.Mounts, container.Mount{Source: c.Door.snapshot, Target: "/snapshot", Options: []string{"ro", "nosuid", "nodev", "noexec"}})
	s.Args = restoreArgs(spec, "/snapshot", dir, skipHashCheck)
	if err := (container.Runner{Client: c.Client, Spec: s}).Run(ctx, supervise.Env{Log: env.Log, Started: func(string) {}, Kill: env.Kill}); err != nil {
		return fmt.Errorf("restore etcd from the snapshot: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, "member"), filepath.Join(c.Door.data, "member")); err != nil {
		return fmt.Errorf("restore etcd from the snapshot: %w", err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Remove(c.Door.snapshot)); err != nil {
		_, _ = fmt.Fprintf(env.Log, "the snapshot is restored; what is left of it stays: %v\n", err)
	}
	return nil
}
