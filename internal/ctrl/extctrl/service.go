package extctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/extservice"
	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/mount"
	"talos.internal/resource/clock"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// containerd is the service that runs containers. The published system has two; extensions that name the second one mean it as well.
const containerd = "containerd"

// serviceController runs the services that the image's extensions bring.
type serviceController struct {
	deps Deps

	time    *supervise.Gate
	network map[string]*supervise.Gate

	loaded  bool
	units   []*unit
	reports []string // what is wrong with files, for a diagnostic
}

// unit is one service.
type unit struct {
	extservice.Service
	configured *supervise.Gate

	mu      sync.Mutex
	config  runtime.ExtensionServiceConfig
	version string // of the config whose files are there
}

func newServiceController(d Deps) *serviceController {
	c := &serviceController{deps: d, time: supervise.NewGate("time in sync"), network: map[string]*supervise.Gate{}}
	for _, s := range extservice.NetworkStates {
		c.network[s] = supervise.NewGate("network: " + s)
	}
	return c
}

// DiagnosticID is the id of the runtime.Diagnostic about services of extensions.
const DiagnosticID = "extension-services"

// Name implements [controller.Controller].
func (*serviceController) Name() string { return "runtime.ExtensionServiceController" }

// Inputs implements [controller.Controller].
func (*serviceController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.ExtensionServiceConfig](),
		controller.Weak[runtime.ExtensionServiceConfigStatus](),
		controller.Weak[network.Status]().Named(network.StatusID),
		controller.Weak[clock.TimeStatus]().Named(clock.TimeStatusID),
	}
}

// Outputs implements [controller.Controller].
func (*serviceController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[runtime.Diagnostic]()}
}

// Run implements [controller.Controller].
func (c *serviceController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	err := controller.Loop(ctx, rt, func(ctx context.Context) error { return c.reconcile(ctx, rt, log) })
	if errors.Is(err, supervise.ErrShutdown) {
		return nil // the node ends, and stops its services itself
	}
	return err
}

func (c *serviceController) reconcile(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if !c.loaded {
		if err := c.load(); err != nil {
			return err
		}
		c.loaded = true
		if len(c.reports) > 0 {
			d := runtime.Diagnostic{Message: "services of extensions cannot be run: build the image with others", Details: c.reports}
			if err := state.Put(ctx, rt, DiagnosticID, d); err != nil {
				return err
			}
		}
	}
	n, _, err := state.Find[network.Status](ctx, rt, network.StatusID)
	if err != nil {
		return err
	}
	for name, ok := range map[string]bool{
		"addresses": n.AddressReady, "connectivity": n.ConnectivityReady, "hostname": n.HostnameReady, "etcfiles": n.EtcFilesReady,
	} {
		c.network[name].Set(ok)
	}
	t, _, err := state.Find[clock.TimeStatus](ctx, rt, clock.TimeStatusID)
	if err != nil {
		return err
	}
	c.time.Set(t.Synced)
	for _, u := range c.units {
		if err := c.configure(ctx, rt, u, log); err != nil {
			return err
		}
	}
	return nil
}

// load reads the files of the image and makes services of them.
func (c *serviceController) load() error {
	names, err := filepath.Glob(filepath.Join("/", c.deps.Root, extservice.SpecDir, "*.yaml"))
	if err != nil {
		return err
	}
	c.units, c.reports = nil, nil
	seen := map[string]bool{}
	var services []supervise.Service
	var ids []string
	for _, file := range names {
		s, err := readService(file)
		if err == nil && seen[s.Name] {
			err = fmt.Errorf("there is a service %s already", s.Name)
		}
		if err != nil {
			c.reports = append(c.reports, fmt.Sprintf("%s: %v", filepath.Base(file), err))
			continue
		}
		seen[s.Name] = true
		u := &unit{Service: s, configured: supervise.NewGate("its config")}
		c.units = append(c.units, u)
		services = append(services, c.service(u))
		ids = append(ids, s.ID())
	}
	if len(services) == 0 {
		return nil
	}
	if err := c.deps.Services.Load(services...); err != nil {
		return err
	}
	return c.deps.Services.Start(ids...)
}

func readService(file string) (extservice.Service, error) {
	f, err := os.Open(file)
	if err != nil {
		return extservice.Service{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, extservice.MaxFile+1))
	if err != nil {
		return extservice.Service{}, err
	}
	return extservice.Parse(b)
}

// configure gives a service what the config has for it, and starts it again if that is new.
func (c *serviceController) configure(ctx context.Context, rt controller.Runtime, u *unit, log *slog.Logger) error {
	status, ready, err := state.Find[runtime.ExtensionServiceConfigStatus](ctx, rt, u.Name)
	if err != nil {
		return err
	}
	config, there, err := state.Find[runtime.ExtensionServiceConfig](ctx, rt, u.Name)
	if err != nil {
		return err
	}
	if !there || !ready {
		config, status = runtime.ExtensionServiceConfig{}, runtime.ExtensionServiceConfigStatus{}
	}
	u.mu.Lock()
	changed := u.version != status.SpecVersion
	u.config, u.version = config, status.SpecVersion
	u.mu.Unlock()
	u.configured.Set(status.SpecVersion != "")
	if !changed {
		return nil
	}
	s, err := c.deps.Services.Status(u.ID())
	if err != nil {
		return err
	}
	if s.State == supervise.Running || s.State == supervise.Starting {
		log.Info("a service of an extension is started again, because its config has changed", "service", u.ID())
		return c.deps.Services.Restart(ctx, u.ID())
	}
	return nil
}

// service describes a service to the supervisor.
func (c *serviceController) service(u *unit) supervise.Service {
	s := supervise.Service{
		ID: u.ID(), Runner: runner{c, u}, After: []string{containerd},
		Restart: map[extservice.Restart]supervise.Restart{
			extservice.Always: supervise.Always, extservice.Never: supervise.Once, extservice.UntilSuccess: supervise.UntilSuccess,
		}[u.Restart],
		Allow: supervise.MayStart | supervise.MayStop | supervise.MayRestart,
	}
	for _, d := range u.Depends {
		switch {
		case d.Service == "cri" || d.Service == containerd:
		case d.Service != "":
			s.After = append(s.After, d.Service)
		case d.Path != "":
			s.Conditions = append(s.Conditions, supervise.PathExists(d.Path))
		case d.Time:
			s.Conditions = append(s.Conditions, c.time)
		case d.Configuration:
			s.Conditions = append(s.Conditions, u.configured)
		}
		for _, n := range d.Network {
			s.Conditions = append(s.Conditions, c.network[n])
		}
	}
	return s
}

// runner runs a service with the config that it has at the time.
type runner struct {
	c *serviceController
	u *unit
}

// Run implements [supervise.Runner].
func (r runner) Run(ctx context.Context, env supervise.Env) error {
	r.u.mu.Lock()
	config := r.u.config
	r.u.mu.Unlock()
	var variables []string
	if f := r.u.Container.EnvironmentFile; f != "" {
		b, err := os.ReadFile(f)
		if err == nil {
			variables, err = extservice.ParseEnvironment(b)
		}
		if err != nil {
			return fmt.Errorf("read the environment of %s from %s: %w", r.u.ID(), f, err)
		}
	}
	if r.u.LogToConsole && r.c.deps.Console != nil {
		env.Log = both{env.Log, r.c.deps.Console, r.u.ID()}
	}
	return r.c.deps.Runner(containerOf(r.u.Service, config, variables, r.c.deps)).Run(ctx, env)
}

// both writes to the log, and to the console with the name of the service.
type both struct {
	io.Writer
	console io.Writer
	id      string
}

// Write implements [io.Writer]. A console that fails holds up nobody.
func (b both) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		_, _ = fmt.Fprintf(b.console, "[%s] %s\n", b.id, strings.TrimRight(line, "\n"))
	}
	return b.Writer.Write(p)
}

// oomScore is that of the published system: services of the system go after those of extensions, pods before.
const oomScore = -600

// containerOf decides what is run. variables are those of the environment file. The config's come last, and win.
func containerOf(s extservice.Service, config runtime.ExtensionServiceConfig, variables []string, d Deps) container.Spec {
	spec := container.Spec{
		ID: s.ID(), Rootfs: filepath.Join("/", d.Root, extservice.RootfsDir, s.Name), Scratch: filepath.Join(d.Scratch, s.Name),
		Args: slices.Concat([]string{s.Container.Entrypoint}, s.Container.Args), Dir: "/", User: &container.User{},
		Env:        slices.Concat(s.Container.Environment, variables, config.Environment),
		Privileged: true, HostNetwork: true, ReadonlyRootfs: !s.Container.Security.WriteableRootfs,
		RootfsPropagation: s.Container.Security.RootfsPropagation, OOMScoreAdj: oomScore,
		HideKernel: true, MaskedPaths: s.Container.Security.MaskedPaths, ReadonlyPaths: s.Container.Security.ReadonlyPaths,
		Cgroup: "/" + d.Cgroup + "/" + s.Name,
	}
	if s.Container.Security.WriteableSysfs {
		spec.Mounts = append(spec.Mounts, container.Mount{Target: mount.SysPoint, Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "rw"}})
	}
	for _, name := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if _, err := os.Stat(filepath.Join("/", d.Root, name)); !errors.Is(err, fs.ErrNotExist) {
			spec.Mounts = append(spec.Mounts, container.Mount{Source: filepath.Join("/", d.Root, name), Target: name, Options: []string{"bind", "ro"}})
		}
	}
	for _, m := range s.Container.Mounts {
		kind := m.Type
		if kind == "bind" {
			kind = ""
		}
		spec.Mounts = append(spec.Mounts, container.Mount{Source: m.Source, Target: m.Destination, Type: kind, Options: m.Options})
	}
	for i, f := range config.Files {
		spec.Mounts = append(spec.Mounts, container.Mount{Source: fileOf(d.Dir, s.Name, i), Target: f.MountPath, Options: []string{"bind", "ro"}})
	}
	return spec
}
