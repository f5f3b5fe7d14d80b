package proxy

import (
	"strings"

	"google.golang.org/grpc"

	"talos.internal/api/clusterpb"
	"talos.internal/api/inspectpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/membershippb"
	"talos.internal/api/statepb"
	"talos.internal/api/storagepb"
	"talos.internal/api/timepb"
)

// shape is what the proxy has to know of a method to carry it.
type shape struct {
	// known is false for a method that only a newer node knows. It is carried as a stream in both directions, which every
	// method can be.
	known bool
	// joined says that the service's replies have the shape that lets replies of many nodes be joined.
	joined bool
	// requests and replies say that there may be any number of them, not exactly one.
	requests, replies bool
}

func (s shape) desc() *grpc.StreamDesc {
	return &grpc.StreamDesc{ClientStreams: s.requests, ServerStreams: s.replies}
}

// joined are the services of which many nodes may be asked at once (contract section 1.9). The shape of their replies is
// held by a test of package api.
var joined = []*grpc.ServiceDesc{
	&machinepb.MachineService_ServiceDesc,
	&clusterpb.ClusterService_ServiceDesc,
	&inspectpb.InspectService_ServiceDesc,
	&storagepb.StorageService_ServiceDesc,
	&timepb.TimeService_ServiceDesc,
}

// single are the other services of this port: one node at a time.
var single = []*grpc.ServiceDesc{
	&machinepb.DebugService_ServiceDesc,
	&machinepb.ImageService_ServiceDesc,
	&machinepb.LVMService_ServiceDesc,
	&machinepb.LifecycleService_ServiceDesc,
	&machinepb.MDService_ServiceDesc,
	&machinepb.StorageService_ServiceDesc,
	&membershippb.MembershipService_ServiceDesc,
	&statepb.State_ServiceDesc,
}

var shapes = collectShapes()

func collectShapes() map[string]shape {
	found := map[string]shape{}
	add := func(services []*grpc.ServiceDesc, join bool) {
		for _, s := range services {
			for _, m := range s.Methods {
				found["/"+s.ServiceName+"/"+m.MethodName] = shape{known: true, joined: join}
			}

			for _, m := range s.Streams {
				found["/"+s.ServiceName+"/"+m.StreamName] = shape{
					known: true, joined: join, requests: m.ClientStreams, replies: m.ServerStreams,
				}
			}
		}
	}
	add(joined, true)
	add(single, false)

	return found
}

// shapeOf returns the shape of a method by its full name.
func shapeOf(method string) shape {
	if s, ok := shapes[method]; ok {
		return s
	}

	s := shape{requests: true, replies: true}

	for _, service := range joined {
		if strings.HasPrefix(method, "/"+service.ServiceName+"/") {
			s.joined = true
		}
	}

	return s
}
