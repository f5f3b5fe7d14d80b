package filesctrl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"talos.internal/controller"
	"talos.internal/internal/atomicfile"
	"talos.internal/resource"
	"talos.internal/resource/files"
)

// etcFile carries out wishes for files.
func etcFile(d Deps) controller.Controller {
	return controller.Transform[files.EtcFileSpec, files.EtcFileStatus]{
		ControllerName: "files.EtcFileController",
		Reconcile: func(_ context.Context, _ controller.Runtime, log *slog.Logger, in *resource.Typed[files.EtcFileSpec], _ *resource.Metadata, out *files.EtcFileStatus) error {
			name, version := in.Metadata().ID(), in.Metadata().Version().String()
			if out.SpecVersion == version {
				return nil
			}
			created, err := write(d.Root, name, in.Spec())
			if err != nil {
				return err
			}
			if created || out.SpecVersion == "" {
				if err := d.Binder.Bind(name); err != nil {
					return fmt.Errorf("show /etc/%s: %w", name, err)
				}
				log.Debug("a file of /etc is ours", "name", name)
			}
			out.SpecVersion = version
			return nil
		},
		Finalize: func(_ context.Context, _ controller.Runtime, _ *slog.Logger, in *resource.Typed[files.EtcFileSpec]) error {
			name := in.Metadata().ID()
			u, ok := d.Binder.(interface{ Unbind(name string) error })
			if !ok || !filepath.IsLocal(name) {
				return nil
			}
			if err := u.Unbind(name); err != nil {
				return fmt.Errorf("take /etc/%s back: %w", name, err)
			}
			if err := os.Remove(filepath.Join(d.Root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("take /etc/%s back: %w", name, err)
			}
			return nil
		},
	}
}

// write makes the file what it should be and reports whether it made a new one.
func write(root, name string, s files.EtcFileSpec) (created bool, err error) {
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || name == "." {
		return false, fmt.Errorf("write /etc/%s: the name is no path below /etc", name)
	}
	path := filepath.Join(root, name)
	mode := s.Mode.Perm()
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		if err := rewrite(path, s.Contents, mode); err != nil {
			return false, fmt.Errorf("write /etc/%s: %w", name, err)
		}
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("write /etc/%s: %w", name, err)
	}
	if err := atomicfile.WriteFile(path, s.Contents, mode, atomicfile.Options{Overwrite: true}); err != nil {
		return false, fmt.Errorf("write /etc/%s: %w", name, err)
	}
	return true, nil
}

// rewrite changes a file that is mounted elsewhere, so that it cannot be replaced by a rename. The contents are written by
// one call. If they are shorter than the old ones they are written with empty lines up to that length, and then cut: whoever
// reads between the two sees more empty lines, and not the end of the old contents.
func rewrite(path string, contents []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if bytes.Equal(old, contents) {
		return nil
	}
	padded := contents
	if n := len(old) - len(contents); n > 0 {
		padded = append(bytes.Clone(contents), bytes.Repeat([]byte("\n"), n)...)
	}
	if _, err := f.WriteAt(padded, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(contents))); err != nil {
		return err
	}
	return f.Close()
}
