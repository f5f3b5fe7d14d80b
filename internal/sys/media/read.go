package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// ErrNone says that what was looked for is not there.
var ErrNone = errors.New("not there")

// The GUID partition table, UEFI specification 2.10, section 5.3.
const (
	gptSignature  = "EFI PART"
	gptHeaderSize = 92
	gptMaxEntries = 1024
	gptMaxEntry   = 4096
)

// PartitionUUIDs returns the unique GUIDs of the partitions of a disk, in lower case, by their numbers. size is the disk's in
// bytes. The table at the end serves if that at the beginning is damaged. Without a table the error wraps ErrNone.
func PartitionUUIDs(r io.ReaderAt, size int64) (map[int]string, error) {
	var errs []error
	for _, sector := range []int64{512, 4096} {
		for _, at := range []int64{sector, size - sector} {
			if at < sector || at+sector > size {
				continue
			}
			uuids, err := partitionTable(r, at, sector)
			if err == nil {
				return uuids, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, fmt.Errorf("read the partition table: %w", errors.Join(append(errs, ErrNone)...))
}

func partitionTable(r io.ReaderAt, at, sector int64) (map[int]string, error) {
	h := make([]byte, gptHeaderSize)
	if _, err := r.ReadAt(h, at); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	sum := le.Uint32(h[16:])
	if string(h[:8]) != gptSignature || le.Uint32(h[12:]) != gptHeaderSize {
		return nil, ErrNone
	}
	clear(h[16:20])
	if crc32.ChecksumIEEE(h) != sum {
		return nil, fmt.Errorf("the table at byte %d is damaged", at)
	}
	entries, count, each := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if count > gptMaxEntries || each < 128 || each > gptMaxEntry || entries > 1<<50 {
		return nil, fmt.Errorf("the table at byte %d has %d entries of %d bytes", at, count, each)
	}
	table := make([]byte, int(count)*int(each))
	if _, err := r.ReadAt(table, int64(entries)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(table) != le.Uint32(h[88:]) {
		return nil, fmt.Errorf("the entries of the table at byte %d are damaged", at)
	}
	uuids := map[int]string{}
	for n := range int(count) {
		e := table[n*int(each):]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue // its type says that it is unused
		}
		uuids[n+1] = guid(e[16:32])
	}
	return uuids, nil
}

// guid is the text of a GUID, whose first three parts are little-endian on the disk.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// Types of file systems, as mount(2) has them.
const (
	ISO9660  = "iso9660"
	SquashFS = "squashfs"
	EROFS    = "erofs"
	VFAT     = "vfat"
)

// FileSystem returns of which of the types above a file system is. If it is of none the error wraps ErrNone.
func FileSystem(r io.ReaderAt) (string, error) {
	for _, f := range []struct {
		kind, magic string
		at          int64
	}{
		{SquashFS, "hsqs", 0},
		{EROFS, "\xe2\xe1\xf5\xe0", 1024},
		{ISO9660, "\x01CD001", 32768},
		{VFAT, "FAT32   ", 82},
		{VFAT, "FAT16   ", 54},
		{VFAT, "FAT12   ", 54},
	} {
		b := make([]byte, len(f.magic))
		if _, err := r.ReadAt(b, f.at); err == nil && string(b) == f.magic {
			return f.kind, nil
		}
	}
	return "", fmt.Errorf("find out the type of the file system: %w", ErrNone)
}

// Label returns the label of a file system of the types ISO9660 and VFAT, without spaces at its end.
func Label(r io.ReaderAt, kind string) (string, error) {
	at, length := int64(0), 0
	switch kind {
	case ISO9660:
		at, length = 32768+40, 32 // ECMA-119, section 8.4.8
	case VFAT:
		at, length = 71, 11
		b := make([]byte, 8)
		if _, err := r.ReadAt(b, 82); err != nil || string(b) != "FAT32   " {
			at = 43
		}
	default:
		return "", fmt.Errorf("read the label of %s: %w", kind, ErrNone)
	}
	b := make([]byte, length)
	if _, err := r.ReadAt(b, at); err != nil {
		return "", fmt.Errorf("read the label of %s: %w", kind, err)
	}
	return strings.TrimRight(string(b), " \x00"), nil
}
