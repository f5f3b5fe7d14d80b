// Package atomicfile writes whole files such that a reader, and a power failure, see either the old
// content or the new one, never a part.
//
// The content goes to a temporary file in the directory of the target, reaches the disk, and only then
// gets the target's name; after that the directory reaches the disk. A process that is killed in between
// may leave a temporary file, named .<name>.tmp-<digits>, which holds content but is nobody's target.
//
// It is for the files of a client (configs, keys): small, and with modes that matter. Any package but
// the pure ones (config, secret, state) may import it.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Options say what is to become of a file that is there already. The zero Options protect it.
type Options struct {
	// Overwrite replaces an existing regular file. Without it, WriteFile fails with fs.ErrExist if
	// anything has the name, a dangling symbolic link included.
	Overwrite bool
	// Preserve treats an existing file as a person's own, such as a config in his home: a symbolic link
	// is followed and stays, and the file keeps its permissions and its owner, so that root does not take
	// it away from him. It goes with Overwrite.
	//
	// Without Preserve a symbolic link is refused, and the new file is all of this process: in a
	// directory that others write to, a link or a file laid there by one of them gets nothing.
	Preserve bool
}

// WriteFile writes data to the file at path.
//
// A new file gets exactly the permission bits of mode, whatever the umask. Only regular files are
// replaced. Several writers at once are safe: the last rename wins, and without Overwrite exactly one. On
// a file system without hard links a reader may see a new file empty for a moment.
//
// After an error the old file is untouched and nothing of the new one remains, with one exception: if the
// error is about finishing in the directory (syncing it, removing the temporary name), the new file is
// complete and in place, but may not survive a power failure. The error wraps fs.ErrExist, or what the
// file system said.
func WriteFile(path string, data []byte, mode fs.FileMode, o Options) error {
	return writeFile(osVerbs{}, path, data, mode, o)
}

// verbs are the operations that can fail halfway, so that tests can make each of them fail.
type verbs interface {
	create(dir, pattern string) (tempFile, error)
	rename(from, to string) error
	link(from, to string) error
	remove(name string) error
	syncDir(dir string) error
}

// tempFile is what is done to the temporary file before it has the target's name.
type tempFile interface {
	io.Writer
	Name() string
	Chmod(fs.FileMode) error
	Sync() error
	Close() error
}

func writeFile(v verbs, path string, data []byte, mode fs.FileMode, o Options) error {
	target, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}

	var old fs.FileInfo

	if o.Overwrite {
		if target, old, err = existing(target, o.Preserve); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	} else if _, err := os.Lstat(target); err == nil {
		// Only to fail before anything is written; link decides.
		return existError(path)
	}

	if !o.Preserve {
		old = nil
	}

	if old != nil {
		mode = old.Mode()
	}

	temp, err := writeTemp(v, target, data, mode.Perm(), old)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}

	publish := v.rename
	if !o.Overwrite {
		publish = func(from, to string) error { return linkTo(v, from, to) }
	}

	if err := publish(temp, target); err != nil {
		_ = v.remove(temp) // the first error is the one to report

		if errors.Is(err, fs.ErrExist) {
			return existError(path)
		}

		return fmt.Errorf("write %s: %w", path, err)
	}

	if !o.Overwrite {
		// After a link the file has both names; after a rename in its stead there is nothing to remove.
		if err := v.remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s: it is written, but its temporary name stays: %w", path, err)
		}
	}

	if err := v.syncDir(filepath.Dir(target)); err != nil {
		return fmt.Errorf("write %s: it is written, but its directory is not synced: %w", path, err)
	}

	return nil
}

func existError(path string) error {
	return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
}

// existing returns where the file really is, and refuses what is not a regular file. The info is nil if
// nothing is there.
func existing(target string, follow bool) (string, fs.FileInfo, error) {
	info, err := os.Lstat(target)

	switch {
	case errors.Is(err, fs.ErrNotExist):
		return target, nil, nil
	case err != nil:
		return "", nil, err
	case follow && info.Mode()&fs.ModeSymlink != 0:
		if target, err = filepath.EvalSymlinks(target); err != nil {
			return "", nil, err // a dangling link: where it leads may not be meant any more
		}

		if info, err = os.Lstat(target); err != nil {
			return "", nil, err
		}
	}

	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("not a regular file: %s", kind(info.Mode()))
	}

	return target, info, nil
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	default:
		return "a device, socket or pipe"
	}
}

// writeTemp returns the name of a complete, synced temporary file beside the target.
func writeTemp(v verbs, target string, data []byte, mode fs.FileMode, old fs.FileInfo) (name string, err error) {
	f, err := v.create(filepath.Dir(target), "."+filepath.Base(target)+".tmp-*")
	if err != nil {
		return "", err
	}

	closed := false

	defer func() {
		if err == nil {
			return
		}

		if !closed {
			_ = f.Close()
		}

		_ = v.remove(f.Name())
	}()

	if n, err := f.Write(data); err != nil {
		return "", err
	} else if n < len(data) {
		return "", io.ErrShortWrite
	}

	if old != nil {
		if err := keepOwner(f.Name(), old); err != nil {
			return "", err
		}
	}

	// After the owner, since a change of owner may take permission bits away.
	if err := f.Chmod(mode); err != nil {
		return "", err
	}

	if err := f.Sync(); err != nil {
		return "", err
	}

	closed = true
	if err := f.Close(); err != nil {
		return "", err
	}

	return f.Name(), nil
}

// linkTo gives a file a second name, which must be free. Where the file system has no hard links, the name
// is taken by an empty file first, which the rename replaces.
func linkTo(v verbs, from, to string) error {
	err := v.link(from, to)
	if err == nil {
		return nil
	}

	if errors.Is(err, fs.ErrExist) {
		return err
	}

	placeholder, errCreate := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errCreate != nil {
		return errCreate
	}

	err = placeholder.Close()
	if err == nil {
		err = v.rename(from, to)
	}

	if err != nil {
		_ = v.remove(to)
	}

	return err
}

// osVerbs is the real file system.
type osVerbs struct{}

func (osVerbs) create(dir, pattern string) (tempFile, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}

	return f, nil
}

func (osVerbs) rename(from, to string) error { return os.Rename(from, to) }
func (osVerbs) link(from, to string) error   { return os.Link(from, to) }
func (osVerbs) remove(name string) error     { return os.Remove(name) }
func (osVerbs) syncDir(dir string) error     { return syncDir(dir) }
