package superblock

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/gpt"
	"talos.internal/internal/metastore"
)

const anUUID = "11111111-2222-3333-4444-555555555555"

// Each file of testdata is the beginning of what the usual tool made (mkfs.xfs 6.1, mke2fs 1.47, mkfs.btrfs 6.2, dosfstools 4.2, mkswap
// 2.38, cryptsetup 2.6, mksquashfs 4.5, mkfs.erofs 1.5, genisoimage 1.1, ntfs-3g 2022.10, exfatprogs 1.2, lvm2 2.03, sfdisk 2.38).
var samples = []struct {
	file string
	size int64
	want Found
}{
	{"xfs", 320 << 20, Found{Name: "xfs", UUID: anUUID, Label: "data", Size: 320 << 20, Sector: 512, BlockSize: 4096}},
	{"ext4", 64 << 20, Found{Name: "ext4", UUID: anUUID, Label: "data", Size: 64 << 20, Sector: 1024, BlockSize: 1024}},
	{"ext3", 16 << 20, Found{Name: "ext3", UUID: anUUID, Label: "data", Size: 16 << 20, Sector: 1024, BlockSize: 1024}},
	{"ext2", 16 << 20, Found{Name: "ext2", UUID: anUUID, Label: "data", Size: 16 << 20, Sector: 1024, BlockSize: 1024}},
	{"btrfs", 128 << 20, Found{Name: "btrfs", UUID: anUUID, Label: "data", Size: 128 << 20, Sector: 4096, BlockSize: 4096}},
	{"vfat32", 64 << 20, Found{Name: "vfat", UUID: "1234-ABCD", Label: "DATA", Size: 64 << 20, Sector: 512, BlockSize: 512}},
	{"vfat16", 16 << 20, Found{Name: "vfat", UUID: "1234-ABCD", Label: "cidata", Size: 16 << 20, Sector: 512, BlockSize: 2048}},
	{"swap", 16 << 20, Found{Name: "swap", UUID: anUUID, Label: "data", Size: 16 << 20, Sector: 4096, BlockSize: 4096}},
	{"luks2", 32 << 20, Found{Name: "luks", UUID: anUUID, Label: "data"}},
	{"luks1", 32 << 20, Found{Name: "luks", UUID: anUUID}},
	{"lvm2-pv", 16 << 20, Found{Name: "lvm2-pv", UUID: "abcdef-0123-4567-89ab-cdef-0123-456789", Size: 16 << 20}},
	{"squashfs", 4096, Found{Name: "squashfs", Size: 226, BlockSize: 128 << 10}},
	{"erofs", 4096, Found{Name: "erofs", UUID: anUUID, Size: 4096, Sector: 4096, BlockSize: 4096}},
	{"iso9660", 360448, Found{Name: "iso9660", UUID: "2026-11-28-16-49-54-00", Label: "TALOS", Size: 360448, Sector: 2048, BlockSize: 2048}},
	{"ntfs", 16 << 20, Found{Name: "ntfs"}},
	{"exfat", 16 << 20, Found{Name: "exfat"}},
	{"dos", 16 << 20, Found{Name: "dos", UUID: "1234abcd"}},
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sparse is a range of size bytes with a few pieces that are not zero.
type sparse struct {
	size   int64
	pieces map[int64][]byte
}

func (s sparse) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < 0 || off+int64(len(b)) > s.size {
		return 0, io.ErrUnexpectedEOF
	}
	for at, p := range s.pieces {
		for i, c := range p {
			if n := at + int64(i) - off; n >= 0 && n < int64(len(b)) {
				b[n] = c
			}
		}
	}
	return len(b), nil
}

func TestWhatToolsMadeIsRecognised(t *testing.T) {
	for _, tc := range samples {
		t.Run(tc.file, func(t *testing.T) {
			got, ok, err := Probe(sparse{tc.size, map[int64][]byte{0: sample(t, tc.file)}}, tc.size, 512)
			if err != nil || !ok {
				t.Fatalf("Probe = %v, %v, %v", got, ok, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingIsRecognisedWhereNothingIs(t *testing.T) {
	for _, size := range []int64{0, 100, 512, 70_000, 1 << 30} {
		if got, ok, err := Probe(sparse{size: size}, size, 512); ok || err != nil {
			t.Errorf("Probe of %d zero bytes = %v, %v, %v", size, got, ok, err)
		}
	}
	noise := bytes.Repeat([]byte{0x5a, 0x01, 0xff, 0x80}, 100_000)
	if got, ok, err := Probe(bytes.NewReader(noise), int64(len(noise)), 512); ok || err != nil {
		t.Errorf("Probe of noise = %v, %v, %v", got, ok, err)
	}
}

func TestRAIDAtAnyOfItsPlaces(t *testing.T) {
	super := make([]byte, 4096)
	copy(super, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")
	for i := range 16 {
		super[16+i] = byte(i)
	}
	copy(super[32:], "host:name")
	old := make([]byte, 4096)
	copy(old, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00")
	old[20] = 1
	const size = 100<<20 + 512
	for at, b := range map[int64][]byte{0: super, 4096: super, (size - 8192) &^ 4095: super, size&^65535 - 65536: old} {
		got, ok, err := Probe(sparse{size, map[int64][]byte{at: b}}, size, 512)
		if err != nil || !ok || got.Name != "linux_raid_member" || got.UUID == "" {
			t.Errorf("superblock at %d: %+v, %v, %v", at, got, ok, err)
		}
	}
}

func TestTables(t *testing.T) {
	const size = 64 << 20
	table, err := gpt.New(gpt.DeriveGUID("s", "disk"), size, 512)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"EFI", ""} {
		if _, err := table.Add(l, gpt.TypeLinux, gpt.DeriveGUID("s", l), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	d := sparse{size, map[int64][]byte{}}
	for _, w := range table.Encode() {
		d.pieces[w.Offset] = w.Data
	}
	got, ok, err := Probe(d, size, 512)
	if err != nil || !ok || got.Name != "gpt" || got.UUID != table.Disk.String() || len(got.Table.Partitions) != 2 {
		t.Fatalf("Probe = %+v, %v, %v", got, ok, err)
	}
	if s := got.String(); s != `gpt with 1 "EFI", 2` {
		t.Errorf("String = %s", s)
	}
	d.pieces[512+100] = []byte{1} // behind what the checksum covers: harmless
	d.pieces[512+60], d.pieces[size-512+60] = []byte{0xee}, []byte{0xee}
	for range 8 { // the order of the pieces is random: both are damaged at some time
		if got, ok, err = Probe(d, size, 512); err != nil || !ok || got.Name != "gpt" {
			t.Errorf("damaged: %+v, %v, %v", got, ok, err)
		}
	}
	// An ISO that can be put on a stick has both.
	iso := sample(t, "iso9660")
	d.pieces = map[int64][]byte{}
	for _, w := range table.Encode() {
		d.pieces[w.Offset] = w.Data
	}
	d.pieces[32<<10] = iso[32<<10:]
	if got, _, _ := Probe(d, size, 512); got.Name != "iso9660" {
		t.Errorf("ISO with a table is %s; want iso9660", got.Name)
	}
}

func TestOurOwnMetaAndOthers(t *testing.T) {
	m, err := metastore.Encode(metastore.Values{6: "A"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	secondLUKS := make([]byte, 64<<10)
	copy(secondLUKS[16<<10:], "SKUL\xba\xbe\x00\x02")
	copy(secondLUKS[16<<10+168:], anUUID)
	uber := make([]byte, 256<<10)
	copy(uber[132<<10:], "\x0c\xb1\xba\x00\x00\x00\x00\x00")
	ap := make([]byte, 4096)
	copy(ap[32:], "NXSB\x00\x10\x00\x00")
	for name, b := range map[string][]byte{
		"talosmeta": m, "luks": secondLUKS, "zfs": uber, "apfs": ap, "bitlocker": []byte("\xeb\x58\x90-FVE-FS-"),
		"bluestore": []byte("bluestore block device\n" + anUUID + "\n"),
	} {
		got, ok, err := Probe(sparse{1 << 20, map[int64][]byte{0: b}}, 1<<20, 512)
		if err != nil || !ok || got.Name != name {
			t.Errorf("%s: %+v, %v, %v", name, got, ok, err)
		}
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

func TestAReadThatFailsIsAnErrorAndNotNothing(t *testing.T) {
	if _, ok, err := Probe(broken{}, 1<<20, 512); ok || err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("Probe = %v, %v", ok, err)
	}
}

// A cut of power in the middle of mkfs leaves what no kernel mounts: a machine whose first start was cut had no EPHEMERAL for ever.
func TestAnUnfinishedFileSystemIsNone(t *testing.T) {
	whole := sample(t, "xfs")
	cut := bytes.Clone(whole)
	cut[126] = 1
	for _, tc := range []struct {
		name string
		b    []byte
		want bool
	}{{"whole", whole, false}, {"cut", cut, true}, {"empty", make([]byte, 1<<20), false}, {"short", nil, false}} {
		unfinished, err := Unfinished(bytes.NewReader(tc.b))
		if err != nil || unfinished != tc.want {
			t.Errorf("%s: Unfinished = %t, %v; want %t", tc.name, unfinished, err, tc.want)
		}
		if _, ok, err := Probe(bytes.NewReader(tc.b), int64(len(tc.b)), 512); err != nil || ok != (tc.name == "whole") {
			t.Errorf("%s: Probe = %t, %v", tc.name, ok, err)
		}
	}
}

func FuzzProbe(f *testing.F) {
	for _, s := range samples {
		f.Add(sample(f, s.file))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _, err := Probe(bytes.NewReader(b), int64(len(b)), 512)
		if err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprint(got.String(), got.UUID); strings.ContainsAny(s, "\x00\n\x1b") {
			t.Errorf("%q would disturb a console", s)
		}
	})
}
