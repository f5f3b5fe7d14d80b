package iso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/superblock"
)

const size = 1 << 20

var update = flag.Bool("update", false, "rewrite golden files")

// render makes a medium whose files are their names, over and over.
func render(t *testing.T, o Options, files []File) []byte {
	t.Helper()
	l, err := New(o, files)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, o.Size)
	for _, f := range files {
		copy(b[f.Offset:f.Offset+f.Size], bytes.Repeat([]byte(f.Name), int(f.Size)))
	}
	for _, e := range l.Extents {
		if e.Offset < systemArea {
			t.Errorf("an extent at %d, where a partition table may be", e.Offset)
		}
		if end := e.Offset + int64(len(e.Data)); end > Reserved(len(files)) {
			t.Errorf("an extent ends at %d; reserved are %d", end, Reserved(len(files)))
		}
		copy(b[e.Offset:], e.Data)
	}
	return b
}

// readBack is a reader of the format that knows nothing of the writer. Of every number that is there in both byte orders it reads one
// and compares the other.
func readBack(t *testing.T, b []byte) (label string, files []string) {
	t.Helper()
	number := func(b []byte) int {
		n := binary.LittleEndian.Uint32(b)
		if n != binary.BigEndian.Uint32(b[4:]) {
			t.Errorf("%d in one byte order, %d in the other", n, binary.BigEndian.Uint32(b[4:]))
		}
		return int(n)
	}
	pvd := b[16*2048:]
	if string(pvd[:7]) != "\x01CD001\x01" || number(pvd[80:])*2048 != len(b) {
		t.Fatalf("volume descriptor %q", pvd[:7])
	}
	root := pvd[156:190]
	directory := b[number(root[2:])*2048:][:number(root[10:])]
	for at := 0; at < len(directory); {
		n := int(directory[at])
		if n == 0 { // the rest of the sector
			at = (at/2048 + 1) * 2048
			continue
		}
		r := directory[at : at+n]
		at += n
		name := string(r[33 : 33+r[32]])
		if r[25] == 2 {
			files = append(files, fmt.Sprintf("dir %q", name))
			continue
		}
		start := number(r[2:]) * 2048
		data := b[start : start+number(r[10:])]
		shown := strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(name, ";1")), ".") // as Linux does it
		files = append(files, fmt.Sprintf("%s %d %v", shown, len(data), bytes.HasPrefix(bytes.Repeat([]byte(shown), len(data)), data)))
	}
	return strings.TrimRight(string(pvd[40:72]), " "), files
}

func TestFilesAreReadAsTheyWereGiven(t *testing.T) {
	b := render(t, Options{Label: "TALOS", Size: size}, []File{
		{"user-data", 5000, 100 * 2048}, {"rootfs.img", 2048, 110 * 2048}, {"meta-data", 0, 120 * 2048}, {"a.efi", 1, 130 * 2048},
	})
	label, files := readBack(t, b)
	want := []string{`dir "\x00"`, `dir "\x01"`, "a.efi 1 true", "meta-data 0 true", "rootfs.img 2048 true", "user-data 5000 true"}
	if diff := cmp.Diff(want, files); diff != "" || label != "TALOS" {
		t.Errorf("label %s, files (-want +got):\n%s", label, diff)
	}
	found, ok, err := superblock.Probe(bytes.NewReader(b), int64(len(b)), 2048)
	if err != nil || !ok || found.Name != "iso9660" || found.Label != "TALOS" {
		t.Errorf("it is found to be %v, %v", found, err)
	}
}

func TestADirectoryMayTakeSeveralSectors(t *testing.T) {
	var files []File
	for i := range 100 {
		files = append(files, File{fmt.Sprintf("a-name-of-thirty-letters-%02d.txt", i), 1, 200 * 2048})
	}
	if _, got := readBack(t, render(t, Options{Label: "L", Size: size}, files)); len(got) != 102 {
		t.Errorf("%d names; want 100 and two of the directory", len(got))
	}
}

func TestTheFirmwareFindsItsPartition(t *testing.T) {
	b := render(t, Options{Label: "TALOS", Size: size, Boot: 300 * 2048}, nil)
	record := b[17*2048:]
	if string(record[:7]) != "\x00CD001\x01" || !bytes.HasPrefix(record[7:], []byte("EL TORITO SPECIFICATION\x00")) {
		t.Fatalf("boot record %q", record[:40])
	}
	catalog := b[binary.LittleEndian.Uint32(record[71:])*2048:][:64]
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(catalog[i:])
	}
	if sum != 0 || catalog[0] != 1 || catalog[1] != 0xef || catalog[30] != 0x55 || catalog[31] != 0xaa {
		t.Errorf("validation entry % x", catalog[:32])
	}
	if catalog[32] != 0x88 || binary.LittleEndian.Uint32(catalog[40:]) != 300 || binary.LittleEndian.Uint16(catalog[38:]) != 1 {
		t.Errorf("boot entry % x", catalog[32:])
	}
	if string(b[18*2048:][:7]) != "\xffCD001\x01" {
		t.Error("the list of descriptors has no end")
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	good := Options{Label: "TALOS", Size: size}
	ok := File{"a", 1, 300 * 2048}
	for _, c := range []struct {
		name  string
		o     Options
		files []File
	}{
		{"label in small letters", Options{Label: "talos", Size: size}, nil},
		{"half a sector", Options{Label: "TALOS", Size: size + 1}, nil},
		{"a boot partition behind the end", Options{Label: "TALOS", Size: size, Boot: size}, nil},
		{"a name in capitals", good, []File{{"A", 1, ok.Offset}}},
		{"two dots", good, []File{{"a.b.c", 1, ok.Offset}}},
		{"a folder", good, []File{{"a/b", 1, ok.Offset}}},
		{"a long name", good, []File{{strings.Repeat("a", 31), 1, ok.Offset}}},
		{"no name", good, []File{{"", 1, ok.Offset}}},
		{"a name twice", good, []File{ok, ok}},
		{"4 GiB", good, []File{{"a", 1 << 32, ok.Offset}}},
		{"between sectors", good, []File{{"a", 1, ok.Offset + 1}}},
		{"in the reserved part", good, []File{{"a", 1, 20 * 2048}}},
		{"behind the end", good, []File{{"a", size, ok.Offset}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(c.o, c.files); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("New = %v; want fs.ErrInvalid", err)
			}
		})
	}
}

// TestLayoutIsTheSameBytes holds the format: a change here is a change of what machines boot from.
func TestLayoutIsTheSameBytes(t *testing.T) {
	b := render(t, Options{Label: "TALOS", Size: size, Boot: 300 * 2048}, []File{{"uki.efi", 4, 301 * 2048}})
	var text strings.Builder
	for at := 0; at < len(b); at += 16 {
		if line := b[at : at+16]; len(bytes.Trim(line, "\x00")) > 0 {
			fmt.Fprintf(&text, "%06x % x\n", at, line)
		}
	}
	golden := filepath.Join("testdata", "layout.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
}
