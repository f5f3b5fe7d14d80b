package boot

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"talos.internal/internal/sys/media"
	"talos.internal/internal/sys/mount"
)

// ImageCache is where image caches are seen: that of the disk, and that of the medium that the machine was started from.
const (
	ImageCacheDisk   = "/system/imagecache/disk"
	ImageCacheMedium = "/system/imagecache/iso"
	imageCacheFile   = "imagecache.img"
)

// ImageCachePlan returns the steps that show the image caches there are. partition is that of the disk, empty if there is none.
func ImageCachePlan(partition string) []Step {
	var p planner
	const lost = "images come from the network"
	if partition != "" {
		p.try("see the image cache of the disk", lost, ShowImage{Source: partition, Target: ImageCacheDisk})
	}
	p.try("see the image cache of the medium", lost, ShowImage{Source: path.Join(Medium, imageCacheFile), Target: ImageCacheMedium, File: true})
	return p.steps
}

// ShowImage mounts a file system read-only, by the type that its superblock has: that of a block device, or that in a file. A file that
// is not there is nothing to show.
type ShowImage struct {
	Source, Target string
	File           bool
}

// String says what and where.
func (s ShowImage) String() string {
	if s.File {
		return "mount the file " + s.Source + ", if it is there, on " + s.Target + " (ro,nosuid,nodev,noexec)"
	}
	return "mount " + s.Source + " on " + s.Target + " (ro,nosuid,nodev,noexec)"
}

func (s ShowImage) run(ctx context.Context, h *Host, say func(string)) error {
	source := s.Source
	if s.File {
		shown, release, err := h.Devices.Loop(source)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer release() // what is mounted keeps it
		source = shown
	}
	r, err := h.Devices.Open(source)
	if err != nil {
		return err
	}
	kind, err := media.FileSystem(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if err := h.Devices.LoadModules(ctx, kind); err != nil {
		return err
	}
	if err := h.Mounts.MakePoint(s.Target, false, 0o755); err != nil {
		return err
	}
	const safe = mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec
	if err := h.Mounts.Mount(mount.Call{Source: source, Target: s.Target, Type: kind, Flags: safe}); err != nil {
		return err
	}
	say("it is " + kind)
	return nil
}
