package server

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/inspectpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/controller/graph"
	"talos.internal/internal/proxy/authz"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/state"
	"talos.internal/state/stategrpc"
)

func TestRolesAreThoseThatTheServiceMayHave(t *testing.T) {
	for _, tc := range []struct {
		service     string
		asked, want []string
	}{
		{"apid", []string{admin, "os:future"}, []string{admin, "os:future"}},
		{"dashboard", []string{admin, reader, "os:meta:writer"}, []string{reader, "os:meta:writer"}},
		{"dashboard", nil, nil},
		{"containerd", []string{admin, "os:image:verifier"}, []string{"os:image:verifier"}},
		{"machined", []string{admin, reader}, nil},
		{"kubelet", []string{reader}, nil},
		{"ext-lab", []string{admin}, nil},
		{"", []string{admin}, nil},
	} {
		if got := roles(tc.service, tc.asked); !slices.Equal(got, tc.want) {
			t.Errorf("roles(%q, %q) = %q; want %q", tc.service, tc.asked, got, tc.want)
		}
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	r := newRig(t, nil)
	for _, tc := range []struct {
		name    string
		service string
		roles   []string
		call    func(context.Context, machinepb.MachineServiceClient) error
		want    codes.Code
	}{
		{"a reader reads", "apid", []string{reader}, version, codes.OK},
		{"without a role nothing", "apid", nil, version, codes.PermissionDenied},
		{"an unknown role is none", "apid", []string{"os:future"}, version, codes.PermissionDenied},
		{"a reader does not change", "apid", []string{reader}, restart, codes.PermissionDenied},
		{"an operator does", "apid", []string{operator}, restart, codes.OK},
		{"a reader does not read files", "apid", []string{reader}, read, codes.PermissionDenied},
		{"nor does an operator", "apid", []string{operator}, read, codes.PermissionDenied},
		{"an admin does", "apid", []string{admin}, read, codes.NotFound},
		{"the dashboard reads", "dashboard", []string{reader}, version, codes.OK},
		{"the dashboard is no admin", "dashboard", []string{admin}, version, codes.PermissionDenied},
		{"another service is nobody", "kubelet", []string{admin}, version, codes.PermissionDenied},
		{"a process that is no service", "", []string{admin}, version, codes.PermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.service.Store(tc.service)
			err := tc.call(as(t, tc.roles...), machinepb.NewMachineServiceClient(r.dial(t)))
			wantCode(t, tc.name, err, tc.want)
		})
	}
}

func version(ctx context.Context, c machinepb.MachineServiceClient) error {
	_, err := c.Version(ctx, &emptypb.Empty{})
	return err
}

func restart(ctx context.Context, c machinepb.MachineServiceClient) error {
	_, err := c.ServiceRestart(ctx, &machinepb.ServiceRestartRequest{Id: "kubelet"})
	return err
}

func read(ctx context.Context, c machinepb.MachineServiceClient) error {
	_, err := receive(c.Read(ctx, &machinepb.ReadRequest{Path: "/none"}))
	return err
}

// TestARequestIsNotDecodedBeforeItsCallerIsKnown sends bytes that are no message.
func TestARequestIsNotDecodedBeforeItsCallerIsKnown(t *testing.T) {
	r := newRig(t, nil)
	for _, method := range []string{"/machine.MachineService/Reboot", "/machine.MachineService/Read"} {
		bad := []byte{0xff, 0xff}
		var out []byte
		err := r.conn.Invoke(as(t, reader), method, &bad, &out, grpc.ForceCodec(rawCodec{}))
		wantCode(t, method+" as reader", err, codes.PermissionDenied)
		err = r.conn.Invoke(as(t, admin), method, &bad, &out, grpc.ForceCodec(rawCodec{}))
		wantCode(t, method+" as admin", err, codes.InvalidArgument)
	}
}

func TestOnlyUnixSocketsAreServed(t *testing.T) {
	r := newRig(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantCode(t, "Version over TCP", version(as(t, admin), machinepb.NewMachineServiceClient(conn)), codes.Unavailable)
}

// TestTheTableOfRolesHasEveryMethod keeps a method from being open to administrators alone by mistake.
func TestTheTableOfRolesHasEveryMethod(t *testing.T) {
	r := newRig(t, nil)
	for _, m := range methods(r.server) {
		if !authz.Listed(m.full) {
			t.Errorf("%s is not in the table of roles", m.full)
		}
	}
}

func TestInMaintenanceAReaderMayGiveAConfig(t *testing.T) {
	r := newRig(t, func(r *rig) { r.deps.Maintenance = func() bool { return true } })
	c := machinepb.NewMachineServiceClient(r.conn)
	_, err := c.ApplyConfiguration(as(t, reader), &machinepb.ApplyConfigurationRequest{Data: []byte(configText(t, "worker", "lab"))})
	wantCode(t, "ApplyConfiguration", err, codes.OK)
	_, err = c.Reboot(as(t, reader), &machinepb.RebootRequest{})
	wantCode(t, "Reboot", err, codes.PermissionDenied)
}

type panicking struct{}

func (panicking) Graph() []graph.Edge { panic("boom: secret value") }

func TestAPanicEndsTheCallAlone(t *testing.T) {
	r := newRig(t, func(r *rig) { r.deps.Graph = panicking{} })
	_, err := inspectpb.NewInspectServiceClient(r.conn).ControllerRuntimeDependencies(as(t, reader), &emptypb.Empty{})
	wantCode(t, "a call that panics", err, codes.Internal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the caller sees the panic: %v", err)
	}
	if log := r.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "access_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
	wantCode(t, "the call after it", version(as(t, reader), machinepb.NewMachineServiceClient(r.conn)), codes.OK)
}

const tokenText = "do-not-show-this-token"

func sensitive(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, nil)
	ctx := context.Background()
	if _, err := state.Create(ctx, r.store, secrets.OSRootID, secrets.OSRoot{Token: tokenText}); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Create(ctx, r.store, "eth0", network.HostnameStatus{Hostname: "lab"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// calls are all ways to read, of a type.
func readings(ctx context.Context, conn *grpc.ClientConn, ref resource.Ref) map[string]error {
	c := statepb.NewStateClient(conn)
	_, get := c.Get(ctx, &statepb.GetRequest{Namespace: ref.Namespace, Type: ref.Type, Id: ref.ID})
	_, list := receive(c.List(ctx, &statepb.ListRequest{Namespace: ref.Namespace, Type: ref.Type}))
	out := map[string]error{"get": get, "list": list}
	for name, req := range map[string]*statepb.WatchRequest{
		"watch":                 {Namespace: ref.Namespace, Type: ref.Type, Id: &ref.ID},
		"watch of the kind":     {Namespace: ref.Namespace, Type: ref.Type, Options: &statepb.WatchOptions{BootstrapContents: true}},
		"watch with a tail":     {Namespace: ref.Namespace, Type: ref.Type, Options: &statepb.WatchOptions{TailEvents: 10}},
		"watch from a bookmark": {Namespace: ref.Namespace, Type: ref.Type, Options: &statepb.WatchOptions{StartFromBookmark: []byte("x")}},
	} {
		ctx, cancel := context.WithCancel(ctx)
		s, err := c.Watch(ctx, req)
		if err == nil {
			_, err = s.Recv()
		}
		out[name] = err
		cancel()
	}
	return out
}

func TestSensitiveResourcesAreForAdministratorsAlone(t *testing.T) {
	r := sensitive(t)
	root := state.RefOf[secrets.OSRoot](secrets.OSRootID)
	missing := state.RefOf[secrets.OSRoot]("missing")
	for _, roles := range [][]string{{reader}, {operator}, {reader, operator, "os:etcd:backup"}} {
		for how, err := range readings(as(t, roles...), r.conn, root) {
			if strings.Contains(how, "bookmark") {
				continue // that no store made: see below
			}
			wantCode(t, fmt.Sprintf("%s as %s", how, roles), err, codes.PermissionDenied)
			if strings.Contains(err.Error(), tokenText) {
				t.Errorf("%s as %s leaks: %v", how, roles, err)
			}
		}
		// The error must not tell whether a secret is there.
		there := readings(as(t, roles...), r.conn, root)["get"].Error()
		gone := readings(as(t, roles...), r.conn, missing)["get"].Error()
		if strings.ReplaceAll(there, "/"+secrets.OSRootID+")", "/missing)") != gone {
			t.Errorf("the error tells what is there:\n%s\n%s", there, gone)
		}
	}
	st := stategrpc.NewClient(r.conn, r.deps.Registry)
	got, err := state.Get[secrets.OSRoot](as(t, admin), st, secrets.OSRootID)
	if err != nil || got.Spec().Token != tokenText {
		t.Errorf("an administrator gets %v, %v", got, err)
	}
	wantCode(t, "a bookmark that no store made", readings(as(t, reader), r.conn, root)["watch from a bookmark"], codes.PermissionDenied)
}

func TestReadersReadTheStateAndNobodyWritesIt(t *testing.T) {
	r := sensitive(t)
	st := stategrpc.NewClient(r.conn, r.deps.Registry)
	host, err := state.Get[network.HostnameStatus](as(t, reader), st, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{reader, admin} {
		ctx := as(t, role)
		_, create := st.Create(ctx, host, state.CreateOptions{})
		_, update := st.Update(ctx, host, state.UpdateOptions{})
		_, teardown := st.Teardown(ctx, host.Metadata().Ref(), state.TeardownOptions{})
		destroy := st.Destroy(ctx, host.Metadata().Ref(), state.DestroyOptions{})
		for name, err := range map[string]error{"create": create, "update": update, "teardown": teardown, "destroy": destroy} {
			if state.KindOf(err) != state.Denied {
				t.Errorf("%s as %s: %v; want %v", name, role, err, state.Denied)
			}
		}
	}
	if _, err := state.Get[network.HostnameStatus](t.Context(), r.store, "eth0"); err != nil {
		t.Errorf("after that: %v", err)
	}
	c := statepb.NewStateClient(r.conn)
	_, err = c.Get(as(t, admin), &statepb.GetRequest{Namespace: "network", Type: "Nothings.net.talos.dev", Id: "x"})
	wantCode(t, "a type that nobody registered", err, codes.NotFound)
	_, err = c.Get(as(t, admin), &statepb.GetRequest{Namespace: "nowhere", Type: "HostnameStatuses.net.talos.dev", Id: "x"})
	wantCode(t, "a namespace that nobody registered", err, codes.NotFound)
}

func TestUnaryCallsHaveADeadline(t *testing.T) {
	for method, want := range map[string]time.Duration{
		"/machine.MachineService/Version": time.Minute, "/machine.MachineService/ImagePull": 30 * time.Minute,
	} {
		if got := timeoutOf(method); got != want {
			t.Errorf("timeoutOf(%s) = %v; want %v", method, got, want)
		}
	}
	r := newRig(t, nil)
	known := methods(r.server)
	for m := range timeouts {
		if !slices.ContainsFunc(known, func(k methodInfo) bool { return k.full == m }) {
			t.Errorf("%s has a timeout and does not exist", m)
		}
	}
	g := &gate{log: r.deps.Logger, maintenance: func() bool { return false }}
	_, err := g.unary(context.Background(), "/machine.MachineService/Version", func(context.Context) (any, error) { return nil, nil })
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a call without a peer: %v; want %s", err, codes.Unauthenticated)
	}
}

func TestNewNamesThePartThatIsMissing(t *testing.T) {
	if _, err := New(Deps{}); err == nil || !strings.Contains(err.Error(), "Deps.State") {
		t.Errorf("New: %v; want Deps.State named", err)
	}
}
