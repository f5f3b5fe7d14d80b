package servicectrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/supervise"
	"talos.internal/resource/service"
)

// recorder keeps events as text.
type recorder struct {
	mu    sync.Mutex
	lines []string
	// hold, if not nil, is waited for before each event.
	hold chan struct{}
}

func (r *recorder) publish(m proto.Message, _ string) {
	if r.hold != nil {
		<-r.hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := m.(*machinepb.ServiceStateEvent)
	r.lines = append(r.lines, fmt.Sprintf("%s %s unknown=%v healthy=%v", e.GetService(), e.GetAction(), e.GetHealth().GetUnknown(), e.GetHealth().GetHealthy()))
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

func untilStopped(ctx context.Context, _ io.Writer) error { <-ctx.Done(); return nil }

// begin starts the controller on a supervisor of its own, which the test has to shut down.
func begin(h *controllertest.Harness, r *recorder, services ...supervise.Service) *supervise.Supervisor {
	h.T.Helper()
	s := supervise.New(nil)
	must(h.T, s.Load(services...))
	for _, c := range Controllers(Deps{Supervisor: s, Publish: r.publish}) {
		must(h.T, h.Scheduler.Register(c))
	}
	h.Settle()
	return s
}

func TestServicesAreShown(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		var healthy sync.Map
		r := &recorder{}
		s := begin(h, r,
			supervise.Service{ID: "plain", Runner: supervise.Func(untilStopped)},
			supervise.Service{ID: "checked", Runner: supervise.Func(untilStopped), Health: &supervise.Check{Probe: func(context.Context) error {
				if _, ok := healthy.Load("checked"); !ok {
					return errors.New("no answer")
				}
				return nil
			}}},
			supervise.Service{ID: "fails", Runner: supervise.Func(func(context.Context, io.Writer) error { return errors.New("no") }), Restart: supervise.Once},
			supervise.Service{ID: "waits", Runner: supervise.Func(untilStopped), After: []string{"nobody"}},
			supervise.Service{ID: "skipped", Runner: supervise.Func(untilStopped), Prepare: func(context.Context) error { return supervise.Skip("not here") }},
		)
		defer s.Shutdown(context.Background(), time.Minute)
		controllertest.WantNever[service.Service](h, "plain") // loaded, not started
		must(t, s.StartAll())
		h.Settle()
		controllertest.Want(h, "plain", service.Service{Running: true, HealthUnknown: true})
		controllertest.Want(h, "checked", service.Service{Running: true, HealthUnknown: true})
		controllertest.Want(h, "fails", service.Service{HealthUnknown: true})
		controllertest.Want(h, "waits", service.Service{HealthUnknown: true})
		controllertest.WantNever[service.Service](h, "skipped")

		controllertest.Want(h, "checked", service.Service{Running: true})
		healthy.Store("checked", true)
		controllertest.Want(h, "checked", service.Service{Running: true, Healthy: true})

		must(t, s.Stop(h.T.Context(), "plain"))
		controllertest.WantGone[service.Service](h, "plain")
		must(t, s.Unload(h.T.Context(), "fails")) // there is no event of this
		controllertest.WantGone[service.Service](h, "fails")

		for _, want := range []string{
			"plain RUNNING unknown=true healthy=false", "plain STOPPING", "plain FINISHED", "fails FAILED", "waits WAITING", "skipped SKIPPED",
			"checked RUNNING unknown=false healthy=false", "checked RUNNING unknown=false healthy=true",
		} {
			if got := r.text(); !strings.Contains(got, want) {
				t.Errorf("events\n%s\nwant %q in them", got, want)
			}
		}
	})
}

func TestEventsBeforeTheControllerArePublished(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		s := supervise.New(nil)
		defer s.Shutdown(context.Background(), time.Minute)
		must(t, s.Load(supervise.Service{ID: "early", Runner: supervise.Func(untilStopped)}))
		must(t, s.Start("early"))
		h.Settle()
		r := &recorder{}
		must(t, h.Scheduler.Register(&ServiceController{Supervisor: s, Publish: r.publish}))
		controllertest.Want(h, "early", service.Service{Running: true, HealthUnknown: true})
		if got := strings.Count(r.text(), "early RUNNING"); got != 1 {
			t.Errorf("events\n%s\nwant one that early runs", r.text())
		}
	})
}

func TestSlowControllerCatchesUp(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		r := &recorder{hold: make(chan struct{})}
		const flips = 2 * eventBuffer
		s := begin(h, r, supervise.Service{ID: "busy", Runner: supervise.Func(untilStopped)})
		defer s.Shutdown(context.Background(), time.Minute)
		for range flips { // each is several events, and none is taken
			must(t, s.Start("busy"))
			must(t, s.Stop(h.T.Context(), "busy"))
		}
		must(t, s.Start("busy"))
		close(r.hold)
		controllertest.Want(h, "busy", service.Service{Running: true, HealthUnknown: true})
		h.Settle() // the state may be right before the events are
		lines := strings.Split(r.text(), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "busy RUNNING") {
			t.Errorf("the last event is %q; want that busy runs", last)
		}
	})
}

func TestEveryStateHasAnAction(t *testing.T) {
	for s := supervise.Initialized; s <= supervise.Skipped; s++ {
		if got, want := actionOf(s).String(), strings.ToUpper(s.String()); got != want {
			t.Errorf("actionOf(%v) = %s; want %s", s, got, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
