package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/walk"
)

// ChunkSize is how many bytes one message of a stream of bytes has at most.
const ChunkSize = 32 << 10

// Chunks is an io.Writer that sends what is written as messages of at most ChunkSize bytes. It keeps nothing.
type Chunks struct {
	Stream grpc.ServerStreamingServer[commonpb.Data]
}

// Write implements io.Writer.
func (c Chunks) Write(p []byte) (int, error) {
	done := 0
	for len(p) > done {
		n := min(ChunkSize, len(p)-done)
		// The message may be kept by gRPC until it is sent.
		if err := c.Stream.Send(&commonpb.Data{Bytes: append([]byte(nil), p[done:done+n]...)}); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// absolute checks a path of a request.
func absolute(what, p string) (string, error) {
	if !path.IsAbs(p) {
		return "", fmt.Errorf("%s %q: the path must be absolute: %w", what, p, syscall.EINVAL)
	}
	return path.Clean(p), nil
}

// Read implements machinepb.MachineServiceServer. It reads regular files, and until the context ends: some files of the kernel
// have no end.
func (h *Host) Read(in *machinepb.ReadRequest, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	p, err := absolute("read", in.GetPath())
	if err != nil {
		return err
	}
	f, err := walk.OpenFile(h.root, p)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx := stream.Context()
	// Some files of the kernel wait for news. Of those that cannot be interrupted there are none that wait.
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, ChunkSize)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := f.Read(buf)
		if n > 0 {
			if err := stream.Send(&commonpb.Data{Bytes: append([]byte(nil), buf[:n]...)}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Copy implements machinepb.MachineServiceServer. What cannot be packed is left out, and the first reason is the error at the end,
// after a whole archive of the rest.
func (h *Host) Copy(in *machinepb.CopyRequest, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	p, err := absolute("copy", in.GetRootPath())
	if err != nil {
		return err
	}
	var first error
	missing := 0
	err = walk.Archive(stream.Context(), Chunks{stream}, walk.ArchiveOptions{Root: h.root, Path: p, OnError: func(e walk.Entry) {
		// A socket cannot be in an archive, and a file that vanished or shrank is no failure of the copy.
		if e.Mode&fs.ModeSocket != 0 || errors.Is(e.Err, fs.ErrNotExist) || errors.Is(e.Err, walk.ErrChanged) {
			return
		}
		missing++
		if first == nil {
			first = fmt.Errorf("%s: %w", e.Path, e.Err)
		}
	}})
	if err == nil && first != nil {
		err = fmt.Errorf("copy %s: %d entries are missing in the archive, the first is %w", p, missing, first)
	}
	return err
}

// List implements machinepb.MachineServiceServer. Without recurse it lists the directory; with it, and a depth of zero or less, all
// below it.
func (h *Host) List(in *machinepb.ListRequest, stream grpc.ServerStreamingServer[machinepb.FileInfo]) error {
	root := in.GetRoot()
	if root == "" {
		root = "/"
	}
	p, err := absolute("list", root)
	if err != nil {
		return err
	}
	depth := 1
	if in.GetRecurse() {
		if depth = int(in.GetRecursionDepth()); depth <= 0 {
			depth = walk.NoLimit
		}
	}
	types, err := kinds(in.GetTypes())
	if err != nil {
		return err
	}
	o := walk.Options{Root: h.root, Path: p, Depth: depth, Types: types, Xattrs: in.GetReportXattrs()}
	return walk.List(stream.Context(), o, func(e walk.Entry) error {
		f := &machinepb.FileInfo{
			Name: text(e.Path), RelativeName: text(e.Relative), Size: e.Size, Mode: uint32(e.Mode), Modified: e.ModTime.Unix(),
			IsDir: e.Mode.IsDir(), Link: text(e.Link), Uid: e.UID, Gid: e.GID,
		}
		if e.Err != nil {
			f.Error = text(e.Err.Error())
		}
		for _, x := range e.Xattrs {
			f.Xattrs = append(f.Xattrs, &machinepb.Xattr{Name: text(x.Name), Data: x.Data})
		}
		return stream.Send(f)
	})
}

func kinds(in []machinepb.ListRequest_Type) (walk.Type, error) {
	var out walk.Type
	for _, t := range in {
		switch t {
		case machinepb.ListRequest_REGULAR:
			out |= walk.Regular
		case machinepb.ListRequest_DIRECTORY:
			out |= walk.Directory
		case machinepb.ListRequest_SYMLINK:
			out |= walk.Symlink
		default:
			return 0, fmt.Errorf("list files of type %d: no such type: %w", t, syscall.EINVAL)
		}
	}
	return out, nil
}

// maxPaths is how many starts one DiskUsage may have.
const maxPaths = 1000

// DiskUsage implements machinepb.MachineServiceServer. A negative depth is one without end, and no paths are the root.
func (h *Host) DiskUsage(in *machinepb.DiskUsageRequest, stream grpc.ServerStreamingServer[machinepb.DiskUsageInfo]) error {
	paths := in.GetPaths()
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	if len(paths) > maxPaths {
		return fmt.Errorf("add up %d paths, at most %d are allowed: %w", len(paths), maxPaths, syscall.EINVAL)
	}
	for _, p := range paths {
		if _, err := absolute("add up", p); err != nil {
			return err
		}
	}
	o := walk.UsageOptions{
		Root: h.root, Paths: paths, Depth: max(int(in.GetRecursionDepth()), walk.NoLimit), All: in.GetAll(), Threshold: in.GetThreshold(),
	}
	return walk.DiskUsage(stream.Context(), o, func(u walk.Usage) error {
		i := &machinepb.DiskUsageInfo{Name: text(u.Path), RelativeName: text(u.Relative), Size: u.Size}
		if u.Err != nil {
			i.Error = text(u.Err.Error())
		}
		return stream.Send(i)
	})
}
