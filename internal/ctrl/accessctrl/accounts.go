package accessctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// CRDController gives the accounts of pods their credentials.
type CRDController struct{ Deps }

// Name implements [controller.Controller].
func (*CRDController) Name() string { return "kubeaccess.CRDController" }

// Inputs implements [controller.Controller].
func (*CRDController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.AccessConfig]().Named(kube.AccessConfigID),
		controller.Weak[secrets.Kubernetes]().Named(secrets.KubernetesID),
		controller.Weak[secrets.OSRoot]().Named(secrets.OSRootID),
	}
}

// Outputs implements [controller.Controller].
func (*CRDController) Outputs() []controller.Output { return nil }

// wanted is what the controller acts on.
type wanted struct {
	config     kube.AccessConfig
	kubeconfig string
	root       secrets.OSRoot
}

// Run implements [controller.Controller].
func (c *CRDController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var before wanted
	stop := func() {}
	defer func() { stop() }()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		var now wanted
		config, kubeconfig, ok, err := access(ctx, rt)
		if err != nil {
			return err
		}
		if ok {
			root, there, err := state.Find[secrets.OSRoot](ctx, rt, secrets.OSRootID)
			if err != nil {
				return err
			}
			if there && root.IssuingCA != nil {
				now = wanted{config, kubeconfig, root}
			}
		}
		if reflect.DeepEqual(now, before) {
			return nil
		}
		stop()
		stop = func() {}
		before = wanted{}
		if now.kubeconfig != "" {
			client, err := c.connect(now.kubeconfig)
			if err != nil {
				return err
			}
			stop = (&accounts{wanted: now, client: client, log: log, told: map[string]string{}}).begin(ctx)
		}
		before = now
		return nil
	})
}

// accounts gives credentials to accounts with one config and one authority.
type accounts struct {
	wanted
	client *kubeapi.Client
	log    *slog.Logger

	mu   sync.Mutex
	all  []kubeapi.Object
	told map[string]string // what was last said, by the account
}

// begin begins to do so, until stop.
func (a *accounts) begin(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			err := a.client.Follow(ctx, accountKind, "", kubeapi.ListOptions{}, func(all []kubeapi.Object) error {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.all = all
				a.pass(ctx)
				return nil
			})
			if ctx.Err() == nil {
				a.tell("", fmt.Sprintf("the API server is asked again: %v", err))
			}
			wait(ctx, again)
		}
	})
	done.Go(func() {
		for wait(ctx, pace) {
			a.mu.Lock()
			a.pass(ctx)
			a.mu.Unlock()
		}
	})
	return func() {
		cancel()
		done.Wait()
		a.client.Close()
	}
}

// wait reports whether a time has passed, and not ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// tell says something about an account if it is new.
func (a *accounts) tell(account, text string) {
	if a.told[account] == text {
		return
	}
	a.told[account] = text
	if text != "" {
		a.log.Info("access to the machine API from pods", "account", account, "message", text)
	}
}

// pass looks at all accounts. The lock is held.
func (a *accounts) pass(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	there := map[string]bool{"": true}
	for _, account := range a.all {
		name := account.Namespace() + "/" + account.Name()
		there[name] = true
		if account.Map("metadata")["deletionTimestamp"] != nil {
			continue
		}
		why, err := a.one(ctx, account)
		if err != nil {
			why = err.Error()
		}
		if ctx.Err() != nil {
			return
		}
		if status, _ := account.Map("status")["failureReason"].(string); status != why {
			if _, err := a.client.MergePatch(ctx, accountKind, account.Namespace(), account.Name(), "status", kubeapi.Object{
				"status": map[string]any{"failureReason": why},
			}); err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
				why += " (" + err.Error() + ")"
			}
		}
		a.tell(name, why)
	}
	for name := range a.told {
		if !there[name] {
			delete(a.told, name)
		}
	}
}

// secretKind is the kind of what is written.
var secretKind = kubeapi.KindOf("v1", "Secret")

// one gives an account its credentials, or returns why not.
func (a *accounts) one(ctx context.Context, account kubeapi.Object) (refused string, err error) {
	have, err := a.client.Get(ctx, secretKind, account.Namespace(), account.Name())
	missing := errors.Is(err, kubeapi.ErrNotFound)
	if err != nil && !missing {
		return "", err
	}
	ours := !missing && owner(have) != ""
	if why := refusal(account, a.config); why != "" {
		if !ours {
			return why, nil
		}
		// What was allowed once is taken back; its certificate ends by itself.
		if err := a.client.Delete(ctx, secretKind, account.Namespace(), account.Name()); err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
			return "", err
		}
		return why, nil
	}
	if !missing && !ours {
		return "there is a Secret of that name that belongs to somebody else", nil
	}
	if ours && owner(have) == fmt.Sprint(account.Map("metadata")["uid"]) && good(have, rolesOf(account), a.root, time.Now()) {
		return "", nil
	}
	s, err := credentials(account, a.root, time.Now())
	if err != nil {
		return "", err
	}
	if _, err = a.client.Apply(ctx, s, kubeapi.ApplyOptions{Manager: fieldManager, Force: true}); err == nil {
		a.log.Info("a pod's credentials for the machine API are new", "account", account.Namespace()+"/"+account.Name(), "roles", rolesOf(account))
	}
	return "", err
}

// EndpointController has the service of the machine API lead to the machines of the control plane.
type EndpointController struct{ Deps }

// Name implements [controller.Controller].
func (*EndpointController) Name() string { return "kubeaccess.EndpointController" }

// Inputs implements [controller.Controller].
func (*EndpointController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.AccessConfig]().Named(kube.AccessConfigID),
		controller.Weak[kube.Endpoint]().Named(kube.EndpointAPIServer),
		controller.Weak[secrets.Kubernetes]().Named(secrets.KubernetesID),
	}
}

// Outputs implements [controller.Controller].
func (*EndpointController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *EndpointController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	say := func(away error) { log.Info("the service of the machine API is tried again", "error", away) } // while the API server starts
	return controller.Retried(ctx, rt, again, say, func(ctx context.Context) (away, err error) { return c.apply(ctx, rt), nil })
}

func (c *EndpointController) apply(ctx context.Context, rt controller.Runtime) error {
	_, kubeconfig, ok, err := access(ctx, rt)
	if err != nil || !ok {
		return err
	}
	endpoint, there, err := state.Find[kube.Endpoint](ctx, rt, kube.EndpointAPIServer)
	if err != nil || !there {
		return err
	}
	client, err := c.connect(kubeconfig)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	for _, o := range slicesOf(endpoint.Addresses) {
		if _, err := client.Apply(ctx, o, kubeapi.ApplyOptions{Manager: fieldManager, Force: true}); err != nil {
			return err
		}
	}
	return nil
}
