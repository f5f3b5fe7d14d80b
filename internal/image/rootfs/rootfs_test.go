package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAddRefusesWhatIsNoTree(t *testing.T) {
	for _, tc := range []struct {
		name string
		add  []Entry
		want error
	}{
		{"two files in a folder", []Entry{Bytes("a/b", 0o644, nil), Bytes("a/c", 0o644, nil)}, nil},
		{"a folder twice", []Entry{Dir("a", 0o755), Dir("a", 0o700)}, nil},
		{"the same link twice", []Entry{Symlink("a", "b"), Symlink("a", "b")}, nil},
		{"another link", []Entry{Symlink("a", "b"), Symlink("a", "c")}, fs.ErrExist},
		{"a file twice", []Entry{Bytes("a", 0o644, nil), Bytes("a", 0o644, nil)}, fs.ErrExist},
		{"a file below a file", []Entry{Bytes("a", 0o644, nil), Bytes("a/b", 0o644, nil)}, fs.ErrInvalid},
		{"a file below a link", []Entry{Bytes("bin/b", 0o644, nil), Symlink("bin", "usr/bin")}, fs.ErrInvalid},
		{"out of the root", []Entry{Bytes("../a", 0o644, nil)}, fs.ErrInvalid},
		{"absolute", []Entry{Bytes("/a", 0o644, nil)}, fs.ErrInvalid},
		{"the root", []Entry{Dir(".", 0o755)}, fs.ErrInvalid},
		{"a device", []Entry{{Path: "null", Mode: fs.ModeDevice}}, fs.ErrInvalid},
		{"a file without content", []Entry{{Path: "a"}}, fs.ErrInvalid},
		{"a link to nothing", []Entry{Symlink("a", "")}, fs.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var tree Tree
			before := Bytes("before", 0o644, nil)
			if err := tree.Add(before); err != nil {
				t.Fatal(err)
			}
			if err := tree.Add(tc.add...); !errors.Is(err, tc.want) {
				t.Fatalf("Add(%s) = %v; want %v", tc.name, err, tc.want)
			}
			if tc.want != nil && tree.Len() != 1 {
				t.Errorf("after an error the tree has %d entries; want the 1 of before", tree.Len())
			}
		})
	}
}

func TestEntriesComeParentFirstAndInOneOrder(t *testing.T) {
	var tree Tree
	if err := tree.Add(Bytes("a/c", 0o644, nil), Bytes("a-b", 0o644, nil), Bytes("z/y/x", 0o644, nil), Dir("z", 0o700)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range tree.Entries() {
		got = append(got, e.Path+" "+e.Mode.String())
	}
	want := []string{"a drwxr-xr-x", "a/c -rw-r--r--", "a-b -rw-r--r--", "z drwx------", "z/y drwxr-xr-x", "z/y/x -rw-r--r--"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Entries (-want +got):\n%s", diff)
	}
}

// sample has one of everything; its file comes from a host file with that mode and time.
func sample(t *testing.T, mode fs.FileMode, modTime time.Time) *Tree {
	t.Helper()
	host := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(host, []byte("content"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(host, modTime, modTime); err != nil {
		t.Fatal(err)
	}
	program, err := Host("usr/bin/program", 0o755, host)
	if err != nil {
		t.Fatal(err)
	}
	program.Xattrs = map[string]string{"security.capability": "\x01\x00", "user.a": "b"}
	tree := &Tree{}
	if err := tree.Add(Symlink("bin", "usr/bin"), program, Dir("tmp", 0o777|fs.ModeSticky), Entry{
		Path: "etc/" + strings.Repeat("long", 40), Mode: 0o640 | fs.ModeSetuid, UID: 60, GID: 65536, Size: 1,
		Open: Bytes("", 0, []byte("x")).Open,
	}); err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestArchiveDependsOnNothingButTheTree(t *testing.T) {
	old := syscall.Umask(0o077)
	first := tarOf(t, sample(t, 0o700, time.Unix(1e9, 0)))
	syscall.Umask(0)
	second := tarOf(t, sample(t, 0o666, time.Now()))
	syscall.Umask(old)
	if !bytes.Equal(first, second) {
		t.Error("two trees with the same content gave different archives")
	}
	in := tar.NewReader(bytes.NewReader(first))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(Epoch) || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s has time %v, owner %q, group %q; want the epoch and numbers only", h.Name, h.ModTime, h.Uname, h.Gname)
		}
		if long := strings.HasPrefix(h.Name, "etc/l"); long && (h.Uid != 60 || h.Gid != 65536) || !long && (h.Uid != 0 || h.Gid != 0) {
			t.Errorf("%s belongs to %d:%d; want what the entry says", h.Name, h.Uid, h.Gid)
		}
		if h.Name == "usr/bin/program" && h.PAXRecords[xattrRecord+"security.capability"] != "\x01\x00" {
			t.Errorf("%s has records %q; want its capability", h.Name, h.PAXRecords)
		}
	}
}

func tarOf(t *testing.T, tree *Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tree.WriteTar(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteTarNoticesAFileThatShrank(t *testing.T) {
	e := Bytes("a", 0o644, []byte("content"))
	e.Open = Bytes("a", 0o644, []byte("cont")).Open
	var tree Tree
	if err := tree.Add(e); err != nil {
		t.Fatal(err)
	}
	if err := tree.WriteTar(io.Discard); err == nil || !strings.Contains(err.Error(), "write a: ") {
		t.Errorf("WriteTar = %v; want an error that names a", err)
	}
}

func TestExtractGivesTheTreeBack(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	data := tarOf(t, sample(t, 0o600, time.Now()))
	for range 2 { // the second over the first
		if err := Extract(bytes.NewReader(data), root, false); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		info, err := d.Info()
		if err == nil && name != dir {
			rel, _ := filepath.Rel(dir, name)
			got[rel] = info.Mode().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"bin": "Lrwxrwxrwx", "etc": "drwxr-xr-x", "etc/" + strings.Repeat("long", 40): "urw-r-----",
		"tmp": "dtrwxrwxrwx", "usr": "drwxr-xr-x", "usr/bin": "drwxr-xr-x", "usr/bin/program": "-rwxr-xr-x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("extracted (-want +got):\n%s", diff)
	}
}

func TestExtractStaysInsideItsRoot(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headers []tar.Header
	}{
		{"a path upwards", []tar.Header{{Name: "../evil", Typeflag: tar.TypeReg}}},
		{"through a link", []tar.Header{
			{Name: "out", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "out/evil", Typeflag: tar.TypeReg},
		}},
		{"through an absolute link", []tar.Header{
			{Name: "out", Typeflag: tar.TypeSymlink, Linkname: os.TempDir()}, {Name: "out/evil", Typeflag: tar.TypeReg},
		}},
		{"a device", []tar.Header{{Name: "null", Typeflag: tar.TypeChar}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			out := tar.NewWriter(&b)
			for _, h := range tc.headers {
				h.Mode = 0o644
				if err := out.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			if err := os.Mkdir(filepath.Join(parent, "root"), 0o755); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(filepath.Join(parent, "root"))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := Extract(&b, root, false); err == nil {
				t.Errorf("Extract = nil; want an error")
			}
			if _, err := os.Lstat(filepath.Join(parent, "evil")); err == nil {
				t.Error("a file was written outside of the root")
			}
		})
	}
}
