package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/internal/event"
	"talos.internal/internal/server/hostinfo"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
)

// ServiceList implements machinepb.MachineServiceServer.
func (m *machineService) ServiceList(context.Context, *emptypb.Empty) (*machinepb.ServiceListResponse, error) {
	out := &machinepb.ServiceList{}
	for _, s := range m.d.Supervisor.List() {
		out.Services = append(out.Services, serviceInfo(s))
	}
	return &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{out}}, nil
}

func serviceInfo(s supervise.Status) *machinepb.ServiceInfo {
	events := &machinepb.ServiceEvents{}
	for _, e := range s.Events {
		events.Events = append(events.Events, &machinepb.ServiceEvent{
			Msg: utf8(e.Message), State: e.State.String(), Ts: timestamppb.New(e.Time),
		})
	}
	return &machinepb.ServiceInfo{Id: utf8(s.ID), State: s.State.String(), Events: events, Health: serviceHealth(s.Health)}
}

func serviceHealth(h supervise.Health) *machinepb.ServiceHealth {
	out := &machinepb.ServiceHealth{Unknown: h.Unknown, Healthy: h.Healthy, LastMessage: utf8(h.Message)}
	if !h.Change.IsZero() {
		out.LastChange = timestamppb.New(h.Change)
	}
	return out
}

func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// order checks that a service may be given an order by an operator.
func (m *machineService) order(id string, o supervise.Orders, verb string) error {
	s, err := m.d.Supervisor.Status(id)
	if err != nil {
		return err
	}
	if s.Allow&o == 0 {
		return status.Errorf(codes.FailedPrecondition, "service %q does not let itself be %s through the API", id, verb)
	}
	return nil
}

// ServiceStart implements machinepb.MachineServiceServer.
func (m *machineService) ServiceStart(_ context.Context, in *machinepb.ServiceStartRequest) (*machinepb.ServiceStartResponse, error) {
	if err := m.order(in.GetId(), supervise.MayStart, "started"); err != nil {
		return nil, err
	}
	if err := m.d.Supervisor.Start(in.GetId()); err != nil {
		return nil, err
	}
	return &machinepb.ServiceStartResponse{Messages: []*machinepb.ServiceStart{{Resp: done(in.GetId(), "started")}}}, nil
}

// ServiceStop implements machinepb.MachineServiceServer.
func (m *machineService) ServiceStop(ctx context.Context, in *machinepb.ServiceStopRequest) (*machinepb.ServiceStopResponse, error) {
	if err := m.order(in.GetId(), supervise.MayStop, "stopped"); err != nil {
		return nil, err
	}
	if err := m.d.Supervisor.Stop(ctx, in.GetId()); err != nil {
		return nil, err
	}
	return &machinepb.ServiceStopResponse{Messages: []*machinepb.ServiceStop{{Resp: done(in.GetId(), "stopped")}}}, nil
}

// ServiceRestart implements machinepb.MachineServiceServer.
func (m *machineService) ServiceRestart(ctx context.Context, in *machinepb.ServiceRestartRequest) (*machinepb.ServiceRestartResponse, error) {
	if err := m.order(in.GetId(), supervise.MayRestart, "restarted"); err != nil {
		return nil, err
	}
	if err := m.d.Supervisor.Restart(ctx, in.GetId()); err != nil {
		return nil, err
	}
	return &machinepb.ServiceRestartResponse{Messages: []*machinepb.ServiceRestart{{Resp: done(in.GetId(), "restarted")}}}, nil
}

func done(id, verb string) string { return fmt.Sprintf("Service %q %s", id, verb) }

// systemNamespace is where the services of the machine are, as far as logs and containers go.
const systemNamespace = "system"

// place reads where a request looks.
func place(namespace string, driver commonpb.ContainerDriver) (Place, error) {
	if namespace == "" {
		namespace = systemNamespace
	}
	if len(namespace) > 76 { // the limit of containerd
		return Place{}, invalid("the name of the namespace is too long")
	}
	switch driver {
	case commonpb.ContainerDriver_CONTAINERD, commonpb.ContainerDriver_CRI:
		return Place{namespace, driver}, nil
	}
	return Place{}, invalid("there is no container driver %d", driver)
}

// Logs implements machinepb.MachineServiceServer. Logs of the system's namespace are those of services; the others are of
// containers. A negative number of lines is all of them.
func (m *machineService) Logs(in *machinepb.LogsRequest, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	p, err := place(in.GetNamespace(), in.GetDriver())
	if err != nil {
		return err
	}
	tail := max(int(in.GetTailLines()), logring.All)
	if p.Namespace == systemNamespace && p.Driver == commonpb.ContainerDriver_CONTAINERD {
		return m.serviceLog(in.GetId(), tail, in.GetFollow(), stream)
	}
	if m.d.Containers == nil {
		return m.d.lacks("", "container runtime: there are only logs of services")
	}
	return m.d.Containers.Logs(stream.Context(), p, in.GetId(), in.GetFollow(), tail, hostinfo.Chunks{Stream: stream})
}

func (m *machineService) serviceLog(id string, tail int, follow bool, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	ring, ok := m.d.Logs.Find(id)
	if !ok {
		if _, err := m.d.Supervisor.Status(id); err != nil {
			return status.Errorf(codes.NotFound, "there is no log %q; there are %s", id, strings.Join(m.d.Logs.IDs(), ", "))
		}
		ring = m.d.Logs.Ring(id) // it has not said anything yet
	}
	r := ring.NewReader(tail, follow)
	out := hostinfo.Chunks{Stream: stream}
	for {
		lines, err := r.Next(stream.Context())
		if err != nil {
			return endOfFile(err)
		}
		if _, err := out.Write(lines); err != nil {
			return err
		}
	}
}

// LogsContainers implements machinepb.MachineServiceServer.
func (m *machineService) LogsContainers(ctx context.Context, _ *emptypb.Empty) (*machinepb.LogsContainersResponse, error) {
	out := &machinepb.LogsContainer{Ids: m.d.Logs.IDs()}
	if m.d.Containers != nil {
		// Services have logs whether or not containerd runs.
		if ids, err := m.d.Containers.LogIDs(ctx); err == nil {
			out.Ids = append(out.Ids, ids...)
		}
	}
	for i, id := range out.Ids {
		out.Ids[i] = utf8(id)
	}
	slices.Sort(out.Ids)
	return &machinepb.LogsContainersResponse{Messages: []*machinepb.LogsContainer{out}}, nil
}

// Events implements machinepb.MachineServiceServer.
func (m *machineService) Events(in *machinepb.EventsRequest, stream grpc.ServerStreamingServer[machinepb.Event]) error {
	w, err := m.d.Events.Watch(event.Options{
		Tail: int(in.GetTailEvents()), After: in.GetTailId(), Since: seconds(in.GetTailSeconds()), Actor: in.GetWithActorId(),
	})
	if err != nil {
		return err
	}
	// The caller knows from the header that it will miss nothing from now on.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		e, err := w.Next(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.Send(e.Proto()); err != nil {
			return err
		}
	}
}
