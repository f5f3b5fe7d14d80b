package container

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Labels of an image that is in the namespace Pods because a container of the namespace System runs it.
const (
	// pinnedLabel keeps kubelet's removal of unused images away (containerd, "pkg/cri/labels").
	pinnedLabel = "io.cri-containerd.pinned"
	// twinLabel says that [Client.Remove] of the image in System takes this one along.
	twinLabel = "talos.internal/namespace"
)

// gcRootLabel keeps a snapshot, and those below it, that nothing else of containerd knows to be in use (containerd, "Garbage Collection").
const gcRootLabel = "containerd.io/gc.root"

// top returns the name of the snapshot of an image's uppermost layer. ctx is of a namespace that has the image.
func top(ctx context.Context, img client.Image) (string, error) {
	layers, err := img.RootFS(ctx)
	if err != nil {
		return "", fmt.Errorf("read the layers of image %s: %w", img.Name(), err)
	}
	return identity.ChainID(layers).String(), nil
}

// keep is for a snapshot that nothing else of containerd knows to be in use.
func keep() snapshots.Opt {
	return snapshots.WithLabels(map[string]string{gcRootLabel: time.Now().UTC().Format(time.RFC3339)})
}

// twin has an image of the namespace System be in Pods as well, unpacked there.
//
// containerd keeps blobs once for all namespaces, but unpacks a layer for each. kubelet's image has the program of the whole control
// plane: unpacked once, that is read, checked and written once, and the processes share its pages.
func (c *Client) twin(ctx context.Context, img client.Image) error {
	system, conn, err := c.in(ctx, System)
	if err != nil {
		return err
	}
	pods, _, err := c.in(ctx, Pods)
	if err != nil {
		return err
	}
	uppermost, err := top(system, img)
	if err != nil {
		return err
	}
	there, err := conn.ImageService().Get(pods, img.Name())
	if err == nil && there.Target.Digest == img.Target().Digest && there.Labels[pinnedLabel] != "" {
		if _, err := conn.SnapshotService(c.opts.Snapshotter).Stat(pods, uppermost); err == nil {
			return nil
		}
	}
	pods, done, err := conn.WithLease(pods)
	if err != nil {
		return fmt.Errorf("keep image %s for %s: %w", img.Name(), Pods, err)
	}
	defer func() { _ = done(context.WithoutCancel(pods)) }()
	if err := link(system, pods, conn.ContentStore(), img.Target()); err != nil {
		return fmt.Errorf("give image %s to %s: %w", img.Name(), Pods, err)
	}
	record := images.Image{Name: img.Name(), Target: img.Target(), Labels: map[string]string{pinnedLabel: "pinned", twinLabel: System}}
	made, err := conn.ImageService().Create(pods, record)
	if errdefs.IsAlreadyExists(err) {
		made, err = conn.ImageService().Update(pods, record, "target", "labels."+pinnedLabel, "labels."+twinLabel)
	}
	if err != nil {
		return fmt.Errorf("give image %s to %s: %w", img.Name(), Pods, err)
	}
	return c.unpack(pods, client.NewImage(conn, made))
}

// link makes the content of an image, of this platform, known in the namespace of the context to; the blobs stay where they are.
func link(from, to context.Context, store content.Store, target imagespec.Descriptor) error {
	one := images.HandlerFunc(func(_ context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
		blob, err := store.ReaderAt(from, d)
		if err != nil {
			return nil, err
		}
		err = content.WriteBlob(to, store, remotes.MakeRefKey(to, d), content.NewReader(blob), d)
		return nil, errors.Join(err, blob.Close())
	})
	here := platforms.Default()
	below := images.LimitManifests(images.FilterPlatforms(images.ChildrenHandler(store), here), here, 1)
	return images.Dispatch(to, images.Handlers(one, images.SetChildrenLabels(store, below)), nil, target)
}

// unpack unpacks an image in the namespace of ctx, which costs nothing if it is unpacked. Of images with the same largest layer one
// is unpacked after the other: the second finds the layer there.
func (c *Client) unpack(ctx context.Context, img client.Image) error {
	manifest, err := images.Manifest(ctx, img.ContentStore(), img.Target(), img.Platform())
	if err != nil {
		return fmt.Errorf("read the manifest of image %s: %w", img.Name(), err)
	}
	var largest imagespec.Descriptor
	for _, l := range manifest.Layers {
		if l.Size > largest.Size {
			largest = l
		}
	}
	unlock, err := c.unpacking.lock(ctx, largest.Digest)
	if err != nil {
		return fmt.Errorf("unpack image %s: wait for another image with layer %s: %w", img.Name(), largest.Digest, err)
	}
	defer unlock()
	if err := img.Unpack(ctx, c.opts.Snapshotter); err != nil {
		return fmt.Errorf("unpack image %s: %w", img.Name(), err)
	}
	return nil
}

// layerLocks has a lock for each layer that is being unpacked. Its zero value is ready.
type layerLocks struct {
	mu   sync.Mutex
	held map[digest.Digest]chan struct{} // closed when the lock is given back
}

// lock waits for the lock of a layer until ctx ends.
func (l *layerLocks) lock(ctx context.Context, layer digest.Digest) (unlock func(), err error) {
	for {
		l.mu.Lock()
		busy, ok := l.held[layer]
		if !ok {
			free := make(chan struct{})
			if l.held == nil {
				l.held = map[digest.Digest]chan struct{}{}
			}
			l.held[layer] = free
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, layer)
				close(free)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// rootKey is the name of the snapshot that is the root file system of a container of the namespace System.
func rootKey(id string) string { return System + "/" + id }

// root makes the root file system of a container of the namespace System over a snapshot of the namespace Pods.
func (c *Client) root(ctx context.Context, id, below string) ([]mount.Mount, error) {
	ctx, conn, err := c.in(ctx, Pods)
	if err != nil {
		return nil, err
	}
	m, err := conn.SnapshotService(c.opts.Snapshotter).Prepare(ctx, rootKey(id), below, keep())
	if err != nil {
		return nil, fmt.Errorf("make the root file system of container %s: %w", id, err)
	}
	return m, nil
}

// removeRoot removes the root file system of a container of the namespace System. That there is none is no error.
func (c *Client) removeRoot(ctx context.Context, id string) error {
	ctx, conn, err := c.in(ctx, Pods)
	if err != nil {
		return err
	}
	if err := conn.SnapshotService(c.opts.Snapshotter).Remove(ctx, rootKey(id)); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the root file system of container %s: %w", id, err)
	}
	return nil
}

// removeTwin removes what twin made of an image.
func (c *Client) removeTwin(ctx context.Context, name string) error {
	ctx, conn, err := c.in(ctx, Pods)
	if err != nil {
		return err
	}
	there, err := conn.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) || err == nil && there.Labels[twinLabel] != System {
		return nil
	}
	if err == nil {
		err = conn.ImageService().Delete(ctx, name, images.SynchronousDelete())
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s from %s: %w", name, Pods, err)
	}
	return nil
}
