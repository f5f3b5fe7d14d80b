package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

const (
	signature  = "EFI PART"
	headerSize = 92
	maxEntries = 1024 // that are believed: more than anything makes, and little to read
)

// Write is a part of a disk that has to be written. Flush says that all writes before it have to be on the disk before this one
// begins.
type Write struct {
	What   string // for a person
	Offset int64
	Data   []byte
	Flush  bool
}

// Encode returns what has to be written, in order, for the disk to have t. Another flush has to follow. Power that is cut in between
// leaves the table from before or t, whole, in one of the two places.
func (t *Table) Encode() []Write {
	s := int64(t.SectorSize)
	entries := make([]byte, t.tableBytes())
	for _, p := range t.Partitions {
		t.encodeEntry(entries[(p.Number-1)*entrySize:], p)
	}
	sum := crc32.ChecksumIEEE(entries[:t.entryCount()*entrySize])
	last := t.sectors() - 1
	backupAt := last*s - t.tableBytes()
	return []Write{
		{What: "backup partition entries", Offset: backupAt, Data: entries},
		{What: "backup partition table header", Offset: last * s, Data: t.header(last, 1, backupAt/s, sum)},
		{What: "protective MBR", Offset: 0, Data: t.protectiveMBR(), Flush: true},
		{What: "partition entries", Offset: 2 * s, Data: entries},
		{What: "partition table header", Offset: s, Data: t.header(1, last, 2, sum)},
	}
}

func (t *Table) header(self, other, entriesAt int64, sum uint32) []byte {
	b := make([]byte, t.SectorSize)
	le := binary.LittleEndian
	copy(b, signature)
	le.PutUint32(b[8:], 0x00010000)
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[24:], uint64(self))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], uint64(t.firstUsable()/int64(t.SectorSize)))
	le.PutUint64(b[48:], uint64(t.endUsable()/int64(t.SectorSize)-1))
	disk := t.Disk.swap()
	copy(b[56:], disk[:])
	le.PutUint64(b[72:], uint64(entriesAt))
	le.PutUint32(b[80:], uint32(t.entryCount()))
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], sum)
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}

func (t *Table) encodeEntry(b []byte, p Partition) {
	le := binary.LittleEndian
	kind, guid := p.Type.swap(), p.GUID.swap()
	copy(b, kind[:])
	copy(b[16:], guid[:])
	le.PutUint64(b[32:], uint64(p.Offset/int64(t.SectorSize)))
	le.PutUint64(b[40:], uint64(p.End()/int64(t.SectorSize)-1))
	le.PutUint64(b[48:], p.Attributes)
	for i, c := range utf16.Encode([]rune(p.Label)) {
		if i < 36 {
			le.PutUint16(b[56+2*i:], c)
		}
	}
}

// protectiveMBR says to what does not know the format that the whole disk is taken (UEFI specification, section 5.2.3).
func (t *Table) protectiveMBR() []byte {
	b := make([]byte, t.SectorSize)
	e := b[446:]
	copy(e[1:], []byte{0x00, 0x02, 0x00}) // first sector in the terms of 1983
	e[4] = 0xee
	copy(e[5:], []byte{0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(t.sectors()-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// Read reads the table of a disk of size bytes. The error is ErrNone or ErrCorrupt, or that of the reader.
func Read(r io.ReaderAt, size int64, sectorSize int) (*Table, error) {
	if sectorSize < 512 || sectorSize > 4096 || sectorSize&(sectorSize-1) != 0 {
		return nil, fmt.Errorf("read partition table: sectors of %d bytes", sectorSize)
	}
	last := size/int64(sectorSize) - 1
	if last < 4 {
		return nil, fmt.Errorf("read partition table: %w: the disk has %d bytes", ErrNone, size)
	}
	t, err := readAt(r, size, sectorSize, 1)
	if err == nil {
		return t, nil
	}
	backup, backupErr := readAt(r, size, sectorSize, last)
	if backupErr == nil {
		backup.FromBackup = true
		return backup, nil
	}
	if errors.Is(err, ErrNone) && !errors.Is(backupErr, ErrNone) {
		err = backupErr
	}
	return nil, fmt.Errorf("read partition table: %w", err)
}

func readAt(r io.ReaderAt, size int64, sectorSize int, lba int64) (*Table, error) {
	le := binary.LittleEndian
	s := int64(sectorSize)
	b := make([]byte, sectorSize)
	if _, err := r.ReadAt(b, lba*s); err != nil {
		return nil, fmt.Errorf("sector %d: %w", lba, err)
	}
	if string(b[:8]) != signature {
		return nil, ErrNone
	}
	n := le.Uint32(b[12:])
	if n < headerSize || n > uint32(sectorSize) {
		return nil, fmt.Errorf("%w: its header says that it has %d bytes", ErrCorrupt, n)
	}
	want := le.Uint32(b[16:])
	le.PutUint32(b[16:], 0)
	if crc32.ChecksumIEEE(b[:n]) != want {
		return nil, fmt.Errorf("%w: the checksum of the header in sector %d is wrong", ErrCorrupt, lba)
	}
	count, each := le.Uint32(b[80:]), le.Uint32(b[84:])
	if count == 0 || count > maxEntries || each != entrySize {
		return nil, fmt.Errorf("%w: %d entries of %d bytes", ErrCorrupt, count, each)
	}
	sectors, at := size/s, le.Uint64(b[72:])
	if at >= uint64(sectors) || int64(le.Uint64(b[24:])) != lba {
		return nil, fmt.Errorf("%w: the header in sector %d is that of sector %d, with entries at %d", ErrCorrupt, lba, le.Uint64(b[24:]), at)
	}
	entries := make([]byte, count*each)
	if _, err := r.ReadAt(entries, int64(at)*s); err != nil {
		return nil, fmt.Errorf("entries at sector %d: %w", at, err)
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(b[88:]) {
		return nil, fmt.Errorf("%w: the checksum of the entries at sector %d is wrong", ErrCorrupt, at)
	}
	t := &Table{SectorSize: sectorSize, Size: size, entries: int(count)}
	copy(t.Disk[:], b[56:72])
	t.Disk = t.Disk.swap()
	t.Moved = lba == 1 && le.Uint64(b[32:]) != uint64(sectors-1)
	for i := range int(count) {
		p, used, err := decodeEntry(entries[i*entrySize:], s, sectors)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrCorrupt, i+1, err)
		}
		if used {
			p.Number = i + 1
			t.Partitions = append(t.Partitions, p)
		}
	}
	return t, nil
}

func decodeEntry(b []byte, s, sectors int64) (Partition, bool, error) {
	var p Partition
	copy(p.Type[:], b[:16])
	copy(p.GUID[:], b[16:32])
	if p.Type.IsZero() {
		return p, false, nil
	}
	p.Type, p.GUID = p.Type.swap(), p.GUID.swap()
	le := binary.LittleEndian
	first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
	if first > last || last >= uint64(sectors) {
		return p, false, fmt.Errorf("sectors %d to %d of a disk of %d", first, last, sectors)
	}
	p.Offset, p.Size = int64(first)*s, int64(last-first+1)*s
	p.Attributes = le.Uint64(b[48:])
	var label []uint16
	for i := range 36 {
		c := le.Uint16(b[56+2*i:])
		if c == 0 {
			break
		}
		label = append(label, c)
	}
	p.Label = strings.ToValidUTF8(string(utf16.Decode(label)), "\uFFFD")
	return p, true, nil
}
