package walk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// base is where a walk starts: a descriptor that only names the file.
type base struct {
	fd   int
	path string // as it was asked for, clean
}

// openBase resolves a path below a root.
func openBase(root, p string) (*base, error) {
	p = path.Clean("/" + p)
	fd, err := openIn(root, p, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	return &base{fd, p}, nil
}

func (b *base) close() { _ = unix.Close(b.fd) }

// openIn opens a clean path as if root were "/" (openat2(2), RESOLVE_IN_ROOT).
func openIn(root, p string, flags uint64) (int, error) {
	if root == "" {
		root = "/"
	}
	dir, err := retry(func() (int, error) { return unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := openat2(dir, p, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return fd, nil
}

// open opens what is below the start, through no link.
func (b *base) open(rel string, flags uint64) (int, error) {
	return openat2(b.fd, rel, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
}

func openat2(dir int, p string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	return retry(func() (int, error) { return unix.Openat2(dir, p, &how) })
}

// retry calls f again while a signal, or a rename during the resolution of a path, interrupts it.
func retry(f func() (int, error)) (int, error) {
	for range 1000 {
		if n, err := f(); !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
	return -1, unix.EAGAIN
}

// OpenFile opens a regular file for reading, below a root; empty means "/". Links are followed as if root were "/". A
// directory is EISDIR; a device, a pipe or a socket, whose reading could wait for ever or do something, is EINVAL.
func OpenFile(root, p string) (*os.File, error) {
	p = path.Clean("/" + p)
	// O_NONBLOCK keeps the open itself from waiting for the writer of a pipe.
	fd, err := openIn(root, p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.EISDIR
	} else if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("not a regular file: %w", unix.EINVAL)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return os.NewFile(uintptr(fd), p), nil
}

// Xattr is an extended attribute.
type Xattr struct {
	Name string
	Data []byte
}

// Entry is one file of any kind.
type Entry struct {
	Path      string // the path of the start as it was asked for, and below it
	Relative  string // from the start, which is "." itself
	Size      int64  // bytes; of a link those of its target's text
	Allocated int64  // bytes on the disk
	Mode      fs.FileMode
	ModTime   time.Time
	UID, GID  uint32
	Link      string  // target of a symbolic link, as it is
	Xattrs    []Xattr // by name, if they were asked for
	Device    uint64  // that the file is on
	Inode     uint64
	Links     uint64 // names of the file
	Rdev      uint64 // of a device: its number
	// Err is why something of it is missing: all but the paths if it could not be looked at, what is in it if it is a
	// directory that could not be read, its target, or its attributes.
	Err error
}

// stat fills in what stat(2) says.
func (e *Entry) stat(st *unix.Stat_t) {
	e.Size, e.Allocated = st.Size, st.Blocks*512
	e.Mode = mode(st.Mode)
	e.ModTime = time.Unix(st.Mtim.Unix())
	e.UID, e.GID = st.Uid, st.Gid
	e.Device, e.Inode, e.Links, e.Rdev = uint64(st.Dev), st.Ino, uint64(st.Nlink), uint64(st.Rdev)
}

func mode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	out |= map[uint32]fs.FileMode{
		unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
		unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
	}[m&unix.S_IFMT]
	if m&unix.S_ISUID != 0 {
		out |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		out |= fs.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		out |= fs.ModeSticky
	}
	return out
}

// look describes the file name in the directory dir; name "" is dir itself.
func look(e *Entry, dir int, name string, xattrs bool) {
	var st unix.Stat_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if _, err := retry(func() (int, error) { return 0, unix.Fstatat(dir, name, &st, flags) }); err != nil {
		e.Err = &fs.PathError{Op: "stat", Path: e.Path, Err: err}
		return
	}
	e.stat(&st)
	if e.Mode&fs.ModeSymlink != 0 {
		link, err := readlink(dir, name)
		if err != nil {
			e.Err = &fs.PathError{Op: "readlink", Path: e.Path, Err: err}
		}
		e.Link = link
	}
	if xattrs && e.Err == nil {
		var err error
		if e.Xattrs, err = attributes(dir, name); err != nil {
			e.Err = &fs.PathError{Op: "listxattr", Path: e.Path, Err: err}
		}
	}
}

func readlink(dir int, name string) (string, error) {
	// A link's size can be wrong or zero, as in proc; PATH_MAX bounds it.
	buf := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// attributes reads extended attributes without following a link. There is no call for that that takes a directory before
// Linux 6.13, so it goes through the directory's descriptor in proc.
func attributes(dir int, name string) ([]Xattr, error) {
	p := fmt.Sprintf("/proc/self/fd/%d", dir)
	list, get := unix.Llistxattr, unix.Lgetxattr
	if name != "" {
		p += "/" + name
	} else {
		list, get = unix.Listxattr, unix.Getxattr
	}
	names, err := grow(func(b []byte) (int, error) { return list(p, b) })
	if errors.Is(err, unix.ENOTSUP) || len(names) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Xattr
	for _, n := range strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		data, err := grow(func(b []byte) (int, error) { return get(p, n, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return out, err
		}
		out = append(out, Xattr{n, data})
	}
	return out, nil
}

// grow calls f with a buffer that is large enough.
func grow(f func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := f(buf)
		if errors.Is(err, unix.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
