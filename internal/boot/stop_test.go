package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/process"
)

var _ Services = (*supervise.Supervisor)(nil)

func stopPlan(t *testing.T, f Facts, c Cause) []Step {
	t.Helper()
	steps, err := StopPlan(f, c)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestPlansOfTheEnd(t *testing.T) {
	f := captured(t, "docker-v1")
	samePlan(t, "stop-terminated", stopPlan(t, f, Cause{Kind: Terminated}))
	samePlan(t, "stop-reset", stopPlan(t, f, Cause{
		Kind: Reset, WipeState: true, WipeEphemeral: true, Grace: 10 * time.Second,
		First: []Step{{Name: "leave etcd", Do: Call{"remove the member", nil}, Limit: time.Minute}},
	}))
	f.PID1 = false
	for _, s := range stopPlan(t, f, Cause{Kind: Terminated}) {
		if _, ok := s.Do.(SignalAll); ok {
			t.Errorf("a process that is not the first of its namespace does %s", s)
		}
	}
}

func TestACauseThatTheModeLacksIsRefused(t *testing.T) {
	f := captured(t, "docker-v1")
	for _, kind := range []CauseKind{Reboot, Shutdown} {
		if _, err := StopPlan(f, Cause{Kind: kind}); !errors.Is(err, ErrLacks) {
			t.Errorf("StopPlan(%s) = %v; want ErrLacks", kind, err)
		}
	}
	if _, err := StopPlan(f, Cause{Kind: "boredom"}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("StopPlan(boredom) = %v; want EINVAL", err)
	}
	if _, err := StopPlan(Facts{Mode: "cloud"}, Cause{Kind: Terminated}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("StopPlan(cloud) = %v; want ErrUnsupported", err)
	}
}

func TestTheStepsFitIntoTheGraceTime(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Millisecond, 10 * time.Second, time.Hour} {
		var sum time.Duration
		for _, s := range stopPlan(t, captured(t, "docker-v1"), Cause{Kind: Reset, WipeState: true, Grace: grace}) {
			sum += s.Limit
			if _, end := s.Do.(End); !end && (s.MayFail == "" || s.Limit == 0) {
				t.Errorf("step %s can keep the node from ending", s)
			}
		}
		want := max(grace, minStopTime)
		if grace == 0 {
			want = DefaultStopTime
		}
		if sum > want {
			t.Errorf("the steps take %v; the grace time is %v", sum, want)
		}
	}
}

func TestTheEndIsReachedWhateverFails(t *testing.T) {
	f := captured(t, "docker-v1")
	steps := stopPlan(t, f, Cause{Kind: Reset, WipeState: true, WipeEphemeral: true})
	run := func(failAt int) (*recorder, *mount.Memory, []error, error) {
		m := memory(t, f)
		booted := &recorder{}
		if _, err := Run(t.Context(), plan(t, f), host(m, booted), quiet); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.MakePoint("/var/lib/kubelet/pods/a", false, 0o755), m.Mount(mount.Call{Target: "/var/lib/kubelet/pods/a", Type: "tmpfs"}),
			m.MakePoint("/var/lib/nfs", false, 0o755), m.Mount(mount.Call{Target: "/var/lib/nfs", Type: "nfs4"})); err != nil {
			t.Fatal(err)
		}
		m.Open = []string{"/var/lib/kubelet/pods/a"}
		r := &recorder{failAt: failAt}
		failed, err := Run(t.Context(), steps, host(m, r), quiet)
		return r, m, failed, err
	}
	r, m, failed, err := run(0)
	if len(failed) > 0 || err != nil {
		t.Fatalf("Run() = %v, %v", failed, err)
	}
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, dir := range []string{"/var", "/opt", "/etc", "/tmp", "/run", "/system"} {
		left = append(left, mount.Below(table, dir)...)
	}
	if d := cmp.Diff([]string{"/var", "/opt", "/tmp", "/run", "/system/state", "/system"}, left); d != "" {
		t.Errorf("mounts that are left; want those of the container runtime (-want +got):\n%s", d)
	}
	want := []string{"deny starts", "stop all", "others", "others", "empty /system/state but []", "empty /var but []", "sync /system/state", "sync /var"}
	if d := cmp.Diff(want, r.calls()); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
	for n := 2; n <= len(want); n++ {
		if _, _, failed, err := run(n); len(failed) != 1 || err != nil {
			t.Errorf("%s failed: Run() = %v, %v; want one failure and the end", want[n-1], failed, err)
		}
	}
}

func TestWhatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := &recorder{stop: func(context.Context) error { <-release; return nil }, others: []string{"7 (stuck)", "8 (stuck)"}}
		f := captured(t, "docker-v1")
		var log bytes.Buffer
		begin := time.Now()
		failed, err := Run(t.Context(), stopPlan(t, f, Cause{Kind: Terminated}), host(memory(t, f), r), slog.New(slog.NewTextHandler(&log, nil)))
		took := time.Since(begin)
		close(release)
		if err != nil || len(failed) != 3 || took > DefaultStopTime {
			t.Errorf("Run() = %v, %v after %v; want three failures within %v", failed, err, took, DefaultStopTime)
		}
		for _, text := range []string{"hangs and is left behind", "2 processes are left after terminated: 7 (stuck), 8 (stuck)", "after killed"} {
			if !strings.Contains(log.String(), text) {
				t.Errorf("the log has no %q:\n%s", text, &log)
			}
		}
	})
}

func TestAStepThatPanicsFails(t *testing.T) {
	steps := []Step{
		{Name: "a", Do: Call{"panic", func(context.Context) error { panic(syscall.EBUSY) }}, MayFail: "nothing"},
		{Name: "b", Do: Call{"panic", func(context.Context) error { panic("here") }}},
		{Name: "c", Do: Call{"never", nil}},
	}
	failed, err := Run(t.Context(), steps, &Host{}, quiet)
	var step *StepError
	if len(failed) != 1 || !errors.As(err, &step) || step.Step.Name != "b" || !strings.Contains(err.Error(), "TestAStepThatPanicsFails") {
		t.Errorf("Run() = %v, %v; want the panic of b with its stack", failed, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrUnexpectedEOF)
	if _, err := Run(ctx, steps[2:], &Host{}, quiet); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Run(after the end of its context) = %v; want its cause", err)
	}
}

// said are writers that can be read while others write.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.b.Write(p) }
func (s *said) String() string              { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// deaf is a writer that nobody reads.
type deaf chan struct{}

func (d deaf) Write([]byte) (int, error) { <-d; return 0, io.ErrClosedPipe }

func TestTheEmergencyPathEndsWhateverHappens(t *testing.T) {
	for _, tc := range []struct {
		name  string
		mode  Mode
		cause any
		stop  func(context.Context) error
		want  []string
		took  time.Duration
	}{
		{"a panic with an error", Container, fmt.Errorf("mount /: %w", syscall.EIO), nil, []string{"emergency: mount /: input/output error", "stop_test.go", "PID 1 exits"}, 0},
		{"a panic with any value", Container, 42, nil, []string{"emergency: panic: 42"}, 0},
		{"services that hang", Container, "x", nil, []string{"stop the services: it is not done after 5s"}, emergencyStop + unwind},
		{"services that panic", Container, "x", func(context.Context) error { panic("y") }, []string{"stop the services: panic: y"}, 0},
		{"a machine starts again", Metal, "x", nil, []string{"starts again in 10s", "PID 1 exits"}, emergencyPause},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out said
				nobody := make(deaf)
				release := make(chan struct{})
				m := &process.Recorder{}
				var codes []int
				e := &Emergency{Mode: tc.mode, Machine: m, Out: []io.Writer{&out}, Exit: func(code int) { codes = append(codes, code) }}
				stop := tc.stop
				if tc.name == "services that hang" {
					stop = func(context.Context) error { <-release; return nil }
				}
				e.SetServices(&recorder{stop: stop})
				begin := time.Now()
				e.Guard(func() { panic(tc.cause) })
				if took := time.Since(begin); took != tc.took {
					t.Errorf("it took %v; want %v", took, tc.took)
				}
				e.Enter("again")
				if len(codes) != 1 || codes[0] != 1 {
					t.Errorf("exits with %v; want one with 1", codes)
				}
				for _, text := range append(tc.want, "panic: again") {
					if !strings.Contains(out.String(), text) {
						t.Errorf("it did not say %q:\n%s", text, &out)
					}
				}
				want := []string{"sync"}
				if tc.mode == Metal {
					want = append(want, "reboot (restart)")
				}
				if d := cmp.Diff(want, m.Log()); d != "" {
					t.Errorf("machine (-want +got):\n%s", d)
				}
				quick := &Emergency{Mode: Container, Machine: m, Out: []io.Writer{nobody}, Exit: func(code int) { codes = append(codes, code) }}
				quick.Enter("nobody reads")
				if len(codes) != 2 {
					t.Error("a writer that nobody reads keeps PID 1 from ending")
				}
				close(release)
				close(nobody)
			})
		})
	}
	(&Emergency{}).Guard(func() {})
}

func TestTheTableOfModes(t *testing.T) {
	for _, c := range Capabilities() {
		if err := Metal.Check(c); err != nil {
			t.Errorf("metal: %v", err)
		}
		err := Container.Check(c)
		can := c == CanReset || c == CanSetHostname
		var lack *LackError
		if (err == nil) != can || Container.Can(c) != can {
			t.Errorf("container: %s: %v; want it to be possible: %t", c, err, can)
		}
		if err != nil && (!errors.As(err, &lack) || lack.Reason == "" || lack.Unimplemented != (c == CanMeta)) {
			t.Errorf("container: %s: %+v; want a reason, and Unimplemented for META alone", c, err)
		}
	}
	if len(lacks[Container])+2 != len(Capabilities()) {
		t.Error("the table has a capability that Capabilities does not list")
	}
	if Mode("cloud").Can(CanReset) {
		t.Error("a mode that is not known can reset")
	}
}

func TestLastStepsComeWhenNothingRunsAndAllIsMounted(t *testing.T) {
	for _, mode := range []Mode{Container, Metal} {
		steps, err := StopPlan(Facts{Mode: mode, PID1: true}, Cause{Kind: Terminated, Last: []Step{{Name: "keep the logs", Do: Call{What: "x"}}}})
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]int{}
		for i, s := range steps {
			if _, ok := at[s.Name]; !ok {
				at[s.Name] = i
			}
			if _, ok := s.Do.(Unmount); ok && at["unmount"] == 0 {
				at["unmount"] = i
			}
		}
		if l := at["keep the logs"]; l < at["kill what is left"] || l > at["unmount"] || steps[l].MayFail == "" {
			t.Errorf("%s: the last step is number %d of %v", mode, l, at)
		}
	}
}
