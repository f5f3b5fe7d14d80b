package blockdev

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Subsystem is that of all block devices, as the kernel names it.
const Subsystem = "/sys/class/block"

// Disk is a whole block device as the kernel knows it. What it does not say is empty or zero. Sizes are in bytes.
type Disk struct {
	Name         string // "vda"
	Major, Minor int
	SysPath      string // "/sys/devices/…/block/vda", without the root
	Size         int64
	SectorSize   int
	IOSize       int // what it likes to be given at least
	ReadOnly     bool
	CDROM        bool
	Rotational   bool
	Model        string
	Firmware     string
	Serial       string
	Modalias     string
	WWID         string
	UUID         string
	BusPath      string   // where it is attached: "/pci0000:00/0000:00:02.0/virtio1"
	Transport    string   // "virtio", "nvme", "sata", "usb", "scsi", "sas", "iscsi", "mmc" or empty
	Below        []string // names of the devices that it is made of, as with device-mapper and RAID
	Partitions   []Partition
}

// Path returns where the device is.
func (d Disk) Path() string { return "/dev/" + d.Name }

// Partition is a partition as the kernel knows it.
type Partition struct {
	Name         string // "vda1"
	Number       int
	Major, Minor int
	SysPath      string
	Offset, Size int64
	ReadOnly     bool
}

// Path returns where the device is.
func (p Partition) Path() string { return "/dev/" + p.Name }

// List returns the disks that have something in them, in the order of their names; disks in memory (ram, zram) and network block devices
// without a server have no size, or are left out. root is the directory that holds sys; empty means "/". What goes away meanwhile is
// not in it.
func List(root string) ([]Disk, error) {
	dir := filepath.Join("/", root, "sys/block")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	var disks []Disk
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "ram") || strings.HasPrefix(e.Name(), "zram") {
			continue
		}
		d, err := read(root, dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.Size == 0 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list block devices: %s: %w", e.Name(), err)
		}
		disks = append(disks, d)
	}
	return disks, nil
}

// attributes are the files of a directory of sysfs.
type attributes string

// text returns an attribute in one line; one that cannot be read is empty, as many drivers lack many.
func (a attributes) text(name string) string {
	b, err := os.ReadFile(filepath.Join(string(a), name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), " ")))
}

func (a attributes) number(name string) int64 {
	n, err := strconv.ParseInt(a.text(name), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// first returns the first of several attributes that is not empty.
func (a attributes) first(names ...string) string {
	for _, n := range names {
		if s := a.text(n); s != "" {
			return s
		}
	}
	return ""
}

func (a attributes) device() (major, minor int) {
	left, right, _ := strings.Cut(a.text("dev"), ":")
	major, _ = strconv.Atoi(left)
	minor, _ = strconv.Atoi(right)
	return major, minor
}

func read(root, dir, name string) (Disk, error) {
	real, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil {
		return Disk{}, err
	}
	a := attributes(real)
	// Sizes are in units of 512 bytes whatever the sector size (the kernel's ABI/stable/sysfs-block).
	d := Disk{
		Name: name, SysPath: below(root, real), Size: a.number("size") * 512, SectorSize: int(a.number("queue/logical_block_size")),
		IOSize: int(max(a.number("queue/optimal_io_size"), a.number("queue/minimum_io_size"))), ReadOnly: a.text("ro") == "1",
		Rotational: a.text("queue/rotational") == "1",
		Model:      a.first("device/model", "device/name"), Firmware: a.first("device/firmware_rev", "device/rev", "device/fwrev"),
		Serial: a.first("serial", "device/serial"), Modalias: a.text("device/modalias"),
		WWID: a.first("wwid", "device/wwid", "device/cid"), UUID: a.first("uuid", "dm/uuid", "md/uuid"),
	}
	d.Major, d.Minor = a.device()
	if d.Serial == "" {
		d.Serial = vpdSerial(filepath.Join(real, "device/vpd_pg80"))
	}
	d.CDROM = strings.HasPrefix(name, "sr") || a.text("device/type") == "5" // SPC-4, table 138: CD/DVD
	d.BusPath, d.Transport = bus(d.SysPath, name)
	if below, err := os.ReadDir(filepath.Join(real, "slaves")); err == nil {
		for _, s := range below {
			d.Below = append(d.Below, s.Name())
		}
	}
	if d.SectorSize == 0 {
		d.SectorSize = 512
	}
	d.Partitions, err = partitions(root, real, d.SysPath)
	return d, err
}

func below(root, real string) string {
	base, err := filepath.EvalSymlinks(filepath.Join("/", root))
	if err != nil {
		return real
	}
	return path.Join("/", strings.TrimPrefix(real, base))
}

func partitions(_, real, sysPath string) ([]Partition, error) {
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, err
	}
	var out []Partition
	for _, e := range entries {
		a := attributes(filepath.Join(real, e.Name()))
		n := a.number("partition")
		if !e.IsDir() || n == 0 {
			continue
		}
		p := Partition{Name: e.Name(), Number: int(n), SysPath: path.Join(sysPath, e.Name()), Offset: a.number("start") * 512,
			Size: a.number("size") * 512, ReadOnly: a.text("ro") == "1"}
		p.Major, p.Minor = a.device()
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Partition) int { return a.Number - b.Number })
	return out, nil
}

// bus says where a device is attached, and by what.
func bus(sysPath, name string) (where, transport string) {
	where, ok := strings.CutPrefix(sysPath, "/sys/devices")
	if !ok || strings.HasPrefix(where, "/virtual/") {
		return "", ""
	}
	where, _, _ = strings.Cut(where, "/block/")
	where = strings.TrimSuffix(where, "/"+name)
	for _, t := range []struct{ part, transport string }{
		{"/usb", "usb"}, {"/ata", "sata"}, {"/nvme", "nvme"}, {"/mmc_host", "mmc"}, {"/session", "iscsi"}, {"/end_device-", "sas"}, {"/host", "scsi"}, {"/virtio", "virtio"},
	} {
		if strings.Contains(where, t.part) {
			return where, t.transport
		}
	}
	return where, ""
}

// vpdSerial reads the serial number from a SCSI device's vital product data, page 80h (SPC-4, section 7.8.15).
func vpdSerial(file string) string {
	b, err := os.ReadFile(file)
	if err != nil || len(b) < 4 || b[1] != 0x80 {
		return ""
	}
	n := int(b[2])<<8 | int(b[3])
	s := strings.TrimSpace(strings.Trim(string(b[4:min(len(b), 4+n)]), "\x00 "))
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return hex.EncodeToString([]byte(s))
		}
	}
	return s
}
