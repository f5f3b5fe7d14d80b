package hostinfo

import (
	"context"
	"fmt"
	"path"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/mount"
)

// usageTimeout is how long one file system may take to say how full it is.
const usageTimeout = time.Second

// Mounts implements machinepb.MachineServiceServer. A file system that does not say how full it is within a second has no sizes.
func (h *Host) Mounts(ctx context.Context, _ *emptypb.Empty) (*machinepb.MountsResponse, error) {
	list, err := h.proc.Mounts()
	if err != nil {
		return nil, err
	}
	out := &machinepb.Mounts{Stats: make([]*machinepb.MountStat, 0, len(list))}
	for _, m := range list {
		s := &machinepb.MountStat{Filesystem: text(m.Source), MountedOn: text(m.Point)}
		out.Stats = append(out.Stats, s)
		if u, err := h.usageOf(ctx, m.Point); err == nil {
			s.Size, s.Available = u.Size, u.Available
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return &machinepb.MountsResponse{Messages: []*machinepb.Mounts{out}}, nil
}

func (h *Host) usageOf(ctx context.Context, point string) (mount.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	return answer(ctx, h, "ask how full "+point+" is", func() (mount.Usage, error) { return h.usage(point) })
}

// Statfs implements machinepb.StorageServiceServer. The path must be absolute.
func (h *Host) Statfs(ctx context.Context, in *machinepb.StorageServiceStatfsRequest) (*machinepb.StorageServiceStatfsResponse, error) {
	p := in.GetPath()
	if !path.IsAbs(p) {
		return nil, fmt.Errorf("ask how full %q is: the path must be absolute: %w", p, syscall.EINVAL)
	}
	u, err := answer(ctx, h, "ask how full "+p+" is", func() (mount.Usage, error) { return h.usage(path.Clean(p)) })
	if err != nil {
		return nil, err
	}
	return &machinepb.StorageServiceStatfsResponse{
		Size: u.Size, Used: u.Used, Available: u.Available, Inodes: u.Inodes, InodesUsed: u.InodesUsed, InodesFree: u.InodesFree,
	}, nil
}
