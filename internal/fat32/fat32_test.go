package fat32

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

var options = Options{Size: 300 << 20, Offset: 1 << 20, SectorSize: 512, Label: "EFI", ID: 0x12345678, Time: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}

// content is what a file of that path and size has.
func content(path string, size int64) []byte {
	return bytes.Repeat([]byte(path+"\n"), int(size)/(len(path)+1)+1)[:size]
}

// render writes the extents to a file. It begins with rubbish where the tables and the data will be, as a used disk does.
func render(t *testing.T, o Options, files []File) *os.File {
	t.Helper()
	extents, err := Layout(o, files)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "fs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(o.Size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 2<<20), 0); err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		b := []byte(e.Data)
		switch {
		case e.Zero:
			b = make([]byte, e.Size)
		case e.File != "":
			b = content(e.File, e.Size)
		}
		if int64(len(b)) != e.Size {
			t.Fatalf("extent at %d says %d bytes and has %d", e.Offset, e.Size, len(b))
		}
		if _, err := f.WriteAt(b, e.Offset); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// readBack is a reader of FAT32 that knows nothing of the writer: it returns the files' sums by path.
func readBack(t *testing.T, f *os.File) map[string]string {
	t.Helper()
	at := func(off, n int64) []byte {
		b := make([]byte, n)
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		return b
	}
	le := binary.LittleEndian
	boot := at(0, 512)
	sector := int64(le.Uint16(boot[11:]))
	cluster := sector * int64(boot[13])
	fat := int64(le.Uint16(boot[14:])) * sector
	fatSize := int64(le.Uint32(boot[36:])) * sector
	data := fat + int64(boot[16])*fatSize
	read := func(first uint32) []byte {
		var b []byte
		for c := first; c < 0x0ffffff8; c = le.Uint32(at(fat+int64(c)*4, 4)) & 0x0fffffff {
			b = append(b, at(data+int64(c-2)*cluster, cluster)...)
		}
		return b
	}
	out := map[string]string{}
	var walk func(dir string, first uint32)
	walk = func(dir string, first uint32) {
		var long []uint16
		for b := read(first); len(b) > 0 && b[0] != 0; b = b[32:] {
			if b[11] == 0x0f {
				var part []uint16
				for _, o := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
					part = append(part, le.Uint16(b[o:]))
				}
				long = append(part, long...)
				continue
			}
			name := strings.TrimSpace(string(b[:8]))
			if ext := strings.TrimSpace(string(b[8:11])); ext != "" {
				name += "." + ext
			}
			if len(long) > 0 {
				s := string(utf16.Decode(long))
				name = strings.SplitN(s, "\x00", 2)[0]
				name = strings.TrimRight(name, "\uffff")
			}
			long = nil
			start := uint32(le.Uint16(b[20:]))<<16 | uint32(le.Uint16(b[26:]))
			switch {
			case b[11]&0x08 != 0:
				out["label"] = strings.TrimSpace(string(b[:11]))
			case name == "." || name == "..":
			case b[11]&0x10 != 0:
				walk(dir+name+"/", start)
			default:
				size := le.Uint32(b[28:])
				var c []byte
				if size > 0 {
					c = read(start)[:size]
				}
				out[dir+name] = fmt.Sprintf("%x", sha256.Sum256(c))
			}
		}
	}
	walk("", le.Uint32(boot[44:]))
	return out
}

var sample = []File{
	{"EFI/BOOT/BOOTX64.EFI", 100_000},
	{"EFI/Linux/talos-A.efi", 3 << 20},
	{"EFI/Linux/talos-B+3-0.efi", 4096},
	{"loader/loader.conf", 20},
	{"loader/entries.srel", 0},
	{"a file with a very long name, longer than two entries.text", 5},
	{"a file with a very long name, longer than three of them too.text", 6},
}

func TestFilesAreReadAsTheyWereGiven(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		o := options
		o.SectorSize = sector
		want := map[string]string{"label": "EFI"}
		for _, f := range sample {
			want[f.Path] = fmt.Sprintf("%x", sha256.Sum256(content(f.Path, f.Size)))
		}
		if diff := cmp.Diff(want, readBack(t, render(t, o, sample))); diff != "" {
			t.Errorf("sectors of %d (-want +got):\n%s", sector, diff)
		}
	}
}

func TestFilesCanBeAlignedInSmallClusters(t *testing.T) {
	o := options
	o.Size, o.ClusterSize, o.Align = 40<<20, 512, 2048
	want := map[string]string{"label": "EFI"}
	for _, f := range sample {
		want[f.Path] = fmt.Sprintf("%x", sha256.Sum256(content(f.Path, f.Size)))
	}
	f := render(t, o, sample)
	if diff := cmp.Diff(want, readBack(t, f)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if program, err := exec.LookPath("fsck.fat"); err == nil { // Debian: dosfstools
		if out, err := exec.Command(program, "-n", f.Name()).CombinedOutput(); err != nil {
			t.Errorf("fsck.fat: %v: %s", err, out)
		}
	}
	extents, err := Layout(o, sample)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		if e.File != "" && e.Offset%2048 != 0 {
			t.Errorf("%s begins at %d, no multiple of 2048", e.File, e.Offset)
		}
	}
	for name, change := range map[string]func(*Options){
		"clusters below a sector": func(o *Options) { o.ClusterSize = 256 }, "no power of two": func(o *Options) { o.ClusterSize = 1536 },
		"odd places": func(o *Options) { o.Align = 3000 }, "too small": func(o *Options) { o.ClusterSize = 1024 },
	} {
		o := o
		change(&o)
		if _, err := Layout(o, sample); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestADirectoryMayTakeSeveralClusters(t *testing.T) {
	var files []File
	for i := range 200 {
		files = append(files, File{fmt.Sprintf("many/long file name number %d", i), 10})
	}
	if got := len(readBack(t, render(t, options, files))); got != 201 {
		t.Errorf("%d names; want 200 and the label", got)
	}
}

// TestLayoutIsTheSameBytes holds the format: a change here is a change of what machines boot from.
func TestLayoutIsTheSameBytes(t *testing.T) {
	extents, err := Layout(options, sample)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, e := range extents {
		fmt.Fprintf(h, "%+v\n", e)
	}
	const want = "5e08a194f9d6f6ebb96f61ec9838cf6d57a8113ac5f448b18f0b59ed58f1da29"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("the layout's sum is %s; want %s", got, want)
	}
	if e := extents[len(extents)-1]; e.Offset != 0 || e.Zero {
		t.Errorf("the last extent is %d..; want the boot sector", e.Offset)
	}
}

func TestOthersRecogniseIt(t *testing.T) {
	out, err := exec.Command("blkid", "--probe", "--output", "export", render(t, options, sample).Name()).CombinedOutput()
	if err != nil {
		t.Fatalf("blkid: %v: %s", err, out)
	}
	for _, want := range []string{"LABEL=EFI\n", "UUID=1234-5678\n", "VERSION=FAT32\n", "TYPE=vfat\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("blkid says\n%s; want %s", out, want)
		}
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		o     func(*Options)
		files []File
		want  string
	}{
		{"small partition", func(o *Options) { o.Size = 100 << 20 }, nil, "too small"},
		{"too much", func(*Options) {}, []File{{"a", 400 << 20}}, "do not fit"},
		{"sector size", func(o *Options) { o.SectorSize = 1024 }, nil, "expected 512 or 4096"},
		{"file of 4 GiB", func(o *Options) { o.Size = 8 << 30 }, []File{{"a", 1 << 32}}, "at most"},
		{"a name twice", func(*Options) {}, []File{{"x/a", 1}, {"X/A", 1}}, "twice"},
		{"a file as a directory", func(*Options) {}, []File{{"a", 1}, {"a/b", 1}}, "twice"},
		{"a name that FAT lacks", func(*Options) {}, []File{{"a:b", 1}}, "no name on FAT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := options
			tc.o(&o)
			if _, err := Layout(o, tc.files); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Layout = %v; want %q", err, tc.want)
			}
		})
	}
}
