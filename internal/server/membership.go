package server

import (
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/membershippb"
	"talos.internal/internal/ctrl/discoveryctrl"
)

// maxDrain bounds how long a caller may let the pods of a machine take.
const maxDrain = time.Hour

// membershipService is membership.MembershipService.
type membershipService struct {
	membershippb.UnsafeMembershipServiceServer
	d *Deps
}

// Forget implements membershippb.MembershipServiceServer.
func (s *membershipService) Forget(in *membershippb.ForgetRequest, stream grpc.ServerStreamingServer[membershippb.ForgetProgress]) error {
	if in.GetMember() == "" {
		return invalid("no member is named")
	}
	what := discoveryctrl.Removal{Member: in.GetMember(), Force: in.GetForce()}
	if d := in.GetDrainTimeout(); d != nil {
		if !d.IsValid() || d.AsDuration() > maxDrain {
			return invalid("pods may take at most %v to go somewhere else", maxDrain)
		}
		what.Drain = d.AsDuration()
	}
	if err := s.d.controlPlane(stream.Context(), "machines are taken out of the cluster"); err != nil {
		return err
	}
	if s.d.Members == nil {
		return s.d.lacks("", "part in the membership of a cluster")
	}
	return s.d.Members.Remove(stream.Context(), what, func(step discoveryctrl.Step) error {
		return stream.Send(&membershippb.ForgetProgress{Step: step.Name, Message: utf8(step.Message), Failed: step.Failed})
	})
}
