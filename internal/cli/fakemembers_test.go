package cli

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/membershippb"
)

// fakeMembership knows one machine that is gone, worker-3, and one that runs.
type fakeMembership struct {
	membershippb.UnimplementedMembershipServiceServer
	cluster *fakeCluster
}

func (f fakeMembership) Forget(in *membershippb.ForgetRequest, stream grpc.ServerStreamingServer[membershippb.ForgetProgress]) error {
	m, err := f.cluster.at(stream.Context())
	if err != nil {
		return err
	}
	m.call("forget %s %t %v", in.GetMember(), in.GetForce(), in.GetDrainTimeout().AsDuration())
	switch {
	case in.GetMember() == "worker-1" && !in.GetForce():
		return status.Error(codes.FailedPrecondition, "remove worker-1: the machine is not known to be gone (it is alive)")
	case in.GetMember() == "worker-9":
		return status.Error(codes.NotFound, "remove worker-9: no member of the cluster is called so")
	}
	for _, p := range []*membershippb.ForgetProgress{
		{Step: "etcd", Message: "it is a worker"},
		{Step: "kubernetes", Message: "the API does not\x1b[2J answer", Failed: in.GetForce()},
		{Step: "membership", Message: "it was forgotten"},
	} {
		if err := stream.Send(p); err != nil {
			return err
		}
	}
	return nil
}
