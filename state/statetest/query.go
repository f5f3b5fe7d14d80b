package statetest

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"talos.internal/resource"
	"talos.internal/state"
)

func labelled(id string, labels map[string]string) resource.Resource {
	r := widget(id, "")
	md := r.Metadata()
	md.SetLabels(resource.LabelsFrom(labels))
	return r.WithMetadata(md)
}

func where(terms ...resource.LabelTerm) resource.Query {
	return resource.Query{Labels: []resource.LabelQuery{terms}}
}

var queryRules = []rule{
	{name: "selects by label and by id", test: func(s *session) {
		s.create(labelled("a", map[string]string{"app": "x", "n": "9"}), "")
		s.create(labelled("b", map[string]string{"app": "y", "n": "10"}), "")
		s.create(labelled("c", nil), "")
		for _, tt := range []struct {
			name string
			q    resource.Query
			want string
		}{
			{"all", resource.Query{}, "a b c"},
			{"exists", where(resource.LabelTerm{Key: "app"}), "a b"},
			{"not exists", where(resource.LabelTerm{Key: "app", Op: resource.LabelNotExists}), "c"},
			{"exists, inverted", where(resource.LabelTerm{Key: "app", Invert: true}), "c"},
			{"equal", where(resource.LabelTerm{Key: "app", Op: resource.LabelEqual, Values: []string{"y"}}), "b"},
			{"equal, inverted", where(resource.LabelTerm{Key: "app", Op: resource.LabelEqual, Values: []string{"y"}, Invert: true}), "a c"},
			{"in", where(resource.LabelTerm{Key: "app", Op: resource.LabelIn, Values: []string{"x", "y", "z"}}), "a b"},
			{"less", where(resource.LabelTerm{Key: "n", Op: resource.LabelLess, Values: []string{"9"}}), "b"},
			{"less or equal", where(resource.LabelTerm{Key: "n", Op: resource.LabelLessEqual, Values: []string{"9"}}), "a b"},
			{"less as a number", where(resource.LabelTerm{Key: "n", Op: resource.LabelLessNum, Values: []string{"10"}}), "a"},
			{"less or equal as a number", where(resource.LabelTerm{Key: "n", Op: resource.LabelLessEqualNum, Values: []string{"10"}}), "a b"},
			{"both terms", where(resource.LabelTerm{Key: "app"}, resource.LabelTerm{Key: "n", Op: resource.LabelEqual, Values: []string{"9"}}), "a"},
			{"either query", resource.Query{Labels: []resource.LabelQuery{
				{{Key: "n", Op: resource.LabelEqual, Values: []string{"9"}}}, {{Key: "app", Op: resource.LabelNotExists}}}}, "a c"},
			{"id", resource.Query{ID: regexp.MustCompile("^[bc]$")}, "b c"},
			{"id and label", resource.Query{ID: regexp.MustCompile("[bc]"), Labels: []resource.LabelQuery{{{Key: "app"}}}}, "b"},
		} {
			list, err := s.List(s.ctx, widgets, tt.q)
			var ids []string
			for _, r := range list {
				ids = append(ids, r.Metadata().ID())
			}
			if got := strings.Join(ids, " "); err != nil || got != tt.want {
				s.Errorf("%s: List = %q, %v; want %q", tt.name, got, err, tt.want)
			}
		}
	}},
	{name: "that is not valid is refused", test: func(s *session) {
		bad := where(resource.LabelTerm{Key: "", Op: resource.LabelExists})
		_, err := s.List(s.ctx, widgets, bad)
		s.wantErr("List", err, state.Invalid)
		_, err = s.WatchKind(s.ctx, widgets, state.WatchOptions{Query: bad})
		s.wantErr("WatchKind", err, state.Invalid)
	}},
}

var typedRules = []rule{
	{name: "modify creates, changes, and leaves alone what is as it should be", test: func(s *session) {
		set := func(text string) *resource.Typed[WidgetSpec] {
			r, err := state.Modify(s.ctx, s, "a", func(md *resource.Metadata, spec *WidgetSpec) error {
				spec.Text = text
				md.SetLabel("l", text)
				return nil
			}, state.As("me"))
			if err != nil {
				s.Fatalf("Modify = %v", err)
			}
			return r
		}
		for _, step := range []struct{ text, want string }{{"x", "a v1 x"}, {"x", "a v1 x"}, {"y", "a v2 y"}} {
			if got := show(set(step.text)); got != step.want {
				s.Errorf("Modify = %q; want %q", got, step.want)
			}
		}
		if _, err := state.Modify(s.ctx, s, "a", func(md *resource.Metadata, _ *WidgetSpec) error { md.DeleteLabel("l"); return nil }, state.As("me")); err != nil {
			s.Fatal(err)
		}
		if got := show(s.get("a")); got != "a v3 y" {
			s.Errorf("after a change of labels alone it is %q; want it written", got)
		}
		_, err := state.Modify(s.ctx, s, "a", func(*resource.Metadata, *WidgetSpec) error { return nil }, state.As("you"))
		s.wantErr("Modify by another", err, state.Conflict, state.OwnerConflict)
		if _, err := s.Teardown(s.ctx, widgets.Ref("a"), state.TeardownOptions{Owner: "me"}); err != nil {
			s.Fatal(err)
		}
		_, err = state.Modify(s.ctx, s, "a", func(*resource.Metadata, *WidgetSpec) error { return nil }, state.As("me"))
		s.wantErr("Modify of what is torn down", err, state.Conflict, state.PhaseConflict)
	}},
	{name: "what is put is found until it is torn down", test: func(s *session) {
		found := func(want bool, text string) {
			s.Helper()
			spec, there, err := state.Find[WidgetSpec](s.ctx, s, "a")
			if err != nil || there != want || spec.Text != text {
				s.Errorf("Find = %+v, %v, %v; want %q, %v", spec, there, err, text, want)
			}
			if p, err := state.Lookup[WidgetSpec](s.ctx, s, "a"); err != nil || (p != nil) != want || p != nil && p.Text != text {
				s.Errorf("Lookup = %+v, %v; want %q, %v", p, err, text, want)
			}
		}
		found(false, "")
		for _, text := range []string{"x", "y"} {
			if err := state.Put(s.ctx, s, "a", WidgetSpec{Text: text}); err != nil {
				s.Fatalf("Put = %v", err)
			}
			found(true, text)
		}
		if _, err := s.Teardown(s.ctx, widgets.Ref("a"), state.TeardownOptions{}); err != nil {
			s.Fatal(err)
		}
		found(false, "")
		s.wantErr("Put of what is torn down", state.Put(s.ctx, s, "a", WidgetSpec{}), state.Conflict, state.PhaseConflict)
	}},
	{name: "modify ends with the error of its function, whatever it is", test: func(s *session) {
		s.create(widget("a", ""), "")
		for _, want := range []error{errors.New("mine"), state.NotFound, state.VersionConflict} {
			for _, id := range []string{"a", "absent"} {
				_, err := state.Modify(s.ctx, s, id, func(*resource.Metadata, *WidgetSpec) error { return want })
				if err != want { //nolint:errorlint // the very error, not one that wraps it
					s.Errorf("Modify(%s) = %v; want %v", id, err, want)
				}
			}
		}
	}},
	{name: "update needs what is there", test: func(s *session) {
		_, err := state.Update(s.ctx, s, "a", func(*resource.Metadata, *WidgetSpec) error { return nil })
		s.wantErr("Update", err, state.NotFound)
	}},
	{name: "a namespace of choice", test: func(s *session) {
		if _, err := state.Create(s.ctx, s, "a", WidgetSpec{Text: "x"}, state.In("other"), state.As("me")); err != nil {
			s.Fatal(err)
		}
		_, err := state.Get[WidgetSpec](s.ctx, s, "a")
		s.wantErr("Get", err, state.NotFound)
		list, err := state.List[WidgetSpec](s.ctx, s, state.In("other"))
		if err != nil || len(list) != 1 || list[0].Spec().Text != "x" {
			s.Errorf("List = %v, %v; want the one that was created", list, err)
		}
		ready, err := state.Teardown[WidgetSpec](s.ctx, s, "a", state.In("other"), state.As("me"))
		if !ready || err != nil {
			s.Errorf("Teardown = %v, %v; want ready", ready, err)
		}
		if err := state.Destroy[WidgetSpec](s.ctx, s, "a", state.In("other"), state.As("me")); err != nil {
			s.Error(err)
		}
	}},
	{name: "waiting ends when the condition is met", test: func(s *session) {
		ref := widgets.Ref("a")
		done := make(chan error, 1)
		go func() {
			r, err := state.WaitFor(s.ctx, s, ref, state.To("count to three", func(w WidgetSpec) bool { return w.Count == 3 }))
			if err == nil && r.Metadata().Version() != 3 {
				err = errors.New("it returned " + show(r))
			}
			done <- err
		}()
		s.create(resource.New("a", WidgetSpec{Count: 1}), "")
		for range 2 {
			s.edit("a", func(_ *resource.Metadata, spec *WidgetSpec) { spec.Count++ })
		}
		if err := <-done; err != nil {
			s.Error(err)
		}
		s.destroy("a")
		if r, err := state.WaitFor(s.ctx, s, ref, state.ToBeGone()); r != nil || err != nil {
			s.Errorf("WaitFor gone = %v, %v; want nil", r, err)
		}
	}},
	{name: "waiting in vain says for what, and what was there", test: func(s *session) {
		s.create(widget("a", ""), "")
		ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
		defer cancel()
		_, err := state.WaitFor(ctx, s, widgets.Ref("a"), state.ToBeIn(resource.TearingDown))
		s.wantErr("WaitFor", err, context.DeadlineExceeded)
		for _, part := range []string{"Widgets.test.talos.dev(test/a)", "be in phase tearingDown", "version 1 phase running"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				s.Errorf("WaitFor = %v; want %q in it", err, part)
			}
		}
	}},
}
