package cli

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/machinepb"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// fakeLifecycle writes versions: "good" proves itself at the next start, "bad" does not, and "same" is refused.
type fakeLifecycle struct {
	machinepb.UnimplementedLifecycleServiceServer
	cluster *fakeCluster
}

func (f fakeLifecycle) Upgrade(in *machinepb.LifecycleServiceUpgradeRequest, s grpc.ServerStreamingServer[machinepb.LifecycleServiceUpgradeResponse]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	image := in.GetSource().GetImageName()
	m.call("upgrade %s from %s", image, in.GetContainerd().GetNamespace())
	status, err := upgraded(image)
	if err != nil {
		return err
	}
	for _, p := range []*machinepb.LifecycleServiceInstallProgress{
		{Response: &machinepb.LifecycleServiceInstallProgress_Message{Message: "copy 72.3 MiB: ROOT-B"}},
		{Response: &machinepb.LifecycleServiceInstallProgress_ExitCode{}},
	} {
		if err := s.Send(&machinepb.LifecycleServiceUpgradeResponse{Progress: p}); err != nil {
			return err
		}
	}
	_, err = state.Modify(s.Context(), m.store, runtime.UpgradeStatusID, func(_ *resource.Metadata, u *runtime.UpgradeStatus) error {
		*u = status
		return nil
	})
	return err
}

func upgraded(image string) (runtime.UpgradeStatus, error) {
	u := runtime.UpgradeStatus{Phase: runtime.UpgradePermanent, Running: "B", From: "1.0", To: "2.0", Image: image}
	switch {
	case strings.Contains(image, "same"):
		return u, status.Error(codes.FailedPrecondition, "the machine runs this system already")
	case strings.Contains(image, "bad"):
		u.Phase, u.Running, u.Reason = runtime.UpgradeFailed, "A", "it did not prove itself within 5m0s: services: kubelet not healthy"
	}
	return u, nil
}

func (f fakeMachineService) Upgrade(ctx context.Context, in *machinepb.UpgradeRequest) (*machinepb.UpgradeResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	u, err := upgraded(in.GetImage())
	if err != nil {
		return nil, err
	}
	u.ID = "actor-3"
	if _, err := f.Reboot(ctx, nil); err != nil {
		return nil, err
	}
	_, err = state.Modify(ctx, m.store, runtime.UpgradeStatusID, func(_ *resource.Metadata, have *runtime.UpgradeStatus) error {
		*have = u
		return nil
	})
	return &machinepb.UpgradeResponse{Messages: []*machinepb.Upgrade{{ActorId: "actor-3"}}}, err
}
