package walk

import (
	"context"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Type is a set of kinds of files.
type Type uint8

// The kinds. Devices, pipes and sockets are Special.
const (
	Regular Type = 1 << iota
	Directory
	Symlink
	Special
)

func typeOf(m fs.FileMode) Type {
	switch {
	case m.IsRegular():
		return Regular
	case m.IsDir():
		return Directory
	case m&fs.ModeSymlink != 0:
		return Symlink
	}
	return Special
}

// NoLimit is a depth without end.
const NoLimit = -1

// Options say what to list.
type Options struct {
	Root  string // put before every path; empty means "/"
	Path  string // the start, seen from Root; relative paths start there, too
	Depth int    // how many levels below the start are listed: 0 is the start alone, [NoLimit] all
	Types Type   // which kinds are given to the caller; zero means all. Directories are walked in any case
	// OneFileSystem leaves out what is below a directory of another file system than the start; the directory itself
	// is listed.
	OneFileSystem bool
	Xattrs        bool // read extended attributes, too
}

// List calls fn with each entry. It returns the cause of the context's end, an error of fn, or that of opening the start
// (fs.ErrNotExist, fs.ErrPermission, ENOTDIR, ELOOP). An entry with an error is given whatever its type.
func List(ctx context.Context, o Options, fn func(Entry) error) error {
	b, err := openBase(o.Root, o.Path)
	if err != nil {
		return err
	}
	defer b.close()
	start := Entry{Path: b.path, Relative: "."}
	look(&start, b.fd, "", o.Xattrs)
	w := walker{base: b, o: o, device: start.Device, fn: fn}
	return w.visit(ctx, start, 0)
}

type walker struct {
	base   *base
	o      Options
	device uint64
	fn     func(Entry) error
}

func (w *walker) visit(ctx context.Context, e Entry, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var children []Entry
	deeper := w.o.Depth < 0 || depth < w.o.Depth
	if e.Mode.IsDir() && deeper && (!w.o.OneFileSystem || e.Device == w.device) {
		var err error
		if children, err = w.base.read(ctx, e, w.o.Xattrs); err != nil && e.Err == nil {
			e.Err = err
		}
	}
	if w.o.Types == 0 || e.Err != nil || typeOf(e.Mode)&w.o.Types != 0 {
		if err := w.fn(e); err != nil {
			return err
		}
	}
	for _, c := range children {
		if err := w.visit(ctx, c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// read lists a directory by name. With an error it gives what it read until then.
func (b *base) read(ctx context.Context, dir Entry, xattrs bool) ([]Entry, error) {
	fd, err := b.open(dir.Relative, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir.Path, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir.Path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	out := make([]Entry, 0, len(names))
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e := Entry{Path: path.Join(dir.Path, name), Relative: join(dir.Relative, name)}
		look(&e, fd, name, xattrs)
		out = append(out, e)
	}
	return out, err
}

// join is path.Join without the cleaning, which names need not.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return strings.Join([]string{dir, name}, "/")
}
