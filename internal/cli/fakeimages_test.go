package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/machinepb"
)

// fakeImages answers for the images of a machine.
type fakeImages struct {
	machinepb.UnimplementedImageServiceServer
	cluster *fakeCluster
}

func (f fakeImages) List(in *machinepb.ImageServiceListRequest, s grpc.ServerStreamingServer[machinepb.ImageServiceListResponse]) error {
	for _, name := range []string{"registry.k8s.io/pause:3.10", "registry.k8s.io/etcd:3.7.3"} {
		if err := s.Send(&machinepb.ImageServiceListResponse{Name: name, Digest: "sha256:abc", Size: 320000, CreatedAt: timestamppb.New(now.Add(-time.Hour))}); err != nil {
			return err
		}
	}
	return nil
}

func (f fakeImages) Pull(in *machinepb.ImageServicePullRequest, s grpc.ServerStreamingServer[machinepb.ImageServicePullResponse]) error {
	step := func(status machinepb.ImageServicePullLayerProgress_Status, offset int64) *machinepb.ImageServicePullResponse {
		return &machinepb.ImageServicePullResponse{Response: &machinepb.ImageServicePullResponse_PullProgress{PullProgress: &machinepb.ImageServicePullProgress{
			LayerId: "layer1", Progress: &machinepb.ImageServicePullLayerProgress{Status: status, Offset: offset, Total: 2000, Elapsed: durationpb.New(time.Second)},
		}}}
	}
	for _, m := range []*machinepb.ImageServicePullResponse{
		step(machinepb.ImageServicePullLayerProgress_DOWNLOADING, 500), step(machinepb.ImageServicePullLayerProgress_DOWNLOADING, 510),
		step(machinepb.ImageServicePullLayerProgress_EXTRACT_COMPLETE, 2000),
		{Response: &machinepb.ImageServicePullResponse_Name{Name: in.GetImageRef()}},
	} {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (f fakeImages) Remove(_ context.Context, in *machinepb.ImageServiceRemoveRequest) (*emptypb.Empty, error) {
	if strings.Contains(in.GetImageRef(), "missing") {
		return nil, status.Errorf(codes.NotFound, "image %s: not found", in.GetImageRef())
	}
	return &emptypb.Empty{}, nil
}

// Import counts what is sent.
func (f fakeImages) Import(s grpc.ClientStreamingServer[machinepb.ImageServiceImportRequest, machinepb.ImageServiceImportResponse]) error {
	n := 0
	for {
		in, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		n += len(in.GetImageChunk().GetBytes())
	}
	if n == 0 {
		return status.Error(codes.InvalidArgument, "the archive is empty")
	}
	return s.SendAndClose(&machinepb.ImageServiceImportResponse{Name: "talos.internal/installer:good"})
}
