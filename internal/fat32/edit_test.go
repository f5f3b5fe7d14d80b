package fat32

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

var boot = []File{{"EFI/BOOT/BOOTX64.EFI", 150_000}, {"EFI/Linux/talos-A.efi", 1_000_000}, {"loader/loader.conf", 43}}

func apply(t *testing.T, f *os.File, extents []Extent) {
	t.Helper()
	for _, e := range extents {
		if int64(len(e.Data)) != e.Size {
			t.Fatalf("extent at %d says %d bytes and has %d", e.Offset, e.Size, len(e.Data))
		}
		if _, err := f.WriteAt([]byte(e.Data), e.Offset); err != nil {
			t.Fatal(err)
		}
	}
}

// clean has fsck.fat look at a file system, where it is installed, and our own walk always: what no file has is not taken.
func clean(t *testing.T, f *os.File) {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	readBack(t, f)
	if program, err := exec.LookPath("fsck.fat"); err == nil { // Debian: dosfstools
		if out, err := exec.Command(program, "-n", f.Name()).CombinedOutput(); err != nil && !bytes.Contains(out, []byte("Reclaimed")) {
			t.Errorf("fsck.fat: %v: %s", err, out)
		}
	}
}

func names(t *testing.T, f *FS, dir string) []string {
	t.Helper()
	list, err := f.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return out
}

func read(t *testing.T, f *FS, path string) []byte {
	t.Helper()
	b, err := f.ReadFile(path, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// add makes a file as an upgrade does.
func add(t *testing.T, f *os.File, path string, data []byte) {
	t.Helper()
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	first, at, tables, err := v.Place(int64(len(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, tables)
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
	dir, name, _ := strings.Cut(path, ":")
	entry, err := v.Put(dir, &New{Name: name, Size: int64(len(data)), Cluster: first, Time: time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(entry) != 1 || entry[0].Size != v.sector {
		t.Fatalf("an entry takes %d writes; want one of one sector", len(entry))
	}
	apply(t, f, entry)
}

func TestEditsAreWhatOthersRead(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		o := options
		o.SectorSize = sector
		f := render(t, o, boot)
		v, err := Open(f)
		if err != nil {
			t.Fatal(err)
		}
		b := bytes.Repeat([]byte("second slot\n"), 200_000)
		add(t, f, "EFI/Linux:talos-B+1.efi", b)
		clean(t, f)
		if got := names(t, v, "EFI/Linux"); !slices.Equal(got, []string{"talos-A.efi", "talos-B+1.efi"}) {
			t.Errorf("EFI/Linux has %q", got)
		}
		if !bytes.Equal(read(t, v, "efi/linux/TALOS-b+1.EFI"), b) {
			t.Error("the new file has other contents")
		}
		// It gets another name, as by the boot loader, and then its last.
		for _, name := range []string{"talos-B+0-1.efi", "talos-B.efi"} {
			list, err := v.List("EFI/Linux")
			if err != nil {
				t.Fatal(err)
			}
			old := list[slices.IndexFunc(list, func(e Entry) bool { return strings.HasPrefix(e.Name, "talos-B") })]
			x, err := v.Put("EFI/Linux", &New{Name: name, Size: old.Size, Cluster: old.Cluster, Time: time.Now()}, []Entry{old})
			if err != nil || len(x) != 1 {
				t.Fatalf("rename to %s: %d writes, %v", name, len(x), err)
			}
			apply(t, f, x)
			clean(t, f)
			if !bytes.Equal(read(t, v, "EFI/Linux/"+name), b) {
				t.Errorf("%s has other contents", name)
			}
		}
		// Its place is taken by another one.
		old, err := v.Lookup("EFI/Linux/talos-B.efi")
		if err != nil {
			t.Fatal(err)
		}
		x, err := v.Put("EFI/Linux", nil, []Entry{old})
		if err != nil || len(x) != 1 {
			t.Fatalf("remove: %d writes, %v", len(x), err)
		}
		apply(t, f, x)
		c := bytes.Repeat([]byte("third\n"), 500_000)
		add(t, f, "EFI/Linux:talos-B+1.efi", c)
		clean(t, f)
		if !bytes.Equal(read(t, v, "EFI/Linux/talos-B+1.efi"), c) || !bytes.Equal(read(t, v, "EFI/Linux/talos-A.efi"), content("EFI/Linux/talos-A.efi", 1_000_000)) {
			t.Error("contents are others after an upgrade in place")
		}
		if _, err := v.Overwrite("loader/loader.conf", "conf", "CONF"); err == nil {
			t.Error("text that is there many times was changed")
		}
		if _, err := v.Overwrite("EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTX64.EFI\nEFI/", "1234567890123456789012345"); err == nil {
			t.Error("text that is there many times was changed")
		}
	}
}

func TestAFullDirectoryAndAFullVolumeAreErrors(t *testing.T) {
	f := render(t, options, boot)
	v, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := v.Place(400<<20, nil); err == nil || !strings.Contains(err.Error(), "no free piece") {
		t.Errorf("Place of more than there is = %v", err)
	}
	if _, _, _, err := v.Place(0, nil); err == nil {
		t.Error("Place of nothing works")
	}
	for i := range 200 {
		x, err := v.Put("EFI/Linux", &New{Name: strings.Repeat("x", 10) + string(rune('A'+i%26)) + strings.Repeat("y", i/26+1)}, nil)
		if err != nil {
			if !strings.Contains(err.Error(), "free entries") || i < 2 {
				t.Errorf("file %d: %v", i, err)
			}
			clean(t, f)
			return
		}
		apply(t, f, x)
	}
	t.Error("a directory of one cluster holds 200 long names")
}

func TestLookupOfWhatIsNotThere(t *testing.T) {
	v, err := Open(render(t, options, boot))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"EFI/Linux/talos-B.efi", "none/none"} {
		if _, err := v.Lookup(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%s) = %v", path, err)
		}
	}
	if _, err := v.List("loader/loader.conf"); err == nil {
		t.Error("a file can be listed")
	}
	if _, err := v.ReadFile("EFI", 100); err == nil {
		t.Error("a directory can be read")
	}
}

// patched is a medium with some bytes changed.
type patched struct {
	io.ReaderAt
	at   int64
	data []byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	for i := range p.data {
		if at := p.at + int64(i) - off; at >= 0 && at < int64(n) {
			b[at] = p.data[i]
		}
	}
	return n, err
}

// everything reads and edits what can be read and edited.
func everything(r io.ReaderAt) {
	v, err := Open(r)
	if err != nil {
		return
	}
	list, err := v.List("EFI/Linux")
	if err != nil {
		return
	}
	for _, e := range list {
		if f, err := v.File(e); err == nil {
			_, _ = f.ReadAt(make([]byte, 4096), max(0, e.Size-4096))
		}
	}
	_, _ = v.ReadFile("loader/loader.conf", 4096)
	_, _ = v.Put("EFI/Linux", &New{Name: "talos-B+1.efi", Size: 5, Cluster: 9}, list)
	_, _, _, _ = v.Place(100_000, list)
}

func TestDamageIsAnErrorOrNothing(t *testing.T) {
	f := render(t, options, boot)
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		data := make([]byte, 1+r.IntN(64))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		at := r.Int64N(512)
		switch r.IntN(3) {
		case 0:
			at = 32*512 + r.Int64N(4096) // the table
		case 1:
			at = 32*512 + 2*(int64(300<<20)/4096*4/512+1)*512 + r.Int64N(40_000) // directories, about
		}
		everything(patched{f, at, data})
	}
}

func FuzzOpen(f *testing.F) {
	extents, err := Layout(options, boot)
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, 1<<20)
	for _, e := range extents {
		if !e.Zero && e.Offset < int64(len(b)) {
			copy(b[e.Offset:], e.Data)
		}
	}
	f.Add(b[:512], int64(0))
	f.Add(b[32*512:32*512+512], int64(32*512))
	f.Fuzz(func(_ *testing.T, data []byte, at int64) {
		everything(patched{padding{bytes.NewReader(b)}, at & (1<<20 - 1), data})
	})
}

// padding has zeros behind the end.
type padding struct{ io.ReaderAt }

func (p padding) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < 1<<20 {
		_, _ = p.ReaderAt.ReadAt(b, off)
	}
	return len(b), nil
}
