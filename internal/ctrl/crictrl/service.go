package crictrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"

	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/child"
	"talos.internal/resource/cri"
	"talos.internal/state"
)

// Snapshotter returns the snapshotter for containerd's data below root, which is made: overlayfs, or native and why where a mount of
// overlayfs does not work, as on a file system that is itself an overlay.
func Snapshotter(root string) (name string, why error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return Native, err
	}
	if err := overlayutils.Supported(root); err != nil {
		return Native, err
	}
	return Overlay, nil
}

// ServiceController writes the files of the CRI and runs containerd.
type ServiceController struct {
	deps  Deps
	known map[string]bool // the files that were written
}

// Name implements [controller.Controller].
func (*ServiceController) Name() string { return "cri.ServiceController" }

// Inputs implements [controller.Controller].
func (*ServiceController) Inputs() []controller.Input {
	return []controller.Input{
		configInput(),
		controller.Weak[cri.RegistryConfig]().Named(cri.RegistryConfigID),
		controller.Weak[cri.CustomizationConfig](),
		controller.Weak[cri.BaseRuntimeSpecConfig](),
		controller.Weak[cri.ImageCacheConfig]().Named(cri.ImageCacheConfigID),
	}
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
	registries, ok, err := state.Find[cri.RegistryConfig](ctx, rt, cri.RegistryConfigID)
	if err != nil || !ok {
		return err // there is no machine config
	}
	cache, ok, err := state.Find[cri.ImageCacheConfig](ctx, rt, cri.ImageCacheConfigID)
	if err != nil || !ok {
		return err
	}
	_, e := c.deps.Services.Status(ContainerdID)
	loaded := e == nil
	// The mirror has to be in the files before the first pull. Later it may come and go.
	mirrored := slices.Contains(registries.Mirrors[anyRegistry].Endpoints, cacheEndpoint)
	if !loaded && (cache.Status == cri.CachePreparing || cache.Status == cri.CacheReady && !mirrored) {
		return nil
	}
	// The rules are read from the config itself: resources that are made of it may come after the first pull.
	conf, err := effective.Get(ctx, rt)
	if err != nil || conf == nil {
		return err
	}
	s := Sources{Registries: registries, Verify: len(rulesOf(conf.Set)) > 0}
	if s.Verify {
		// Without the program containerd would take every image.
		if _, err := os.Stat(filepath.Join(c.deps.Verifiers, Verifier)); err != nil {
			return fmt.Errorf("images cannot be verified, which the machine config asks for: %w", err)
		}
	}
	if s.Customizations, err = all[cri.CustomizationConfig](ctx, rt); err != nil {
		return err
	}
	specs, err := all[cri.BaseRuntimeSpecConfig](ctx, rt)
	if err != nil {
		return err
	}
	s.Base, s.Overrides = specs[specDefault].Object, specs[specOverrides].Object
	host, err := c.deps.Host()
	if err != nil {
		return err
	}
	want, err := Files(c.deps, host, s)
	if err != nil {
		return err
	}
	if c.known == nil {
		c.known = map[string]bool{}
	}
	restart, err := syncFiles(c.deps.Dir, want, c.known)
	if err != nil {
		return err
	}
	switch {
	case !loaded:
		if err := c.deps.Services.Load(c.service(slices.Contains(host.Capabilities, "CAP_SYS_RESOURCE"))); err != nil {
			return err
		}
		return c.deps.Services.Start(ContainerdID)
	case restart:
		log.Info("containerd is restarted, because its configuration has changed; containers live on")
		return c.deps.Services.Restart(ctx, ContainerdID)
	}
	return nil
}

// service describes containerd. What it runs outlives it, so its leftovers are kept.
func (c *ServiceController) service(mayLowerOOM bool) supervise.Service {
	spec := child.Spec{
		Path: c.deps.Program, Name: ContainerdID, Args: []string{"--config", filepath.Join(c.deps.Dir, "containerd.toml")},
		// The shim, runc, and what CNI plugins call are found by PATH; runtimes of extensions are in /usr/local/bin.
		Env:       []string{"PATH=" + filepath.Dir(c.deps.Program) + ":/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin", "HOME=/"},
		Leftovers: child.KeepLeftovers,
	}
	if c.deps.Garbage != "" {
		spec.Env = append(spec.Env, "GOGC="+c.deps.Garbage)
	}
	if mayLowerOOM {
		score := -999
		spec.OOMScoreAdj = &score
	}
	return supervise.Service{
		ID:         ContainerdID,
		Runner:     child.Runner{Spec: spec, Launcher: c.deps.Launcher},
		Conditions: c.deps.Conditions,
		// The probe waits for containerd, so that who needs it goes on at once and not with the next probe.
		Health: &supervise.Check{Probe: c.deps.Client.Healthy, Delay: 50 * time.Millisecond, Timeout: 5 * time.Second},
		Grace:  15 * time.Second,
	}
}
