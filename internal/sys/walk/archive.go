package walk

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

// ArchiveOptions say what to pack.
type ArchiveOptions struct {
	Root          string // put before every path; empty means "/"
	Path          string // a directory or a file, seen from Root
	OneFileSystem bool   // do not look into directories of another file system than the start
	Xattrs        bool   // pack extended attributes, too, as PAX records SCHILY.xattr.NAME
	// OnError, if not nil, is told of each entry that is not in the archive, or not as it should be: sockets, which tar
	// cannot hold, what could not be read, and files that became shorter while they were read.
	OnError func(Entry)
}

// ErrChanged says that a file became shorter while it was read. The archive has zeroes in place of the rest.
var ErrChanged = errors.New("became shorter while it was read")

// small is the size up to which a file is read before its header is written. The files of proc and sysfs are of this kind,
// and say 0 or 4096 of their size whatever they hold.
const small = 64 << 10

// Archive writes a tar archive, compressed with gzip, of a directory or a file. Names in it are relative to the directory,
// which is "." itself, and never lead out of it; a file that is the start has its own name. Links stay as they are, files
// with several names are packed once, devices and pipes are packed as such. The bytes are the same for the same files.
//
// It returns the cause of the context's end, an error of w, or that of opening the start; what was written then is no
// whole archive.
func Archive(ctx context.Context, w io.Writer, o ArchiveOptions) error {
	b, err := openBase(o.Root, o.Path)
	if err != nil {
		return err
	}
	defer b.close()
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	a := &archive{base: b, tar: tar.NewWriter(zip), o: o, names: map[inode]string{}}
	start := Entry{Path: b.path, Relative: "."}
	look(&start, b.fd, "", o.Xattrs)
	walker := walker{base: b, o: Options{Depth: NoLimit, Xattrs: o.Xattrs, OneFileSystem: o.OneFileSystem}, device: start.Device,
		fn: func(e Entry) error { return a.add(ctx, e) }}
	if err := walker.visit(ctx, start, 0); err != nil {
		return err
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	return zip.Close()
}

type archive struct {
	base  *base
	tar   *tar.Writer
	o     ArchiveOptions
	names map[inode]string // of files with several names: that under which it is in the archive
}

func (a *archive) report(e Entry, err error) {
	if a.o.OnError != nil {
		e.Err = err
		a.o.OnError(e)
	}
}

// header describes an entry; nil if tar cannot.
func (a *archive) header(e Entry) *tar.Header {
	h := &tar.Header{
		Name: e.Relative, Mode: int64(e.Mode.Perm()), Uid: int(e.UID), Gid: int(e.GID), ModTime: e.ModTime.Truncate(1e9),
	}
	if e.Relative == "." && !e.Mode.IsDir() {
		h.Name = path.Base(e.Path)
	}
	for bit, m := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if e.Mode&bit != 0 {
			h.Mode |= m
		}
	}
	for _, x := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Data)
	}
	switch t := e.Mode.Type(); t {
	case 0:
		h.Typeflag = tar.TypeReg
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeBlock
		if t&fs.ModeCharDevice != 0 {
			h.Typeflag = tar.TypeChar
		}
		h.Devmajor, h.Devminor = int64(unix.Major(e.Rdev)), int64(unix.Minor(e.Rdev))
	default:
		return nil
	}
	return h
}

func (a *archive) add(ctx context.Context, e Entry) error {
	if e.Err != nil {
		a.report(e, e.Err)
		if e.Inode == 0 {
			return nil // nothing is known of it
		}
	}
	h := a.header(e)
	if h == nil {
		a.report(e, fmt.Errorf("a tar archive has no sockets: %w", errors.ErrUnsupported))
		return nil
	}
	if h.Typeflag != tar.TypeReg {
		return a.tar.WriteHeader(h)
	}
	id := inode{e.Device, e.Inode}
	if first, ok := a.names[id]; ok {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return a.tar.WriteHeader(h)
	}
	fd, err := a.open(e)
	if err != nil {
		a.report(e, err)
		return nil
	}
	defer unix.Close(fd)
	if err := a.content(ctx, e, h, &reader{alive: ctx.Err, fd: fd}); err != nil {
		return err
	}
	if e.Links > 1 {
		a.names[id] = h.Name
	}
	return nil
}

// open opens a regular file. What has its name by now may be something else.
func (a *archive) open(e Entry) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY
	var fd int
	var err error
	if e.Relative == "." {
		// The start is a file: it is opened anew from its path, since a descriptor that only names it cannot be read.
		fd, err = openIn(a.o.Root, e.Path, flags)
	} else {
		fd, err = a.base.open(e.Relative, flags)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: e.Path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return -1, &fs.PathError{Op: "open", Path: e.Path, Err: errors.Join(err, errors.New("it is no regular file any more"))}
	}
	return fd, nil
}

// content writes the header and the bytes of a file.
func (a *archive) content(ctx context.Context, e Entry, h *tar.Header, r *reader) error {
	h.Size = e.Size
	var head []byte
	if e.Size <= small {
		var err error
		head, err = io.ReadAll(io.LimitReader(r, small+1))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			a.report(e, &fs.PathError{Op: "read", Path: e.Path, Err: err})
			return nil
		}
		// What says less than it is, and is large, is cut where a file that grows would be.
		if len(head) <= small || h.Size == 0 {
			h.Size = int64(len(head))
		}
		if e.Size == 0 && len(head) > small {
			a.report(e, fmt.Errorf("it says that it is empty, and holds more than %d bytes", small))
			return nil
		}
		head = head[:min(int64(len(head)), h.Size)]
	}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	if _, err := a.tar.Write(head); err != nil {
		return err
	}
	rest := h.Size - int64(len(head))
	n, err := io.CopyN(a.tar, r, rest)
	if r.err == nil && err != nil && !errors.Is(err, io.EOF) {
		return err // of the writer
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if n == rest {
		return nil
	}
	// The header has promised a size.
	if _, err := io.CopyN(a.tar, zeroes{}, rest-n); err != nil {
		return err
	}
	if r.err != nil {
		a.report(e, &fs.PathError{Op: "read", Path: e.Path, Err: r.err})
	} else {
		a.report(e, &fs.PathError{Op: "read", Path: e.Path, Err: ErrChanged})
	}
	return nil
}

// reader reads a file, keeps its error apart from that of the archive, and ends with the context. It is no os.File: that
// would wait where the kernel says that there is nothing yet, for ever in a file such as kmsg of proc. Here it is EAGAIN.
type reader struct {
	alive func() error
	fd    int
	err   error // but for the end of the file
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err = r.alive(); r.err != nil {
		return 0, r.err
	}
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			r.err = err
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
