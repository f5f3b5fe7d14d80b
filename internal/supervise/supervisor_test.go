package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAServiceWaitsForWhatItNeedsAndSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		network, clock := NewGate("network"), NewGate("time sync")
		file := filepath.Join(t.TempDir(), "ready")
		containerd, trustd := &actor{silent: true}, &actor{}
		prepared := false
		load(t, s,
			Service{ID: "trustd", Runner: trustd, After: []string{"containerd"}, Conditions: []Condition{network, clock, PathExists(file)},
				Prepare: func(context.Context) error { prepared = true; return nil }},
			Service{ID: "containerd", Runner: containerd},
		)
		want(t, s, "trustd", Initialized, "Loaded")
		start(t, s, "trustd")
		want(t, s, "trustd", Waiting, "Waiting for service containerd to be up; network; time sync; file "+file+" to exist")
		time.Sleep(2 * settle) // nothing is met, so nothing is told
		clock.Set(true)
		time.Sleep(settle)
		want(t, s, "trustd", Waiting, "Waiting for service containerd to be up; network; file "+file+" to exist")
		clock.Set(false) // it was met once; that is enough
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, s, "containerd")
		want(t, s, "containerd", Starting, "Starting")
		time.Sleep(time.Minute)
		want(t, s, "trustd", Waiting, "Waiting for service containerd to be up; network")
		containerd.silent = false
		if err := s.Restart(t.Context(), "containerd"); err != nil {
			t.Fatal(err)
		}
		network.Set(true)
		want(t, s, "trustd", Running, "run 1")
		if !prepared {
			t.Error("it runs unprepared")
		}
		var got []string
		for _, e := range status(t, s, "trustd").Events {
			got = append(got, e.State.String())
		}
		if got, want := strings.Join(got, " "), "Initialized Waiting Waiting Waiting Preparing Starting Running"; got != want {
			t.Errorf("states = %s; want %s", got, want)
		}
	})
}

func TestAServiceThatIsNotLoadedIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s, Service{ID: "ext-x", Runner: &actor{}, After: []string{"cri"}})
		start(t, s, "ext-x")
		time.Sleep(settle)
		want(t, s, "ext-x", Waiting, "Waiting for service cri to be up (not loaded)")
		load(t, s, Service{ID: "cri", Runner: &actor{}})
		start(t, s, "cri")
		want(t, s, "ext-x", Running, "run 1")
	})
}

func TestLoadRefusesWhatCannotRun(t *testing.T) {
	r := &actor{}
	for _, tc := range []struct {
		name     string
		services []Service
		want     error
		text     string
	}{
		{"no id", []Service{{Runner: r}}, ErrInvalid, `load service "": invalid service: the id is empty or has white space`},
		{"no runner", []Service{{ID: "x"}}, ErrInvalid, `load service "x": invalid service: it has no runner`},
		{"no probe", []Service{{ID: "x", Runner: r, Health: &Check{}}}, ErrInvalid, `load service "x": invalid service: its health check has no probe`},
		{"negative grace", []Service{{ID: "x", Runner: r, Grace: -1}}, ErrInvalid, `load service "x": invalid service: a time is negative`},
		{"policy", []Service{{ID: "x", Runner: r, Restart: 9}}, ErrInvalid, `load service "x": invalid service: unknown restart policy Restart(9)`},
		{"twice", []Service{{ID: "x", Runner: r}, {ID: "x", Runner: r}}, ErrExists, `load service x: service is already loaded`},
		{"loaded before", []Service{{ID: "new", Runner: r}, {ID: "old", Runner: r}}, ErrExists, `load service old: service is already loaded`},
		{"a cycle through what was loaded before", []Service{{ID: "b", Runner: r, After: []string{"old"}}, {ID: "a", Runner: r, After: []string{"b"}}}, ErrInvalid,
			`load services: invalid service: services wait for each other: a → b → old → a`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := New(nil)
			load(t, s, Service{ID: "old", Runner: r, After: []string{"a"}})
			err := s.Load(tc.services...)
			if !errors.Is(err, tc.want) || err.Error() != tc.text {
				t.Errorf("Load = %v; want %s", err, tc.text)
			}
			if n := len(s.List()); n != 1 {
				t.Errorf("%d services are loaded after an error; want 1", n)
			}
		})
	}
}

func TestACrashIsBackSoonAndDisturbsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		containerd, apid := &actor{}, &actor{}
		load(t, s, Service{ID: "containerd", Runner: containerd}, Service{ID: "apid", Runner: apid, After: []string{"containerd"}})
		if err := s.StartAll(); err != nil {
			t.Fatal(err)
		}
		want(t, s, "apid", Running, "run 1")
		for i := range 5 { // in quick succession, and each back within two seconds
			containerd.end(errors.New("signal: killed"))
			synctest.Wait()
			if st := status(t, s, "containerd"); st.State != Waiting || !strings.Contains(st.Message, "signal: killed") {
				t.Fatalf("crash %d: %v %q; want Waiting with the cause", i, st.State, st.Message)
			}
			time.Sleep(2 * time.Second)
			want(t, s, "containerd", Running, fmt.Sprintf("run %d", i+2))
		}
		want(t, s, "apid", Running, "run 1")
		if apid.runs != 1 {
			t.Errorf("apid ran %d times; want 1", apid.runs)
		}
	})
}

func TestALoopOfCrashesSlowsDownUntilARunIsStable(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		var starts box[[]time.Duration]
		var lives box[time.Duration]
		began := time.Now()
		load(t, s, Service{ID: "x", Runner: Func(func(ctx context.Context, _ io.Writer) error {
			starts.set(append(starts.get(), time.Since(began)))
			if err := sleep(ctx, lives.get()); err != nil {
				return nil
			}
			return errors.New("boom")
		})})
		start(t, s, "x")
		time.Sleep(17 * time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(starts.get()), "[0s 100ms 300ms 700ms 1.5s 3.1s 6.3s 11.3s 16.3s]"; got != want {
			t.Errorf("starts = %s; want %s", got, want)
		}
		lives.set(10 * time.Second)
		starts.set(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got, want := fmt.Sprint(starts.get()), "[21.3s 31.4s 41.5s]"; got != want {
			t.Errorf("starts = %s; want %s", got, want)
		}
	})
}

func TestHowARunEndsDecidesWithThePolicy(t *testing.T) {
	for _, tc := range []struct {
		restart Restart
		err     error
		want    State
		up      bool
	}{
		{Always, nil, Running, true},
		{Always, errors.New("x"), Running, true},
		{UntilSuccess, nil, Finished, true},
		{UntilSuccess, errors.New("x"), Running, true},
		{Once, nil, Finished, true},
		{Once, errors.New("x"), Failed, false},
	} {
		t.Run(fmt.Sprintf("%v after %v", tc.restart, tc.err), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *Supervisor) {
				a := &actor{}
				load(t, s, Service{ID: "x", Runner: a, Restart: tc.restart})
				start(t, s, "x")
				a.end(tc.err)
				time.Sleep(time.Second)
				synctest.Wait()
				if st := status(t, s, "x"); st.State != tc.want || st.Up != tc.up {
					t.Errorf("state = %v, up %v; want %v, up %v\n%s", st.State, st.Up, tc.want, tc.up, story(st))
				}
			})
		})
	}
}

func TestWhatFailsBeforeARunCountsAsAFailedRun(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		tries := 0
		load(t, s,
			Service{ID: "x", Runner: &actor{}, Prepare: func(context.Context) error {
				if tries++; tries < 3 {
					return errors.New("pull image: no route")
				}
				return nil
			}},
			Service{ID: "once", Runner: &actor{}, Restart: Once, Conditions: []Condition{PathExists("bad\x00path")}},
			Service{ID: "udevd", Runner: &actor{}, Prepare: func(context.Context) error { return fmt.Errorf("prepare: %w", Skip("no devices in a container")) }},
			Service{ID: "later", Runner: &actor{}, After: []string{"udevd"}},
		)
		if err := s.StartAll(); err != nil {
			t.Fatal(err)
		}
		want(t, s, "x", Waiting, "Restarting in 100ms: pull image: no route (1 in a row)")
		want(t, s, "once", Failed, "wait for file bad\x00path to exist: stat bad\x00path: invalid argument")
		want(t, s, "udevd", Skipped, "prepare: no devices in a container")
		want(t, s, "later", Running, "run 1")
		time.Sleep(time.Second)
		want(t, s, "x", Running, "run 1")
	})
}

func TestAPanicIsAFailureOfTheServiceAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s,
			Service{ID: "panics", Restart: Once, Runner: Func(func(context.Context, io.Writer) error { panic("boom") })},
			Service{ID: "leaves", Restart: Once, Runner: Func(func(context.Context, io.Writer) error { runtime.Goexit(); return nil })},
			Service{ID: "prepares", Restart: Once, Runner: &actor{}, Prepare: func(context.Context) error { panic("boom") }},
			Service{ID: "sick", Runner: &actor{}, Health: &Check{Probe: func(context.Context) error { panic("boom") }}},
		)
		if err := s.StartAll(); err != nil {
			t.Fatal(err)
		}
		want(t, s, "panics", Failed, "panic: boom")
		want(t, s, "leaves", Failed, "the goroutine was ended from within")
		want(t, s, "prepares", Failed, "panic: boom")
		time.Sleep(time.Second)
		want(t, s, "sick", Running, "Health check failed: panic: boom")
		if said := strings.Join(s.logs.Tail("panics", 100), "\n"); !strings.Contains(said, "supervisor_test.go") {
			t.Errorf("the log has no stack:\n%s", said)
		}
	})
}

func TestStopTakesDependentsFirst(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		slow := time.Second
		load(t, s,
			Service{ID: "containerd", Runner: &actor{stopTakes: slow}},
			Service{ID: "apid", Runner: &actor{stopTakes: slow}, After: []string{"containerd"}},
			Service{ID: "ext", Runner: &actor{stopTakes: slow}, After: []string{"apid"}},
			Service{ID: "udevd", Runner: &actor{stopTakes: slow}},
		)
		if err := s.StartAll(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, sub := s.Subscribe(100)
		defer sub.Close()
		began := time.Now()
		if err := s.Stop(t.Context(), "containerd"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3*slow {
			t.Errorf("Stop took %v; want 3s, one after the other", took)
		}
		var got []string
		for range 6 {
			e, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(e.Service, " ", e.State))
		}
		want(t, s, "udevd", Running, "run 1")
		if got, want := strings.Join(got, ", "), "ext Stopping, ext Finished, apid Stopping, apid Finished, containerd Stopping, containerd Finished"; got != want {
			t.Errorf("events = %s; want %s", got, want)
		}
		if err := s.Stop(t.Context(), "containerd"); err != nil {
			t.Errorf("Stop of what is stopped = %v; want nil", err)
		}
		if err := s.Stop(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Stop(nobody) = %v; want ErrNotFound", err)
		}
	})
}

func TestStopOfWhatDoesNotEndIsAnErrorAndNoHang(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		stuck := &actor{stuck: make(chan struct{})}
		load(t, s, Service{ID: "x", Runner: stuck, Grace: 2 * time.Second})
		start(t, s, "x")
		began := time.Now()
		err := s.Stop(t.Context(), "x")
		if took := time.Since(began); !errors.Is(err, ErrBusy) || took != 2*time.Second+maxSettle {
			t.Errorf("Stop = %v after %v; want ErrBusy after 7s", err, took)
		}
		if text := `stop: service has not stopped: service x did not stop within 2s and was killed and is still there ` +
			`(Stopping: Did not stop within 2s, killing it); it last said "run 1"`; err.Error() != text {
			t.Errorf("Stop = %v; want %s", err, text)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Restart(ctx, "x"); !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Restart = %v; want ErrBusy and the deadline", err)
		}
		if err := s.Unload(ctx, "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("Unload = %v; want ErrBusy", err)
		}
		start(t, s, "x")
		if stuck.runs != 1 {
			t.Errorf("a second run began beside one that is stuck")
		}
		close(stuck.stuck)
		want(t, s, "x", Running, "run 2")
	})
}

func TestRestartTouchesOneServiceAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		apid := &actor{}
		load(t, s, Service{ID: "containerd", Runner: &actor{stopTakes: time.Second}}, Service{ID: "apid", Runner: apid, After: []string{"containerd"}})
		if err := s.StartAll(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := s.Restart(t.Context(), "containerd"); err != nil {
			t.Fatal(err)
		}
		want(t, s, "containerd", Running, "run 2")
		want(t, s, "apid", Running, "run 1")
		if err := s.Restart(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Restart(nobody) = %v; want ErrNotFound", err)
		}
	})
}

func TestUnloadForgets(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s, Service{ID: "x", Runner: &actor{}})
		start(t, s, "x")
		if err := s.Unload(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Status("x"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Status = %v; want ErrNotFound", err)
		}
		load(t, s, Service{ID: "x", Runner: &actor{}})
		want(t, s, "x", Initialized, "Loaded")
	})
}

func TestWaitUpSaysWhatItLastSaw(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s, Service{ID: "etcd", Runner: &actor{}, Conditions: []Condition{NewGate("network")}}, Service{ID: "apid", Runner: &actor{}})
		start(t, s, "etcd", "apid")
		if err := s.WaitUp(t.Context(), "apid"); err != nil {
			t.Errorf("WaitUp(apid) = %v; want nil", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.WaitUp(ctx, "apid", "etcd", "cri")
		if text := "wait for service etcd to be up (Waiting: Waiting for network); service cri to be up (not loaded): context deadline exceeded"; err == nil || err.Error() != text {
			t.Errorf("WaitUp = %v; want %s", err, text)
		}
	})
}

func TestASlowSubscriberIsCutOffAndStopsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s, Service{ID: "x", Runner: &actor{}})
		statuses, slow := s.Subscribe(1)
		_, quick := s.Subscribe(100)
		if len(statuses) != 1 || statuses[0].ID != "x" {
			t.Errorf("Subscribe gives %v; want the status of x", statuses)
		}
		start(t, s, "x") // Starting, Running
		if e, err := slow.Next(t.Context()); err != nil || e.State != Starting {
			t.Errorf("Next = %v, %v; want Starting", e, err)
		}
		if _, err := slow.Next(t.Context()); !errors.Is(err, ErrSlow) {
			t.Errorf("Next = %v; want ErrSlow", err)
		}
		for i, want := range []State{Starting, Running} {
			if e, err := quick.Next(t.Context()); err != nil || e.State != want || e.Seq != uint64(i+2) {
				t.Errorf("Next = %v, %v; want %v, number %d", e, err, want, i+2)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := quick.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next = %v; want the deadline", err)
		}
		quick.Close()
		quick.Close()
		slow.Close()
		if _, err := quick.Next(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("Next after Close = %v; want canceled", err)
		}
	})
}

func TestTheHistoryIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		load(t, s, Service{ID: "x", Runner: Func(func(context.Context, io.Writer) error { return errors.New("boom") })})
		start(t, s, "x")
		time.Sleep(time.Hour)
		synctest.Wait()
		st := status(t, s, "x")
		if len(st.Events) != historyLen || st.Runs < 700 {
			t.Errorf("%d events after %d runs; want %d after about 720", len(st.Events), st.Runs, historyLen)
		}
		for i, e := range st.Events[1:] {
			if e.Seq != st.Events[i].Seq+1 {
				t.Fatalf("event %d follows %d", e.Seq, st.Events[i].Seq)
			}
		}
	})
}

func TestWhatARunLeavesBehindDoesNotSpeakForTheNext(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		var old *Env
		load(t, s, Service{ID: "x", Runner: runFunc(func(ctx context.Context, env Env) error {
			if old == nil {
				old = &env
				return errors.New("boom")
			}
			<-ctx.Done()
			return nil
		})})
		start(t, s, "x")
		time.Sleep(time.Second)
		old.Started("from the grave")
		if n, err := io.WriteString(old.Log, "from the grave\n"); n != 15 || err != nil {
			t.Errorf("Write = %d, %v; want 15, nil", n, err)
		}
		want(t, s, "x", Starting, "Starting")
		if said := strings.Join(s.logs.Tail("x", 10), ""); said != "" {
			t.Errorf("the log has %q; want nothing", said)
		}
	})
}

type runFunc func(context.Context, Env) error

func (f runFunc) Run(ctx context.Context, env Env) error { return f(ctx, env) }
