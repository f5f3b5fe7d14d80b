package remotefile

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/nodes"
)

// source is a tar archive, compressed by gzip, as a node sends it.
type source struct{ *nodes.Reader }

// archive opens the archive of a path of a node. It must be closed.
func archive(ctx context.Context, s *nodes.Session, node, root string) *source {
	return &source{nodes.NewReader(ctx, s, node, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
		return c.Machine().Copy(ctx, &machinepb.CopyRequest{RootPath: root})
	})}
}

func (s *source) writeTo(w io.Writer) error {
	_, err := io.Copy(w, s)
	return err
}

// extract unpacks a compressed tar archive into the folder dir, which is made if it is not there. It returns what was left
// out, with the reason.
//
// The archive is not trusted: nothing is written outside dir, whatever names and links it has ([os.Root]). Devices, pipes
// and sockets are left out, and owners are not kept; of the mode only the permissions are.
func extract(r io.Reader, dir string) (skipped []string, err error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, err // of the stream, or that it is no archive
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Folders get their modes at the end: one that may not be written in would refuse its own files.
	folders := map[string]fs.FileMode{}
	members := tar.NewReader(unzipped)
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return skipped, err
		}
		name, ok := local(h.Name)
		if !ok {
			return skipped, fmt.Errorf("the archive has a file outside of its folder: %q", h.Name)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o755); err != nil {
				return skipped, err
			}
			folders[name] = fs.FileMode(h.Mode).Perm()
		case tar.TypeReg:
			if err := writeFile(root, name, fs.FileMode(h.Mode).Perm(), members); err != nil {
				return skipped, err
			}
		case tar.TypeSymlink:
			if err := replace(root, name, func() error { return root.Symlink(h.Linkname, name) }); err != nil {
				return skipped, err
			}
		case tar.TypeLink:
			target, ok := local(h.Linkname)
			if !ok {
				return skipped, fmt.Errorf("the archive has a link to outside of its folder: %q", h.Linkname)
			}
			if err := replace(root, name, func() error { return root.Link(target, name) }); err != nil {
				return skipped, err
			}
		default:
			skipped = append(skipped, fmt.Sprintf("%s, which is no file, folder or link", h.Name))
		}
	}
	for _, name := range slices.Backward(slices.Sorted(keys(folders))) {
		if err := root.Chmod(name, folders[name]|0o700); err != nil {
			return skipped, err
		}
	}
	// The checksum comes after the archive, and after that the node's last word: that something is missing, for example.
	for _, rest := range []io.Reader{unzipped, r} {
		if _, err := io.Copy(io.Discard, rest); err != nil {
			return skipped, err
		}
	}
	return skipped, nil
}

func keys(m map[string]fs.FileMode) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// local returns the name of an archive's member as one below its folder. An absolute one is below it too; one that leads
// out of it is not ok.
func local(name string) (string, bool) {
	name = path.Clean(strings.TrimLeft(name, "/"))
	return filepath.FromSlash(name), name == "." || filepath.IsLocal(filepath.FromSlash(name))
}

func writeFile(root *os.Root, name string, mode fs.FileMode, r io.Reader) error {
	return replace(root, name, func() error {
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	})
}

// replace makes name by means of make; what is there of that name, such as from an earlier copy, goes before it.
func replace(root *os.Root, name string, make func() error) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if info, err := root.Lstat(name); err == nil && !info.IsDir() {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	return make()
}
