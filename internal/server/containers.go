package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
)

func (m *machineService) containers(namespace string, driver commonpb.ContainerDriver) (Containers, Place, error) {
	p, err := place(namespace, driver)
	if err != nil {
		return nil, p, err
	}
	if m.d.Containers == nil {
		return nil, p, m.d.lacks("", "container runtime")
	}
	return m.d.Containers, p, nil
}

// Containers implements machinepb.MachineServiceServer.
func (m *machineService) Containers(ctx context.Context, in *machinepb.ContainersRequest) (*machinepb.ContainersResponse, error) {
	c, p, err := m.containers(in.GetNamespace(), in.GetDriver())
	if err != nil {
		return nil, err
	}
	list, err := c.List(ctx, p)
	if err != nil {
		return nil, err
	}
	return &machinepb.ContainersResponse{Messages: []*machinepb.Container{{Containers: list}}}, nil
}

// Stats implements machinepb.MachineServiceServer.
func (m *machineService) Stats(ctx context.Context, in *machinepb.StatsRequest) (*machinepb.StatsResponse, error) {
	c, p, err := m.containers(in.GetNamespace(), in.GetDriver())
	if err != nil {
		return nil, err
	}
	list, err := c.Stats(ctx, p)
	if err != nil {
		return nil, err
	}
	return &machinepb.StatsResponse{Messages: []*machinepb.Stats{{Stats: list}}}, nil
}

// Restart implements machinepb.MachineServiceServer.
func (m *machineService) Restart(ctx context.Context, in *machinepb.RestartRequest) (*machinepb.RestartResponse, error) {
	c, p, err := m.containers(in.GetNamespace(), in.GetDriver())
	if err != nil {
		return nil, err
	}
	if in.GetId() == "" {
		return nil, invalid("the container to restart has no id; see the list of containers")
	}
	if err := c.Restart(ctx, p, in.GetId()); err != nil {
		return nil, err
	}
	return &machinepb.RestartResponse{Messages: []*machinepb.Restart{{}}}, nil
}

// namespaces are those of containerd by the numbers of the API.
var namespaces = map[commonpb.ContainerdNamespace]string{
	commonpb.ContainerdNamespace_NS_UNKNOWN: "k8s.io", // what old clients leave out
	commonpb.ContainerdNamespace_NS_SYSTEM:  systemNamespace,
	commonpb.ContainerdNamespace_NS_CRI:     "k8s.io",
}

// instance reads where a request of the newer services looks.
func instance(in *commonpb.ContainerdInstance) (Place, error) {
	name, ok := namespaces[in.GetNamespace()]
	if !ok {
		return Place{}, invalid("there is no namespace %d", in.GetNamespace())
	}
	return place(name, in.GetDriver())
}

func (d *Deps) images(in *commonpb.ContainerdInstance) (Images, Place, error) {
	p, err := instance(in)
	if err != nil {
		return nil, p, err
	}
	if d.Images == nil {
		return nil, p, d.lacks("", "container runtime, and so no images")
	}
	return d.Images, p, nil
}

func reference(ref string) error {
	if ref == "" {
		return invalid("the image has no name")
	}
	if len(ref) > 4096 {
		return invalid("the name of the image is too long")
	}
	return nil
}

// ImageList implements machinepb.MachineServiceServer.
func (m *machineService) ImageList(in *machinepb.ImageListRequest, stream grpc.ServerStreamingServer[machinepb.ImageListResponse]) error {
	images, p, err := m.d.images(&commonpb.ContainerdInstance{Namespace: in.GetNamespace()})
	if err != nil {
		return err
	}
	return images.List(stream.Context(), p, func(i *machinepb.ImageServiceListResponse) error {
		return stream.Send(&machinepb.ImageListResponse{Name: i.GetName(), Digest: i.GetDigest(), Size: i.GetSize(), CreatedAt: i.GetCreatedAt()})
	})
}

// ImagePull implements machinepb.MachineServiceServer.
func (m *machineService) ImagePull(ctx context.Context, in *machinepb.ImagePullRequest) (*machinepb.ImagePullResponse, error) {
	images, p, err := m.d.images(&commonpb.ContainerdInstance{Namespace: in.GetNamespace()})
	if err != nil {
		return nil, err
	}
	if err := reference(in.GetReference()); err != nil {
		return nil, err
	}
	if _, err := images.Pull(ctx, p, in.GetReference(), nil); err != nil {
		return nil, err
	}
	return &machinepb.ImagePullResponse{Messages: []*machinepb.ImagePull{{}}}, nil
}

// imageService is machine.ImageService.
type imageService struct {
	machinepb.UnsafeImageServiceServer
	d *Deps
}

// List implements machinepb.ImageServiceServer.
func (s *imageService) List(in *machinepb.ImageServiceListRequest, stream grpc.ServerStreamingServer[machinepb.ImageServiceListResponse]) error {
	images, p, err := s.d.images(in.GetContainerd())
	if err != nil {
		return err
	}
	return images.List(stream.Context(), p, stream.Send)
}

// Pull implements machinepb.ImageServiceServer.
func (s *imageService) Pull(in *machinepb.ImageServicePullRequest, stream grpc.ServerStreamingServer[machinepb.ImageServicePullResponse]) error {
	images, p, err := s.d.images(in.GetContainerd())
	if err != nil {
		return err
	}
	if err := reference(in.GetImageRef()); err != nil {
		return err
	}
	name, err := images.Pull(stream.Context(), p, in.GetImageRef(), func(progress *machinepb.ImageServicePullProgress) error {
		return stream.Send(&machinepb.ImageServicePullResponse{Response: &machinepb.ImageServicePullResponse_PullProgress{PullProgress: progress}})
	})
	if err != nil {
		return err
	}
	return stream.Send(&machinepb.ImageServicePullResponse{Response: &machinepb.ImageServicePullResponse_Name{Name: name}})
}

// Import implements machinepb.ImageServiceServer.
func (s *imageService) Import(stream grpc.ClientStreamingServer[machinepb.ImageServiceImportRequest, machinepb.ImageServiceImportResponse]) error {
	first, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if first.GetContainerd() == nil {
		return invalid("the first message of an import says where to, and this one does not")
	}
	images, p, err := s.d.images(first.GetContainerd())
	if err != nil {
		return err
	}
	name, err := images.Import(stream.Context(), p, &chunked{next: func() ([]byte, error) {
		in, err := stream.Recv()
		if err == nil && in.GetContainerd() != nil {
			return nil, invalid("only the first message of an import says where to")
		}
		return in.GetImageChunk().GetBytes(), err
	}})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&machinepb.ImageServiceImportResponse{Name: name})
}

// Remove implements machinepb.ImageServiceServer.
func (s *imageService) Remove(ctx context.Context, in *machinepb.ImageServiceRemoveRequest) (*emptypb.Empty, error) {
	images, p, err := s.d.images(in.GetContainerd())
	if err != nil {
		return nil, err
	}
	if err := reference(in.GetImageRef()); err != nil {
		return nil, err
	}
	if err := images.Remove(ctx, p, in.GetImageRef()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// Verify implements machinepb.ImageServiceServer.
func (s *imageService) Verify(ctx context.Context, in *machinepb.ImageServiceVerifyRequest) (*machinepb.ImageServiceVerifyResponse, error) {
	if s.d.Images == nil {
		return nil, s.d.lacks("", "container runtime, and so no images")
	}
	if err := reference(in.GetImageRef()); err != nil {
		return nil, err
	}
	return s.d.Images.Verify(ctx, in)
}

// debugService is machine.DebugService.
type debugService struct {
	machinepb.UnsafeDebugServiceServer
	d *Deps
}

// ContainerRun implements machinepb.DebugServiceServer.
func (s *debugService) ContainerRun(stream grpc.BidiStreamingServer[machinepb.DebugContainerRunRequest, machinepb.DebugContainerRunResponse]) error {
	if s.d.Debug == nil {
		return s.d.lacks("", "runtime for debug containers")
	}
	return s.d.Debug.Run(stream)
}
