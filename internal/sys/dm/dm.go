package dm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SectorSize is the unit of tables, whatever the devices have.
const SectorSize = 512

// Target is a run of sectors of a device, and what serves it.
type Target struct {
	Start, Length uint64 // in sectors of 512 bytes
	Type          string // "verity", "crypt", "linear", …
	Params        string
}

// Table are the targets of a device, from its first sector on, without gaps.
type Table []Target

// Options are how a device is made.
type Options struct {
	ReadOnly bool
	// UUID is how the device is told apart, at most 128 bytes; may be empty.
	UUID string
}

// controlFile is where the kernel takes the ioctls.
const controlFile = "/dev/mapper/control"

// nodeWait is how long the kernel may take to show the device in /dev; it does so at once where devtmpfs is there.
const nodeWait = 2 * time.Second

// Create makes the device with this name and returns its path, such as /dev/dm-0. If anything fails there is no such device.
// A name that is taken gives fs.ErrExist; a kernel without the device mapper fs.ErrNotExist.
func Create(name string, table Table, o Options) (string, error) {
	text, err := encodeTable(table)
	if err != nil {
		return "", fmt.Errorf("make the mapped device %s: %w", name, err)
	}
	fail := func(what string, err error) (string, error) {
		if errors.Is(err, syscall.EBUSY) {
			err = errors.Join(fs.ErrExist, err)
		}
		return "", fmt.Errorf("make the mapped device %s: %s: %w", name, what, err)
	}
	flags := uint32(0)
	if o.ReadOnly {
		flags |= flagReadOnly
	}
	made, err := command(cmdCreate, header{name: name, uuid: o.UUID, flags: flags}, nil)
	if err != nil {
		return fail("name it", err)
	}
	undo := func(what string, err error) (string, error) {
		_, gone := command(cmdRemove, header{name: name}, nil)
		return fail(what, errors.Join(err, gone))
	}
	if _, err := command(cmdLoad, header{name: name, flags: flags, targets: uint32(len(table))}, text); err != nil {
		if errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("%w (the log of the kernel says what is wrong with the table)", err)
		}
		return undo("load its table", err)
	}
	// Without the flag "suspend" this resumes: the loaded table becomes the live one.
	if _, err := command(cmdSuspend, header{name: name}, nil); err != nil {
		return undo("start it", err)
	}
	node := path.Join("/dev", "dm-"+strconv.FormatUint(uint64(unix.Minor(made.dev)), 10))
	for end := time.Now().Add(nodeWait); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(node); err == nil {
			return node, nil
		} else if time.Now().After(end) {
			return undo("find it in /dev after "+nodeWait.String(), err)
		}
	}
}

// Remove takes a device away. One that is in use gives EBUSY, one that is not there fs.ErrNotExist.
func Remove(name string) error {
	_, err := command(cmdRemove, header{name: name}, nil)
	if errors.Is(err, syscall.ENXIO) {
		err = errors.Join(fs.ErrNotExist, err)
	}
	if err != nil {
		return fmt.Errorf("remove the mapped device %s: %w", name, err)
	}
	return nil
}

// Names returns the names of the devices that there are, sorted by their numbers as text. root is the directory that holds sys; empty means "/".
func Names(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join("/", root, "sys/block/dm-*/dm/name"))
	if err != nil {
		return nil, fmt.Errorf("list mapped devices: %w", err)
	}
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went away meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list mapped devices: %w", err)
		}
		out = append(out, strings.TrimSpace(string(b)))
	}
	return out, nil
}

// The commands of dm-ioctl.h that are used here.
const (
	cmdCreate  = 3
	cmdRemove  = 4
	cmdSuspend = 6
	cmdLoad    = 9

	flagReadOnly = 1 << 0
)

// header is struct dm_ioctl as far as it is used.
type header struct {
	name, uuid     string
	flags, targets uint32
	dev            uint64
}

// headerSize is the size of struct dm_ioctl, and the offsets are those of its fields.
const (
	headerSize = 312
	offSize    = 12
	offStart   = 16
	offTargets = 20
	offFlags   = 28
	offDev     = 40
	offName    = 48
	offUUID    = 176
	nameSize   = 128
	uuidSize   = 129
)

// command gives one command to the kernel and returns its answer.
func command(cmd uint8, h header, payload []byte) (header, error) {
	if len(h.name) >= nameSize || len(h.uuid) >= uuidSize {
		return h, fmt.Errorf("a name has at most %d bytes, a UUID at most %d: %w", nameSize-1, uuidSize-1, syscall.EINVAL)
	}
	f, err := os.OpenFile(controlFile, os.O_RDWR, 0)
	if err != nil {
		return h, err
	}
	defer f.Close()
	buf := make([]byte, headerSize+max(len(payload), 16))
	le := binary.NativeEndian
	le.PutUint32(buf[0:], 4) // the version of the interface: 4.0.0
	le.PutUint32(buf[offSize:], uint32(len(buf)))
	le.PutUint32(buf[offStart:], headerSize)
	le.PutUint32(buf[offTargets:], h.targets)
	le.PutUint32(buf[offFlags:], h.flags)
	copy(buf[offName:offName+nameSize-1], h.name)
	copy(buf[offUUID:offUUID+uuidSize-1], h.uuid)
	copy(buf[headerSize:], payload)
	// _IOWR(0xfd, cmd, struct dm_ioctl)
	request := uintptr(3)<<30 | uintptr(headerSize)<<16 | 0xfd<<8 | uintptr(cmd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&buf[0]))); errno != 0 {
		return h, errno
	}
	h.dev = le.Uint64(buf[offDev:])
	// The kernel keeps the device in the encoding that user space has (huge_encode_dev).
	return h, nil
}

// encodeTable writes a table as the kernel reads it: each target is struct dm_target_spec and its parameters.
func encodeTable(table Table) ([]byte, error) {
	if len(table) == 0 {
		return nil, fmt.Errorf("the table is empty: %w", syscall.EINVAL)
	}
	const specSize, typeSize = 40, 16
	var out []byte
	next := uint64(0)
	for _, t := range table {
		if t.Start != next || t.Length == 0 || t.Type == "" || len(t.Type) >= typeSize {
			return nil, fmt.Errorf("the target %q of %d sectors at %d does not follow sector %d: %w", t.Type, t.Length, t.Start, next, syscall.EINVAL)
		}
		next += t.Length
		size := (specSize + len(t.Params) + 1 + 7) &^ 7
		b := make([]byte, size)
		binary.NativeEndian.PutUint64(b[0:], t.Start)
		binary.NativeEndian.PutUint64(b[8:], t.Length)
		binary.NativeEndian.PutUint32(b[20:], uint32(size))
		copy(b[24:24+typeSize-1], t.Type)
		copy(b[specSize:], t.Params)
		out = append(out, b...)
	}
	return out, nil
}
