package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/clusterpb"
	"talos.internal/api/inspectpb"
)

const (
	defaultHealthWait = 20 * time.Minute // as the public client waits
	maxHealthWait     = 24 * time.Hour
)

// clusterService is cluster.ClusterService.
type clusterService struct {
	clusterpb.UnsafeClusterServiceServer
	d *Deps
}

// HealthCheck implements clusterpb.ClusterServiceServer.
func (s *clusterService) HealthCheck(in *clusterpb.HealthCheckRequest, stream grpc.ServerStreamingServer[clusterpb.HealthCheckProgress]) error {
	wait := defaultHealthWait
	if d := in.GetWaitTimeout(); d != nil && (d.GetSeconds() != 0 || d.GetNanos() != 0) {
		if wait = d.AsDuration(); !d.IsValid() || wait <= 0 || wait > maxHealthWait {
			return invalid("a health check waits for more than nothing and at most %v", maxHealthWait)
		}
	}
	if s.d.Health == nil {
		return s.d.lacks("", "health check of its own; ask from the client, with --server=false")
	}
	ctx, cancel := context.WithTimeout(stream.Context(), wait)
	defer cancel()
	last := "nothing"
	err := s.d.Health.Check(ctx, in.GetClusterInfo(), func(line string) error {
		last = utf8(line)
		return stream.Send(&clusterpb.HealthCheckProgress{Message: last})
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Errorf(codes.DeadlineExceeded, "the cluster is not healthy after %v; last: %s", wait, last)
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded): // it says itself what is missing
		return status.Errorf(codes.DeadlineExceeded, "after %v: %s", wait, utf8(err.Error()))
	}
	return err
}

// inspectService is inspect.InspectService.
type inspectService struct {
	inspectpb.UnsafeInspectServiceServer
	d *Deps
}

// ControllerRuntimeDependencies implements inspectpb.InspectServiceServer.
func (s *inspectService) ControllerRuntimeDependencies(context.Context, *emptypb.Empty) (*inspectpb.ControllerRuntimeDependenciesResponse, error) {
	out := &inspectpb.ControllerRuntimeDependency{}
	for _, e := range s.d.Graph.Graph() {
		out.Edges = append(out.Edges, &inspectpb.ControllerDependencyEdge{
			ControllerName: e.Controller, EdgeType: inspectpb.DependencyEdgeType(e.Type),
			ResourceNamespace: e.Namespace, ResourceType: e.ResourceType, ResourceId: e.ID,
		})
	}
	return &inspectpb.ControllerRuntimeDependenciesResponse{Messages: []*inspectpb.ControllerRuntimeDependency{out}}, nil
}
