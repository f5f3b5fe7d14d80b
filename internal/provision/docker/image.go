package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/provision"
)

// ensureImage sees to it that the daemon has an image: the one of the image cache, which replaces an older one of that name, as
// after a new build; else the one that the daemon has; else what a registry has. The error is fs.ErrNotExist if nobody has it.
func (p *Provisioner) ensureImage(ctx context.Context, ref string, progress provision.Progress) error {
	ask, cancel := within(ctx, askLimit)
	defer cancel()
	have, err := p.c.ImageInspect(ask, ref)
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	there := err == nil
	img, cached, cacheErr := p.cached(ref)
	switch {
	case cacheErr != nil && !there:
		return cacheErr
	case cached:
		layers, err := diffIDs(img)
		if err != nil {
			return fmt.Errorf("image %s: %w", ref, err)
		}
		if there && slices.Equal(layers, have.RootFS.Layers) {
			return nil
		}
		if err := progress.Do("load image "+ref, func() error { return p.upload(ctx, img) }); err != nil {
			return fmt.Errorf("load image %s into the Docker daemon: %w", ref, err)
		}
		if there && len(have.RepoTags) <= 1 {
			// It has no name any more. The daemon refuses if a container is made of it; then the next one to come removes it, or nobody.
			_, _ = p.c.ImageRemove(ask, have.ID, client.ImageRemoveOptions{PruneChildren: true})
		}
		return nil
	case there:
		return nil
	}
	err = progress.Do("pull image "+ref, func() error { return p.pull(ctx, ref) })
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("image %s is in no image cache, the Docker daemon does not have it, and no registry gives it (%w): %w", ref, err, fs.ErrNotExist)
	}
	return err
}

// cached returns the image of the image cache, if that has it.
func (p *Provisioner) cached(ref string) (oci.Image, bool, error) {
	if p.images == "" {
		return oci.Image{}, false, nil
	}
	images, err := oci.Read(p.images)
	if err != nil {
		return oci.Image{}, false, fmt.Errorf("image %s: %w; make the image cache with: make image", ref, err)
	}
	i := slices.IndexFunc(images, func(img oci.Image) bool { return img.Ref == ref })
	if i < 0 {
		return oci.Image{}, false, nil
	}
	return images[i], true, nil
}

// diffIDs are the digests of an image's layers, unpacked. They are the same in each kind of store that a daemon has; the image's
// own digest is not.
func diffIDs(img oci.Image) ([]string, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, d := range config.RootFS.DiffIDs {
		all = append(all, d.String())
	}
	return all, nil
}

// upload gives the daemon an image.
func (p *Provisioner) upload(ctx context.Context, img oci.Image) error {
	ctx, cancel := within(ctx, loadLimit)
	defer cancel()
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := oci.WriteDocker(img, w)
		_ = w.CloseWithError(err) // has no error
		written <- err
	}()
	answer, err := p.c.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	_ = r.Close() // has no error; ends the writer
	writeErr := <-written
	if err != nil {
		return err
	}
	defer answer.Close()
	// The daemon's errors come in what it answers.
	lines := json.NewDecoder(answer)
	for {
		var line jsonstream.Message
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return writeErr
		case err != nil:
			return err
		case line.Error != nil:
			return line.Error
		}
	}
}

// pull lets the daemon get an image from its registry.
func (p *Provisioner) pull(ctx context.Context, ref string) error {
	ctx, cancel := within(ctx, loadLimit)
	defer cancel()
	answer, err := p.c.ImagePull(ctx, ref, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	defer answer.Close()
	return answer.Wait(ctx)
}
