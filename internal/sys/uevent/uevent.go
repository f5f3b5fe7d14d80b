// Package uevent tells what devices the kernel has, and which come and go.
//
// [Listen] receives the kernel's own messages about devices (NETLINK_KOBJECT_UEVENT, group 1), those that udev receives.
// [Aliases] goes through the devices that were there before. What a device says that it is, its modalias, is what package
// kmod finds modules by.
//
// No rules, no names for devices and no database are here: devtmpfs makes the nodes. Linux only; anything may import it that
// may import internal/sys.
package uevent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one message of the kernel.
type Event struct {
	Action string // "add", "remove", "change", "bind", …
	Path   string // the device below /sys: "/devices/pci0000:00/…"
	// Vars are what the kernel says about the device: SUBSYSTEM, MODALIAS, DEVNAME, DEVTYPE, …
	Vars map[string]string
}

// errFormat is wrapped by errors of Parse.
var errFormat = errors.New("not a message about a device")

// Parse reads a message: "add@/devices/x" and then KEY=VALUE, each ended by a zero byte.
func Parse(b []byte) (Event, error) {
	head, rest, _ := bytes.Cut(b, []byte{0})
	action, path, ok := strings.Cut(string(head), "@")
	if !ok || action == "" || path == "" {
		return Event{}, fmt.Errorf("%q: %w", head, errFormat)
	}
	e := Event{Action: action, Path: path, Vars: map[string]string{}}
	for _, field := range bytes.Split(rest, []byte{0}) {
		if len(field) == 0 {
			continue
		}
		key, value, ok := strings.Cut(string(field), "=")
		if !ok {
			return Event{}, fmt.Errorf("%q: %w", field, errFormat)
		}
		e.Vars[key] = value
	}
	return e, nil
}

// Listener receives messages. One goroutine may use it at a time.
type Listener struct {
	file *os.File
	buf  []byte
}

// received is the size of the kernel's buffer for messages that nobody has read yet: those of a start are thousands.
const received = 8 << 20

// Listen begins to receive. Messages from before are lost, so whoever wants every device listens first and looks at what is
// there afterwards.
func Listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen to the kernel's messages about devices: %w", err)
	}
	// That it stays as it is costs messages only under a storm, which Next reports.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, received)
	return &Listener{file: os.NewFile(uintptr(fd), "uevents"), buf: make([]byte, 16<<10)}, nil
}

// ErrLost says that messages were lost, because they were not read in time. Look at the devices again, as after Listen.
var ErrLost = errors.New("messages about devices were lost")

// Next waits for a message. The error wraps the cause of ctx when that has ended, or [ErrLost].
func (l *Listener) Next(ctx context.Context) (Event, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		n, err := l.file.Read(l.buf)
		switch {
		case ctx.Err() != nil:
			return Event{}, fmt.Errorf("wait for a device: %w", context.Cause(ctx))
		case errors.Is(err, syscall.ENOBUFS):
			return Event{}, ErrLost
		case err != nil:
			return Event{}, fmt.Errorf("wait for a device: %w", err)
		}
		// Messages of udev and others are no concern of ours, and only the kernel can send to group 1.
		if e, err := Parse(l.buf[:n]); err == nil {
			return e, nil
		}
	}
}

// Close ends the listener.
func (l *Listener) Close() error { return l.file.Close() }

// Watch calls changed with the path of each device of a subsystem that comes, goes or changes, and with "" after messages were lost. The
// end of ctx is no error.
func Watch(ctx context.Context, subsystem string, changed func(path string)) error {
	l, err := Listen()
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		e, err := l.Next(ctx)
		switch {
		case errors.Is(err, ErrLost):
			changed("")
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case e.Vars["SUBSYSTEM"] == subsystem:
			changed(e.Path)
		}
	}
}

// Aliases returns what the devices that are there say they are, each text once. root is the directory that holds sys; empty
// means "/". A device that goes away meanwhile is no error.
//
// It looks at the devices of all buses, and at those of the two classes and the one subsystem that say what they are without being on a
// bus. To go through all of sys/devices would show the same, and take ten times as long.
func Aliases(root string) ([]string, error) {
	sys := filepath.Join("/", root, "sys")
	buses, err := list(filepath.Join(sys, "bus"))
	if err != nil {
		return nil, fmt.Errorf("look at the devices: %w", err)
	}
	dirs := []string{filepath.Join(sys, "class/dmi"), filepath.Join(sys, "class/input")}
	for _, b := range buses {
		dirs = append(dirs, filepath.Join(sys, "bus", b, "devices"))
	}
	files := []string{filepath.Join(sys, "devices/system/cpu/modalias")}
	for _, dir := range dirs {
		devices, err := list(dir)
		if err != nil {
			return nil, fmt.Errorf("look at the devices: %w", err)
		}
		for _, d := range devices {
			files = append(files, filepath.Join(dir, d, "modalias"))
		}
	}
	var out []string
	seen := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it is gone, or says nothing
		}
		if a := strings.TrimSpace(string(b)); a != "" && !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out, nil
}

// list returns the names in a directory. One that is not there has none.
func list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
