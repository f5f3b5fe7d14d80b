package extctrl

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/container"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/clock"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// services notes what it is told to do.
type services struct {
	loaded   map[string]supervise.Service
	state    supervise.State
	restarts []string
}

func (s *services) Load(list ...supervise.Service) error {
	for _, x := range list {
		s.loaded[x.ID] = x
	}
	return nil
}

func (s *services) Start(...string) error { return nil }

func (s *services) Restart(_ context.Context, id string) error {
	s.restarts = append(s.restarts, id)
	return nil
}

func (s *services) Status(id string) (supervise.Status, error) {
	if _, ok := s.loaded[id]; !ok {
		return supervise.Status{}, supervise.ErrNotFound
	}
	return supervise.Status{ID: id, State: s.state}, nil
}

// runs notes what is run.
type runs struct{ specs []container.Spec }

func (r *runs) runner(s container.Spec) supervise.Runner {
	return supervise.Func(func(context.Context, io.Writer) error {
		r.specs = append(r.specs, s)
		return nil
	})
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const nut = `name: nut-client
container:
    entrypoint: ./upsmon
    args: [-D]
    environment: [A=spec, B=spec]
    mounts:
        - {source: /dev, destination: /dev, type: bind, options: [rshared, rbind, rw]}
    security:
        maskedPaths: []
depends:
    - service: cri
    - service: ext-other
    - network: [addresses]
    - time: true
    - configuration: true
restart: untilSuccess
logToConsole: true
`

func held(c supervise.Condition) bool {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	// One that is met returns nil whatever its context is, sooner or later.
	for range 50 {
		if c.Wait(ended) == nil {
			return true
		}
	}
	return false
}

func TestServicesOfExtensionsAreRun(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	write(t, root, "usr/local/etc/containers/nut.yaml", nut)
	write(t, root, "usr/local/etc/containers/bad.yaml", "name: bad\nimage: x\n")
	write(t, root, "usr/local/etc/containers/twice.yaml", strings.Replace(nut, "-D", "-E", 1))
	write(t, root, "etc/resolv.conf", "")
	sup, ran := &services{loaded: map[string]supervise.Service{}, state: supervise.Waiting}, &runs{}
	var console bytes.Buffer
	deps := Deps{
		Root: root, Dir: filepath.Join(dir, "files"), Scratch: "/system/scratch", Services: sup, Runner: ran.runner, Cgroup: "system/extensions", Console: &console,
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.WantThat(h, DiagnosticID, "names the files that cannot be used", func(r *resource.Typed[runtime.Diagnostic]) bool {
			d := r.Spec().Details
			return len(d) == 2 && strings.HasPrefix(d[0], "bad.yaml: ") && strings.HasPrefix(d[1], "twice.yaml: ")
		})
		h.Settle()
		if len(sup.loaded) != 1 {
			t.Fatalf("loaded %v", sup.loaded)
		}
		s := sup.loaded["ext-nut-client"]
		if d := cmp.Diff([]string{"containerd", "ext-other"}, s.After); d != "" || s.Restart != supervise.UntilSuccess {
			t.Errorf("After (-want +got):\n%s, Restart %s", d, s.Restart)
		}
		met := func() (names []string) {
			for _, c := range s.Conditions {
				if held(c) {
					names = append(names, c.String())
				}
			}
			return names
		}
		if got := met(); len(got) > 0 || len(s.Conditions) != 3 {
			t.Errorf("met at the start: %v of %v", got, s.Conditions)
		}
		controllertest.Create(h, network.StatusID, network.Status{AddressReady: true}, state.As("test"))
		controllertest.Create(h, clock.TimeStatusID, clock.TimeStatus{Synced: true}, state.As("test"))
		const config = `apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: nut-client
configFiles:
    - content: MONITOR ups
      mountPath: /usr/local/etc/nut/upsmon.conf
environment:
    - B=config
`
		setText := func(text string) {
			controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
			h.Settle()
		}
		setText(config)
		if got := met(); !slices.Equal(got, []string{"network: addresses", "time in sync", "its config"}) {
			t.Errorf("met with all that is needed: %v", got)
		}
		if len(sup.restarts) > 0 {
			t.Errorf("restarted %v before it ran", sup.restarts)
		}
		sup.state = supervise.Running
		run := func() container.Spec {
			t.Helper()
			if err := s.Runner.Run(t.Context(), supervise.Env{Log: io.Discard, Started: func(string) {}}); err != nil {
				t.Fatal(err)
			}
			return ran.specs[len(ran.specs)-1]
		}
		file := filepath.Join(dir, "files/nut-client/0")
		want := container.Spec{
			ID: "ext-nut-client", Rootfs: filepath.Join(root, "usr/local/lib/containers/nut-client"), Scratch: "/system/scratch/nut-client",
			Args: []string{"./upsmon", "-D"}, Dir: "/", Env: []string{"A=spec", "B=spec", "B=config"}, User: &container.User{}, Privileged: true, HostNetwork: true,
			ReadonlyRootfs: true, OOMScoreAdj: -600, HideKernel: true, MaskedPaths: []string{}, Cgroup: "/system/extensions/nut-client",
			Mounts: []container.Mount{
				{Source: filepath.Join(root, "etc/resolv.conf"), Target: "/etc/resolv.conf", Options: []string{"bind", "ro"}},
				{Source: "/dev", Target: "/dev", Options: []string{"rshared", "rbind", "rw"}},
				{Source: file, Target: "/usr/local/etc/nut/upsmon.conf", Options: []string{"bind", "ro"}},
			},
		}
		if d := cmp.Diff(want, run()); d != "" {
			t.Errorf("what is run (-want +got):\n%s", d)
		}
		if b, err := os.ReadFile(file); string(b) != "MONITOR ups" || err != nil {
			t.Errorf("the file is %q, %v", b, err)
		}
		setText(strings.Replace(config, "MONITOR ups", "MONITOR other", 1))
		if !slices.Equal(sup.restarts, []string{"ext-nut-client"}) {
			t.Errorf("restarted %v after a change; want once", sup.restarts)
		}
		if b, err := os.ReadFile(file); string(b) != "MONITOR other" || err != nil {
			t.Errorf("the file is %q, %v", b, err)
		}
		setText("apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n")
		if _, err := os.Stat(file); err == nil || len(sup.restarts) != 2 || len(run().Mounts) != 2 {
			t.Errorf("without the config the file is there: %v; restarted %v", err == nil, sup.restarts)
		}
	}, Controllers(deps)...)
}

func TestAMachineWithoutExtensionsHasNoSuchServices(t *testing.T) {
	sup := &services{loaded: map[string]supervise.Service{}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Settle()
		controllertest.WantNever[runtime.Diagnostic](h, DiagnosticID)
		if len(sup.loaded) > 0 {
			t.Errorf("loaded %v", sup.loaded)
		}
	}, Controllers(Deps{Root: t.TempDir(), Dir: t.TempDir(), Services: sup})...)
}

func TestTheEnvironmentFileHasToBeThere(t *testing.T) {
	root := t.TempDir()
	env := filepath.Join(root, "env")
	write(t, root, "usr/local/etc/containers/a.yaml", "name: a\ncontainer:\n    entrypoint: /a\n    environmentFile: "+env+"\n")
	sup, ran := &services{loaded: map[string]supervise.Service{}}, &runs{}
	var console bytes.Buffer
	c := newServiceController(Deps{Root: root, Services: sup, Runner: ran.runner, Console: &console})
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	r := sup.loaded["ext-a"].Runner
	if err := r.Run(t.Context(), supervise.Env{}); err == nil || !strings.Contains(err.Error(), env) {
		t.Errorf("Run without the file = %v; want its name", err)
	}
	write(t, root, "env", "A=1\n")
	if err := r.Run(t.Context(), supervise.Env{Started: func(string) {}}); err != nil || !slices.Equal(ran.specs[0].Env, []string{"A=1"}) {
		t.Errorf("Run = %v, with %v", err, ran.specs)
	}
	w := both{&bytes.Buffer{}, &console, "ext-a"}
	if _, err := w.Write([]byte("one\ntwo\n")); err != nil || console.String() != "[ext-a] one\n[ext-a] two\n" {
		t.Errorf("the console has %q, %v", &console, err)
	}
}
