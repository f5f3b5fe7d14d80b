// Package loop shows files as block devices, by the kernel's loop driver (loop(4)).
//
// The kernel needs the module loop. Linux only; anything may import it that may import internal/sys.
package loop

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlFile is where the kernel gives away devices.
const controlFile = "/dev/loop-control"

// tries is how often another device is asked for, when somebody else took the one that was free.
const tries = 16

// Device is a file that is shown as a block device. Whoever attached it has it open, for without a user it goes away.
type Device struct {
	Path string // such as /dev/loop0
	file *os.File
}

// Close lets go of the device. It goes away by itself when nobody else uses it; what is mounted from it keeps it.
func (d *Device) Close() error { return d.file.Close() }

// Attach shows a file read-only as a block device with blocks of 512 bytes. The kernel holds the file open as long as the
// device is there. A program that is executed does not inherit the device.
func Attach(file string) (*Device, error) {
	d, err := attach(file)
	if err != nil {
		return nil, fmt.Errorf("show %s as a block device: %w", file, err)
	}
	return d, nil
}

func attach(file string) (*Device, error) {
	backing, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile(controlFile, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; the kernel needs the module loop", err)
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd())}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file)
	for range tries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("ask for a free device: %w", err)
		}
		path := "/dev/loop" + strconv.Itoa(n)
		dev, err := configure(path, &config)
		if err == nil {
			return &Device{path, dev}, nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%d devices were taken by others: %w", tries, syscall.EBUSY)
}

func configure(path string, config *unix.LoopConfig) (*os.File, error) {
	dev, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dev.Fd(), unix.LOOP_CONFIGURE, uintptr(unsafe.Pointer(config))); errno != 0 {
		return nil, errors.Join(errno, dev.Close())
	}
	return dev, nil
}
