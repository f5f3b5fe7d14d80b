package assets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"talos.internal/internal/image/qcow2"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/install"
	"talos.internal/internal/metastore"
)

// Disk is the name of the raw disk image, DiskQCOW2 that of the same for QEMU. ImageCache is the file system with the image cache, an
// optional part of disk and ISO.
const (
	Disk       = "talos.raw"
	DiskQCOW2  = "talos.qcow2"
	ImageCache = "imagecache.img"
)

// DiskOptions are those of a disk image.
type DiskOptions struct {
	Size       int64 // in bytes; 0 is the least that holds the system. It grows on the first boot of a larger disk
	SectorSize int   // 512 or 4096; 0 is 512
	Meta       metastore.Values
	ImageCache bool // with ImageCache, which was made before
}

// WriteDisk makes a disk image of the parts in the builder's folder: it is the installer, run on a sparse file.
func (b *Builder) WriteDisk(ctx context.Context, o DiskOptions) error {
	assets, done, err := b.assets(o.ImageCache)
	if err != nil {
		return err
	}
	defer done()
	hash, err := install.ReadRootHash(assets.UKI)
	if err != nil {
		return err
	}
	if o.Size == 0 {
		o.Size = install.ImageSize(assets.ImageCache.Size)
	}
	if o.SectorSize == 0 {
		o.SectorSize = 512
	}
	plan, err := install.PlanInstall(install.Request{
		Disk: install.Disk{Name: Disk, Size: o.Size, SectorSize: o.SectorSize}, Image: true,
		UKI: assets.UKI.Size, Root: assets.Root.Size, BootLoader: assets.BootLoader.Size, ImageCache: assets.ImageCache.Size,
		RootHash: hash, Seed: fmt.Sprintf("%x", assets.UKI.SHA256), Time: rootfs.Epoch, Meta: o.Meta,
		Files: b.Secure.files(), LoaderConf: b.Secure.lines(),
	})
	if err != nil {
		return err
	}
	return b.create(Disk, func(f *os.File) error {
		if err := f.Truncate(o.Size); err != nil {
			return err
		}
		return install.Execute(ctx, plan, &install.Recorder{Target: sparse{f}}, assets, nil)
	})
}

// WriteQCOW2 makes the disk image for QEMU of the raw one, which was made before.
func (b *Builder) WriteQCOW2(ctx context.Context) error {
	disk, err := os.Open(b.path(Disk))
	if err != nil {
		return err
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return err
	}
	// What was never written is not read either.
	next := func(at int64) (int64, error) {
		found, err := disk.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) { // there is nothing more
			return info.Size(), nil
		}
		return found, err
	}
	return b.create(DiskQCOW2, func(f *os.File) error { return qcow2.Write(ctx, f, disk, info.Size(), next) })
}

// seekData is SEEK_DATA of lseek(2): to the next offset that is in no hole.
const seekData = 3

// assets opens the parts that are installed. done closes them.
func (b *Builder) assets(cache bool) (a install.Assets, done func(), err error) {
	var files []*os.File
	done = func() {
		for _, f := range files {
			_ = f.Close() // they were only read
		}
	}
	open := func(name string) (blob install.Blob, err error) {
		f, err := os.Open(b.path(name))
		if err != nil {
			return blob, err
		}
		files = append(files, f)
		sum := sha256.New()
		blob.Size, err = io.Copy(sum, f)
		blob.Reader, blob.SHA256 = f, [sha256.Size]byte(sum.Sum(nil))
		return blob, err
	}
	var errs [4]error
	a.UKI, errs[0] = open(UKI)
	a.Root, errs[1] = open(Root)
	a.BootLoader, errs[2] = open(BootLoader)
	if cache {
		a.ImageCache, errs[3] = open(ImageCache)
	}
	if err := errors.Join(errs[:]...); err != nil {
		done()
		return a, nil, err
	}
	return a, done, nil
}

// sparse is a new file, which is zero wherever nothing was written: zeros need no room in it.
type sparse struct{ *os.File }

// WriteAt implements io.WriterAt.
func (s sparse) WriteAt(b []byte, off int64) (int, error) {
	const block = 4096
	for n := 0; n < len(b); n += block {
		part := b[n:min(n+block, len(b))]
		if len(bytes.TrimLeft(part, "\x00")) == 0 {
			continue
		}
		if _, err := s.File.WriteAt(part, off+int64(n)); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// create makes a file under a temporary name and gives it its own when it is complete.
func (b *Builder) create(name string, fill func(*os.File) error) error {
	temp, err := os.CreateTemp(b.Dir, "."+name+"-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // gone after the rename
	if err := errors.Join(fill(temp), temp.Chmod(0o644), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(temp.Name(), b.path(name))
}
