package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrBusy is wrapped by the errors for a device that is in use.
const ErrBusy = syscall.EBUSY

// Device is an open disk or partition, or a file in its place.
type Device struct {
	f      *os.File
	size   int64
	sector int
	block  bool
}

// Open opens a device for reading.
func Open(path string) (*Device, error) { return open(path, os.O_RDONLY) }

// Claim opens a device for reading and writing, for this process alone. The error wraps ErrBusy if it is in use.
func Claim(path string) (*Device, error) { return open(path, os.O_RDWR|os.O_EXCL) }

// Share opens a device for reading and writing although it may be in use: for the partition table of a disk some of whose partitions are
// mounted.
func Share(path string) (*Device, error) { return open(path, os.O_RDWR) }

// Protect makes a disk or partition read-only for everybody, for as long as the machine runs: the kernel refuses each write to it. Who has
// CAP_SYS_ADMIN can undo that, and a partition can be written through its disk; it is a guard against mistakes. It needs
// CAP_SYS_ADMIN.
func Protect(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 1); err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}

func open(path string, flags int) (*Device, error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	d := &Device{f: f, sector: 512}
	if err := d.stat(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close())
	}
	return d, nil
}

func (d *Device) stat() error {
	info, err := d.f.Stat()
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		d.size = info.Size()
		return nil
	case mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0:
		return fmt.Errorf("it is neither a block device nor a file: %s", mode.Type())
	}
	d.block = true
	var size uint64
	if err := d.ioctl(unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return fmt.Errorf("ask for its size: %w", err)
	}
	d.size = int64(size)
	var sector int32
	if err := d.ioctl(unix.BLKSSZGET, unsafe.Pointer(&sector)); err != nil {
		return fmt.Errorf("ask for its sector size: %w", err)
	}
	d.sector = int(sector)
	return nil
}

func (d *Device) ioctl(request uintptr, arg unsafe.Pointer) error {
	conn, err := d.f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

// Name returns the path that the device was opened by.
func (d *Device) Name() string { return d.f.Name() }

// Size returns the size in bytes, as it was when the device was opened.
func (d *Device) Size() int64 { return d.size }

// SectorSize returns the size of a logical sector in bytes; a file's is 512.
func (d *Device) SectorSize() int { return d.sector }

// ReadAt implements [io.ReaderAt].
func (d *Device) ReadAt(b []byte, off int64) (int, error) { return d.f.ReadAt(b, off) }

// WriteAt implements [io.WriterAt].
func (d *Device) WriteAt(b []byte, off int64) (int, error) { return d.f.WriteAt(b, off) }

// Sync returns when what was written is on the medium.
func (d *Device) Sync() error { return d.f.Sync() }

// Forget drops what the kernel has of the device in memory, so that it is read from the medium. What was not synced stays.
func (d *Device) Forget() error {
	conn, err := d.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) }); err != nil {
		return err
	}
	return os.NewSyscallError("fadvise "+d.f.Name(), failed)
}

// Close closes the device, and gives up the claim.
func (d *Device) Close() error { return d.f.Close() }

// rereadPause is between two tries to have the kernel read a partition table. Probes of the device by others keep it busy for moments.
const rereadPause = 50 * time.Millisecond

// Reread has the kernel read the partition table anew. It returns ErrBusy if a partition is still in use when ctx ends. On a file it does
// nothing.
func (d *Device) Reread(ctx context.Context) error {
	if !d.block {
		return nil
	}
	for {
		err := d.ioctl(unix.BLKRRPART, nil)
		if !errors.Is(err, ErrBusy) {
			if errors.Is(err, unix.EINVAL) { // a loop device without partitions says so
				return fmt.Errorf("read the partition table of %s: the device cannot have partitions: %w", d.f.Name(), err)
			}
			if err != nil {
				err = fmt.Errorf("read the partition table of %s: %w", d.f.Name(), err)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("read the partition table of %s: waiting for its partitions to be unused: %w (%w)", d.f.Name(), err, context.Cause(ctx))
		case <-time.After(rereadPause):
		}
	}
}

// AddPartition tells the kernel of a new partition, while others are in use. Offset and size are in bytes.
func (d *Device) AddPartition(number int, offset, size int64) error {
	return d.partition(unix.BLKPG_ADD_PARTITION, "add", number, offset, size)
}

// ResizePartition tells the kernel of a partition's new size, while it may be mounted.
func (d *Device) ResizePartition(number int, offset, size int64) error {
	return d.partition(unix.BLKPG_RESIZE_PARTITION, "resize", number, offset, size)
}

// RemovePartition has the kernel forget a partition that is not in use.
func (d *Device) RemovePartition(number int) error {
	return d.partition(unix.BLKPG_DEL_PARTITION, "remove", number, 0, 0)
}

func (d *Device) partition(op int32, verb string, number int, offset, size int64) error {
	if !d.block {
		return nil
	}
	p := unix.BlkpgPartition{Start: offset, Length: size, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	if err := d.ioctl(unix.BLKPG, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("%s partition %d of %s: %w", verb, number, d.f.Name(), err)
	}
	return nil
}
