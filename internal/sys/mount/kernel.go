package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"talos.internal/internal/sys/proc"
)

// Kernel are the verbs of the kernel that runs this process.
type Kernel struct {
	// Root is put before every path, and taken off the paths of the table. Empty means "/". It is for tests: symbolic
	// links are not confined to it.
	Root string
}

var _ Verbs = Kernel{}

func (k Kernel) path(p string) string {
	if k.Root == "" {
		return p
	}
	return filepath.Join(k.Root, p)
}

// Mount implements [Verbs].
func (k Kernel) Mount(c Call) error {
	source := c.Source
	if c.Flags&Remount == 0 && c.Flags&(Bind|Move) != 0 {
		source = k.path(source)
	}
	if err := unix.Mount(source, k.path(c.Target), c.Type, uintptr(c.Flags), c.Data); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// Unmount implements [Verbs].
func (k Kernel) Unmount(target string, flags UnmountFlags) error {
	if err := unix.Unmount(k.path(target), int(flags)); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// Table implements [Verbs]. With a root it has the mounts below the root, and for "/" the mount that holds it.
func (k Kernel) Table() ([]proc.MountInfo, error) {
	table, err := proc.Reader{}.MountInfo()
	if err != nil || k.Root == "" || k.Root == "/" {
		return table, err
	}
	root, err := filepath.EvalSymlinks(k.Root)
	if err != nil {
		return nil, err
	}
	var out []proc.MountInfo
	if holder, ok := holding(table, root); ok {
		rest := strings.TrimPrefix(root, holder.Point)
		holder.Root, holder.Point = path.Join(holder.Root, rest), "/"
		out = append(out, holder)
	}
	for _, m := range table {
		if m.Point != root && below(m.Point, root) {
			m.Point = strings.TrimPrefix(m.Point, root)
			out = append(out, m)
		}
	}
	return out, nil
}

// Usage implements [Verbs].
func (k Kernel) Usage(p string) (Usage, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(k.path(p), &s)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return Usage{}, &fs.PathError{Op: "statfs", Path: p, Err: err}
		}
	}
	block := uint64(s.Frsize)
	if block == 0 {
		block = uint64(s.Bsize)
	}
	return Usage{
		Size: s.Blocks * block, Used: (s.Blocks - min(s.Bfree, s.Blocks)) * block, Available: s.Bavail * block,
		Inodes: s.Files, InodesUsed: s.Files - min(s.Ffree, s.Files), InodesFree: s.Ffree,
	}, nil
}

// MakePoint implements [Verbs].
func (k Kernel) MakePoint(p string, file bool, mode fs.FileMode) error {
	root := k.path("/")
	dir := p
	if file {
		dir = path.Dir(p)
	}
	at := root
	for _, part := range strings.Split(strings.Trim(dir, "/"), "/") {
		if part == "" {
			continue
		}
		at = filepath.Join(at, part)
		st, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Mkdir(at, mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make mount point %s: %w", p, err)
			}
			// Mkdir minds the umask, which PID 1 does not rely on.
			if err := os.Chmod(at, mode.Perm()); err != nil {
				return fmt.Errorf("make mount point %s: %w", p, err)
			}
		case err != nil:
			return fmt.Errorf("make mount point %s: %w", p, err)
		case st.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("make mount point %s: %s is a symbolic link: %w", p, strings.TrimPrefix(at, k.Root), unix.ELOOP)
		case !st.IsDir():
			return fmt.Errorf("make mount point %s: %s: %w", p, strings.TrimPrefix(at, k.Root), unix.ENOTDIR)
		}
	}
	if !file {
		return nil
	}
	f, err := os.OpenFile(k.path(p), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode.Perm()&^0o111)
	if errors.Is(err, fs.ErrExist) {
		st, err := os.Lstat(k.path(p))
		if err == nil && st.Mode()&fs.ModeSymlink != 0 {
			err = fmt.Errorf("make mount point %s: a symbolic link: %w", p, unix.ELOOP)
		}
		if err == nil && st.IsDir() {
			err = fmt.Errorf("make mount point %s: %w", p, unix.EISDIR)
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("make mount point %s: %w", p, err)
	}
	return f.Close()
}
