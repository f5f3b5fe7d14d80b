package child

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
)

// machine is a supervisor with real logs, which is shut down when the test ends.
func machine(t *testing.T, services ...supervise.Service) (*supervise.Supervisor, *logring.Set) {
	t.Helper()
	logs, err := logring.NewSet(256 << 10)
	if err != nil {
		t.Fatal(err)
	}
	s := supervise.New(logs)
	if err := s.Load(services...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if report := s.Shutdown(context.Background(), patience); !report.Gone() {
			t.Errorf("Shutdown leaves %v", report.Late)
		}
	})
	if err := s.StartAll(); err != nil {
		t.Fatal(err)
	}
	return s, logs
}

func up(t *testing.T, s *supervise.Supervisor, ids ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.WaitUp(ctx, ids...); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until the service is in a state, which it stays in.
func waitFor(t *testing.T, s *supervise.Supervisor, id string, state supervise.State) {
	t.Helper()
	all, sub := s.Subscribe(100)
	defer sub.Close()
	for _, st := range all {
		if st.ID == id && st.State == state {
			return
		}
	}
	nextState(t, sub, id, state)
}

// nextState takes events until one says that the service is in a state.
func nextState(t *testing.T, sub *supervise.Subscription, id string, state supervise.State) supervise.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			t.Fatalf("wait for %s to be %v: %v", id, state, err)
		}
		if e.Service == id && e.State == state {
			return e
		}
	}
}

// awaitLog waits until the log of a service has a line.
func awaitLog(t *testing.T, logs *logring.Set, id, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := logs.Ring(id).NewReader(logring.All, true)
	for {
		lines, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("wait for %q in the log of %s: %v", line, id, err)
		}
		if strings.Contains(string(lines), line+"\n") {
			return
		}
	}
}

func TestAKilledProcessIsBackAndTheOthersAreNotDisturbed(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		s, _ := machine(t,
			supervise.Service{ID: "containerd", Runner: Runner{act("wait"), l}},
			supervise.Service{ID: "apid", Runner: Runner{act("wait"), l}, After: []string{"containerd"}},
			supervise.Service{ID: "trustd", Runner: Runner{act("wait"), l}, After: []string{"containerd"}},
		)
		up(t, s, "containerd", "apid", "trustd")
		pids := map[string]int{}
		for _, st := range s.List() {
			pids[st.ID] = pidIn(t, st.Message)
		}
		_, sub := s.Subscribe(100)
		defer sub.Close()
		for _, id := range []string{"containerd", "apid", "trustd"} {
			if err := syscall.Kill(pids[id], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			failed := nextState(t, sub, id, supervise.Failed)
			running := nextState(t, sub, id, supervise.Running)
			if failed.Message != "signal: killed" {
				t.Errorf("%s failed with %q; want signal: killed", id, failed.Message)
			}
			t.Logf("%s is back %v after the end was seen", id, running.Time.Sub(failed.Time))
			if pid := pidIn(t, running.Message); pid == pids[id] {
				t.Errorf("%s has PID %d again", id, pid)
			}
		}
		for _, st := range s.List() {
			if st.Runs != 2 {
				t.Errorf("%s ran %d times; want 2: a crash of another one disturbs nobody", st.ID, st.Runs)
			}
		}
	})
}

func TestAFloodStaysInItsBoundsAndCanBeStopped(t *testing.T) {
	s, logs := machine(t, supervise.Service{ID: "flood", Runner: Runner{act("flood"), Exec{}}})
	up(t, s, "flood")
	ring := logs.Ring("flood")
	r := ring.NewReader(0, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ring.Stats().Bytes < 16<<20 {
		if _, err := r.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if m := ring.Stats().Memory; m > 256<<10 {
		t.Errorf("memory = %d; want at most 256 KiB", m)
	}
	if err := s.Stop(ctx, "flood"); err != nil {
		t.Error(err)
	}
}

func TestShutdownReportsWhatHadToBeKilledAndWhatItSaid(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		s, logs := machine(t,
			supervise.Service{ID: "deaf", Runner: Runner{act("deaf"), l}, Grace: time.Hour},
			supervise.Service{ID: "polite", Runner: Runner{act("polite"), l}, After: []string{"deaf"}},
		)
		up(t, s, "deaf", "polite")
		awaitLog(t, logs, "deaf", "ready")
		awaitLog(t, logs, "polite", "ready")
		report := s.Shutdown(t.Context(), 3*time.Second)
		if len(report.Late) != 1 || !report.Gone() {
			t.Fatalf("Shutdown reports %v; want deaf alone, gone", report.Late)
		}
		if late := report.Late[0]; late.Service != "deaf" || late.Message != "Finished: Killed" || fmt.Sprint(late.Said) != "[ready]" {
			t.Errorf("late = %v; want deaf, killed, which said ready", late)
		}
		if got := strings.Join(logs.Tail("polite", 1), ""); got != "got terminated" {
			t.Errorf("polite said %q; want got terminated", got)
		}
		if err := s.Start("deaf"); !errors.Is(err, supervise.ErrShutdown) {
			t.Errorf("Start = %v; want ErrShutdown", err)
		}
	})
}

func TestAMissingBinaryIsTriedAgainAndSaysWhy(t *testing.T) {
	s, _ := machine(t, supervise.Service{ID: "x", Runner: Runner{Spec{Path: "/missing/binary"}, Exec{}}, Backoff: supervise.Backoff{First: time.Millisecond, Max: time.Millisecond}})
	_, sub := s.Subscribe(1000)
	defer sub.Close()
	for range 3 {
		e := nextState(t, sub, "x", supervise.Failed)
		if want := "fork/exec /missing/binary: no such file or directory"; e.Message != want {
			t.Errorf("message = %q; want %q", e.Message, want)
		}
	}
}
