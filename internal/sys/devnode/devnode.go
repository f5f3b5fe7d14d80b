// Package devnode makes the device files and links that a /dev of its own needs.
//
// A container's PID 1 mounts a tmpfs on /dev and fills it with [Standard]: the devices that every program expects and that
// belong to nobody. A /dev of type devtmpfs has them from the kernel; then [Ensure] finds all there. Mounting what stands
// below /dev (pts, shm, mqueue) is package mount's.
//
// Linux only; making devices needs CAP_MKNOD and a device cgroup that allows it. Anything may import the package that may
// import internal/sys.
package devnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Node is a character device, or, with a Link, a symbolic link.
type Node struct {
	Path         string // absolute
	Major, Minor uint32
	Mode         fs.FileMode // permissions of a device
	UID, GID     uint32
	Link         string // target
}

// Standard returns the nodes of a container (admin-guide/devices.txt; config-linux.md, Default Devices, of the OCI runtime
// specification). ptmx is a link, so that the terminals are those of the devpts that is mounted at /dev/pts.
func Standard() []Node {
	return []Node{
		{Path: "/dev/null", Major: 1, Minor: 3, Mode: 0o666},
		{Path: "/dev/zero", Major: 1, Minor: 5, Mode: 0o666},
		{Path: "/dev/full", Major: 1, Minor: 7, Mode: 0o666},
		{Path: "/dev/random", Major: 1, Minor: 8, Mode: 0o666},
		{Path: "/dev/urandom", Major: 1, Minor: 9, Mode: 0o666},
		{Path: "/dev/kmsg", Major: 1, Minor: 11, Mode: 0o600},
		{Path: "/dev/tty", Major: 5, Minor: 0, Mode: 0o666},
		{Path: "/dev/fuse", Major: 10, Minor: 229, Mode: 0o600},
		{Path: "/dev/ptmx", Link: "pts/ptmx"},
		{Path: "/dev/fd", Link: "/proc/self/fd"},
		{Path: "/dev/stdin", Link: "/proc/self/fd/0"},
		{Path: "/dev/stdout", Link: "/proc/self/fd/1"},
		{Path: "/dev/stderr", Link: "/proc/self/fd/2"},
	}
}

// Ensure makes the nodes that are missing, with the directories above them; root is put before every path, empty means
// "/". A node that is there and is the same device, or a link, is left with its owner and its mode. Anything else of that
// name is an error, which wraps fs.ErrExist. It stops at the first error. It returns the paths of those that it made.
func Ensure(root string, nodes ...Node) ([]string, error) {
	var made []string
	for _, n := range nodes {
		file := filepath.Join("/", root, n.Path)
		ok, err := there(file, n)
		if err != nil {
			return made, fmt.Errorf("make %s: %w", n.Path, err)
		}
		if ok {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return made, fmt.Errorf("make %s: %w", n.Path, err)
		}
		if err := create(file, n); err != nil {
			return made, fmt.Errorf("make %s: %w", n.Path, err)
		}
		made = append(made, n.Path)
	}
	return made, nil
}

// there reports whether a node is there already.
func there(file string, n Node) (bool, error) {
	var st unix.Stat_t
	err := unix.Lstat(file, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case n.Link != "" && (kind == unix.S_IFLNK || kind == unix.S_IFCHR):
		// A devtmpfs has ptmx as a device.
		return true, nil
	case n.Link == "" && kind == unix.S_IFCHR && uint64(st.Rdev) == unix.Mkdev(n.Major, n.Minor):
		return true, nil
	}
	return false, fmt.Errorf("something else has the name: %w", fs.ErrExist)
}

func create(file string, n Node) error {
	if n.Link != "" {
		return os.Symlink(n.Link, file)
	}
	if err := unix.Mknod(file, unix.S_IFCHR|uint32(n.Mode.Perm()), int(unix.Mkdev(n.Major, n.Minor))); err != nil {
		return err
	}
	// The mode is not to depend on the umask. Without it and its owner the node would be found, and left, the next time.
	err := os.Lchown(file, int(n.UID), int(n.GID))
	if err == nil {
		err = os.Chmod(file, n.Mode.Perm())
	}
	if err != nil {
		_ = os.Remove(file)
	}
	return err
}
