package walk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// unpack returns the headers of an archive, and the content by name.
func unpack(t *testing.T, b []byte) (headers []*tar.Header, content map[string]string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	content = map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, content
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		headers, content[h.Name] = append(headers, h), string(text)
	}
}

func TestArchive(t *testing.T) {
	root := sample(t)
	long := strings.Repeat("n", 200)
	if err := os.WriteFile(filepath.Join(root, "dir/sub", long), []byte(strings.Repeat("large", 50000)), 0o600); err != nil {
		t.Fatal(err)
	}
	pack := func() ([]byte, []string) {
		var b bytes.Buffer
		var bad []string
		if err := Archive(t.Context(), &b, ArchiveOptions{Root: root, Path: "/dir", Xattrs: true, OnError: func(e Entry) {
			bad = append(bad, fmt.Sprintf("%s: %t", e.Relative, errors.Is(e.Err, errors.ErrUnsupported)))
		}}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes(), bad
	}
	b, bad := pack()
	if !slices.Equal(bad, []string{"sock: true"}) {
		t.Errorf("errors = %v; want the socket", bad)
	}
	headers, content := unpack(t, b)
	var got []string
	for _, h := range headers {
		got = append(got, fmt.Sprintf("%c %.20s %s", h.Typeflag, h.Name, h.Linkname))
		if !fs.ValidPath(strings.TrimSuffix(h.Name, "/")) {
			t.Errorf("name %q leads out", h.Name)
		}
	}
	want := []string{
		"5 ./ ", "0 a ", "2 abs " + filepath.Join(filepath.Dir(root), "outside"), "2 out ../../outside", "6 pipe ", "5 sub/ ", "0 sub/b ", "5 sub/deep/ ",
		"0 sub/deep/c ", "0 sub/nnnnnnnnnnnnnnnn ", "2 up ../../../../../../../run", "1 z sub/b",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("archive (-want +got):\n%s", d)
	}
	if content["a"] != "hello" || content["sub/b"] != strings.Repeat("b", 10000) || content["sub/"+long] != strings.Repeat("large", 50000) {
		t.Errorf("content differs: a = %q", content["a"])
	}
	if h := headers[1]; h.Mode != 0o640 || h.ModTime.Unix() != 1700000000 || h.Uid != os.Getuid() || h.Uname != "" {
		t.Errorf("header = %+v", h)
	}
	if again, _ := pack(); !bytes.Equal(b, again) {
		t.Error("the same files give other bytes")
	}
}

func TestArchiveOfAFile(t *testing.T) {
	root := sample(t)
	var b bytes.Buffer
	if err := Archive(t.Context(), &b, ArchiveOptions{Root: root, Path: "/var/run/r"}); err != nil {
		t.Fatal(err)
	}
	if h, content := unpack(t, b.Bytes()); len(h) != 1 || content["r"] != "r" {
		t.Errorf("archive = %v; want r", content)
	}
	if err := Archive(t.Context(), &b, ArchiveOptions{Root: root, Path: "/none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Archive(/none) = %v; want fs.ErrNotExist", err)
	}
}

func TestArchiveOfDevices(t *testing.T) {
	root := sample(t)
	if err := unix.Mknod(filepath.Join(root, "dir/sub/deep/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("no devices can be made (needs CAP_MKNOD): %v", err)
	}
	var b bytes.Buffer
	if err := Archive(t.Context(), &b, ArchiveOptions{Root: root, Path: "/dir/sub/deep"}); err != nil {
		t.Fatal(err)
	}
	headers, _ := unpack(t, b.Bytes())
	if h := headers[2]; h.Name != "null" || h.Typeflag != tar.TypeChar || h.Devmajor != 1 || h.Devminor != 3 {
		t.Errorf("header = %+v", h)
	}
}

func TestArchiveOfProc(t *testing.T) {
	var b bytes.Buffer
	if err := Archive(t.Context(), &b, ArchiveOptions{Path: "/proc/version"}); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	if _, content := unpack(t, b.Bytes()); content["version"] != string(want) {
		t.Errorf("content = %q; want %q, whatever size the file says", content["version"], want)
	}
}

// cutter makes a file shorter when the archive of what comes before it is written.
type cutter struct {
	bytes.Buffer
	cut func()
}

func (c *cutter) Write(p []byte) (int, error) {
	c.cut()
	return c.Buffer.Write(p)
}

func TestAFileThatBecomesShorterIsFilledUp(t *testing.T) {
	root := t.TempDir()
	const size = 8 << 20
	text := make([]byte, size)
	for i := range text {
		text[i] = byte(i*i>>7 ^ i>>3) // hard to compress, so that the writer is called in the middle of it
	}
	file := filepath.Join(root, "log")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &cutter{cut: func() { _ = os.Truncate(file, 1000) }}
	var got error
	if err := Archive(t.Context(), w, ArchiveOptions{Root: root, Path: "/log", OnError: func(e Entry) { got = e.Err }}); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(got, ErrChanged) {
		t.Errorf("error = %v; want ErrChanged", got)
	}
	if _, content := unpack(t, w.Bytes()); len(content["log"]) != size || !strings.HasSuffix(content["log"], "\x00\x00\x00") {
		t.Errorf("content has %d bytes; want %d with zeroes at the end", len(content["log"]), size)
	}
}

func TestArchiveEndsWithItsWriter(t *testing.T) {
	full := errors.New("full")
	r, w := io.Pipe()
	r.CloseWithError(full)
	if err := Archive(t.Context(), w, ArchiveOptions{Root: sample(t), Path: "/dir"}); !errors.Is(err, full) {
		t.Errorf("Archive() = %v; want the error of the writer", err)
	}
}

func BenchmarkList(b *testing.B) {
	root := b.TempDir()
	const n = 2000
	for i := range n {
		dir := filepath.Join(root, fmt.Sprint(i%20))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		if err := List(b.Context(), Options{Root: root, Path: "/", Depth: NoLimit}, func(Entry) error { got++; return nil }); err != nil || got != n+21 {
			b.Fatalf("List() = %d, %v", got, err)
		}
	}
}
