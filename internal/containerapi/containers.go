package containerapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/machinepb"
	"talos.internal/internal/container"
	"talos.internal/internal/server"
)

// podLogs is the directory that kubelet is given for the logs of containers.
const podLogs = "/var/log/pods"

// Containers shows what containerd runs.
type Containers struct{ Client *container.Client }

// Images shows and changes what containerd has.
type Images struct{ Client *container.Client }

var (
	_ server.Containers = Containers{}
	_ server.Images     = Images{}
)

// Missing makes the error for what containerd does not have one that the server understands.
func Missing(err error) error {
	switch {
	case errors.Is(err, container.ErrRefused):
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case errors.Is(err, container.ErrNotFound):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// List implements server.Containers.
func (c Containers) List(ctx context.Context, p server.Place) ([]*machinepb.ContainerInfo, error) {
	list, err := c.Client.Containers(ctx, p.Namespace)
	if err != nil {
		return nil, err
	}
	var out []*machinepb.ContainerInfo
	for _, i := range list {
		out = append(out, &machinepb.ContainerInfo{
			Namespace: i.Namespace, Id: i.ID, Uid: i.UID, InternalId: i.InternalID, Image: i.Image, Pid: i.PID,
			Status: i.Status, PodId: i.PodID, Name: i.Name, NetworkNamespace: i.NetworkNamespace,
		})
	}
	return out, nil
}

// Stats implements server.Containers.
func (c Containers) Stats(ctx context.Context, p server.Place) ([]*machinepb.Stat, error) {
	list, err := c.Client.Stats(ctx, p.Namespace)
	if err != nil {
		return nil, err
	}
	var out []*machinepb.Stat
	for _, s := range list {
		out = append(out, &machinepb.Stat{
			Namespace: s.Namespace, Id: s.ID, PodId: s.PodID, Name: s.Name,
			MemoryUsage: s.Memory, CpuUsage: uint64(s.CPU.Nanoseconds()),
		})
	}
	return out, nil
}

// Restart implements server.Containers.
func (c Containers) Restart(ctx context.Context, p server.Place, id string) error {
	return Missing(c.Client.Kill(ctx, p.Namespace, id, syscall.SIGTERM))
}

// Logs implements server.Containers.
func (c Containers) Logs(ctx context.Context, _ server.Place, id string, follow bool, tail int, w io.Writer) error {
	return podLog{find: func(ctx context.Context) (string, error) {
		file, err := c.Client.LogFile(ctx, podLogs, id)
		return file, Missing(err)
	}}.copy(ctx, w, tail, follow)
}

// LogIDs implements server.Containers.
func (c Containers) LogIDs(ctx context.Context) ([]string, error) {
	list, err := c.Client.Containers(ctx, container.Pods)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, i := range list {
		if !i.Sandbox {
			ids = append(ids, i.ID)
		}
	}
	return ids, nil
}

// List implements server.Images.
func (i Images) List(ctx context.Context, p server.Place, f func(*machinepb.ImageServiceListResponse) error) error {
	list, err := i.Client.Images(ctx, p.Namespace)
	if err != nil {
		return err
	}
	for _, m := range list {
		err := f(&machinepb.ImageServiceListResponse{
			Name: m.Name, Digest: m.Digest, Size: m.Size, CreatedAt: timestamppb.New(m.Created), Labels: m.Labels,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Pull implements server.Images.
func (i Images) Pull(ctx context.Context, p server.Place, ref string, progress func(*machinepb.ImageServicePullProgress) error) (string, error) {
	ref, err := container.Normalize(ref)
	if err != nil {
		return "", fmt.Errorf("%w: %w", syscall.EINVAL, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tell func(container.Progress)
	if progress != nil {
		began := time.Now()
		tell = func(all container.Progress) {
			for _, l := range all.Layers {
				if err := progress(pullProgress(l, time.Since(began))); err != nil {
					cancel(err)
					return
				}
			}
		}
	}
	img, err := i.Client.Pull(ctx, p.Namespace, ref, tell)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			err = cause
		}
		return "", Missing(err)
	}
	return img.Name, nil
}

func pullProgress(l container.LayerProgress, elapsed time.Duration) *machinepb.ImageServicePullProgress {
	st := machinepb.ImageServicePullLayerProgress_DOWNLOADING
	if l.Done {
		st = machinepb.ImageServicePullLayerProgress_DOWNLOAD_COMPLETE
	}
	return &machinepb.ImageServicePullProgress{LayerId: l.Digest, Progress: &machinepb.ImageServicePullLayerProgress{
		Status: st, Elapsed: durationpb.New(elapsed), Offset: l.Offset, Total: l.Total,
	}}
}

// Import implements server.Images. Of several images of an archive the first is named.
func (i Images) Import(ctx context.Context, p server.Place, archive io.Reader) (string, error) {
	names, err := i.Client.Import(ctx, p.Namespace, archive)
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", fmt.Errorf("%w: the archive has no image with a name", syscall.EINVAL)
	}
	return names[0], nil
}

// Remove implements server.Images.
func (i Images) Remove(ctx context.Context, p server.Place, ref string) error {
	ref, err := container.Normalize(ref)
	if err != nil {
		return fmt.Errorf("%w: %w", syscall.EINVAL, err)
	}
	return Missing(i.Client.Remove(ctx, p.Namespace, ref))
}

// Verify implements server.Images. An image that may not be used is an answer, and no error.
func (i Images) Verify(ctx context.Context, in *machinepb.ImageServiceVerifyRequest) (*machinepb.ImageServiceVerifyResponse, error) {
	if _, err := container.Normalize(in.GetImageRef()); err != nil {
		return nil, fmt.Errorf("%w: %w", syscall.EINVAL, err)
	}
	var creds container.Credentials
	if c := in.GetCredentials(); c.GetUsername() != "" || c.GetPassword() != "" {
		creds = func(host string) (string, string, error) {
			if c.GetHost() != "" && c.GetHost() != host {
				return "", "", nil
			}
			return c.GetUsername(), c.GetPassword(), nil
		}
	}
	v, err := i.Client.Verify(ctx, in.GetImageRef(), creds)
	if err != nil {
		return nil, Missing(err)
	}
	return &machinepb.ImageServiceVerifyResponse{Verified: v.Allowed, Message: v.Reason, DigestedImageRef: v.Digested}, nil
}
