package gpt

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// disk is a disk in memory.
type disk []byte

func (d disk) ReadAt(b []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(b, off) }
func (d disk) put(w Write)                             { copy(d[w.Offset:], w.Data) }

const size = 16 << 20

func sample(t *testing.T, sector int) *Table {
	t.Helper()
	table, err := New(DeriveGUID("seed", "disk"), size, sector)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		label string
		kind  GUID
		size  int64
	}{{"EFI", TypeESP, 3 << 20}, {"META", TypeLinux, 1 << 20}, {"u-data ünïcode", TypeLinux, 0}} {
		if _, err := table.Add(p.label, p.kind, DeriveGUID("seed", p.label), p.size); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

func TestConstantsAreWell(t *testing.T) {
	for _, g := range []GUID{TypeESP, TypeLinux, TypeRoot, TypeSwap, TypeBIOS, TypeLVM, TypeRAID} {
		if g.IsZero() {
			t.Errorf("a type is zero")
		}
	}
	if _, err := ParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93"); err == nil {
		t.Error("a short GUID was parsed")
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		table := sample(t, sector)
		d := make(disk, size)
		for _, w := range table.Encode() {
			d.put(w)
		}
		got, err := Read(d, size, sector)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(table, got, cmpopts.IgnoreUnexported(Table{})); diff != "" {
			t.Errorf("sectors of %d: (-written +read)\n%s", sector, diff)
		}
		for _, p := range got.Partitions {
			if p.Offset%Align != 0 || p.End()%Align != 0 {
				t.Errorf("partition %v is not on bounds of %d", p, Align)
			}
		}
	}
}

// TestPowerCut replays each prefix of the writes of a change, with the last write torn in the middle of it.
func TestPowerCutLeavesTheTableFromBeforeOrAfter(t *testing.T) {
	before := sample(t, 512)
	after := sample(t, 512)
	after.Remove(3)
	if _, err := after.Add("STATE", TypeLinux, DeriveGUID("seed", "STATE"), 2<<20); err != nil {
		t.Fatal(err)
	}
	start := make(disk, size)
	for _, w := range before.Encode() {
		start.put(w)
	}
	writes := after.Encode()
	for n := range len(writes) + 1 {
		for _, torn := range []int{0, 512, 1024} {
			d := bytes.Clone(start)
			for _, w := range writes[:n] {
				disk(d).put(w)
			}
			if n < len(writes) && torn < len(writes[n].Data) {
				disk(d).put(Write{Offset: writes[n].Offset, Data: writes[n].Data[:torn]})
			}
			got, err := Read(disk(d), size, 512)
			if err != nil {
				t.Fatalf("%d writes, %d bytes of the next: %v", n, torn, err)
			}
			ignore := []cmp.Option{cmpopts.IgnoreUnexported(Table{}), cmpopts.IgnoreFields(Table{}, "FromBackup")}
			if !cmp.Equal(got, before, ignore...) && !cmp.Equal(got, after, ignore...) {
				t.Errorf("%d writes, %d bytes of the next: neither the table before nor after: %v", n, torn, got.Partitions)
			}
		}
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	whole := make(disk, size)
	for _, w := range sample(t, 512).Encode() {
		whole.put(w)
	}
	for _, tc := range []struct {
		name   string
		change func(disk) disk
		err    error
		backup bool
		moved  bool
	}{
		{"empty disk", func(disk) disk { return make(disk, size) }, ErrNone, false, false},
		{"primary header damaged", func(d disk) disk { d[512+60]++; return d }, nil, true, false},
		{"primary entries damaged", func(d disk) disk { d[1024+60]++; return d }, nil, true, false},
		{"primary gone", func(d disk) disk { clear(d[:4096]); return d }, nil, true, false},
		{"both damaged", func(d disk) disk { d[512+60]++; d[size-512+60]++; return d }, ErrCorrupt, false, false},
		{"both headers gone", func(d disk) disk { clear(d[:4096]); clear(d[size-512:]); return d }, ErrNone, false, false},
		{"larger disk", func(d disk) disk { return append(d, make(disk, size)...) }, nil, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := tc.change(bytes.Clone(whole))
			got, err := Read(d, int64(len(d)), 512)
			if !errors.Is(err, tc.err) {
				t.Fatalf("Read = %v; want %v", err, tc.err)
			}
			if err == nil && (got.FromBackup != tc.backup || got.Moved != tc.moved) {
				t.Errorf("Read: FromBackup %v, Moved %v; want %v, %v", got.FromBackup, got.Moved, tc.backup, tc.moved)
			}
		})
	}
}

func TestSpace(t *testing.T) {
	table := sample(t, 512)
	if free := table.Free(); len(free) != 0 {
		t.Errorf("Free = %v; want nothing", free)
	}
	if _, err := table.Add("more", TypeLinux, GUID{1}, 1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Add to a full disk = %v; want ErrNoSpace", err)
	}
	table.Remove(2)
	p, err := table.Add("again", TypeLinux, GUID{1}, 5)
	if err != nil || p.Number != 2 || p.Size != Align || p.Offset != 4<<20 {
		t.Errorf("Add into a gap = %+v, %v; want number 2 at 4 MiB, 1 MiB", p, err)
	}
	if _, err := table.Add(strings.Repeat("x", 37), TypeLinux, GUID{1}, 5); err == nil {
		t.Error("a label of 37 characters was taken")
	}

	table.Size *= 2
	if got, want := table.Room(3), int64(2*size-5<<20-Align); got != want {
		t.Errorf("Room on a larger disk = %d; want %d", got, want)
	}
	if err := table.Resize(3, 15<<20); err != nil {
		t.Error(err)
	}
	if err := table.Resize(3, 12<<20); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Resize to less = %v; want ErrNoSpace", err)
	}
	if err := table.Resize(1, 20<<20); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Resize into the next partition = %v; want ErrNoSpace", err)
	}
}

// TestOthersReadIt has the table read by util-linux, an implementation that is not ours.
func TestOthersReadIt(t *testing.T) {
	d := make(disk, size)
	for _, w := range sample(t, 512).Encode() {
		d.put(w)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, d, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("blkid", "--probe", "--output", "export", file).CombinedOutput()
	if err != nil {
		t.Fatalf("blkid: %v: %s", err, out)
	}
	if want := "PTUUID=" + DeriveGUID("seed", "disk").String() + "\nPTTYPE=gpt\n"; !strings.Contains(string(out), want) {
		t.Errorf("blkid says %s; want %s", out, want)
	}
}

func FuzzRead(f *testing.F) {
	table, err := New(GUID{1}, 4<<20, 512)
	if err != nil {
		f.Fatal(err)
	}
	d := make(disk, 4<<20)
	for _, w := range table.Encode() {
		d.put(w)
	}
	f.Add([]byte(d[:1024+16384]))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := make(disk, 64<<10)
		copy(d, b)
		fix(d)
		table, err := Read(d, int64(len(d)), 512)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Offset < 0 || p.Size <= 0 || p.End() > int64(len(d)) {
				t.Errorf("partition %+v is not on the disk", p)
			}
		}
		table.Free()
	})
}
