// Package vt prepares virtual terminals: those that the kernel shows on a screen and reads from a keyboard (ioctl_console(2)).
//
// A machine has them when the kernel was built so, and something shows them when a driver of a screen is bound to them ([Shown]). Linux only; anything may
// import it that may import internal/sys.
package vt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/vt.h and linux/tiocl.h, which package unix does not have.
const (
	vtActivate = 0x5606 // VT_ACTIVATE
	// setKernelMessages is TIOCL_SETKMSGREDIRECT of TIOCLINUX (ioctl_console(2)).
	setKernelMessages = 11
)

// KernelMessages has the kernel write its messages to one terminal, and not to whichever is shown. root is put before the path of the device.
func KernelMessages(root string, number int) error {
	f, err := os.OpenFile(Device(root, 0), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request := [2]byte{setKernelMessages, byte(number)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TIOCLINUX, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&request)
	if errno != 0 {
		err = fmt.Errorf("have the kernel's messages on terminal %d: %w", number, errno)
	}
	return errors.Join(err, f.Close())
}

// Device returns the path of a terminal. root is put before it; empty means "/".
func Device(root string, number int) string {
	return filepath.Join("/", root, "dev", fmt.Sprintf("tty%d", number))
}

// Shown reports whether there is a screen that shows virtual terminals. root is put before the paths of sysfs.
func Shown(root string) (bool, error) {
	names, err := filepath.Glob(filepath.Join("/", root, "sys/class/vtconsole/vtcon*"))
	if err != nil {
		return false, err
	}
	for _, dir := range names {
		name, err := os.ReadFile(filepath.Join(dir, "name"))
		if err != nil {
			return false, fmt.Errorf("look for a screen: %w", err)
		}
		bound, err := os.ReadFile(filepath.Join(dir, "bind"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look for a screen: %w", err)
		}
		// "(S) dummy device" is the driver for when there is none.
		if strings.TrimSpace(string(bound)) == "1" && !strings.Contains(string(name), "dummy") {
			return true, nil
		}
	}
	return false, nil
}

// Give gives a terminal to a user, and to nobody else. The error is fs.ErrNotExist where there is none.
func Give(root string, number, uid int) error {
	name := Device(root, number)
	st, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if st.Mode()&os.ModeCharDevice == 0 {
		return fmt.Errorf("%s is no terminal: %w", name, fs.ErrInvalid)
	}
	return errors.Join(os.Lchown(name, uid, -1), os.Chmod(name, 0o600))
}

// Show has the screen show a terminal. It does not wait until that is so.
func Show(root string, number int) error {
	f, err := os.OpenFile(Device(root, 0), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = unix.IoctlSetInt(int(f.Fd()), vtActivate, number)
	if err != nil {
		err = fmt.Errorf("show terminal %d: %w", number, err)
	}
	return errors.Join(err, f.Close())
}
