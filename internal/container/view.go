package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// viewLimit is how long the end of a View may take.
const viewLimit = 10 * time.Second

// View shows the files of an image, which nobody runs. It has to be closed.
type View struct {
	// Root has the files. Symbolic links do not lead out of it.
	Root *os.Root

	dir    string
	remove func(ctx context.Context) error
}

// View opens an image of a namespace for reading. It is pulled if it is not there; log takes what is done for a person.
func (c *Client) View(ctx context.Context, namespace, ref string, log io.Writer) (*View, error) {
	img, _, err := c.image(ctx, namespace, ref, log)
	if err != nil {
		return nil, err
	}
	nsctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	uppermost, err := top(nsctx, img)
	if err != nil {
		return nil, err
	}
	if namespace == System {
		namespace = Pods // where it was unpacked: see twin
		if nsctx, conn, err = c.in(ctx, namespace); err != nil {
			return nil, err
		}
	}
	snapshotter := conn.SnapshotService(c.opts.Snapshotter)
	key := fmt.Sprintf("%s/view/%d", System, time.Now().UnixNano())
	remove := func(ctx context.Context) error {
		ctx, _, err := c.in(ctx, namespace)
		if err != nil {
			return err
		}
		if err := snapshotter.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("close the view of an image: %w", err)
		}
		return nil
	}
	mounts, err := snapshotter.View(nsctx, key, uppermost, keep())
	if err != nil {
		return nil, fmt.Errorf("view image %s: %w", img.Name(), err)
	}
	v := &View{remove: remove}
	if err := v.mount(filepath.Dir(c.opts.FIFOs), mounts); err != nil {
		return nil, fmt.Errorf("view image %s: %w", img.Name(), errors.Join(err, v.Close()))
	}
	return v, nil
}

func (v *View) mount(dir string, mounts []mount.Mount) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	var err error
	if v.dir, err = os.MkdirTemp(dir, "view"); err != nil {
		return err
	}
	if err := mount.All(mounts, v.dir); err != nil {
		return err
	}
	v.Root, err = os.OpenRoot(v.dir)
	return err
}

// Close ends the view. Files of it that are open can be read no longer than that.
func (v *View) Close() error {
	var errs []error
	if v.Root != nil {
		errs = append(errs, v.Root.Close())
	}
	if v.dir != "" {
		errs = append(errs, mount.UnmountAll(v.dir, 0), os.Remove(v.dir))
	}
	ctx, cancel := context.WithTimeout(context.Background(), viewLimit)
	defer cancel()
	return errors.Join(append(errs, v.remove(ctx))...)
}
