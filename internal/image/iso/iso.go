// Package iso lays out ISO 9660 file systems (ECMA-119, level 2) with a few files in their root, and starts machines from them by
// UEFI ([El Torito] boot catalog, UEFI specification 2.10, section 13.3.2).
//
// A [Layout] says which bytes are where; contents of files are named in it and not held. A file may lie within another one: an EFI
// system partition is one file of the medium, and what is in it can have a name outside of it too, without being there twice.
//
// Names are those that Linux shows: it turns what the format demands, capitals and a version number, into small letters without.
// Nothing of Rock Ridge or Joliet is written. The same arguments give the same bytes; all times are zero.
//
// The package is pure and imports nothing of ours.
//
// [El Torito]: Phoenix and IBM, "El Torito" Bootable CD-ROM Format Specification 1.0
package iso

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// SectorSize is that of the medium, in bytes.
const SectorSize = 2048

// systemArea is what the format leaves to others at its beginning, in bytes: a partition table may be there.
const systemArea = 16 * SectorSize

// File is a file of the root.
type File struct {
	Name string // as Linux shows it: small letters, digits, "-", "_" and at most one "."
	Size int64  // at most 4 GiB - 1
	// Offset is where its content is, a multiple of SectorSize behind what Layout writes itself.
	Offset int64
}

// Options are those of a file system.
type Options struct {
	Label string // at most 32 capitals, digits and "_"; Linux knows media by it
	Size  int64  // of all of the medium, in bytes: a multiple of SectorSize
	// Boot is the offset of an EFI system partition that the firmware starts from, to the end of the medium; zero is none.
	Boot int64
}

// Extent is something to write.
type Extent struct {
	Offset int64
	Data   []byte
}

// Layout is an ISO 9660 file system without the contents of its files.
type Layout struct{ Extents []Extent }

// Sectors of what Layout writes. The directory is as long as it has to be.
const (
	sectorPrimary = systemArea/SectorSize + iota
	sectorBoot
	sectorEnd
	sectorCatalog
	sectorTableLE
	sectorTableBE
	sectorRoot
)

// Reserved is how many bytes at the beginning of the medium Layout may use for files of that many names; contents come behind.
func Reserved(files int) int64 { return sectorRoot*SectorSize + rootSize(files) }

// rootSize is at least the size of the root directory: a record of a name of 31 bytes, with its version, has 66.
func rootSize(files int) int64 {
	const most = SectorSize / 68
	return int64((files+2+most-1)/most) * SectorSize
}

// New lays out a file system. The error wraps fs.ErrInvalid for names, labels and places that the format does not have.
func New(o Options, files []File) (*Layout, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(identifier(a.Name), identifier(b.Name)) })
	var names []string
	for _, f := range files {
		if err := f.check(o.Size, Reserved(len(files))); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Name, err)
		}
		if slices.Contains(names, f.Name) {
			return nil, fmt.Errorf("file %s is there twice: %w", f.Name, fs.ErrInvalid)
		}
		names = append(names, f.Name)
	}
	root := rootDirectory(files)
	l := &Layout{}
	l.put(sectorPrimary, primary(o, len(root)))
	if o.Boot != 0 {
		l.put(sectorBoot, bootRecord())
		l.put(sectorCatalog, catalog(o.Boot))
	} else {
		l.put(sectorBoot, terminator())
	}
	l.put(sectorEnd, terminator())
	l.put(sectorTableLE, pathTable(binary.LittleEndian))
	l.put(sectorTableBE, pathTable(binary.BigEndian))
	l.put(sectorRoot, root)
	return l, nil
}

func (l *Layout) put(sector int64, data []byte) {
	l.Extents = append(l.Extents, Extent{sector * SectorSize, data})
}

func (o Options) check() error {
	switch {
	case len(o.Label) > 32 || strings.Trim(o.Label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "":
		return fmt.Errorf("label %q: want at most 32 capitals, digits and _: %w", o.Label, fs.ErrInvalid)
	case o.Size%SectorSize != 0 || o.Size/SectorSize > 1<<32-1 || o.Size < sectorRoot*SectorSize:
		return fmt.Errorf("a medium of %d bytes: %w", o.Size, fs.ErrInvalid)
	case o.Boot%SectorSize != 0 || o.Boot < 0 || o.Boot >= o.Size:
		return fmt.Errorf("a boot partition at %d: %w", o.Boot, fs.ErrInvalid)
	}
	return nil
}

func (f File) check(medium, reserved int64) error {
	stem, extension, _ := strings.Cut(f.Name, ".")
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	switch {
	case stem == "" || len(stem)+len(extension) > 30 || strings.Trim(stem+extension, allowed) != "" || strings.HasSuffix(f.Name, "."):
		return fmt.Errorf("the format has no such name: %w", fs.ErrInvalid)
	case f.Size < 0 || f.Size > 1<<32-1:
		return fmt.Errorf("%d bytes; at most 4 GiB - 1: %w", f.Size, fs.ErrInvalid)
	case f.Offset%SectorSize != 0 || f.Offset < reserved || f.Offset+f.Size > medium:
		return fmt.Errorf("%d bytes at %d: %w", f.Size, f.Offset, fs.ErrInvalid)
	}
	return nil
}

// identifier is a file's name as it is stored: always with a dot, and the version 1.
func identifier(name string) string {
	if !strings.Contains(name, ".") {
		name += "."
	}
	return strings.ToUpper(name) + ";1"
}

// both writes a number in both byte orders, as the format has it.
func both16(b []byte, n uint16) {
	binary.LittleEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], n)
}

func both32(b []byte, n uint32) {
	binary.LittleEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], n)
}

// record is a directory record (ECMA-119, 9.1). Its time of seven zero bytes is "not specified".
func record(name string, offset, size int64, dir bool) []byte {
	b := make([]byte, (33+len(name)+1)/2*2)
	b[0] = byte(len(b))
	both32(b[2:], uint32(offset/SectorSize))
	both32(b[10:], uint32(size))
	if dir {
		b[25] = 2
	}
	both16(b[28:], 1)
	b[32] = byte(len(name))
	copy(b[33:], name)
	return b
}

// rootDirectory is the root's content. No record crosses the end of a sector.
func rootDirectory(files []File) []byte {
	size := rootSize(len(files))
	const at = sectorRoot * SectorSize
	b := append(record("\x00", at, size, true), record("\x01", at, size, true)...)
	for _, f := range files {
		r := record(identifier(f.Name), f.Offset, f.Size, false)
		if room := SectorSize - len(b)%SectorSize; len(r) > room {
			b = append(b, make([]byte, room)...)
		}
		b = append(b, r...)
	}
	return append(b, make([]byte, int(size)-len(b))...)
}

// descriptor is the beginning of a volume descriptor (ECMA-119, 8).
func descriptor(kind byte) []byte {
	b := make([]byte, SectorSize)
	b[0] = kind
	copy(b[1:], "CD001\x01")
	return b
}

func terminator() []byte { return descriptor(255) }

// pathTableSize is that of a table with the root alone.
const pathTableSize = 10

func primary(o Options, rootSize int) []byte {
	b := descriptor(1)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			b[i] = ' '
		}
	}
	blank(8, 72)
	copy(b[40:72], o.Label)
	both32(b[80:], uint32(o.Size/SectorSize))
	both16(b[120:], 1)
	both16(b[124:], 1)
	both16(b[128:], SectorSize)
	both32(b[132:], pathTableSize)
	binary.LittleEndian.PutUint32(b[140:], sectorTableLE)
	binary.BigEndian.PutUint32(b[148:], sectorTableBE)
	copy(b[156:], record("\x00", sectorRoot*SectorSize, int64(rootSize), true))
	blank(190, 813)
	for _, at := range []int{813, 830, 847, 864} { // times: sixteen digits and a zone; all "0" is "not specified"
		copy(b[at:], "0000000000000000")
	}
	b[881] = 1
	return b
}

// pathTable is the table of directories (ECMA-119, 9.4) in one byte order.
func pathTable(order binary.ByteOrder) []byte {
	b := make([]byte, pathTableSize)
	b[0] = 1
	order.PutUint32(b[2:], sectorRoot)
	order.PutUint16(b[6:], 1)
	return b
}

func bootRecord() []byte {
	b := descriptor(0)
	copy(b[7:], "EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], sectorCatalog)
	return b
}

// catalog is the boot catalog: one entry for UEFI, without emulation.
func catalog(boot int64) []byte {
	b := make([]byte, SectorSize)
	le := binary.LittleEndian
	const efi = 0xef
	b[0], b[1], b[30], b[31] = 1, efi, 0x55, 0xaa
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += le.Uint16(b[i:])
	}
	le.PutUint16(b[28:], -sum)
	e := b[32:]
	e[0] = 0x88
	le.PutUint16(e[6:], 1) // 0 and 1 mean: to the end of the medium (UEFI, 13.3.2.1)
	le.PutUint32(e[8:], uint32(boot/SectorSize))
	return b
}
