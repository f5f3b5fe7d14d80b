package configctrl

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/volume"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// startMachine begins the controllers of a machine, whose state directory is a volume.
func startMachine(h *controllertest.Harness, dir string, sources ...Source) *node {
	n := &node{h: h, dir: dir, store: NewStore(h.State, dir, slog.New(slog.NewTextHandler(h.T.Output(), nil)))}
	for _, c := range Controllers(Deps{Store: n.store, Volumes: true, Sources: sources, Mode: schema.Container, Publish: func(m proto.Message, _ string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, m)
	}}) {
		if err := h.Scheduler.Register(c); err != nil {
			h.T.Fatal(err)
		}
	}
	h.Settle()
	return n
}

// wantNeither wants that nothing is said about maintenance yet.
func (n *node) wantNeither() {
	n.h.T.Helper()
	controllertest.WantNever[runtime.MaintenanceServiceRequest](n.h, runtime.MaintenanceServiceID)
}

func put[S resource.Spec](h *controllertest.Harness, spec S) {
	h.T.Helper()
	if err := state.Put(h.T.Context(), h.State, volume.State, spec); err != nil {
		h.T.Fatal(err)
	}
}

func volumePhase(h *controllertest.Harness, phase block.VolumePhase, why string) {
	h.T.Helper()
	put(h, block.VolumeStatus{Phase: phase, ErrorMessage: why})
	h.Settle()
}

func diagnostic(h *controllertest.Harness) runtime.Diagnostic {
	h.T.Helper()
	r, err := state.Get[runtime.Diagnostic](h.T.Context(), h.State, DiagnosticID)
	if err != nil {
		h.T.Fatal(err)
	}
	return r.Spec()
}

func mounted(h *controllertest.Harness) {
	h.T.Helper()
	put(h, block.MountStatus{Target: "/system/state"})
	h.Settle()
}

func gives(text string) Source {
	return Source{Name: "the seed", Read: func(context.Context, func(error)) (string, error) { return text, nil }}
}

func TestTheFileIsReadWhenItsVolumeIsMounted(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		dir := t.TempDir()
		writeFile(t, dir, complete)
		n := startMachine(h, dir, gives(complete2))
		n.wantNeither()
		volumePhase(h, block.PhaseLocated, "")
		n.wantNeither()
		time.Sleep(3 * patience) // a slow disk: the API would be open to strangers
		h.Settle()
		n.wantNeither()
		mounted(h)
		n.wantMaintenance(false)
		n.wantConfigs(complete, complete)
	})
}

func TestWithoutTheVolumeThePlatformIsAsked(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		n := startMachine(h, t.TempDir(), gives(partial))
		volumePhase(h, block.PhaseMissing, "")
		n.wantMaintenance(true)
		if got := n.file(); got != "" {
			t.Errorf("without the volume the file has %q; want none", got)
		}
		// The volume is made and mounted: now it is kept.
		mounted(h)
		n.wantConfigs(partial, partial)
	})
}

// What a disk's controllers do for a volume is tried again, so it may come right after it had failed: at once, or when a person helped.
func TestAVolumeThatComesRightIsRead(t *testing.T) {
	for _, late := range []bool{false, true} {
		controllertest.Run(t, func(h *controllertest.Harness) {
			dir := t.TempDir()
			writeFile(t, dir, complete)
			n := startMachine(h, dir, gives(complete2))
			volumePhase(h, block.PhaseFailed, "somebody else makes it")
			if late {
				time.Sleep(volumeWait)
				h.Settle()
				n.wantMaintenance(true)
			} else {
				n.wantNeither()
			}
			volumePhase(h, block.PhaseReady, "")
			mounted(h)
			n.wantMaintenance(false)
			n.wantConfigs(complete, complete)
		})
	}
}

func TestAVolumeThatCannotBeUsedIsNoReasonToTakeAnotherConfig(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(h *controllertest.Harness)
		want string
	}{
		{"failed", func(h *controllertest.Harness) {
			volumePhase(h, block.PhaseFailed, "no key opens it")
			time.Sleep(patience)
		}, "no key opens it"},
		{"not there in time", func(*controllertest.Harness) { time.Sleep(volumeWait) }, "not ready after"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			controllertest.Run(t, func(h *controllertest.Harness) {
				n := startMachine(h, t.TempDir(), gives(partial))
				tc.make(h)
				h.Settle()
				n.wantMaintenance(true)
				d := diagnostic(h)
				if !strings.Contains(strings.Join(d.Details, " "), tc.want) {
					t.Errorf("the diagnostic is %+v; want it to say %q", d, tc.want)
				}
				if _, ok := n.store.Active(t.Context()); ok {
					t.Error("the machine took another config")
				}
			})
		})
	}
}

func TestASourceThatIsSlowLeavesTheMachineInMaintenanceMeanwhile(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		answer := make(chan string)
		asked := 0
		slow := Source{Name: "https://server/config", Read: func(ctx context.Context, tell func(error)) (string, error) {
			asked++
			tell(errors.New("no route to host"))
			select {
			case text := <-answer:
				return text, nil
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}}
		n := startMachine(h, t.TempDir(), slow)
		volumePhase(h, block.PhaseMissing, "")
		n.wantNeither()
		time.Sleep(patience)
		h.Settle()
		n.wantMaintenance(true)
		d := diagnostic(h)
		if !slices.Contains(d.Details, "no route to host") || !strings.Contains(d.Message, "https://server/config") {
			t.Errorf("the diagnostic is %+v; want the source and what is wrong", d)
		}
		// The server comes late: what it has counts.
		answer <- partial
		h.Settle()
		if got, _ := n.store.Active(t.Context()); got != partial || asked != 1 {
			t.Errorf("the config is %q after %d questions; want what the server had", got, asked)
		}
	})
}

func TestAPersonIsFasterThanASource(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		ended := make(chan struct{})
		slow := Source{Name: "slow", Read: func(ctx context.Context, _ func(error)) (string, error) {
			<-ctx.Done()
			close(ended)
			return "", context.Cause(ctx)
		}}
		n := startMachine(h, t.TempDir(), slow, gives(complete2))
		volumePhase(h, block.PhaseMissing, "")
		if err := n.store.Apply(t.Context(), complete, false); err != nil {
			t.Fatal(err)
		}
		h.Settle()
		<-ended
		n.wantMaintenance(false)
		if got, _ := n.store.Active(t.Context()); got != complete {
			t.Errorf("the config is %q; want that of the person", got)
		}
	})
}
