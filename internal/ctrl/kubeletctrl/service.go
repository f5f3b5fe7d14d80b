package kubeletctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// ServiceController runs kubelet. A change of what it is started with restarts it; pods go on meanwhile.
type ServiceController struct {
	deps Deps

	mu      sync.Mutex
	want    run
	running string // the image, empty if it does not run
	wake    func()
}

// run is what one run of kubelet is made from.
type run struct {
	spec kube.KubeletSpec
	keys secrets.Kubelet
	// issuer is the authority of the cluster, on the control plane. There kubelet is given its first certificate, since the API server
	// that could give it one is a pod that kubelet runs.
	issuer secrets.CertificateAndKey
	// pods is set if the user has pods that run without the cluster.
	pods bool
}

// equal reports whether kubelet need not be started again for other.
func (r run) equal(other run) bool {
	return resource.New(kube.KubeletID, r.spec).SpecEqual(resource.New(kube.KubeletID, other.spec)) &&
		resource.New(secrets.KubeletID, r.keys).SpecEqual(resource.New(secrets.KubeletID, other.keys))
}

// Name implements [controller.Controller].
func (*ServiceController) Name() string { return "k8s.KubeletServiceController" }

// Inputs implements [controller.Controller].
func (*ServiceController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.KubeletSpec]().Named(kube.KubeletID),
		controller.Weak[secrets.Kubelet]().Named(secrets.KubeletID),
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.Weak[kube.StaticPod](),
		controller.DestroyReady[kube.KubeletLifecycle](),
	}
}

// Outputs implements [controller.Controller].
func (*ServiceController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubeletLifecycle]()}
}

// Run implements [controller.Controller].
func (c *ServiceController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	err := controller.Loop(ctx, rt, func(ctx context.Context) error { return c.reconcile(ctx, rt, log) })
	if errors.Is(err, supervise.ErrShutdown) {
		return nil // the node ends, and stops its services itself
	}
	return err
}

func (c *ServiceController) reconcile(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	want, known, err := runOf(ctx, rt)
	if err != nil {
		return err
	}
	status, err := c.deps.Services.Status(ServiceID)
	loaded := err == nil
	if !known {
		return c.end(ctx, rt, loaded)
	}
	c.mu.Lock()
	changed := loaded && !want.equal(c.want)
	c.want = want
	c.mu.Unlock()
	if err := state.Put(ctx, rt, kube.KubeletID, kube.KubeletLifecycle{}); err != nil {
		return err
	}
	switch {
	case !loaded:
		if err := c.deps.Services.Load(c.service()); err != nil {
			return err
		}
		return c.deps.Services.Start(ServiceID)
	case changed && (status.State == supervise.Running || status.State == supervise.Starting):
		// Whatever else it does, it takes what is wanted at its next run.
		log.Info("kubelet is restarted, because what it is started with has changed")
		return c.deps.Services.Restart(ctx, ServiceID)
	}
	return nil
}

// runOf returns what kubelet is to be run with; known is false as long as there is not all of it.
func runOf(ctx context.Context, rt state.Reader) (want run, known bool, err error) {
	spec, ok1, err := state.Find[kube.KubeletSpec](ctx, rt, kube.KubeletID)
	if err != nil {
		return run{}, false, err
	}
	keys, ok2, err := state.Find[secrets.Kubelet](ctx, rt, secrets.KubeletID)
	if err != nil {
		return run{}, false, err
	}
	role, ok3, err := state.Find[machineconfig.Type](ctx, rt, machineconfig.TypeID)
	if err != nil || !ok1 || !ok2 || !ok3 {
		return run{}, false, err
	}
	want = run{spec: spec, keys: keys}
	if role.Type == machineconfig.TypeControlPlane || role.Type == machineconfig.TypeInit {
		root, there, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
		want.issuer = root.IssuingCA
		return want, there, err
	}
	pods, err := state.List[kube.StaticPod](ctx, rt)
	want.pods = len(pods) > 0
	return want, true, err
}

// end stops kubelet when nobody needs it to go on.
func (c *ServiceController) end(ctx context.Context, rt controller.Runtime, loaded bool) error {
	if err := remove(ctx, rt); err != nil {
		return err
	}
	_, err := state.Get[kube.KubeletLifecycle](ctx, rt, kube.KubeletID)
	switch {
	case err == nil:
		return nil // the last one who needs it wakes this controller
	case !errors.Is(err, state.NotFound):
		return err
	case loaded:
		return c.deps.Services.Unload(ctx, ServiceID)
	}
	return nil
}

func (c *ServiceController) wanted() run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want
}

// service describes the service.
func (c *ServiceController) service() supervise.Service {
	return supervise.Service{
		ID:         ServiceID,
		Runner:     runner{c},
		After:      []string{"containerd"},
		Conditions: append(slices.Clone(c.deps.Conditions), admission{c}),
		Health:     &supervise.Check{Probe: c.healthy, Period: 2 * time.Second, Timeout: 3 * time.Second},
		Allow:      supervise.MayStart | supervise.MayRestart,
	}
}

func (c *ServiceController) healthy(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.deps.Healthz, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 256))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("kubelet says %s: %s", answer.Status, text)
	}
	return nil
}

// runner runs kubelet with what is wanted at the time.
type runner struct{ c *ServiceController }

// Run implements [supervise.Runner].
func (r runner) Run(ctx context.Context, env supervise.Env) error {
	want := r.c.wanted()
	if err := prepare(want, r.c.deps, time.Now(), env.Log); err != nil {
		return err
	}
	spec, err := containerOf(want.spec, r.c.deps)
	if err != nil {
		return err
	}
	started := env.Started
	env.Started = func(message string) {
		r.c.setRunning(want.spec.Image)
		started(message)
	}
	defer r.c.setRunning("")
	return r.c.deps.Runner(spec).Run(ctx, env)
}

// setRunning notes the image that runs, and tells whoever wants to know.
func (c *ServiceController) setRunning(image string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = image
	if c.wake != nil {
		c.wake()
	}
}

// StatusController says which kubelet runs.
type StatusController struct{ service *ServiceController }

// Name implements [controller.Controller].
func (StatusController) Name() string { return "k8s.KubeletStatusController" }

// Inputs implements [controller.Controller].
func (StatusController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.KubeletSpec]().Named(kube.KubeletID),
		controller.DestroyReady[kube.KubeletStatus](),
	}
}

// Outputs implements [controller.Controller].
func (StatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubeletStatus]()}
}

// Run implements [controller.Controller].
func (c StatusController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	s := c.service
	s.mu.Lock()
	s.wake = rt.Wake
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.wake = nil
		s.mu.Unlock()
	}()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		s.mu.Lock()
		image := s.running
		s.mu.Unlock()
		if image == "" {
			return remove(ctx, rt)
		}
		return state.Put(ctx, rt, kube.KubeletID, kube.KubeletStatus{Image: image})
	})
}
