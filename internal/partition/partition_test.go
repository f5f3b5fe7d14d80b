package partition

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"talos.internal/internal/gpt"
)

// disk is one in memory, with what the kernel was told of it.
type disk struct {
	b    []byte
	told []string
}

func newDisk() *disk { return &disk{b: make([]byte, 64<<20)} }

func (d *disk) ReadAt(p []byte, off int64) (int, error)  { return bytes.NewReader(d.b).ReadAt(p, off) }
func (d *disk) WriteAt(p []byte, off int64) (int, error) { return copy(d.b[off:], p), nil }
func (d *disk) Sync() error                              { return nil }
func (d *disk) Size() int64                              { return int64(len(d.b)) }
func (d *disk) SectorSize() int                          { return 512 }

func (d *disk) Reread(context.Context) error { return d.tell("reread") }
func (d *disk) AddPartition(number int, offset, size int64) error {
	return d.tell("add %d: %d MiB at %d", number, size>>20, offset>>20)
}
func (d *disk) ResizePartition(number int, _, size int64) error {
	return d.tell("resize %d: %d MiB", number, size>>20)
}
func (d *disk) RemovePartition(number int) error { return d.tell("remove %d", number) }

func (d *disk) tell(format string, args ...any) error {
	d.told = append(d.told, fmt.Sprintf(format, args...))
	return nil
}

var _ io.ReaderAt = (*disk)(nil)

func TestPartitionsOfADiskInUse(t *testing.T) {
	d := newDisk()
	// What lay there once is not found in the partition.
	copy(d.b[1<<20:], "LUKS\xba\xbe")
	copy(d.b[5<<20-6:], "the end")
	for _, label := range []string{"a", "b"} {
		if err := Create(t.Context(), d, label, gpt.TypeLinux, 4<<20+100); err != nil {
			t.Fatal(err)
		}
	}
	if len(bytes.Trim(d.b[1<<20:5<<20], "\x00")) > 0 {
		t.Error("the new partition has something")
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want string
	}{
		{"a label that is taken", func() error { return Create(t.Context(), d, "b", gpt.TypeLinux, 1<<20) }, "make partition b: partition 2 has that label"},
		{"no space", func() error { return Create(t.Context(), d, "c", gpt.TypeLinux, 1<<30) }, "make partition c: "},
		{"growing into another", func() error { return Grow(d, 1, 8<<20) }, "grow partition 1: "},
		{"a partition that is not there", func() error { return Drop(d, 7) }, "drop partition 7: it is not in the table"},
	} {
		before := bytes.Clone(d.b)
		if err := tc.do(); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %q", tc.name, err, tc.want)
		}
		if !bytes.Equal(before, d.b) {
			t.Errorf("%s: the disk was changed", tc.name)
		}
	}
	if err := Grow(d, 2, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := Drop(d, 1); err != nil {
		t.Fatal(err)
	}
	if want := []string{"reread", "add 2: 4 MiB at 5", "resize 2: 8 MiB", "remove 1"}; !slices.Equal(d.told, want) {
		t.Errorf("the kernel was told %q; want %q", d.told, want)
	}
	table, err := gpt.Read(d, d.Size(), 512)
	if err != nil || len(table.Partitions) != 1 || table.Partitions[0].Label != "b" || table.Partitions[0].Size != 8<<20 {
		t.Errorf("the table: %+v, %v", table, err)
	}
}

func TestADiskThatHasSomethingIsLeftAlone(t *testing.T) {
	d := newDisk()
	copy(d.b, "LUKS\xba\xbe\x00\x02")
	before := bytes.Clone(d.b)
	if err := Create(t.Context(), d, "a", gpt.TypeLinux, 1<<20); err == nil || !strings.Contains(err.Error(), "the disk has luks, which is not overwritten") {
		t.Errorf("Create = %v", err)
	}
	if !bytes.Equal(before, d.b) {
		t.Error("the disk was changed")
	}
}
