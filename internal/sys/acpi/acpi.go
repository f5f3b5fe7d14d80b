// Package acpi tells what the firmware of a machine reports: that its power button was pressed, above all.
//
// [Listen] receives the kernel's messages of the generic netlink family acpi_event, those that acpid(8) receives. A button says there what it
// says to /dev/input, too; here no driver for input and no device file is needed, and a button that comes later is heard. The kernel module
// "button" has to be loaded. Linux only; anything may import it that may import internal/sys.
package acpi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Event is one report.
type Event struct {
	Class  string // the kind of device: "button/power", "processor", "ac_adapter", …
	Device string // which one: "LNXPWRBN:00"
	Type   uint32 // what, in the numbers of the class
	Data   uint32
}

// PowerButton says whether the event is that a power button was pressed.
func (e Event) PowerButton() bool { return e.Class == "button/power" }

// The messages, as drivers/acpi/event.c of the kernel has them: a netlink header, one of generic netlink, and an attribute with a struct
// of two names of fixed size and two numbers.
const (
	family      = "acpi_event"
	group       = "acpi_mc_group"
	command     = 1 // ACPI_GENL_CMD_EVENT
	attribute   = 1 // ACPI_GENL_ATTR_EVENT
	genericSize = 4
	classSize   = 20
	deviceSize  = 15
	numbers     = 36 // where they begin, aligned
	structSize  = numbers + 8
)

// errFormat is wrapped by errors of Parse.
var errFormat = errors.New("not a report of ACPI")

// Parse reads what is in a netlink message: its generic header and attributes.
func Parse(b []byte) (Event, error) {
	if len(b) < genericSize || b[0] != command {
		return Event{}, fmt.Errorf("%d bytes: %w", len(b), errFormat)
	}
	for rest := b[genericSize:]; len(rest) >= unix.SizeofNlAttr; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < unix.SizeofNlAttr || size > len(rest) {
			break
		}
		if v := rest[unix.SizeofNlAttr:size]; kind == attribute && len(v) >= structSize {
			return Event{
				Class: text(v[:classSize]), Device: text(v[classSize : classSize+deviceSize]),
				Type: binary.NativeEndian.Uint32(v[numbers:]), Data: binary.NativeEndian.Uint32(v[numbers+4:]),
			}, nil
		}
		rest = rest[min(len(rest), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return Event{}, fmt.Errorf("no event in %d bytes: %w", len(b), errFormat)
}

// text is what stands before the first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.ToValidUTF8(string(b), "?")
}

// Listener receives reports. One goroutine may use it at a time.
type Listener struct {
	file *os.File
	id   uint16 // of the family
	buf  []byte
}

// Listen begins to receive. The error wraps fs.ErrNotExist on a kernel without ACPI. Reports are for the first network namespace of the
// machine only.
func Listen() (*Listener, error) {
	l, err := listen()
	if err != nil {
		return nil, fmt.Errorf("listen to the reports of ACPI: %w", err)
	}
	return l, nil
}

func listen() (*Listener, error) {
	f, err := netlink.GenlFamilyGet(family)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", family, err)
	}
	var id uint32
	for _, g := range f.Groups {
		if g.Name == group {
			id = g.ID
		}
	}
	if id == 0 {
		return nil, fmt.Errorf("%s has no group %s: %w", family, group, errors.ErrUnsupported)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(id))
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &Listener{file: os.NewFile(uintptr(fd), "acpi"), id: f.ID, buf: make([]byte, 4<<10)}, nil
}

// Next waits for a report. The error wraps the cause of ctx when that has ended. Reports that were lost because nobody read them are not
// told of: a button that nobody heard is pressed again.
func (l *Listener) Next(ctx context.Context) (Event, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		n, err := l.file.Read(l.buf)
		switch {
		case ctx.Err() != nil:
			return Event{}, fmt.Errorf("wait for a report of ACPI: %w", context.Cause(ctx))
		case errors.Is(err, syscall.ENOBUFS):
			continue
		case err != nil:
			return Event{}, fmt.Errorf("wait for a report of ACPI: %w", err)
		}
		if e, ok := l.event(l.buf[:n]); ok {
			return e, nil
		}
	}
}

// event reads a datagram, which the kernel fills with one message. Only the kernel can send to a group.
func (l *Listener) event(b []byte) (Event, bool) {
	if len(b) < unix.SizeofNlMsghdr || binary.NativeEndian.Uint16(b[4:]) != l.id {
		return Event{}, false
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < unix.SizeofNlMsghdr || size > len(b) {
		return Event{}, false
	}
	e, err := Parse(b[unix.SizeofNlMsghdr:size])
	return e, err == nil
}

// Close ends the listener.
func (l *Listener) Close() error { return l.file.Close() }
