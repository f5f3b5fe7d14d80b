package stategrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/statepb"
	"talos.internal/resource"
	"talos.internal/state"
	"talos.internal/state/memstate"
	"talos.internal/state/statetest"
)

// dial returns a connection to a server of st, over a pipe in memory.
func dial(t *testing.T, st state.State, reg *resource.Registry) *grpc.ClientConn {
	t.Helper()
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	statepb.RegisterStateServer(srv, NewServer(st, reg))
	go func() { _ = srv.Serve(lis) }() // returns when the server is stopped
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:///state", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func widgets(t *testing.T) *resource.Registry {
	t.Helper()
	reg, err := resource.NewRegistry(statetest.Types()...)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestStoreThroughTheService(t *testing.T) {
	statetest.Run(t, func(t *testing.T, history int) state.State {
		reg := widgets(t)
		return NewClient(dial(t, memstate.New(memstate.Options{History: history}), reg), reg)
	})
}

func TestEveryErrorSurvivesTheWire(t *testing.T) {
	ref := resource.Ref{Namespace: "n", Type: "t", ID: "i"}
	for kind := range codeOf {
		for _, reason := range []state.Reason{"", state.OwnerConflict, state.HistoryLost} {
			want := &state.Error{Kind: kind, Reason: reason, Op: "op", Ref: ref, Detail: "why"}
			got := FromStatus("other", resource.Ref{}, Status(fmt.Errorf("wrapped: %w", want)))
			var e *state.Error
			if !errors.As(got, &e) || *e != *want {
				t.Errorf("%v came back as %#v", want, got)
			}
		}
	}
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		if got := FromStatus("", ref, Status(fmt.Errorf("x: %w", want))); !errors.Is(got, want) {
			t.Errorf("%v came back as %v", want, got)
		}
	}
	if got := FromStatus("", ref, Status(nil)); got != nil {
		t.Errorf("nil came back as %v", got)
	}
	if len(codeOf) != 8 {
		t.Errorf("%d kinds have a code; want all 8", len(codeOf))
	}
}

func TestErrorsOfOtherServers(t *testing.T) {
	ref := resource.Ref{Namespace: "n", Type: "t", ID: "i"}
	for code, want := range map[codes.Code]error{
		codes.NotFound: state.NotFound, codes.Aborted: state.VersionConflict, codes.Unauthenticated: state.Denied,
		codes.Unimplemented: state.NotSupported, codes.Unavailable: state.Unavailable,
	} {
		got := FromStatus("get", ref, status.Error(code, "text"))
		if !errors.Is(got, want) || !strings.Contains(got.Error(), "get t(n/i)") || !strings.Contains(got.Error(), "text") {
			t.Errorf("%v = %v; want %v with operation, resource and text", code, got, want)
		}
	}
	internal := status.Error(codes.Internal, "x")
	if got := FromStatus("get", ref, internal); got != internal { //nolint:errorlint // the very error, not one that wraps it
		t.Errorf("Internal = %v; want it as it is", got)
	}
}

func TestSpecTravelsAsProtobufAndYAML(t *testing.T) {
	st := memstate.New(memstate.Options{})
	if _, err := state.Create(t.Context(), st, "a", statetest.WidgetSpec{Text: "x"}); err != nil {
		t.Fatal(err)
	}
	rpc := statepb.NewStateClient(dial(t, st, nil))
	out, err := rpc.Get(t.Context(), &statepb.GetRequest{Namespace: "test", Type: "Widgets.test.talos.dev", Id: "a"})
	if err != nil {
		t.Fatal(err)
	}
	spec := out.GetResource().GetSpec()
	if string(spec.GetProtoSpec()) != "\x0a\x01x" || !strings.HasPrefix(spec.GetYamlSpec(), "text: x\n") {
		t.Errorf("spec = %v; want both forms", spec)
	}
	if md := out.GetResource().GetMetadata(); md.GetVersion() != "1" || md.GetPhase() != "running" || md.GetCreated() == nil {
		t.Errorf("metadata = %v; want version, phase and times", md)
	}
}

func TestClientThatKnowsNoTypeStillDecodesOnDemand(t *testing.T) {
	st := memstate.New(memstate.Options{})
	if _, err := state.Create(t.Context(), st, "a", statetest.WidgetSpec{Text: "x", Parts: []string{"p"}}); err != nil {
		t.Fatal(err)
	}
	c := NewClient(dial(t, st, nil), nil)
	raw, err := c.Get(t.Context(), resource.RefOf[statetest.WidgetSpec]("a"))
	if err != nil || raw.Type() != nil {
		t.Fatalf("Get = %v, %v; want an undecoded resource", raw, err)
	}
	w, err := state.Get[statetest.WidgetSpec](t.Context(), c, "a")
	if err != nil || w.Spec().Text != "x" || len(w.Spec().Parts) != 1 {
		t.Errorf("typed Get = %v, %v; want the spec", w, err)
	}
	if _, err := state.Typed[statetest.GadgetSpec](raw); !errors.Is(err, state.Invalid) {
		t.Errorf("Typed as another type = %v; want Invalid", err)
	}
}

func TestBrokenWatchEndsWithAnErroredEvent(t *testing.T) {
	st := memstate.New(memstate.Options{History: 2})
	rpc := statepb.NewStateClient(dial(t, st, nil))
	stream, err := rpc.Watch(t.Context(), &statepb.WatchRequest{Namespace: "test", Type: "Widgets.test.talos.dev"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 64<<10)
	for i := range 200 {
		if _, err := state.Create(t.Context(), st, fmt.Sprint(i), statetest.WidgetSpec{Text: large}); err != nil {
			t.Fatal(err)
		}
	}
	for {
		out, err := stream.Recv()
		if err != nil {
			t.Fatalf("the watch ended with %v; want an ERRORED event before", err)
		}
		if len(out.GetEvent()) != 1 {
			t.Fatalf("%d events in one message; want 1, aggregation was not asked for", len(out.GetEvent()))
		}
		if e := out.GetEvent()[0]; e.GetEventType() == statepb.EventType_ERRORED {
			if !strings.Contains(e.GetError(), "events behind") || e.GetResource() != nil {
				t.Errorf("ERRORED event = %v; want only a clear error", e)
			}
			break
		}
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("after the ERRORED event: %v; want Unavailable", err)
	}
}

func TestRequestsWithoutSenseAreRefused(t *testing.T) {
	rpc := statepb.NewStateClient(dial(t, memstate.New(memstate.Options{}), widgets(t)))
	good := func() *statepb.Resource {
		return &statepb.Resource{Metadata: &statepb.Metadata{Namespace: "test", Type: "Widgets.test.talos.dev", Id: "a"}}
	}
	for _, tt := range []struct {
		name   string
		change func(*statepb.Resource) *statepb.Resource
	}{
		{"no resource", func(*statepb.Resource) *statepb.Resource { return nil }},
		{"no metadata", func(r *statepb.Resource) *statepb.Resource { r.Metadata = nil; return r }},
		{"version", func(r *statepb.Resource) *statepb.Resource { r.Metadata.Version = "x"; return r }},
		{"phase", func(r *statepb.Resource) *statepb.Resource { r.Metadata.Phase = "x"; return r }},
		{"protobuf", func(r *statepb.Resource) *statepb.Resource {
			r.Spec = &statepb.Spec{ProtoSpec: []byte{0xff}}
			return r
		}},
		{"YAML", func(r *statepb.Resource) *statepb.Resource { r.Spec = &statepb.Spec{YamlSpec: "\t"}; return r }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := rpc.Create(t.Context(), &statepb.CreateRequest{Resource: tt.change(good())}); status.Code(err) != codes.InvalidArgument {
				t.Errorf("Create = %v; want InvalidArgument", err)
			}
		})
	}
	if _, err := rpc.Create(t.Context(), &statepb.CreateRequest{Resource: good()}); err != nil {
		t.Errorf("Create of the good one = %v", err)
	}
	phase := "x"
	if _, err := rpc.Update(t.Context(), &statepb.UpdateRequest{NewResource: good(), Options: &statepb.UpdateOptions{ExpectedPhase: &phase}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("Update = %v; want InvalidArgument", err)
	}
	for name, o := range map[string]*statepb.ListOptions{
		"operation":   {LabelQuery: []*statepb.LabelQuery{{Terms: []*statepb.LabelTerm{{Key: "k", Op: 99}}}}},
		"negative":    {LabelQuery: []*statepb.LabelQuery{{Terms: []*statepb.LabelTerm{{Key: "k", Op: -1}}}}},
		"values":      {LabelQuery: []*statepb.LabelQuery{{Terms: []*statepb.LabelTerm{{Key: "k", Op: 1}}}}},
		"regexp":      {IdQuery: &statepb.IDQuery{Regexp: "("}},
		"long regexp": {IdQuery: &statepb.IDQuery{Regexp: strings.Repeat("a", maxRegexp+1)}},
	} {
		stream, err := rpc.List(t.Context(), &statepb.ListRequest{Namespace: "test", Type: "x", Options: o})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("List with bad %s = %v; want InvalidArgument", name, err)
		}
	}
}

func TestTeardownAndDestroyThroughTheService(t *testing.T) {
	st := memstate.New(memstate.Options{})
	if _, err := state.Create(t.Context(), st, "a", statetest.WidgetSpec{}, state.As("me")); err != nil {
		t.Fatal(err)
	}
	rpc := statepb.NewStateClient(dial(t, st, nil))
	in := &statepb.TeardownAndDestroyRequest{Namespace: "test", Type: "Widgets.test.talos.dev", Id: "a", Options: &statepb.TeardownAndDestroyOptions{Owner: "me"}}
	if _, err := rpc.TeardownAndDestroy(t.Context(), in); err != nil {
		t.Error(err)
	}
	if _, err := rpc.TeardownAndDestroy(t.Context(), in); status.Code(err) != codes.NotFound {
		t.Errorf("a second time: %v; want NotFound", err)
	}
}

// FuzzQuery holds that a query from the wire is refused, or selects the same after a round trip, and
// that no query makes matching fail.
func FuzzQuery(f *testing.F) {
	seed := func(q resource.Query) {
		labels, id := encodeQuery(q)
		b, err := proto.Marshal(&statepb.ListOptions{LabelQuery: labels, IdQuery: id})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "id", "key", "1")
	}
	seed(resource.Query{})
	seed(resource.Query{ID: regexp.MustCompile("^i.$"), Labels: []resource.LabelQuery{{{Key: "key", Op: resource.LabelLessNum, Values: []string{"2"}, Invert: true}}, {}}})
	f.Fuzz(func(t *testing.T, in []byte, id, key, value string) {
		var o statepb.ListOptions
		if proto.Unmarshal(in, &o) != nil {
			return
		}
		q, err := decodeQuery(o.GetLabelQuery(), o.GetIdQuery())
		if err != nil {
			return
		}
		if err := q.Validate(); err != nil {
			t.Fatalf("decodeQuery let %v pass", err)
		}
		again, err := decodeQuery(encodeQuery(q))
		if err != nil {
			t.Fatalf("a query was refused after a round trip: %v", err)
		}
		md := resource.NewMetadata(resource.Ref{Namespace: "n", Type: "t", ID: id})
		md.SetLabel(key, value)
		if q.Match(md) != again.Match(md) {
			t.Errorf("after a round trip the query selects otherwise: %v", q)
		}
	})
}
