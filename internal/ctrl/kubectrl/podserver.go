package kubectrl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/state"
)

// setPod makes a static pod what the config says.
func setPod(pod map[string]any) func(*resource.Metadata, *kube.StaticPod) error {
	return func(_ *resource.Metadata, have *kube.StaticPod) error {
		have.Pod = pod
		return nil
	}
}

// StaticPodServerController serves the static pods to kubelet, on a port of loopback that the kernel chooses.
type StaticPodServerController struct {
	// addr is where it listened last. It comes back there after a failure: kubelet makes the identity of pods of the URL too.
	addr string
}

// Name implements [controller.Controller].
func (*StaticPodServerController) Name() string { return "k8s.StaticPodServerController" }

// Inputs implements [controller.Controller].
func (*StaticPodServerController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[kube.StaticPod]()}
}

// Outputs implements [controller.Controller].
func (*StaticPodServerController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.StaticPodServerStatus]()}
}

// Run implements [controller.Controller].
func (c *StaticPodServerController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) (err error) {
	l, err := c.listen(ctx)
	if err != nil {
		return fmt.Errorf("serve the static pods: %w", err)
	}
	c.addr = l.Addr().String()
	pods := &podList{}
	server := &http.Server{Handler: pods, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 4 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		closed := server.Close()
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve the static pods on %s: %w", c.addr, e))
		}
		err = errors.Join(err, closed)
	}()
	url := "http://" + c.addr + "/pods"
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		all, err := state.List[kube.StaticPod](ctx, rt)
		if err != nil {
			return err
		}
		text, err := podListText(all)
		if err != nil {
			return err
		}
		pods.text.Store(&text)
		return state.Put(ctx, rt, kube.StaticPodServerStatusID, kube.StaticPodServerStatus{URL: url})
	})
}

func (c *StaticPodServerController) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	if c.addr != "" {
		if l, err := lc.Listen(ctx, "tcp", c.addr); err == nil {
			return l, nil
		}
	}
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}

// podListText is the PodList that kubelet reads, in the order of ids: kubelet compares the text.
func podListText(all []*resource.Typed[kube.StaticPod]) ([]byte, error) {
	slices.SortFunc(all, func(a, b *resource.Typed[kube.StaticPod]) int {
		return strings.Compare(a.Metadata().ID(), b.Metadata().ID())
	})
	items := list{}
	for _, r := range all {
		if r.Metadata().Phase() == resource.Running {
			items = append(items, r.Spec().Pod)
		}
	}
	text, err := json.Marshal(object{"apiVersion": "v1", "kind": "PodList", "metadata": object{}, "items": items})
	if err != nil {
		return nil, fmt.Errorf("write the list of static pods: %w", err)
	}
	return text, nil
}

// podList answers with the list. Before there is one it says so: kubelet would take an empty list for an order to stop all pods.
type podList struct{ text atomic.Pointer[[]byte] }

// ServeHTTP implements [http.Handler].
func (p *podList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := p.text.Load()
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
	case r.URL.Path != "/pods":
		http.NotFound(w, r)
	case text == nil:
		http.Error(w, "the static pods are not known yet", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(*text)
	}
}
