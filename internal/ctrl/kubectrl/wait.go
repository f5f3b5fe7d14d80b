package kubectrl

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

const (
	// apiServerLimit is how long the rest of the control plane waits for the API server of the node. An API server that is not ready
	// after it may need the rest, or a person who looks at all of it.
	apiServerLimit = 30 * time.Second
	// apiServerPeriod is between two questions.
	apiServerPeriod = 200 * time.Millisecond
)

// APIServerReady reports, as an error, why the API server that a kubeconfig leads to is not ready.
func APIServerReady(ctx context.Context, kubeconfig string) error {
	conf, err := kubeapi.ParseKubeconfig([]byte(kubeconfig), "")
	if err != nil {
		return err
	}
	client, err := kubeapi.New(conf, kubeapi.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ready(ctx)
}

// apiServerWait waits for the API server of the node, once.
type apiServerWait struct {
	ready func(ctx context.Context, kubeconfig string) error
	wake  func()
	log   *slog.Logger

	// Of the one that is under way or is over; nil before.
	done   *atomic.Bool
	cancel context.CancelFunc
}

// over reports whether the API server was ready, or was waited for long enough. It begins to wait if it does not, and wakes the controller
// when that has an end.
func (w *apiServerWait) over(ctx context.Context, rt controller.Runtime) (bool, error) {
	if w.done != nil && w.done.Load() {
		return true, nil
	}
	// A controller that failed and began again must not take pods away that run.
	for _, name := range []string{controllerManagerName, schedulerName} {
		if _, there, err := state.Find[kube.StaticPod](ctx, rt, name); err != nil || there {
			return there, err
		}
	}
	if w.done != nil {
		return false, nil
	}
	keys, there, err := state.Find[secrets.Kubernetes](ctx, rt, secrets.KubernetesID)
	if err != nil || !there || keys.LocalhostAdminKubeconfig == "" {
		return false, err // it cannot have started without them
	}
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiServerLimit)
	w.done, w.cancel = &atomic.Bool{}, cancel
	go w.ask(waiting, keys.LocalhostAdminKubeconfig, w.done)
	return false, nil
}

// ask asks until the API server is ready or ctx ends.
func (w *apiServerWait) ask(ctx context.Context, kubeconfig string, done *atomic.Bool) {
	began := time.Now()
	for {
		err := w.ready(ctx, kubeconfig)
		if err == nil {
			w.log.Info("the rest of the control plane starts: the API server is ready", "took", time.Since(began).Round(time.Millisecond))
			break
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) != context.DeadlineExceeded { //nolint:errorlint // it is the cause itself
				return // nobody waits any more
			}
			w.log.Warn("the rest of the control plane starts without an API server", "after", apiServerLimit, "error", err)
		case <-time.After(apiServerPeriod):
			continue
		}
		break
	}
	done.Store(true)
	w.wake()
}

// end forgets what is waited for and what was seen.
func (w *apiServerWait) end() {
	if w.done != nil {
		w.cancel()
		w.done, w.cancel = nil, nil
	}
}
