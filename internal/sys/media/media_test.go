package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// disk has a partition table of two partitions at both its ends.
func disk(sector int) []byte {
	le := binary.LittleEndian
	b := make([]byte, 100*sector)
	entries := make([]byte, 128*128)
	for n, first := range []byte{0x10, 0, 0x20} {
		if first == 0 {
			continue
		}
		e := entries[n*128:]
		e[0] = 1
		for i := range 16 {
			e[16+i] = first + byte(i)
		}
	}
	for _, at := range []struct{ header, entries int }{{1, 2}, {99, 60}} {
		h := make([]byte, gptHeaderSize)
		copy(h, gptSignature)
		le.PutUint32(h[12:], gptHeaderSize)
		le.PutUint64(h[72:], uint64(at.entries))
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		copy(b[at.header*sector:], h)
		copy(b[at.entries*sector:], entries)
	}
	return b
}

var uuids = map[int]string{1: "13121110-1514-1716-1819-1a1b1c1d1e1f", 3: "23222120-2524-2726-2829-2a2b2c2d2e2f"}

func TestPartitionsAreKnownByTheirGUIDs(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		b := disk(sector)
		got, err := PartitionUUIDs(bytes.NewReader(b), int64(len(b)))
		if d := cmp.Diff(uuids, got); d != "" || err != nil {
			t.Errorf("sectors of %d: (-want +got):\n%s, %v", sector, d, err)
		}
		b[sector+20]++
		got, err = PartitionUUIDs(bytes.NewReader(b), int64(len(b)))
		if d := cmp.Diff(uuids, got); d != "" || err != nil {
			t.Errorf("sectors of %d, the first table is damaged: (-want +got):\n%s, %v", sector, d, err)
		}
		b[61*sector]++
		if got, err := PartitionUUIDs(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("sectors of %d, both are damaged: %v", sector, got)
		}
	}
	if _, err := PartitionUUIDs(bytes.NewReader(make([]byte, 1<<20)), 1<<20); !errors.Is(err, ErrNone) {
		t.Errorf("no table: %v; want ErrNone", err)
	}
}

func image(size int, parts map[int]string) []byte {
	b := make([]byte, size)
	for at, text := range parts {
		copy(b[at:], text)
	}
	return b
}

func TestFileSystemsAreKnownByTheirSuperblocks(t *testing.T) {
	for _, tc := range []struct {
		name, kind, label string
		b                 []byte
	}{
		{"squashfs", SquashFS, "", image(4096, map[int]string{0: "hsqs"})},
		{"erofs", EROFS, "", image(4096, map[int]string{1024: "\xe2\xe1\xf5\xe0"})},
		{"iso9660", ISO9660, "TALOS", image(40960, map[int]string{32768: "\x01CD001", 32808: "TALOS                           "})},
		{"fat32", VFAT, "cidata", image(512, map[int]string{82: "FAT32   ", 71: "cidata     "})},
		{"fat16", VFAT, "CIDATA", image(512, map[int]string{54: "FAT16   ", 43: "CIDATA     "})},
	} {
		kind, err := FileSystem(bytes.NewReader(tc.b))
		if kind != tc.kind || err != nil {
			t.Errorf("%s: FileSystem() = %q, %v", tc.name, kind, err)
		}
		label, err := Label(bytes.NewReader(tc.b), kind)
		if label != tc.label || (tc.label == "") != errors.Is(err, ErrNone) {
			t.Errorf("%s: Label() = %q, %v", tc.name, label, err)
		}
	}
	if kind, err := FileSystem(bytes.NewReader(make([]byte, 100))); !errors.Is(err, ErrNone) {
		t.Errorf("FileSystem(zeros) = %q, %v; want ErrNone", kind, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(disk(512))
	f.Add(image(40960, map[int]string{32768: "\x01CD001"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := PartitionUUIDs(bytes.NewReader(b), int64(len(b)))
		if (got == nil) != (err != nil) {
			t.Errorf("PartitionUUIDs() = %v, %v", got, err)
		}
		if kind, err := FileSystem(bytes.NewReader(b)); err == nil {
			_, _ = Label(bytes.NewReader(b), kind)
		}
	})
}

func TestDevicesAreListedWithTheirPartitions(t *testing.T) {
	root := t.TempDir()
	for p, text := range map[string]string{
		"vda/size": "100\n", "vda/vda10/partition": "10\n", "vda/vda2/partition": "2\n", "vda/queue/x": "",
		"loop0/size": "0\n", "sr0/size": "8\n",
	} {
		file := filepath.Join(root, "sys/block", p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(root)
	want := []Device{{"sr0", 4096, nil}, {"vda", 51200, []Partition{{"vda2", 2}, {"vda10", 10}}}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("List() (-want +got):\n%s, %v", d, err)
	}
	if got, err := List(t.TempDir()); len(got) != 0 || err != nil {
		t.Errorf("List(no block devices) = %v, %v", got, err)
	}
}
