package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestShutdownIsInOrderWithinItsTimeAndReports(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		stuck := &actor{stuck: make(chan struct{})}
		load(t, s,
			Service{ID: "containerd", Runner: &actor{stopTakes: time.Second}},
			Service{ID: "cri", Runner: stuck, Grace: 30 * time.Second},
			Service{ID: "apid", Runner: &actor{}, After: []string{"containerd"}},
			Service{ID: "etcd", Runner: &actor{deaf: true}, After: []string{"cri"}, Grace: 15 * time.Second},
			Service{ID: "kubelet", Runner: &actor{stopTakes: 2 * time.Second}, After: []string{"cri"}},
			Service{ID: "idle", Runner: &actor{}, After: []string{"etcd"}, Grace: time.Hour},
		)
		start(t, s, "containerd", "cri", "apid", "etcd", "kubelet")
		began := time.Now()
		report := s.Shutdown(t.Context(), 20*time.Second)
		if took := time.Since(began); took > 20*time.Second || report.Took != took {
			t.Errorf("Shutdown took %v, and reports %v; want at most 20s", took, report.Took)
		}
		// 20 s less 2 s for the killing make 9 s for each of the two; the last has what is left.
		want := []Late{
			{"etcd", 9 * time.Second, true, "Finished: Killed", []string{"run 1"}},
			{"cri", 9900 * time.Millisecond, false, "Stopping: Did not stop within 9.9s, killing it", []string{"run 1"}},
		}
		if diff := cmp.Diff(want, report.Late); diff != "" || report.Gone() {
			t.Errorf("Shutdown reports (-want +got), gone %v:\n%s", report.Gone(), diff)
		}
		for _, id := range []string{"containerd", "apid", "kubelet"} {
			if st := status(t, s, id); st.State != Finished || st.Message != "Stopped" {
				t.Errorf("%s is %v %q; want Finished, stopped in its time", id, st.State, st.Message)
			}
		}
		for name, err := range map[string]error{
			"Load": s.Load(Service{ID: "new", Runner: stuck}), "Start": s.Start("apid"), "Restart": s.Restart(t.Context(), "apid"), "StartAll": s.StartAll(),
		} {
			if !errors.Is(err, ErrShutdown) {
				t.Errorf("%s after Shutdown = %v; want ErrShutdown", name, err)
			}
		}
		close(stuck.stuck)
	})
}

func TestShutdownThatIsCancelledKillsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s,
			Service{ID: "a", Runner: &actor{deaf: true}},
			Service{ID: "b", Runner: &actor{deaf: true}, After: []string{"a"}},
		)
		start(t, s, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		s.Shutdown(ctx, time.Hour)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Shutdown took %v; want the 3s of its context", took)
		}
		want(t, s, "a", Finished, "Killed")
		want(t, s, "b", Finished, "Killed")
	})
}

func TestShutdownForgetsAStartThatWasToFollow(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		a := &actor{stopTakes: time.Second}
		load(t, s, Service{ID: "x", Runner: a})
		start(t, s, "x")
		go func() { _ = s.Restart(t.Context(), "x") }()
		synctest.Wait()
		s.Shutdown(t.Context(), time.Minute)
		time.Sleep(time.Minute)
		want(t, s, "x", Finished, "Stopped")
		if a.runs != 1 {
			t.Errorf("%d runs; want 1", a.runs)
		}
	})
}

func TestStopAllCanBeStartedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		for i := range 20 {
			svc := Service{ID: fmt.Sprintf("s%02d", i), Runner: &actor{stopTakes: time.Second}}
			if i > 0 {
				svc.After = []string{fmt.Sprintf("s%02d", i-1)}
			}
			load(t, s, svc)
		}
		_, sub := s.Subscribe(1000)
		defer sub.Close()
		var up, down []string
		for range 2 {
			if err := s.StartAll(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := s.StopAll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sub.Close()
		for {
			e, err := sub.Next(t.Context())
			if err != nil {
				break
			}
			switch e.State {
			case Running:
				up = append(up, e.Service)
			case Finished:
				down = append(down, e.Service)
			}
		}
		if got := strings.Join(up, " "); len(up) != 40 || !strings.HasPrefix(got, "s00 s01 s02") {
			t.Errorf("up: %s; want s00 to s19, twice", got)
		}
		if got := strings.Join(down, " "); len(down) != 40 || !strings.HasPrefix(got, "s19 s18 s17") {
			t.Errorf("down: %s; want s19 to s00, twice", got)
		}
	})
}
