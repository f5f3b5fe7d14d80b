// Package initramfs writes a file tree as the archive that the kernel unpacks before it starts its first program: cpio in the form
// "newc" (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel), compressed by zstd.
//
// The bytes depend on the tree alone. Several archives one behind the other are one to the kernel; where a path is in two of them,
// the later one's file is there in the end.
package initramfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"

	"talos.internal/internal/image/rootfs"
)

// window is how far back the compressor refers, in bytes: the most that the kernel's decompressor takes.
const window = 8 << 20

// Write writes the tree as a compressed archive. It fails with fs.ErrInvalid for a tree with extended attributes, which cpio does
// not have, and for a file of 4 GiB or more.
func Write(w io.Writer, t *rootfs.Tree) error {
	packed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	return errors.Join(writeArchive(packed, t), packed.Close())
}

// Types of files in a cpio mode, as in stat(2).
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

// archive counts what was written: contents and headers begin at multiples of 4.
type archive struct {
	w io.Writer
	n int64
}

func (a *archive) Write(b []byte) (int, error) {
	n, err := a.w.Write(b)
	a.n += int64(n)
	return n, err
}

func (a *archive) pad(to int64) error {
	_, err := a.Write(make([]byte, (to-a.n%to)%to))
	return err
}

// writeArchive writes the tree without compression.
func writeArchive(w io.Writer, t *rootfs.Tree) error {
	a := &archive{w: w}
	for i, e := range t.Entries() {
		if err := a.entry(i+1, e); err != nil {
			return fmt.Errorf("write %s: %w", e.Path, err)
		}
	}
	if err := a.header(0, 0, 1, 0, "TRAILER!!!"); err != nil {
		return err
	}
	return a.pad(512)
}

func (a *archive) entry(inode int, e rootfs.Entry) error {
	if len(e.Xattrs) > 0 {
		return fmt.Errorf("extended attributes: %w", fs.ErrInvalid)
	}
	if e.UID != 0 || e.GID != 0 {
		return fmt.Errorf("owner %d:%d; everything in an initramfs is root's: %w", e.UID, e.GID, fs.ErrInvalid)
	}
	perm := uint32(e.Mode.Perm())
	if e.Mode&fs.ModeSticky != 0 {
		perm |= 0o1000
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		return a.header(inode, typeDir|perm, 2, 0, e.Path)
	case fs.ModeSymlink:
		if err := a.header(inode, typeLink|0o777, 1, int64(len(e.Target)), e.Path); err != nil {
			return err
		}
		if _, err := io.WriteString(a, e.Target); err != nil {
			return err
		}
		return a.pad(4)
	}
	if e.Size >= 1<<32 {
		return fmt.Errorf("%d bytes: %w", e.Size, fs.ErrInvalid)
	}
	if err := a.header(inode, typeFile|perm, 1, e.Size, e.Path); err != nil {
		return err
	}
	content, err := e.Open()
	if err != nil {
		return err
	}
	n, err := io.Copy(a, content)
	if err == nil && n != e.Size {
		err = fmt.Errorf("%d bytes; want %d: it changed meanwhile", n, e.Size)
	}
	return errors.Join(err, content.Close(), a.pad(4))
}

// header writes an entry's header and name. Times, owners and device numbers are zero.
func (a *archive) header(inode int, mode uint32, links int, size int64, name string) error {
	_, err := fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	return errors.Join(err, a.pad(4))
}
