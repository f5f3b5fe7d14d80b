package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// WriteTar writes the tree to w as a tar archive (POSIX.1-2001, ustar with pax records where they are needed).
// It depends on the tree alone. It fails if a file has other than its Size bytes.
func (t *Tree) WriteTar(w io.Writer) error {
	out := tar.NewWriter(w)
	for _, e := range t.Entries() {
		if err := write(out, e); err != nil {
			return fmt.Errorf("write %s: %w", e.Path, err)
		}
	}
	return out.Close()
}

func write(out *tar.Writer, e Entry) error {
	h := &tar.Header{
		Name: e.Path, Mode: unixMode(e.Mode), Uid: e.UID, Gid: e.GID, ModTime: Epoch,
		Typeflag: tar.TypeReg, Size: e.Size,
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Size, h.Name = tar.TypeDir, 0, e.Path+"/"
	case fs.ModeSymlink:
		h.Typeflag, h.Size, h.Linkname, h.Mode = tar.TypeSymlink, 0, e.Target, 0o777
	}
	if len(e.Xattrs) > 0 {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{}
		for name, value := range e.Xattrs {
			h.PAXRecords[xattrRecord+name] = value
		}
	}
	if err := out.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	content, err := e.Open()
	if err != nil {
		return err
	}
	n, err := io.Copy(out, content)
	if err == nil && n != e.Size {
		err = fmt.Errorf("%d bytes; want %d: it changed meanwhile", n, e.Size)
	}
	return errors.Join(err, content.Close())
}

// xattrRecord is how container runtimes find extended attributes in pax records, as GNU tar and star write them.
const xattrRecord = "SCHILY.xattr."

// unixMode gives the permission bits with setuid, setgid and sticky as in stat(2).
func unixMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	for bit, flag := range specialBits {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

var specialBits = map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000}

// FromUnix gives the mode for the permission bits of stat(2) or of a tar header.
func FromUnix(mode int64) fs.FileMode {
	m := fs.FileMode(mode) & fs.ModePerm // masked
	for bit, flag := range specialBits {
		if mode&flag != 0 {
			m |= bit
		}
	}
	return m
}

// Extract unpacks a tar archive, such as a layer of an image of ours, into the folder root, which exists. Modes are set
// and, if owners is true, owners; times and extended attributes are not. Nothing outside of root is written, whatever
// is in the archive. What is there already is kept if it is a folder and replaced otherwise.
func Extract(r io.Reader, root *os.Root, owners bool) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := extract(in, h, root, owners); err != nil {
			return fmt.Errorf("extract %s: %w", h.Name, err)
		}
	}
}

func extract(in io.Reader, h *tar.Header, root *os.Root, owners bool) error {
	name := path.Clean(h.Name)
	if name == "." {
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if info, err := root.Lstat(name); err == nil && !(info.IsDir() && h.Typeflag == tar.TypeDir) {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in) // bounded by the size in the header
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("type %q: %w", h.Typeflag, errors.ErrUnsupported)
	}
	if owners {
		if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	return root.Chmod(name, FromUnix(h.Mode)) // after chown, which drops setuid
}
