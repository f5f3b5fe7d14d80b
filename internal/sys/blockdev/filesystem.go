package blockdev

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of file systems to grow while they are mounted.
const (
	xfsGeometry   = 0x8100587e // _IOR('X', 126, struct xfs_fsop_geom): fs/xfs/libxfs/xfs_fs.h
	xfsGrowData   = 0x4010586e // _IOW('X', 110, struct xfs_growfs_data)
	extResize     = 0x40086610 // _IOW('f', 16, __u64): the kernel's filesystems/ext4
	xfsGeometryV5 = 256        // bytes
)

// GrowXFS lets the XFS that is mounted at a point have all of a device of size bytes, and reports whether it has grown.
func GrowXFS(point string, size int64) (bool, error) {
	f, err := os.Open(point)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var geometry [xfsGeometryV5]byte
	if err := ioctl(f, xfsGeometry, unsafe.Pointer(&geometry[0])); err != nil {
		return false, fmt.Errorf("grow the XFS at %s: ask for its geometry: %w", point, err)
	}
	block := int64(binary.NativeEndian.Uint32(geometry[0:]))
	agBlocks := int64(binary.NativeEndian.Uint32(geometry[8:]))
	imaxpct := binary.NativeEndian.Uint32(geometry[28:])
	blocks := int64(binary.NativeEndian.Uint64(geometry[32:]))
	if block == 0 {
		return false, fmt.Errorf("grow the XFS at %s: its blocks have no size", point)
	}
	// A last allocation group of less than 64 blocks is not made, and the kernel may refuse to try.
	const leastGroup = 64
	want := size / block
	if rest := want % max(agBlocks, 1); want-blocks < leastGroup || rest > 0 && rest < leastGroup && want-rest <= blocks {
		return false, nil
	}
	arg := struct {
		Blocks  uint64
		ImaxPct uint32
		_       uint32
	}{Blocks: uint64(want), ImaxPct: imaxpct}
	if err := ioctl(f, xfsGrowData, unsafe.Pointer(&arg)); err != nil {
		return false, fmt.Errorf("grow the XFS at %s from %d to %d blocks: %w", point, blocks, want, err)
	}
	return true, nil
}

// GrowExt4 lets the ext4 that is mounted at a point have all of a device of size bytes. It needs CAP_SYS_RESOURCE: without it the error
// wraps fs.ErrPermission.
func GrowExt4(point string, size int64) error {
	f, err := os.Open(point)
	if err != nil {
		return err
	}
	defer f.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return fmt.Errorf("grow the ext4 at %s: %w", point, err)
	}
	blocks := uint64(size / s.Bsize)
	if err := ioctl(f, extResize, unsafe.Pointer(&blocks)); err != nil {
		return fmt.Errorf("grow the ext4 at %s to %d blocks: %w", point, blocks, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// SwapHeader returns what a swap space of size bytes begins with (the kernel's include/linux/swap.h, union swap_header), with a random
// UUID. Pages have 4096 bytes. The error is for a size that is no use.
func SwapHeader(size int64, label string) ([]byte, error) {
	const page = 4096
	if size < 10*page {
		return nil, fmt.Errorf("make a swap space of %d bytes: expected at least %d", size, 10*page)
	}
	b := make([]byte, page)
	binary.LittleEndian.PutUint32(b[1024:], 1)
	binary.LittleEndian.PutUint32(b[1028:], uint32(min(size/page-1, 1<<32-1)))
	if _, err := rand.Read(b[1036:1052]); err != nil {
		return nil, fmt.Errorf("make a swap space: %w", err)
	}
	b[1042] = b[1042]&0x0f | 0x40
	b[1044] = b[1044]&0x3f | 0x80
	copy(b[1052:1067], label)
	copy(b[page-10:], "SWAPSPACE2")
	return b, nil
}

// SwapOn lets the kernel swap to a device. One that it swaps to already is no error.
func SwapOn(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 && errno != syscall.EBUSY {
		return fmt.Errorf("swap to %s: %w", path, errno)
	}
	return nil
}

// SwapOff takes a device back from swapping. One that the kernel does not swap to is no error.
func SwapOff(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 && !errors.Is(errno, syscall.EINVAL) {
		return fmt.Errorf("stop swapping to %s: %w", path, errno)
	}
	return nil
}
