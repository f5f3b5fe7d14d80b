package superblock

import (
	"errors"
	"fmt"
	"io"

	"talos.internal/internal/gpt"
)

// Found is what was recognised.
type Found struct {
	Name      string // such as "xfs", "luks" or "gpt"
	UUID      string // as Linux prints it in /dev/disk/by-uuid; empty if the format has none
	Label     string
	Size      uint64     // bytes, as the format says; 0 if it does not
	Sector    uint32     // least unit of its I/O in bytes; 0 if it does not say
	BlockSize uint32     // of the file system in bytes; 0 if it does not say
	Table     *gpt.Table // of a "gpt"
}

// String returns f as a person is told of it: `xfs file system "data"`.
func (f Found) String() string {
	s := f.Name
	if f.Label != "" {
		s += fmt.Sprintf(" %q", f.Label)
	}
	if f.Table != nil {
		s += " with"
		if len(f.Table.Partitions) == 0 {
			s += " no partitions"
		}
		for i, p := range f.Table.Partitions {
			if i > 0 {
				s += ","
			}
			if i == 8 {
				return s + " …"
			}
			s += fmt.Sprintf(" %d", p.Number)
			if p.Label != "" {
				s += fmt.Sprintf(" %q", p.Label)
			}
		}
	}
	return s
}

// Where superblocks are.
const (
	headSize = 256 << 10 // the farthest is that of ZFS
	pageSize = 4096      // of the machines that made a swap space
)

// A parser looks at the beginning of a range. It may be shorter than what the parser would like to see.
type parser func(head []byte) (Found, bool)

// parsers are tried in this order. What leaves bytes where others are looked for comes before them: the boot sectors of other systems
// and file systems before vfat and MBR, which are recognised by little.
var parsers = []parser{
	luks, lvm, bluestore, meta,
	xfs, ext, btrfs, squashfs, erofs, zfs, swap, apfs, bootSector, vfat, mbr,
}

// Probe says what is on a range of size bytes on a device with that sector size; ok is false if nothing is recognised. The error is the
// reader's.
func Probe(r io.ReaderAt, size int64, sectorSize int) (found Found, ok bool, err error) {
	head := make([]byte, min(headSize, max(size, 0)))
	if n, err := r.ReadAt(head, 0); err != nil && (!errors.Is(err, io.EOF) || n == 0) {
		if len(head) == 0 {
			return Found{}, false, nil
		}
		return Found{}, false, fmt.Errorf("read the first %d bytes: %w", len(head), err)
	} else if n < len(head) {
		head = head[:n]
	}
	// An array and an ISO may have a partition table as well, which is then not what counts.
	f, ok, err := raid(r, head, size)
	if ok || err != nil {
		return f, ok, err
	}
	if f, ok := iso9660(head); ok {
		return f, true, nil
	}
	t, err := gpt.Read(r, size, sectorSize)
	switch {
	case err == nil:
		return Found{Name: "gpt", UUID: t.Disk.String(), Size: uint64(size), Table: t}, true, nil
	case errors.Is(err, gpt.ErrCorrupt):
		return Found{Name: "gpt", Label: "damaged", Size: uint64(size)}, true, nil
	case !errors.Is(err, gpt.ErrNone):
		return Found{}, false, err
	}
	f, ok = parse(head)
	return f, ok, nil
}

// parse tries the parsers that need no more than the beginning.
func parse(head []byte) (Found, bool) {
	for _, p := range parsers {
		if f, ok := p(head); ok {
			return f, true
		}
	}
	return Found{}, false
}
