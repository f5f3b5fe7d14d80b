package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// image returns the image that the container is made of, nil if it is made of a folder.
func (r Runner) image(ctx context.Context, log io.Writer) (client.Image, imagespec.ImageConfig, error) {
	if r.Spec.Rootfs != "" {
		return nil, imagespec.ImageConfig{}, nil
	}
	return r.Client.image(ctx, System, r.Spec.Image, log)
}

// rootfs returns the mounts of the root file system. ctx is of the namespace System; the image is unpacked.
func (r Runner) rootfs(ctx context.Context, img client.Image, s Spec) ([]mount.Mount, error) {
	if img == nil {
		return folder(s)
	}
	uppermost, err := top(ctx, img)
	if err != nil {
		return nil, err
	}
	return r.Client.root(ctx, s.ID, uppermost)
}

// folder returns the mount of a root file system that is a folder, which is never written to: places for mounts, and what the container
// writes if it may, go to another one, which begins empty.
func folder(s Spec) ([]mount.Mount, error) {
	st, err := os.Stat(s.Rootfs)
	if err == nil && !st.IsDir() {
		err = errors.New("it is no folder")
	}
	if err == nil && !filepath.IsAbs(s.Scratch) {
		err = fmt.Errorf("a folder for what is written is needed, got %q", s.Scratch)
	}
	if err != nil {
		return nil, fmt.Errorf("root file system %s of container %s: %w", s.Rootfs, s.ID, err)
	}
	upper, work := filepath.Join(s.Scratch, "upper"), filepath.Join(s.Scratch, "work")
	if err := os.RemoveAll(s.Scratch); err != nil {
		return nil, fmt.Errorf("empty the folder of container %s: %w", s.ID, err)
	}
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the folder of container %s: %w", s.ID, err)
		}
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + s.Rootfs, "upperdir=" + upper, "workdir=" + work,
	}}}, nil
}
