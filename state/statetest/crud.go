package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/resource"
	"talos.internal/state"
)

var createRules = []rule{
	{name: "gives version 1, the owner and the time", test: func(s *session) {
		before := time.Now().Add(-time.Second)
		r := widget("a", "x")
		md := r.Metadata()
		md.SetVersion(7)
		md.SetOwner("someone else")
		md.SetTimes(time.Unix(1, 0), time.Unix(2, 0))
		md.SetLabel("l", "v")
		md.SetAnnotation("a", "w")
		md.AddFinalizer("f")
		got := s.create(r.WithMetadata(md), "me")
		kept := s.get("a")
		if !resource.Equal(got, kept) {
			s.Errorf("Create returned %v, Get %v; want the same", got, kept)
		}
		m := kept.Metadata()
		if m.Version() != 1 || m.Owner() != "me" || m.Phase() != resource.Running {
			s.Errorf("metadata = %v; want version 1, owner me, running", m)
		}
		if m.Created().Before(before) || !m.Created().Equal(m.Updated()) {
			s.Errorf("created %v, updated %v; want both the time of the call", m.Created(), m.Updated())
		}
		if !m.SameIntent(md) {
			s.Errorf("metadata = %v; want labels, annotations and finalizers of %v", m, md)
		}
		if got := kept.(*resource.Typed[WidgetSpec]).Spec().Text; got != "x" {
			s.Errorf("text = %q; want x", got)
		}
	}},
	{name: "refuses what is there already", test: func(s *session) {
		s.create(widget("a", "first"), "")
		_, err := s.Create(s.ctx, widget("a", "second"), state.CreateOptions{})
		s.wantErr("Create", err, state.Exists)
		if got := show(s.get("a")); got != "a v1 first" {
			s.Errorf("after a refused Create it is %q; want the first", got)
		}
	}},
	{name: "refuses metadata that is not valid", test: func(s *session) {
		for _, ref := range []resource.Ref{{Namespace: "", Type: "t", ID: "i"}, {Namespace: "n", Type: "t", ID: ""}} {
			_, err := s.Create(s.ctx, resource.Tombstone(ref), state.CreateOptions{})
			s.wantErr(fmt.Sprintf("Create(%v)", ref), err, state.Invalid)
		}
		r := widget("a", "")
		md := r.Metadata()
		md.SetPhase(resource.TearingDown)
		_, err := s.Create(s.ctx, r.WithMetadata(md), state.CreateOptions{})
		s.wantErr("Create in phase tearingDown", err, state.Invalid)
	}},
	{name: "keeps namespaces and types apart", test: func(s *session) {
		s.create(widget("a", "one"), "")
		s.create(resource.NewIn("other", "a", WidgetSpec{Text: "two"}), "")
		s.create(resource.New("a", GadgetSpec{Text: "three"}), "")
		if got := show(s.get("a")); got != "a v1 one" {
			s.Errorf("Get = %q; want the one of its namespace", got)
		}
		g, err := state.Get[GadgetSpec](s.ctx, s, "a")
		if err != nil || g.Spec().Text != "three" {
			s.Errorf("Get of the other type = %v, %v; want three", g, err)
		}
	}},
	{name: "of one id by many succeeds once", test: func(s *session) {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = s.Create(s.ctx, widget("a", fmt.Sprint(i)), state.CreateOptions{})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				s.wantErr("Create", err, state.Exists)
			}
		}
		if won != 1 {
			s.Errorf("%d of %d creations succeeded; want 1", won, len(errs))
		}
	}},
	{name: "does nothing for a context that has ended", test: func(s *session) {
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := s.Create(ctx, widget("a", ""), state.CreateOptions{})
		s.wantErr("Create", err, context.Canceled)
		_, err = s.Get(s.ctx, widgets.Ref("a"))
		s.wantErr("Get", err, state.NotFound)
	}},
}

var readRules = []rule{
	{name: "of what is not there is not found, and the error says what", test: func(s *session) {
		_, err := s.Get(s.ctx, widgets.Ref("a"))
		s.wantErr("Get", err, state.NotFound)
		var e *state.Error
		if !errors.As(err, &e) || e.Ref != widgets.Ref("a") || e.Op != "get" {
			s.Errorf("Get = %#v; want an Error that names operation and resource", err)
		}
	}},
	{name: "shares no memory", test: func(s *session) {
		spec := WidgetSpec{Parts: []string{"p"}, Props: map[string]string{"k": "v"}}
		s.create(resource.New("a", spec), "")
		spec.Parts[0], spec.Props["k"] = "spoilt", "spoilt"
		out := s.get("a").(*resource.Typed[WidgetSpec]).Spec()
		out.Parts[0], out.Props["new"] = "spoilt", "spoilt"
		want := WidgetSpec{Parts: []string{"p"}, Props: map[string]string{"k": "v"}}
		if d := cmp.Diff(want, s.get("a").(*resource.Typed[WidgetSpec]).Spec()); d != "" {
			s.Errorf("the kept spec changed (-want +got):\n%s", d)
		}
	}},
	{name: "list is in the order of ids", test: func(s *session) {
		s.wantList(resource.Query{})
		for _, id := range []string{"c", "a", "d", "b"} {
			s.create(widget(id, ""), "")
		}
		s.wantList(resource.Query{}, "a v1 ", "b v1 ", "c v1 ", "d v1 ")
		s.destroy("b")
		s.setText("d", "x")
		s.create(widget("bb", ""), "")
		s.wantList(resource.Query{}, "a v1 ", "bb v1 ", "c v1 ", "d v2 x")
	}},
	{name: "list may be written to", test: func(s *session) {
		s.create(widget("a", ""), "")
		list, err := s.List(s.ctx, widgets, resource.Query{})
		if err != nil || len(list) != 1 {
			s.Fatalf("List = %v, %v; want one", list, err)
		}
		list[0] = nil
		s.wantList(resource.Query{}, "a v1 ")
	}},
	{name: "of a spec that nobody knows keeps it as it is", test: func(s *session) {
		ref := resource.Ref{Namespace: "test", Type: "Unknowns.test.talos.dev", ID: "u"}
		s.create(resource.NewRaw(resource.NewMetadata(ref), []byte{8, 1}, []byte("a: 1\n")), "")
		r, err := s.Get(s.ctx, ref)
		if err != nil {
			s.Fatal(err)
		}
		p, _ := r.SpecProto()
		y, _ := r.SpecYAML()
		if string(p) != "\x08\x01" || string(y) != "a: 1\n" || r.Type() != nil {
			s.Errorf("Get = %v with specs %x and %q; want it as it was", r, p, y)
		}
	}},
}

// wantList fails the test unless a list of widgets is this.
func (s *session) wantList(q resource.Query, want ...string) {
	s.Helper()
	list, err := s.List(s.ctx, widgets, q)
	if err != nil {
		s.Fatalf("List = %v", err)
	}
	var got []string
	for _, r := range list {
		got = append(got, show(r))
	}
	if !slices.Equal(got, want) {
		s.Errorf("List = %q; want %q", got, want)
	}
}

var updateRules = []rule{
	{name: "makes the next version and keeps owner and creation", test: func(s *session) {
		first := s.create(widget("a", "x"), "me")
		md := first.Metadata()
		md.SetOwner("thief")
		md.SetLabel("l", "v")
		r := first.(*resource.Typed[WidgetSpec]).With(md, WidgetSpec{Text: "y"})
		got := s.update(r, state.UpdateOptions{Owner: "me"})
		m := got.Metadata()
		if show(got) != "a v2 y" || m.Owner() != "me" || !m.Created().Equal(md.Created()) || !m.Updated().After(md.Updated()) {
			s.Errorf("Update = %v; want version 2, owner me, the time of creation as before and a later time of update", got)
		}
		if kept := s.get("a"); !resource.Equal(kept, got) {
			s.Errorf("Get = %v; want what Update returned, %v", kept, got)
		}
	}},
	{name: "of what is not there is not found", test: func(s *session) {
		_, err := s.Update(s.ctx, widget("a", ""), state.UpdateOptions{})
		s.wantErr("Update", err, state.NotFound)
	}},
	{name: "over a version that was not seen is a conflict", test: func(s *session) {
		first := s.create(widget("a", "x"), "")
		s.setText("a", "y")
		_, err := s.Update(s.ctx, first, state.UpdateOptions{})
		s.wantErr("Update", err, state.Conflict, state.VersionConflict)
		_, err = s.Update(s.ctx, widget("a", "z"), state.UpdateOptions{})
		s.wantErr("Update without a version", err, state.Conflict, state.VersionConflict)
		if got := show(s.get("a")); got != "a v2 y" {
			s.Errorf("after refused updates it is %q", got)
		}
	}},
	{name: "over another resource of the same name and version is a conflict", test: func(s *session) {
		first := s.create(widget("a", "x"), "")
		s.destroy("a")
		s.create(widget("a", "y"), "")
		_, err := s.Update(s.ctx, first, state.UpdateOptions{})
		s.wantErr("Update", err, state.Conflict, state.VersionConflict)
	}},
	{name: "by another than the owner is a conflict", test: func(s *session) {
		mine := s.create(widget("a", ""), "me")
		free := s.create(widget("b", ""), "")
		_, err := s.Update(s.ctx, mine, state.UpdateOptions{Owner: "you"})
		s.wantErr("Update", err, state.Conflict, state.OwnerConflict)
		_, err = s.Update(s.ctx, mine, state.UpdateOptions{})
		s.wantErr("Update by nobody", err, state.Conflict, state.OwnerConflict)
		_, err = s.Update(s.ctx, free, state.UpdateOptions{Owner: "me"})
		s.wantErr("Update of what nobody owns", err, state.Conflict, state.OwnerConflict)
	}},
	{name: "expects the phase that it is told", test: func(s *session) {
		s.create(widget("a", ""), "")
		_, err := s.Update(s.ctx, s.get("a"), state.UpdateOptions{Expect: state.ExpectTearingDown})
		s.wantErr("Update of a running one", err, state.Conflict, state.PhaseConflict)
		if _, err := s.Teardown(s.ctx, widgets.Ref("a"), state.TeardownOptions{}); err != nil {
			s.Fatal(err)
		}
		_, err = s.Update(s.ctx, s.get("a"), state.UpdateOptions{})
		s.wantErr("Update of one torn down", err, state.Conflict, state.PhaseConflict)
		s.update(s.get("a"), state.UpdateOptions{Expect: state.ExpectTearingDown})
		s.update(s.get("a"), state.UpdateOptions{Expect: state.ExpectAny})
	}},
	{name: "cannot undo a teardown, nor add a finalizer after it", test: func(s *session) {
		r := widget("a", "")
		md := r.Metadata()
		md.AddFinalizer("f")
		s.create(r.WithMetadata(md), "")
		s.edit("a", func(md *resource.Metadata, _ *WidgetSpec) { md.SetPhase(resource.TearingDown) })
		for what, change := range map[string]func(*resource.Metadata){
			"phase":     func(md *resource.Metadata) { md.SetPhase(resource.Running) },
			"finalizer": func(md *resource.Metadata) { md.AddFinalizer("g") },
		} {
			got := s.get("a")
			md := got.Metadata()
			change(&md)
			_, err := s.Update(s.ctx, got.WithMetadata(md), state.UpdateOptions{Expect: state.ExpectAny})
			s.wantErr("Update of the "+what, err, state.Conflict, state.PhaseConflict)
		}
		s.edit("a", func(md *resource.Metadata, _ *WidgetSpec) { md.RemoveFinalizer("f") })
	}},
	{name: "by many loses nothing", test: func(s *session) {
		const writers, each = 4, 25
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					if _, err := state.Modify(s.ctx, s, "a", func(_ *resource.Metadata, spec *WidgetSpec) error {
						spec.Count++
						return nil
					}); err != nil {
						s.Errorf("Modify = %v", err)
					}
				}
			})
		}
		wg.Wait()
		got := s.get("a").(*resource.Typed[WidgetSpec])
		if got.Spec().Count != writers*each || got.Metadata().Version() != writers*each {
			s.Errorf("after %d increments the count is %d at version %v", writers*each, got.Spec().Count, got.Metadata().Version())
		}
	}},
}

var teardownRules = []rule{
	{name: "waits for finalizers, then destroy removes", test: func(s *session) {
		s.create(widget("a", ""), "me")
		ref := widgets.Ref("a")
		if err := state.AddFinalizer(s.ctx, s, ref, "f", "g"); err != nil {
			s.Fatal(err)
		}
		for range 2 { // a second teardown changes nothing
			ready, err := s.Teardown(s.ctx, ref, state.TeardownOptions{Owner: "me"})
			if ready || err != nil {
				s.Fatalf("Teardown = %v, %v; want not ready", ready, err)
			}
		}
		if got := show(s.get("a")); got != "a v3 tearingDown " {
			s.Errorf("after the teardown it is %q", got)
		}
		err := s.Destroy(s.ctx, ref, state.DestroyOptions{Owner: "me"})
		s.wantErr("Destroy", err, state.Conflict, state.FinalizersConflict)
		s.wantErr("AddFinalizer", state.AddFinalizer(s.ctx, s, ref, "late"), state.Conflict, state.PhaseConflict)
		for _, f := range []string{"f", "g", "unknown"} {
			if err := state.RemoveFinalizer(s.ctx, s, ref, f); err != nil {
				s.Fatal(err)
			}
		}
		if ready, err := s.Teardown(s.ctx, ref, state.TeardownOptions{Owner: "me"}); !ready || err != nil {
			s.Errorf("Teardown = %v, %v; want ready", ready, err)
		}
		if err := s.Destroy(s.ctx, ref, state.DestroyOptions{Owner: "me"}); err != nil {
			s.Fatal(err)
		}
		_, err = s.Get(s.ctx, ref)
		s.wantErr("Get", err, state.NotFound)
		if err := state.RemoveFinalizer(s.ctx, s, ref, "f"); err != nil {
			s.Errorf("RemoveFinalizer of what is gone = %v; want none", err)
		}
	}},
	{name: "is for the owner", test: func(s *session) {
		s.create(widget("a", ""), "me")
		_, err := s.Teardown(s.ctx, widgets.Ref("a"), state.TeardownOptions{Owner: "you"})
		s.wantErr("Teardown", err, state.Conflict, state.OwnerConflict)
		err = s.Destroy(s.ctx, widgets.Ref("a"), state.DestroyOptions{})
		s.wantErr("Destroy", err, state.Conflict, state.OwnerConflict)
	}},
	{name: "of what is not there is not found", test: func(s *session) {
		_, err := s.Teardown(s.ctx, widgets.Ref("a"), state.TeardownOptions{})
		s.wantErr("Teardown", err, state.NotFound)
		s.wantErr("Destroy", s.Destroy(s.ctx, widgets.Ref("a"), state.DestroyOptions{}), state.NotFound)
	}},
	{name: "is not needed to destroy what nobody needs", test: func(s *session) {
		s.create(widget("a", ""), "")
		s.destroy("a")
		s.create(widget("a", "again"), "")
		if got := show(s.get("a")); got != "a v1 again" {
			s.Errorf("the second one is %q; want it to begin at version 1", got)
		}
	}},
	{name: "and destroy in one call waits for those who need it", test: func(s *session) {
		s.create(widget("a", ""), "me")
		ref := widgets.Ref("a")
		if err := state.AddFinalizer(s.ctx, s, ref, "f"); err != nil {
			s.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- state.TeardownAndDestroy(s.ctx, s, ref, "me") }()
		if _, err := state.WaitFor(s.ctx, s, ref, state.ToBeIn(resource.TearingDown)); err != nil {
			s.Fatal(err)
		}
		if err := state.RemoveFinalizer(s.ctx, s, ref, "f"); err != nil {
			s.Fatal(err)
		}
		if err := <-done; err != nil {
			s.Errorf("TeardownAndDestroy = %v", err)
		}
		_, err := s.Get(s.ctx, ref)
		s.wantErr("Get", err, state.NotFound)
		s.wantErr("TeardownAndDestroy", state.TeardownAndDestroy(s.ctx, s, ref, "me"), state.NotFound)
	}},
}
