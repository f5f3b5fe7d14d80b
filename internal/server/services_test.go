package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/internal/buildinfo"
)

func TestServiceListSaysWhatTheSupervisorKnows(t *testing.T) {
	r := newRig(t, nil)
	out, err := machinepb.NewMachineServiceClient(r.conn).ServiceList(as(t, reader), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range out.GetMessages()[0].GetServices() {
		got = append(got, s.GetId()+" "+s.GetState())
		if s.GetId() != "silent" && (len(s.GetEvents().GetEvents()) == 0 || s.GetHealth() == nil) {
			t.Errorf("%s has no events or no health: %v", s.GetId(), s)
		}
	}
	if want := []string{"ext-lab Running", "kubelet Running", "machined Running", "silent Initialized"}; !slices.Equal(got, want) {
		t.Errorf("services %q; want %q", got, want)
	}
}

func TestOrdersToServices(t *testing.T) {
	r := newRig(t, nil)
	c := machinepb.NewMachineServiceClient(r.conn)
	ctx := as(t, operator)
	start := func(id string) (string, error) {
		out, err := c.ServiceStart(ctx, &machinepb.ServiceStartRequest{Id: id})
		return firstOf(out.GetMessages()).GetResp(), err
	}
	stop := func(id string) (string, error) {
		out, err := c.ServiceStop(ctx, &machinepb.ServiceStopRequest{Id: id})
		return firstOf(out.GetMessages()).GetResp(), err
	}
	restart := func(id string) (string, error) {
		out, err := c.ServiceRestart(ctx, &machinepb.ServiceRestartRequest{Id: id})
		return firstOf(out.GetMessages()).GetResp(), err
	}
	for _, tc := range []struct {
		name, id string
		order    func(string) (string, error)
		want     string
		code     codes.Code
	}{
		{"stop one that allows it", "ext-lab", stop, `Service "ext-lab" stopped`, codes.OK},
		{"start it again", "ext-lab", start, `Service "ext-lab" started`, codes.OK},
		{"restart one that allows it", "kubelet", restart, `Service "kubelet" restarted`, codes.OK},
		{"stop one that does not", "kubelet", stop, "", codes.FailedPrecondition},
		{"restart machined", "machined", restart, "", codes.FailedPrecondition},
		{"start machined", "machined", start, "", codes.FailedPrecondition},
		{"one that is not there", "nothing", restart, "", codes.NotFound},
	} {
		got, err := tc.order(tc.id)
		wantCode(t, tc.name, err, tc.code)
		if got != tc.want {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
	if s, err := r.deps.Supervisor.Status("kubelet"); err != nil || s.Runs != 2 {
		t.Errorf("kubelet ran %d times, %v; want 2", s.Runs, err)
	}
}

// firstOf returns the first message of a reply, or nil.
func firstOf[T any](list []*T) *T {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func text(list []*commonpb.Data) string {
	var b bytes.Buffer
	for _, d := range list {
		b.Write(d.GetBytes())
	}
	return b.String()
}

func TestLogs(t *testing.T) {
	r := newRig(t, full)
	c := machinepb.NewMachineServiceClient(r.conn)
	for _, tc := range []struct {
		name string
		in   *machinepb.LogsRequest
		want string
		code codes.Code
	}{
		{"all", &machinepb.LogsRequest{Id: "kubelet", TailLines: -1}, "kubelet 1\nkubelet 2\nkubelet 3\n", codes.OK},
		{"the last two", &machinepb.LogsRequest{Namespace: "system", Id: "kubelet", TailLines: 2}, "kubelet 2\nkubelet 3\n", codes.OK},
		{"none", &machinepb.LogsRequest{Id: "kubelet"}, "", codes.OK},
		{"a number that is no tail", &machinepb.LogsRequest{Id: "kubelet", TailLines: -7}, "kubelet 1\nkubelet 2\nkubelet 3\n", codes.OK},
		{"a service that has not said anything", &machinepb.LogsRequest{Id: "silent", TailLines: -1}, "", codes.OK},
		{"no such log", &machinepb.LogsRequest{Id: "nothing"}, "", codes.NotFound},
		{"a container", &machinepb.LogsRequest{Namespace: "k8s.io", Driver: commonpb.ContainerDriver_CRI, Id: "pod:c", TailLines: 5}, "k8s.io/pod:c follow=false tail=5\n", codes.OK},
		{"no such driver", &machinepb.LogsRequest{Driver: 9, Id: "kubelet"}, "", codes.InvalidArgument},
	} {
		got, err := receive(c.Logs(as(t, reader), tc.in))
		wantCode(t, tc.name, err, tc.code)
		if text(got) != tc.want {
			t.Errorf("%s: %q; want %q", tc.name, text(got), tc.want)
		}
	}
	ids, err := c.LogsContainers(as(t, reader), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ids.GetMessages()[0].GetIds(), []string{"ext-lab", "kube-system/pod:c", "kubelet", "machined", "silent"}; !slices.Equal(got, want) {
		t.Errorf("LogsContainers: %q; want %q", got, want)
	}
}

func TestFollowingALogSeesWhatComes(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(as(t, reader))
	defer cancel()
	s, err := machinepb.NewMachineServiceClient(r.conn).Logs(ctx, &machinepb.LogsRequest{Id: "machined", Follow: true, TailLines: 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Recv()
	if err != nil || string(d.GetBytes()) != "machined is here\n" {
		t.Fatalf("first: %q, %v", d.GetBytes(), err)
	}
	w := r.deps.Logs.Open("machined")
	if _, err := io.WriteString(w, "and goes on\n"); err != nil {
		t.Fatal(err)
	}
	if d, err := s.Recv(); err != nil || string(d.GetBytes()) != "and goes on\n" {
		t.Errorf("then: %q, %v", d.GetBytes(), err)
	}
	cancel()
	_, err = s.Recv()
	wantCode(t, "after the end", err, codes.Canceled)
}

func TestEvents(t *testing.T) {
	r := newRig(t, nil)
	publish := func(task, actor string) string {
		id, err := r.deps.Events.Publish(&machinepb.TaskEvent{Task: task}, actor)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := publish("1", "a")
	publish("2", "b")
	c := machinepb.NewMachineServiceClient(r.conn)
	for _, tc := range []struct {
		name string
		in   *machinepb.EventsRequest
		want []string
	}{
		{"all of the past", &machinepb.EventsRequest{TailEvents: -1}, []string{"1", "2", "new"}},
		{"nothing of the past", &machinepb.EventsRequest{}, []string{"new"}},
		{"after one", &machinepb.EventsRequest{TailId: first}, []string{"2", "new"}},
		{"of the last minute", &machinepb.EventsRequest{TailSeconds: 60}, []string{"1", "2", "new"}},
		{"of one actor", &machinepb.EventsRequest{TailEvents: -1, WithActorId: "a"}, []string{"1", "new"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, func(n *rig) { n.deps.Events = r.deps.Events })
			c := machinepb.NewMachineServiceClient(r.conn)
			s, err := c.Events(as(t, reader), tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Header(); err != nil { // from here on nothing is missed
				t.Fatal(err)
			}
			id, err := r.deps.Events.Publish(&machinepb.TaskEvent{Task: "new"}, "a")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for {
				e, err := s.Recv()
				if err != nil {
					t.Fatal(err)
				}
				m, err := e.GetData().UnmarshalNew()
				if err != nil {
					t.Fatal(err)
				}
				if task := m.(*machinepb.TaskEvent).GetTask(); task != "new" || e.GetId() == id {
					got = append(got, task)
				}
				if e.GetId() == id {
					break
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("tasks %q; want %q", got, tc.want)
			}
		})
	}
	_, err := receive(c.Events(as(t, reader), &machinepb.EventsRequest{TailId: "not an id"}))
	wantCode(t, "an id that is none", err, codes.InvalidArgument)
}

func TestVersion(t *testing.T) {
	r := newRig(t, nil)
	out, err := machinepb.NewMachineServiceClient(r.conn).Version(as(t, reader), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	v := out.GetMessages()[0]
	if v.GetVersion().GetTag() != buildinfo.Version || v.GetPlatform().GetName() != "container" || !v.GetFeatures().GetRbac() {
		t.Errorf("Version = %v", v)
	}
}

func TestEndsGoToTheLifecycle(t *testing.T) {
	r := newRig(t, full)
	c := machinepb.NewMachineServiceClient(r.conn)
	ctx := as(t, admin)
	for _, tc := range []struct {
		name string
		call func() (string, error)
		want Action
		code codes.Code
	}{
		{"reboot", func() (string, error) {
			out, err := c.Reboot(ctx, &machinepb.RebootRequest{Mode: machinepb.RebootRequest_POWERCYCLE})
			return firstOf(out.GetMessages()).GetActorId(), err
		}, Reboot, codes.OK},
		{"shutdown", func() (string, error) {
			out, err := c.Shutdown(ctx, &machinepb.ShutdownRequest{Force: true})
			return firstOf(out.GetMessages()).GetActorId(), err
		}, Shutdown, codes.OK},
		{"reset", func() (string, error) {
			out, err := c.Reset(ctx, &machinepb.ResetRequest{Graceful: true, SystemPartitionsToWipe: []*machinepb.ResetPartitionSpec{{Label: "EPHEMERAL", Wipe: true}}})
			return firstOf(out.GetMessages()).GetActorId(), err
		}, Reset, codes.OK},
		{"upgrade", func() (string, error) {
			out, err := c.Upgrade(ctx, &machinepb.UpgradeRequest{Image: "installer:1"})
			return firstOf(out.GetMessages()).GetActorId(), err
		}, Upgrade, codes.OK},
		{"a reset that contradicts itself", func() (string, error) {
			_, err := c.Reset(ctx, &machinepb.ResetRequest{Mode: machinepb.ResetRequest_USER_DISKS, SystemPartitionsToWipe: []*machinepb.ResetPartitionSpec{{Label: "STATE"}}})
			return "", err
		}, "", codes.InvalidArgument},
		{"a reset without a label", func() (string, error) {
			_, err := c.Reset(ctx, &machinepb.ResetRequest{SystemPartitionsToWipe: []*machinepb.ResetPartitionSpec{{}}})
			return "", err
		}, "", codes.InvalidArgument},
		{"a mode that is none", func() (string, error) {
			_, err := c.Reboot(ctx, &machinepb.RebootRequest{Mode: 9})
			return "", err
		}, "", codes.InvalidArgument},
	} {
		r.lifecycle.causes = nil
		actor, err := tc.call()
		wantCode(t, tc.name, err, tc.code)
		if got := r.lifecycle.last(); got.Action != tc.want || got.Actor != actor {
			t.Errorf("%s: asked for %q with actor %q; want %q with %q", tc.name, got.Action, got.Actor, tc.want, actor)
		}
		if tc.code == codes.OK && len(actor) != 36 {
			t.Errorf("%s: actor %q is no UUID", tc.name, actor)
		}
	}
	r.lifecycle.err = status.Error(codes.FailedPrecondition, "a shutdown is under way")
	_, err := c.Reboot(ctx, &machinepb.RebootRequest{})
	wantCode(t, "while another is under way", err, codes.FailedPrecondition)
}

func TestMeta(t *testing.T) {
	r := newRig(t, full)
	c := machinepb.NewMachineServiceClient(r.conn)
	ctx := as(t, "os:meta:writer")
	_, err := c.MetaWrite(ctx, &machinepb.MetaWriteRequest{Key: 10, Value: []byte("v")})
	wantCode(t, "write", err, codes.OK)
	_, err = c.MetaDelete(ctx, &machinepb.MetaDeleteRequest{Key: 10})
	wantCode(t, "delete", err, codes.OK)
	_, err = c.MetaDelete(ctx, &machinepb.MetaDeleteRequest{Key: 10})
	wantCode(t, "delete again", err, codes.NotFound)
	_, err = c.MetaWrite(ctx, &machinepb.MetaWriteRequest{Key: 266, Value: []byte("v")})
	wantCode(t, "a key that would be another", err, codes.InvalidArgument)
}

func TestCausesOfErrorsHaveTheirCodes(t *testing.T) {
	for _, c := range causes {
		wantCode(t, c.err.Error(), statusOf(errors.Join(errors.New("do x"), c.err)), c.code)
	}
	wantCode(t, "a cause that nobody knows", statusOf(errors.New("x")), codes.Internal)
	wantCode(t, "an unknown status", statusOf(status.Error(codes.Unknown, "x")), codes.Internal)
	wantCode(t, "nil", statusOf(nil), codes.OK)
	if got := status.Convert(statusOf(errors.New("open \xff"))).Message(); strings.Contains(got, "\xff") {
		t.Errorf("the text is no UTF-8: %q", got)
	}
}
