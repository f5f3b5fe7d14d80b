package statetest

import (
	"context"
	"fmt"
	"strings"

	"talos.internal/resource"
	"talos.internal/state"
)

var watchRules = []rule{
	{name: "tells of every change from when it began, in order", test: func(s *session) {
		s.create(widget("old", ""), "")
		w := s.watchKind(state.WatchOptions{})
		s.create(widget("a", "x"), "")
		s.setText("a", "y")
		if _, err := s.Teardown(s.ctx, widgets.Ref("a"), state.TeardownOptions{}); err != nil {
			s.Fatal(err)
		}
		s.destroy("a")
		w.expect("created a v1 x", "updated a v2 y was a v1 x", "updated a v3 tearingDown y was a v2 y", "destroyed a v3 tearingDown y")
	}},
	{name: "sees only its own kind", test: func(s *session) {
		w := s.watchKind(state.WatchOptions{})
		s.create(resource.New("g", GadgetSpec{}), "")
		s.create(resource.NewIn("other", "w", WidgetSpec{}), "")
		s.create(widget("a", ""), "")
		w.expect("created a v1 ")
	}},
	{name: "bootstrap tells what is there, then what happens", test: func(s *session) {
		s.create(widget("b", "2"), "")
		s.create(widget("a", "1"), "")
		w := s.watchKind(state.WatchOptions{Bootstrap: true})
		s.create(widget("c", "3"), "")
		e := w.expect("created a v1 1", "created b v1 2", "bootstrapped")
		w.expect("created c v1 3")
		s.watchKind(state.WatchOptions{From: e.Bookmark}).expect("created c v1 3")
	}},
	{name: "bootstrap of many resources is complete", test: func(s *session) {
		const n = 1000
		var want []string
		for i := range n {
			id := fmt.Sprintf("w%04d", i)
			s.create(widget(id, ""), "")
			want = append(want, "created "+id+" v1 ")
		}
		s.watchKind(state.WatchOptions{Bootstrap: true}).expect(append(want, "bootstrapped")...)
	}},
	{name: "bootstrap of nothing says so", test: func(s *session) {
		w := s.watchKind(state.WatchOptions{Bootstrap: true})
		w.expect("bootstrapped")
	}},
	{name: "bootstrap bookmark comes first and can be resumed from", test: func(s *session) {
		s.create(widget("a", ""), "")
		w := s.watchKind(state.WatchOptions{BootstrapBookmark: true})
		e := w.expect("noop")
		s.create(widget("b", ""), "")
		w.expect("created b v1 ")
		s.watchKind(state.WatchOptions{From: e.Bookmark}).expect("created b v1 ")
	}},
	{name: "tail tells the last events", test: func(s *session) {
		for i := range 5 {
			s.create(widget(fmt.Sprint(i), ""), "")
		}
		s.watchKind(state.WatchOptions{Tail: 2}).expect("created 3 v1 ", "created 4 v1 ")
		w := s.watchKind(state.WatchOptions{Tail: 99})
		w.expect("created 0 v1 ", "created 1 v1 ", "created 2 v1 ", "created 3 v1 ", "created 4 v1 ")
		s.destroy("0")
		w.expect("destroyed 0 v1 ")
	}},
	{name: "every event has a bookmark after which the watch resumes", test: func(s *session) {
		w := s.watchKind(state.WatchOptions{})
		var want []string
		for i := range 6 {
			s.create(widget(fmt.Sprint(i), ""), "")
			want = append(want, fmt.Sprintf("created %d v1 ", i))
		}
		for i := range want {
			e := w.expect(want[i])
			if e.Bookmark == "" {
				s.Fatalf("event %d has no bookmark", i)
			}
			resumed := s.watchKind(state.WatchOptions{From: e.Bookmark})
			if rest := want[i+1:]; len(rest) > 0 {
				resumed.expect(rest...)
			}
			resumed.w.Close()
		}
	}},
	{name: "resumed at the end tells what comes", test: func(s *session) {
		s.create(widget("a", ""), "")
		e := s.watchKind(state.WatchOptions{Tail: 1}).expect("created a v1 ")
		w := s.watchKind(state.WatchOptions{From: e.Bookmark})
		s.destroy("a")
		w.expect("destroyed a v1 ")
	}},
	{name: "a bookmark of another kind is lost, and one that is none invalid", test: func(s *session) {
		s.create(resource.New("g", GadgetSpec{}), "")
		gw, err := s.WatchKind(s.ctx, resource.KindOf[GadgetSpec](), state.WatchOptions{Tail: 1})
		if err != nil {
			s.Fatal(err)
		}
		defer gw.Close()
		events, err := gw.Next(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		_, err = s.WatchKind(s.ctx, widgets, state.WatchOptions{From: events[0].Bookmark})
		s.wantErr("WatchKind from a bookmark of another kind", err, state.Unavailable, state.HistoryLost)
		_, err = s.WatchKind(s.ctx, widgets, state.WatchOptions{From: "nonsense"})
		s.wantErr("WatchKind from nonsense", err, state.Invalid)
	}},
	{name: "options that contradict each other are refused", test: func(s *session) {
		for _, opts := range []state.WatchOptions{{Bootstrap: true, Tail: 1}, {Tail: -1}, {Tail: 1, From: "x"}} {
			_, err := s.WatchKind(s.ctx, widgets, opts)
			s.wantErr(fmt.Sprintf("WatchKind(%+v)", opts), err, state.Invalid)
		}
		_, err := s.Watch(s.ctx, widgets.Ref("a"), state.WatchOptions{Bootstrap: true})
		s.wantErr("Watch with bootstrap", err, state.Invalid)
	}},
	{name: "a query sees resources come and go as their labels change", test: func(s *session) {
		s.create(labelled("in", map[string]string{"on": ""}), "")
		s.create(labelled("out", nil), "")
		w := s.watchKind(state.WatchOptions{Bootstrap: true, Query: where(resource.LabelTerm{Key: "on"})})
		w.expect("created in v1 ", "bootstrapped")
		s.setText("in", "x")  // stays selected
		s.setText("out", "x") // stays out
		s.edit("out", func(md *resource.Metadata, _ *WidgetSpec) { md.SetLabel("on", "") })
		s.edit("in", func(md *resource.Metadata, spec *WidgetSpec) { md.DeleteLabel("on"); spec.Text = "gone" })
		s.destroy("in")
		s.destroy("out")
		w.expect("updated in v2 x was in v1 ", "created out v3 x", "destroyed in v2 x", "destroyed out v3 x")
	}},
	{name: "ends with its context", test: func(s *session) {
		ctx, cancel := context.WithCancel(s.ctx)
		w, err := s.WatchKind(ctx, widgets, state.WatchOptions{})
		if err != nil {
			s.Fatal(err)
		}
		cancel()
		_, err = w.Next(s.ctx)
		s.wantErr("Next", err, context.Canceled)
	}},
	{name: "ends with the context of Next", test: func(s *session) {
		w := s.watchKind(state.WatchOptions{})
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := w.w.Next(ctx)
		s.wantErr("Next", err, context.Canceled)
		_, err = w.w.Next(s.ctx)
		s.wantErr("the next Next", err, context.Canceled)
	}},
	{name: "ends by Close, also while Next waits", test: func(s *session) {
		w := s.watchKind(state.WatchOptions{})
		done := make(chan error, 1)
		go func() {
			_, err := w.w.Next(s.ctx)
			done <- err
		}()
		w.w.Close()
		s.wantErr("the Next that waited", <-done, state.Unavailable)
		w.w.Close()
		_, err := w.w.Next(s.ctx)
		s.wantErr("Next after Close", err, state.Unavailable)
	}},
	{name: "many watchers see the same", test: func(s *session) {
		const watchers, writes = 20, 50
		all := make([]*stream, watchers)
		for i := range all {
			all[i] = s.watchKind(state.WatchOptions{Bootstrap: true})
		}
		want := []string{"bootstrapped"}
		for i := range writes {
			s.create(widget(fmt.Sprint(i), ""), "")
			want = append(want, fmt.Sprintf("created %d v1 ", i))
		}
		for _, w := range all {
			w.expect(want...)
		}
	}},
}

var watchOneRules = []rule{
	{name: "begins with what is there", test: func(s *session) {
		s.create(widget("a", "x"), "")
		w := s.watchOne("a", state.WatchOptions{})
		w.expect("created a v1 x")
		s.setText("a", "y")
		w.expect("updated a v2 y was a v1 x")
	}},
	{name: "begins with a tombstone if nothing is there", test: func(s *session) {
		w := s.watchOne("a", state.WatchOptions{})
		w.expect("destroyed a vundefined")
		s.create(widget("b", "other"), "")
		s.create(widget("a", "x"), "")
		s.destroy("a")
		w.expect("created a v1 x", "destroyed a v1 x")
	}},
	{name: "tail tells the last events of that one", test: func(s *session) {
		s.create(widget("a", "1"), "")
		s.setText("a", "2")
		s.create(widget("b", ""), "")
		s.setText("a", "3")
		s.setText("b", "x")
		s.watchOne("a", state.WatchOptions{Tail: 2}).expect("updated a v2 2 was a v1 1", "updated a v3 3 was a v2 2")
	}},
	{name: "resumes from a bookmark", test: func(s *session) {
		w := s.watchOne("a", state.WatchOptions{})
		e := w.expect("destroyed a vundefined")
		s.create(widget("b", ""), "")
		s.create(widget("a", ""), "")
		w.expect("created a v1 ")
		s.watchOne("a", state.WatchOptions{From: e.Bookmark}).expect("created a v1 ")
	}},
}

// slowRules have a small history, and resources so large that no buffer on the way to a watcher
// takes them all.
var slowRules = []rule{
	{name: "never blocks a writer, is cut off, and can begin anew", history: 16, test: func(s *session) {
		const writes = 400
		slow := s.watchKind(state.WatchOptions{})
		s.create(widget("a", ""), "")
		first := slow.expect("created a v1 ")
		large := strings.Repeat("x", 8<<10)
		r := s.get("a").(*resource.Typed[WidgetSpec])
		for i := range writes { // would hang here if a writer waited for the watcher
			r = s.update(r.With(r.Metadata(), WidgetSpec{Text: large, Count: int64(i)}), state.UpdateOptions{}).(*resource.Typed[WidgetSpec])
		}
		last := resource.Version(1)
		for {
			e, err := slow.next()
			if err != nil {
				s.wantErr("Next of a slow watcher", err, state.Unavailable, state.HistoryLost)
				if !strings.Contains(err.Error(), "behind") {
					s.Errorf("Next of a slow watcher = %q; want it to say how far it is behind", err)
				}
				break
			}
			if v := e.Resource.Metadata().Version(); v != last+1 {
				s.Fatalf("version %v follows %v: events were lost without a word", v, last)
			}
			last++
		}
		_, err := s.WatchKind(s.ctx, widgets, state.WatchOptions{From: first.Bookmark})
		s.wantErr("WatchKind from a forgotten bookmark", err, state.Unavailable, state.HistoryLost)
		anew := s.watchKind(state.WatchOptions{Bootstrap: true})
		e, err := anew.next()
		if err != nil || e.Resource.Metadata().Version() != writes+1 {
			s.Errorf("a watch that began anew = %v, %v; want the last version", e, err)
		}
	}},
	{name: "resumes from its bookmark while that is known", history: 16, test: func(s *session) {
		w := s.watchKind(state.WatchOptions{})
		s.create(widget("a", ""), "")
		e := w.expect("created a v1 ")
		w.w.Close()
		var want []string
		for i := range 16 {
			s.create(widget(fmt.Sprint(i), ""), "")
			want = append(want, fmt.Sprintf("created %d v1 ", i))
		}
		s.watchKind(state.WatchOptions{From: e.Bookmark}).expect(want...)
		s.create(widget("one too many", ""), "")
		_, err := s.WatchKind(s.ctx, widgets, state.WatchOptions{From: e.Bookmark})
		s.wantErr("WatchKind from a forgotten bookmark", err, state.HistoryLost)
	}},
	{name: "waiting for a condition survives being cut off", history: 16, test: func(s *session) {
		s.create(widget("a", ""), "")
		seen := make(chan struct{})
		proceed := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			calls := 0
			_, err := state.WaitFor(s.ctx, s, widgets.Ref("a"), state.Condition{Want: "be last", Met: func(r resource.Resource) (bool, error) {
				if calls++; calls == 1 {
					close(seen)
					<-proceed
				}
				return r.(*resource.Typed[WidgetSpec]).Spec().Text == "last", nil
			}})
			done <- err
		}()
		<-seen
		for range 100 {
			s.edit("a", func(_ *resource.Metadata, spec *WidgetSpec) { spec.Count++ })
		}
		s.setText("a", "last")
		close(proceed)
		if err := <-done; err != nil {
			s.Error(err)
		}
	}},
}
