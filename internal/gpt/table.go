package gpt

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
)

// Align is where partitions begin and end, in bytes.
const Align = 1 << 20

const (
	entryCount = 128 // entries of the tables that this package makes
	entrySize  = 128
)

// Causes of errors.
var (
	// ErrNone says that a disk has no GUID partition table.
	ErrNone = errors.New("no GUID partition table")
	// ErrCorrupt says that it has one, and that neither the primary nor the backup is whole.
	ErrCorrupt = errors.New("damaged GUID partition table")
	// ErrNoSpace says that there is no free range that is large enough.
	ErrNoSpace = errors.New("no space")
)

// Partition is one used entry.
type Partition struct {
	Number     int // from 1, as Linux counts them
	Label      string
	Type       GUID
	GUID       GUID
	Offset     int64 // bytes from the beginning of the disk
	Size       int64 // bytes
	Attributes uint64
}

// End returns the first byte behind p.
func (p Partition) End() int64 { return p.Offset + p.Size }

// Table is a partition table. Partitions are in the order of their numbers.
type Table struct {
	Disk       GUID
	SectorSize int
	Size       int64 // of the disk, in bytes
	Partitions []Partition

	// Of a table that was read: FromBackup says that the primary is damaged; Moved that the backup is not at the end of the
	// disk, as after an image was written to a larger disk. Encode repairs both.
	FromBackup bool
	Moved      bool

	entries int // that the table has room for, if not entryCount
}

// New returns an empty table for a disk of that many bytes. Sectors have 512 or 4096 bytes.
func New(disk GUID, size int64, sectorSize int) (*Table, error) {
	t := &Table{Disk: disk, SectorSize: sectorSize, Size: size}
	if sectorSize != 512 && sectorSize != 4096 {
		return nil, fmt.Errorf("make partition table: sectors of %d bytes; expected 512 or 4096", sectorSize)
	}
	if size < 4*Align {
		return nil, fmt.Errorf("make partition table: %w: the disk has %d bytes; expected at least %d", ErrNoSpace, size, 4*Align)
	}
	return t, nil
}

func (t *Table) entryCount() int { return max(t.entries, entryCount) }

// tableBytes is what the entries take, in whole sectors.
func (t *Table) tableBytes() int64 {
	s := int64(t.SectorSize)
	return (int64(t.entryCount())*entrySize + s - 1) / s * s
}

// sectors is the number of whole sectors of the disk.
func (t *Table) sectors() int64 { return t.Size / int64(t.SectorSize) }

// firstUsable and endUsable are bytes: between them partitions may lie.
func (t *Table) firstUsable() int64 { return 2*int64(t.SectorSize) + t.tableBytes() }
func (t *Table) endUsable() int64 {
	return (t.sectors()-1)*int64(t.SectorSize) - t.tableBytes()
}

// Range is a part of a disk, in bytes.
type Range struct{ Offset, Size int64 }

// Free returns the ranges in which partitions can be made, on bounds of Align, in the order of the disk.
func (t *Table) Free() []Range {
	sorted := slices.Clone(t.Partitions)
	slices.SortFunc(sorted, func(a, b Partition) int { return int((a.Offset - b.Offset) >> 9) })
	var free []Range
	at := t.firstUsable()
	add := func(end int64) {
		from := (at + Align - 1) / Align * Align
		if to := end / Align * Align; to > from {
			free = append(free, Range{from, to - from})
		}
	}
	for _, p := range sorted {
		add(p.Offset)
		at = max(at, p.End())
	}
	add(t.endUsable())
	return free
}

// Add makes a partition of size bytes, which are rounded up to Align, in the first free range that is large enough, with the lowest
// free number. A size of zero takes all of the largest range. It returns ErrNoSpace, and the largest free size, if there is none.
func (t *Table) Add(label string, kind, guid GUID, size int64) (Partition, error) {
	if n := len(utf16.Encode([]rune(label))); n > 36 {
		return Partition{}, fmt.Errorf("add partition %s: the label has %d characters; expected at most 36", label, n)
	}
	free := t.Free()
	var largest Range
	for _, r := range free {
		if r.Size > largest.Size {
			largest = r
		}
	}
	at := largest
	if size > 0 {
		size = (size + Align - 1) / Align * Align
		i := slices.IndexFunc(free, func(r Range) bool { return r.Size >= size })
		if i < 0 {
			return Partition{}, fmt.Errorf("add partition %s of %d bytes: %w: the largest free range has %d", label, size, ErrNoSpace, largest.Size)
		}
		at = Range{free[i].Offset, size}
	}
	if at.Size == 0 {
		return Partition{}, fmt.Errorf("add partition %s: %w: nothing is free", label, ErrNoSpace)
	}
	number := 1
	for slices.ContainsFunc(t.Partitions, func(p Partition) bool { return p.Number == number }) {
		number++
	}
	if number > t.entryCount() {
		return Partition{}, fmt.Errorf("add partition %s: all %d entries of the table are used", label, t.entryCount())
	}
	p := Partition{Number: number, Label: label, Type: kind, GUID: guid, Offset: at.Offset, Size: at.Size}
	t.insert(p)
	return p, nil
}

func (t *Table) insert(p Partition) {
	i, _ := slices.BinarySearchFunc(t.Partitions, p.Number, func(q Partition, n int) int { return q.Number - n })
	t.Partitions = slices.Insert(t.Partitions, i, p)
}

// Find returns the first partition with a label.
func (t *Table) Find(label string) (Partition, bool) {
	i := slices.IndexFunc(t.Partitions, func(p Partition) bool { return p.Label == label })
	if i < 0 {
		return Partition{}, false
	}
	return t.Partitions[i], true
}

// Remove takes a partition out of the table, and reports whether it was there.
func (t *Table) Remove(number int) bool {
	n := len(t.Partitions)
	t.Partitions = slices.DeleteFunc(t.Partitions, func(p Partition) bool { return p.Number == number })
	return len(t.Partitions) < n
}

// Room returns how large a partition can be where it begins: to the next one, or to the end of the disk, on a bound of Align. It is
// never less than what the partition has.
func (t *Table) Room(number int) int64 {
	for _, p := range t.Partitions {
		if p.Number != number {
			continue
		}
		end := t.endUsable() / Align * Align
		for _, q := range t.Partitions {
			if q.Offset >= p.End() {
				end = min(end, q.Offset/Align*Align)
			}
		}
		return max(p.Size, end-p.Offset)
	}
	return 0
}

// Resize gives a partition a size in bytes, which are rounded down to Align unless it is all the room that there is. It never makes
// it smaller: what lies in it may need the space.
func (t *Table) Resize(number int, size int64) error {
	room := t.Room(number)
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if p.Number != number {
			continue
		}
		if size != room {
			size = size / Align * Align
		}
		if size < p.Size || size > room {
			return fmt.Errorf("resize partition %d (%s) to %d bytes: %w: it has %d and can have at most %d", number, p.Label, size, ErrNoSpace, p.Size, room)
		}
		p.Size = size
		return nil
	}
	return fmt.Errorf("resize partition %d: it is not in the table", number)
}
