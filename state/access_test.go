package state_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"talos.internal/resource"
	"talos.internal/resource/meta"
	"talos.internal/state"
	"talos.internal/state/memstate"
	"talos.internal/state/statetest"
)

// calls makes each call of a state, by its verb.
func calls(ctx context.Context, st state.State, ref resource.Ref) map[state.Verb][]error {
	r := resource.NewRaw(resource.NewMetadata(ref), nil, nil)
	_, get := st.Get(ctx, ref)
	_, list := st.List(ctx, ref.Kind(), resource.Query{})
	_, watch := st.Watch(ctx, ref, state.WatchOptions{})
	_, watchKind := st.WatchKind(ctx, ref.Kind(), state.WatchOptions{})
	_, create := st.Create(ctx, r, state.CreateOptions{})
	_, update := st.Update(ctx, r, state.UpdateOptions{})
	_, teardown := st.Teardown(ctx, ref, state.TeardownOptions{})
	return map[state.Verb][]error{
		state.VerbGet: {get}, state.VerbList: {list}, state.VerbWatch: {watch, watchKind}, state.VerbCreate: {create},
		state.VerbUpdate: {update}, state.VerbTeardown: {teardown}, state.VerbDestroy: {st.Destroy(ctx, ref, state.DestroyOptions{})},
	}
}

func TestGuardAsksForEveryCall(t *testing.T) {
	no := errors.New("no")
	var asked []state.Access
	st := state.Guard(memstate.New(memstate.Options{}), func(_ context.Context, a state.Access) error {
		asked = append(asked, a)
		return no
	})
	ref := resource.Ref{Namespace: "n", Type: "t", ID: "i"}
	for verb, errs := range calls(t.Context(), st, ref) {
		for _, err := range errs {
			if err != no { //nolint:errorlint // the very error, not one that wraps it
				t.Errorf("%s = %v; want the error of the policy", verb, err)
			}
		}
	}
	if len(asked) != 8 {
		t.Errorf("the policy was asked %d times; want 8", len(asked))
	}
	for _, a := range asked {
		if a.Ref.Kind() != ref.Kind() || a.Ref.ID != "i" && (a.Verb != state.VerbList && a.Verb != state.VerbWatch) {
			t.Errorf("asked for %+v; want the resource", a)
		}
	}
}

func TestGuardThatAllowsIsTransparent(t *testing.T) {
	statetest.Run(t, func(_ *testing.T, history int) state.State {
		return state.Guard(memstate.New(memstate.Options{History: history}), func(context.Context, state.Access) error { return nil })
	})
}

func TestAPIPolicy(t *testing.T) {
	ctx := t.Context()
	st := memstate.New(memstate.Options{})
	api := state.Guard(st, state.APIPolicy(st))
	if err := state.RegisterTypes(ctx, st, append(meta.Types(), resource.TypeOf[statetest.WidgetSpec]())...); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"test", "meta"} {
		for range 2 { // a second time changes nothing
			if err := state.RegisterNamespace(ctx, st, ns, "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := state.Create(ctx, st, "a", statetest.WidgetSpec{}); err != nil {
		t.Fatal(err)
	}
	for verb, errs := range calls(ctx, api, resource.RefOf[statetest.WidgetSpec]("a")) {
		for _, err := range errs {
			if verb.IsRead() && err != nil {
				t.Errorf("%s = %v; want it allowed", verb, err)
			}
			if !verb.IsRead() && !errors.Is(err, state.Denied) {
				t.Errorf("%s = %v; want it denied", verb, err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		kind resource.Kind
		want string
	}{
		{"unknown namespace", resource.Kind{Namespace: "other", Type: resource.KindOf[statetest.WidgetSpec]().Type}, "no such namespace"},
		{"unknown type", resource.KindOf[statetest.GadgetSpec](), "type is not registered"},
		{"type in other case", resource.Kind{Namespace: "test", Type: "widgets.test.talos.dev"}, "type is not registered"},
	} {
		_, err := api.List(ctx, tt.kind, resource.Query{})
		if !errors.Is(err, state.NotFound) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: List = %v; want NotFound and %q", tt.name, err, tt.want)
		}
	}
	list, err := state.List[meta.DefinitionSpec](ctx, api)
	if err != nil || len(list) != 3 || list[0].Metadata().Version() != 1 {
		t.Errorf("the definitions through the API = %v, %v; want 3", list, err)
	}
}

type broken struct{ C chan int }

func (broken) ResourceDefinition() resource.Definition {
	return resource.Definition{Type: "Brokens.x", Namespace: "x"}
}

func TestRegisterTypesRefusesABrokenOneBeforeItWrites(t *testing.T) {
	st := memstate.New(memstate.Options{})
	err := state.RegisterTypes(t.Context(), st, resource.TypeOf[statetest.WidgetSpec](), resource.TypeOf[broken]())
	if !errors.Is(err, state.Invalid) {
		t.Errorf("RegisterTypes = %v; want Invalid", err)
	}
	if list, err := state.List[meta.DefinitionSpec](t.Context(), st); err != nil || len(list) > 0 {
		t.Errorf("after it there are %v, %v; want none", list, err)
	}
	if _, err := state.Create(t.Context(), st, "a", broken{}); !errors.Is(err, state.Invalid) {
		t.Errorf("Create of a broken type = %v; want Invalid", err)
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  *state.Error
		want string
	}{
		{&state.Error{Kind: state.NotFound, Op: "get", Ref: resource.Ref{Namespace: "n", Type: "t", ID: "i"}}, "get t(n/i): not found"},
		{&state.Error{Kind: state.Conflict, Reason: state.VersionConflict, Op: "update", Ref: resource.Ref{Namespace: "n", Type: "t", ID: "i"}, Detail: "why"}, "update t(n/i): conflict (version): why"},
		{&state.Error{Kind: state.Unavailable, Reason: state.HistoryLost, Op: "watch", Ref: resource.Ref{Namespace: "n", Type: "t"}}, "watch t(n): unavailable (history lost)"},
		{&state.Error{Kind: state.Busy}, "busy"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("Error() = %q; want %q", got, tt.want)
		}
	}
	if errors.Is(&state.Error{Kind: state.NotFound}, state.Reason("")) || errors.Is(&state.Error{Kind: state.NotFound}, state.Exists) {
		t.Error("an error is what it is not")
	}
}
