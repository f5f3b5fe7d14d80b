package kubectrl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
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
		ConnContext: remember,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
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
		pods.set(text)
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

// hold is how long a kubelet that has the list waits for another one. It must be less than the ten seconds after which kubelet gives up.
const hold = 5 * time.Second

// podList answers with the list. Before there is one it says so: kubelet would take an empty list for an order to stop all pods.
//
// Kubelet asks again and again. One that already got this list on its connection is answered when there is another list, or after the
// time of [hold]: a change reaches it at once, and it asks rarely. A new connection is answered at once, since kubelet may be a new one.
type podList struct {
	mu      sync.Mutex
	text    []byte        // nil before there is a list
	changed chan struct{} // closed with the next change
}

// set changes the list.
func (p *podList) set(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.Equal(p.text, text) {
		return
	}
	p.text = text
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// get returns the list, and a channel that is closed with the next change.
func (p *podList) get() (text []byte, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.text, p.changed
}

// answered is the key of what was answered last on a connection, a *[]byte.
type answered struct{}

// remember gives a connection a place for what is answered on it.
func remember(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, answered{}, new([]byte))
}

// ServeHTTP implements [http.Handler].
func (p *podList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	case r.URL.Path != "/pods":
		http.NotFound(w, r)
		return
	}
	text, changed := p.get()
	if last, ok := r.Context().Value(answered{}).(*[]byte); ok && text != nil {
		if bytes.Equal(*last, text) {
			select {
			case <-changed:
				text, _ = p.get()
			case <-time.After(hold):
			case <-r.Context().Done():
				return
			}
		}
		*last = text
	}
	if text == nil {
		http.Error(w, "the static pods are not known yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}
