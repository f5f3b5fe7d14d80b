package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"

	"talos.internal/internal/container"
	"talos.internal/internal/install"
	"talos.internal/internal/upgrade"
)

// installer is an installer image that is open.
type installer struct {
	view   *container.View
	open   files
	assets install.Assets
}

// Assets implements upgrade.Installer.
func (i *installer) Assets() install.Assets { return i.assets }

// Close implements io.Closer.
func (i *installer) Close() error { return errors.Join(i.open.Close(), i.view.Close()) }

// lineWriter gives what is written to say, as lines.
type lineWriter func(string) error

func (w lineWriter) Write(b []byte) (int, error) {
	return len(b), w(strings.TrimSpace(string(b)))
}

// openInstaller opens the files of an installer image, which is pulled if it is not there.
func openInstaller(ctx context.Context, c *container.Client, namespace, image string, say func(string) error) (upgrade.Installer, error) {
	view, err := c.View(ctx, namespace, image, lineWriter(say))
	if err != nil {
		return nil, err
	}
	i := &installer{view: view}
	for _, x := range []struct {
		name string
		blob *install.Blob
	}{{mediumUKI, &i.assets.UKI}, {mediumRoot, &i.assets.Root}} {
		path := "usr/install/" + goruntime.GOARCH + "/" + x.name
		f, err := view.Root.Open(path)
		var size int64
		if err == nil {
			i.open = append(i.open, f)
			var st os.FileInfo
			if st, err = f.Stat(); err == nil {
				size = st.Size()
			}
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s is no installer for this machine: /%s: %w", image, path, err), i.Close())
		}
		*x.blob = install.Blob{Reader: f, Size: size}
	}
	return i, nil
}
