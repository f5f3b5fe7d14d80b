package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// oracle is what a service should come to, in few words: it is wanted or not, and how it last ended by itself counts
// only for a policy that minds.
type oracle struct {
	restart Restart
	started bool // ever
	wanted  bool
	ended   State // how it ended by itself, if it is not wanted for that
}

func (o *oracle) want(on bool) {
	if on {
		o.started, o.wanted, o.ended = true, true, 0
	} else if o.wanted {
		o.wanted, o.ended = false, Finished
	}
}

func (o *oracle) end(err error) {
	if !o.wanted || o.restart == Always || o.restart == UntilSuccess && err != nil {
		return
	}
	o.wanted, o.ended = false, Finished
	if err != nil {
		o.ended = Failed
	}
}

func (o *oracle) state() State {
	switch {
	case !o.started:
		return Initialized
	case o.wanted:
		return Running
	}
	return o.ended
}

// TestAnySequenceOfOrdersAndCrashesEndsAsTheOracleSays gives random orders to three services, and lets random time pass
// between them so that orders meet services in every state.
func TestAnySequenceOfOrdersAndCrashesEndsAsTheOracleSays(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { sequence(t, seed) }) })
	}
}

func sequence(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := New(nil)
	ids := []string{"a", "b", "c"}
	actors, oracles := map[string]*actor{}, map[string]*oracle{}
	for _, id := range ids {
		actors[id] = &actor{stopTakes: time.Duration(rnd.IntN(3)) * 100 * time.Millisecond, deaf: rnd.IntN(5) == 0}
		oracles[id] = &oracle{restart: Restart(rnd.IntN(3))}
		load(t, s, Service{ID: id, Runner: actors[id], Restart: oracles[id].restart, Grace: time.Second, Conditions: []Condition{after(rnd)}})
	}
	var done []string
	for range 5 + rnd.IntN(25) {
		id := ids[rnd.IntN(len(ids))]
		a, o := actors[id], oracles[id]
		op := rnd.IntN(6)
		done = append(done, fmt.Sprint([]string{"start", "stop", "restart", "crash", "end", "stop without waiting"}[op], " ", id))
		switch op {
		case 0:
			start(t, s, id)
			o.want(true)
		case 1:
			if err := s.Stop(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			o.want(false)
		case 2:
			if err := s.Restart(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			o.want(true)
		case 3, 4:
			var err error
			if op == 3 {
				err = errors.New("boom")
			}
			// Only what runs can end; and what is stopping ends by the order.
			if status(t, s, id).State == Running {
				o.end(err)
				a.end(err)
			}
		case 5:
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = s.Stop(ctx, id) // that it is still there is what was asked for
			o.want(false)
		}
		if rnd.IntN(2) == 0 {
			time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
		}
		synctest.Wait()
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	for _, id := range ids {
		st := status(t, s, id)
		if want := oracles[id].state(); st.State != want {
			t.Errorf("%s (%v) is %v after %s; want %v\n%s", id, oracles[id].restart, st.State, strings.Join(done, ", "), want, story(st))
		}
		if actors[id].most > 1 {
			t.Errorf("%s: %d runs at one time", id, actors[id].most)
		}
		if live := actors[id].live; (live == 1) != (st.State == Running) {
			t.Errorf("%s is %v, and %d runs are under way", id, st.State, live)
		}
	}
	if report := s.Shutdown(t.Context(), time.Minute); !report.Gone() {
		t.Errorf("Shutdown leaves %v", report.Late)
	}
}

type delay time.Duration

// after returns a condition that takes a while to be met.
func after(rnd *rand.Rand) Condition { return delay(rnd.IntN(3)) * delay(50*time.Millisecond) }

func (d delay) Wait(ctx context.Context) error { return sleep(ctx, time.Duration(d)) }
func (d delay) String() string                 { return fmt.Sprint(time.Duration(d), " to pass") }
