package event

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"talos.internal/api/machinepb"
)

func publish(t *testing.T, s *Stream, task, actor string) string {
	t.Helper()
	id, err := s.Publish(&machinepb.TaskEvent{Task: task}, actor)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func task(t *testing.T, e Event) string {
	t.Helper()
	m, err := e.Payload.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return m.(*machinepb.TaskEvent).GetTask()
}

// drain returns the tasks of all events that are there now.
func drain(t *testing.T, w *Watcher) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out []string
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return out
		}
		out = append(out, task(t, e))
	}
}

func TestWatchBeginsWhereItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(5)
		var ids []string
		for i := range 8 { // 0 to 2 are overwritten
			actor := "a"
			if i%2 == 1 {
				actor = "b"
			}
			ids = append(ids, publish(t, s, fmt.Sprint(i), actor))
			time.Sleep(10 * time.Second)
		}
		for _, tc := range []struct {
			name string
			o    Options
			want []string
		}{
			{"nothing of the past", Options{}, nil},
			{"the last two", Options{Tail: 2}, []string{"6", "7"}},
			{"more than there are", Options{Tail: 100}, []string{"3", "4", "5", "6", "7"}},
			{"all", Options{Tail: -1}, []string{"3", "4", "5", "6", "7"}},
			{"all of an actor", Options{Tail: -1, Actor: "a"}, []string{"4", "6"}},
			{"the last of an actor", Options{Tail: 1, Actor: "a"}, []string{"6"}},
			{"after an event", Options{After: ids[5]}, []string{"6", "7"}},
			{"after the last", Options{After: ids[7]}, nil},
			{"after one that is no longer kept", Options{After: ids[0]}, []string{"3", "4", "5", "6", "7"}},
			{"not older than", Options{Since: 25 * time.Second}, []string{"6", "7"}},
			{"each limit holds", Options{Since: 35 * time.Second, Tail: 4, After: ids[5]}, []string{"6", "7"}},
		} {
			w, err := s.Watch(tc.o)
			if err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			if got := drain(t, w); !slices.Equal(got, tc.want) {
				t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
			}
		}
		for _, id := range []string{"x", "00000000000000000000000", "----------zzzzzzzzzz"} {
			if _, err := s.Watch(Options{After: id}); !errors.Is(err, ErrID) {
				t.Errorf("Watch after %q: %v; want %v", id, err, ErrID)
			}
		}
	})
}

func TestIdsGrowWhateverTheClockDoes(t *testing.T) {
	s := New(1)
	s.counter = maxCounter - 2
	now := time.Unix(1_000_000, 0)
	var ids []string
	for i := range 10 {
		ids = append(ids, s.newID(now.Add(-time.Duration(i)*time.Second)))
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("ids do not grow: %q", ids)
	}
	if len(ids[0]) != 20 {
		t.Errorf("id %q; want 20 characters", ids[0])
	}
}

func TestSlowWatcherIsCutOffAndNobodyWaitsForIt(t *testing.T) {
	s := New(4)
	w, err := s.Watch(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		publish(t, s, fmt.Sprint(i), "")
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrSlow) {
		t.Errorf("Next: %v; want %v", err, ErrSlow)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrSlow) {
		t.Errorf("Next again: %v; want %v", err, ErrSlow)
	}
}

func TestFollowersSeeEachEventInOrder(t *testing.T) {
	const n, watchers = 500, 8
	s := New(n)
	var wg sync.WaitGroup
	for range watchers {
		w, err := s.Watch(Options{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			last := ""
			for range n {
				e, err := w.Next(t.Context())
				if err != nil || e.ID <= last {
					t.Errorf("Next: %v, id %q after %q", err, e.ID, last)
					return
				}
				last = e.ID
			}
		})
	}
	var publishers sync.WaitGroup
	for range 5 {
		publishers.Go(func() {
			for range n / 5 {
				if _, err := s.Publish(&machinepb.PhaseEvent{}, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	publishers.Wait()
	wg.Wait()
}

func TestPayloadTravelsUnderThePublishedName(t *testing.T) {
	s := New(0)
	publish(t, s, "x", "actor")
	w, err := s.Watch(Options{Tail: 1})
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := e.Proto()
	if got, want := p.GetData().GetTypeUrl(), "talos/runtime/machine.TaskEvent"; got != want {
		t.Errorf("type URL %q; want %q", got, want)
	}
	if p.GetId() != e.ID || p.GetActorId() != "actor" {
		t.Errorf("Proto() = %v", p)
	}
	if _, err := s.Publish(&anypb.Any{TypeUrl: "\xff"}, ""); err == nil {
		t.Error("a message that cannot be marshalled was published")
	}
}
