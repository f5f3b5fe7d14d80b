package manifestctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/manifest"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// DiagnosticApply is the id of the diagnostic about objects that the API server refuses.
const DiagnosticApply = "bootstrap-manifests"

const (
	// etcdService is without which there is no API server.
	etcdService = "etcd"
	// poll is how often the API server is asked whether it is ready, and readyLimit how long it may take to say so.
	poll       = 500 * time.Millisecond
	readyLimit = 5 * time.Second
	// lockLimit is how long a round waits for its turn, passLimit how long it may take.
	lockLimit = time.Minute
	passLimit = 5 * time.Minute
	// establishLimit is how long a definition of resources may take until it is served.
	establishLimit = 30 * time.Second
)

// ApplyController has the cluster have the objects of all manifests.
type ApplyController struct {
	Lock Locker
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Name implements [controller.Controller].
func (*ApplyController) Name() string { return "k8s.ManifestApplyController" }

// Inputs implements [controller.Controller].
func (*ApplyController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.Manifest](),
		controller.Weak[secrets.Kubernetes]().Named(secrets.KubernetesID),
		controller.Weak[service.Service]().Named(etcdService),
		controller.DestroyReady[kube.ManifestStatus](),
		controller.DestroyReady[runtime.Diagnostic](),
	}
}

// Outputs implements [controller.Controller].
func (*ApplyController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.ManifestStatus](), controller.Shared[runtime.Diagnostic]()}
}

// Run implements [controller.Controller].
func (c *ApplyController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	a := &applying{rt: rt, log: log, lock: c.Lock, dial: c.Dial}
	defer a.disconnect()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-timer.C:
		}
		next, err := a.round(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rt.ResetBackoff()
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(next), 0))
		}
	}
}

// applying is one life of the controller.
type applying struct {
	rt   controller.Runtime
	log  *slog.Logger
	lock Locker
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	kubeconfig string
	client     *kubeapi.Client

	seen    string // ids and versions of the manifests that the ledger is about
	ledger  *ledger
	ids     []string
	waiting string // for what; empty if for nothing
	said    time.Time
}

// round does what there is to do, and returns when there is more; zero if that depends on a change alone.
func (a *applying) round(ctx context.Context) (next time.Time, err error) {
	keys, err := state.Lookup[secrets.Kubernetes](ctx, a.rt, secrets.KubernetesID)
	if err != nil {
		return next, err
	}
	list, err := state.List[kube.Manifest](ctx, a.rt)
	if err != nil {
		return next, err
	}
	if keys == nil || keys.LocalhostAdminKubeconfig == "" || len(list) == 0 {
		a.seen, a.ledger = "", nil
		a.disconnect()
		return next, a.report(ctx)
	}
	a.account(list)
	if len(a.ledger.due(time.Now())) == 0 {
		return a.ledger.next(), a.report(ctx)
	}
	etcd, err := state.Lookup[service.Service](ctx, a.rt, etcdService)
	if err != nil {
		return next, err
	}
	if etcd == nil || !etcd.Running {
		a.wait("etcd, which has to be bootstrapped or joined")
		return next, nil
	}
	if err := a.connect(keys.LocalhostAdminKubeconfig); err != nil {
		return next, err
	}
	asking, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := a.client.Ready(asking); err != nil {
		a.wait("the API server: " + err.Error())
		return time.Now().Add(poll), nil
	}
	if err := a.locked(ctx); err != nil {
		a.wait(err.Error())
		return time.Now().Add(leastWait), a.report(ctx)
	}
	a.wait("")
	return a.ledger.next(), a.report(ctx)
}

// account begins anew if the manifests are others.
func (a *applying) account(list []*resource.Typed[kube.Manifest]) {
	var seen strings.Builder
	var ids []string
	var all []kube.Manifest
	for _, r := range list {
		fmt.Fprintf(&seen, "%s@%v\n", r.Metadata().ID(), r.Metadata().Version())
		ids, all = append(ids, r.Metadata().ID()), append(all, r.Spec())
	}
	if a.ledger != nil && a.seen == seen.String() {
		return
	}
	a.seen, a.ids = seen.String(), ids
	a.ledger = newLedger(manifest.Order(ids, all))
}

// wait says what the controller waits for, when that is something else or it has been a while.
func (a *applying) wait(what string) {
	if what == a.waiting && time.Since(a.said) < time.Minute {
		return
	}
	a.waiting, a.said = what, time.Now()
	if what != "" {
		a.log.Info("manifests wait for " + what)
	}
}

func (a *applying) connect(kubeconfig string) error {
	if a.client != nil && a.kubeconfig == kubeconfig {
		return nil
	}
	a.disconnect()
	conf, err := kubeapi.ParseKubeconfig([]byte(kubeconfig), "")
	if err != nil {
		return err
	}
	a.client, err = kubeapi.New(conf, kubeapi.Options{Dial: a.dial})
	a.kubeconfig = kubeconfig
	return err
}

func (a *applying) disconnect() {
	if a.client != nil {
		a.client.Close()
	}
	a.client = nil
}

// locked tries every object that is due while no other node does.
func (a *applying) locked(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, lockLimit)
	unlock, err := a.lock.Lock(waiting, LockName)
	cancel()
	if err != nil {
		return fmt.Errorf("the lock %s: %w", LockName, err)
	}
	defer unlock()
	ctx, cancel = context.WithTimeout(ctx, passLimit)
	defer cancel()
	created := 0
	for _, t := range a.ledger.due(time.Now()) {
		p := a.ledger.progress[t.Key()]
		made, err := a.one(ctx, t.Object)
		switch {
		case err == nil:
			p.done, p.err = true, nil
		case serverSaid(err):
			p.refuse(err, time.Now())
			a.log.Warn("an object is refused, and tried again", "manifest", t.Manifest, "error", err, "after", time.Until(p.due).Round(time.Second))
		default:
			return err // the server is away: the others would fare no better
		}
		if made {
			created++
		}
	}
	if created > 0 {
		a.log.Info("manifests applied", "created", created, "objects", len(a.ledger.targets), "refused", len(a.ledger.failed()))
	}
	if err := a.inventory(ctx); err != nil {
		if serverSaid(err) {
			a.log.Warn("the inventory of the manifests is not written", "error", err)
			return nil
		}
		return err
	}
	return nil
}

// serverSaid reports whether the server answered, and so whether it is about this object.
func serverSaid(err error) bool {
	_, ok := errors.AsType[*kubeapi.StatusError](err)
	return ok || errors.Is(err, kubeapi.ErrNoKind) || errors.Is(err, manifest.ErrNotEstablished)
}

// one has the cluster have an object, and reports whether it had not.
func (a *applying) one(ctx context.Context, o kubeapi.Object) (made bool, err error) {
	have, err := a.client.Get(ctx, o.Kind(), o.Namespace(), o.Name())
	if errors.Is(err, kubeapi.ErrNotFound) {
		have, err = a.client.Apply(ctx, manifest.Owned(o), kubeapi.ApplyOptions{Manager: manifest.FieldManager, Force: true})
		made = err == nil
	}
	if err != nil {
		return made, err
	}
	if manifest.IsDefinition(o) {
		err = manifest.Established(ctx, a.client, have, establishLimit)
	}
	return made, err
}

// inventory notes in the cluster what is there of the manifests. What earlier manifests had stays in it, so that an upgrade can
// remove it.
func (a *applying) inventory(ctx context.Context) error {
	noted, err := manifest.Noted(ctx, a.client)
	if err != nil {
		return err
	}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(noted, a.ledger.inventory()))))
	if len(noted) > 0 && len(all) == len(noted) {
		return nil
	}
	_, err = a.client.Apply(ctx, manifest.Inventory(all), kubeapi.ApplyOptions{Manager: manifest.FieldManager, Force: true})
	return err
}

// report writes down how far the manifests are.
func (a *applying) report(ctx context.Context) error {
	a.rt.TrackOutputs()
	if a.ledger != nil {
		if applied := a.ledger.applied(a.ids); len(applied) > 0 {
			if err := state.Put(ctx, a.rt, kube.ManifestStatusID, kube.ManifestStatus{ManifestsApplied: applied}); err != nil {
				return err
			}
		}
		failed := a.ledger.failed()
		message := fmt.Sprintf("the API server refuses %d of %d objects of the manifests", len(failed), len(a.ledger.targets))
		if err := diagnose(ctx, a.rt, DiagnosticApply, message, failed); err != nil {
			return err
		}
	}
	return a.rt.CleanupOutputs(ctx)
}
