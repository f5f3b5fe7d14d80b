package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealthFollowsTheProbes(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		var sick box[error]
		var probes []time.Duration
		began := time.Now()
		a := &actor{}
		load(t, s,
			Service{ID: "x", Runner: a, Health: &Check{Probe: func(context.Context) error {
				probes = append(probes, time.Since(began))
				return sick.get()
			}}},
			Service{ID: "after", Runner: &actor{}, After: []string{"x"}},
		)
		if err := s.StartAll(); err != nil {
			t.Fatal(err)
		}
		check := func(at time.Duration, want Health, up bool) {
			t.Helper()
			time.Sleep(time.Until(began.Add(at)))
			synctest.Wait()
			st := status(t, s, "x")
			if st.Health != want || st.Up != up {
				t.Errorf("after %v: health = %+v, up %v; want %+v, up %v", at, st.Health, st.Up, want, up)
			}
		}
		at := func(d time.Duration) time.Time { return began.Add(d) }
		check(0, Health{Unknown: true, Change: began}, false)
		want(t, s, "after", Waiting, "Waiting for service x to be up")
		check(time.Second, Health{Healthy: true, Message: "Health check successful", Change: at(time.Second)}, true)
		want(t, s, "after", Running, "run 1")
		sick.set(errors.New("connection refused"))
		check(6*time.Second, Health{Message: "Health check failed: connection refused", Change: at(6 * time.Second)}, false)
		sick.set(errors.New("no route"))
		check(11*time.Second, Health{Message: "Health check failed: no route", Change: at(6 * time.Second)}, false)
		want(t, s, "x", Running, "Health check failed: connection refused") // one event for one change
		sick.set(nil)
		check(16*time.Second, Health{Healthy: true, Message: "Health check successful", Change: at(16 * time.Second)}, true)
		want(t, s, "after", Running, "run 1") // it is not disturbed
		time.Sleep(time.Second)
		a.end(errors.New("boom"))
		check(17*time.Second, Health{Unknown: true, Change: at(17 * time.Second)}, false)
		check(18*time.Second, Health{Unknown: true, Change: at(17 * time.Second)}, false)
		check(19*time.Second, Health{Healthy: true, Message: "Health check successful", Change: at(18100 * time.Millisecond)}, true)
		if got, want := fmt.Sprint(probes), "[1s 6s 11s 16s 18.1s]"; got != want {
			t.Errorf("probes at %s; want %s", got, want)
		}
	})
}

func TestUntilTheFirstGoodProbePausesAreShort(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		var probes []time.Duration
		began := time.Now()
		load(t, s, Service{ID: "x", Runner: &actor{}, Health: &Check{Delay: 100 * time.Millisecond, Probe: func(context.Context) error {
			probes = append(probes, time.Since(began))
			if len(probes) < 7 {
				return errors.New("not yet")
			}
			return nil
		}}})
		start(t, s, "x")
		time.Sleep(18 * time.Second)
		want(t, s, "x", Running, "Health check successful")
		if got, want := fmt.Sprint(probes), "[100ms 300ms 700ms 1.5s 3.1s 6.3s 11.3s 16.3s]"; got != want {
			t.Errorf("probes at %s; want %s", got, want)
		}
	})
}

func TestAProbeThatHangsIsAFailureAndIsNotCalledBesideItself(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		release := make(chan struct{})
		calls := 0
		load(t, s, Service{ID: "x", Runner: &actor{}, Health: &Check{Probe: func(context.Context) error {
			calls++
			if calls == 1 {
				<-release
			}
			return nil
		}}})
		start(t, s, "x")
		time.Sleep(time.Minute)
		want(t, s, "x", Running, "Health check failed: no answer within 500ms")
		if calls != 1 {
			t.Errorf("%d probes are under way; want 1", calls)
		}
		close(release)
		time.Sleep(6 * time.Second)
		want(t, s, "x", Running, "Health check successful")
	})
}

func TestACheckThatFlapsMakesAnEventForEachChange(t *testing.T) {
	bubble(t, func(t *testing.T, s *Supervisor) {
		n := 0
		load(t, s, Service{ID: "x", Runner: &actor{}, Health: &Check{Period: time.Second, Probe: func(context.Context) error {
			n++
			if n%4 < 2 { // good, bad, bad, good, good, …
				return nil
			}
			return errors.New("x")
		}}})
		start(t, s, "x")
		time.Sleep(8500 * time.Millisecond)
		synctest.Wait()
		var got []string
		for _, e := range status(t, s, "x").Events {
			if e.State == Running {
				got = append(got, fmt.Sprintf("%v/%v", e.Health.Unknown, e.Health.Healthy))
			}
		}
		if got, want := strings.Join(got, " "), "true/false false/true false/false false/true false/false false/true"; got != want {
			t.Errorf("health in events = %s; want %s", got, want)
		}
	})
}

func TestGateOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate("network")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait at a closed gate = %v; want the deadline", err)
		}
		g.Set(true)
		g.Set(true)
		if err := g.Wait(t.Context()); err != nil {
			t.Errorf("Wait at an open gate = %v; want nil", err)
		}
		g.Set(false)
		g.Set(false)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait at a gate that was closed = %v; want the deadline", err)
		}
	})
}
