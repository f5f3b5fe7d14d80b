package walk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sample makes a root with a file of each kind, and something outside of it that must not be seen.
func sample(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	root := filepath.Join(top, "root")
	for _, d := range []string{"outside/secret", "root/dir/sub/deep", "root/run", "root/var"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"outside/secret/key": "secret", "root/dir/a": "hello", "root/dir/sub/b": strings.Repeat("b", 10000), "root/dir/sub/deep/c": "", "root/run/r": "r"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"root/dir/out": "../../outside", "root/dir/abs": filepath.Join(top, "outside"), "root/var/run": "/run", "root/dir/up": "../../../../../../../run"} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(root, "dir/sub/b"), filepath.Join(root, "dir/z")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "dir/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// A socket's address is short, and the test's directory need not be.
	here, err := os.Open(filepath.Join(root, "dir"))
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/sock", here.Fd())}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"dir/a", "dir/sub/b", "dir/sub", "dir/sub/deep", "dir/sub/deep/c", "dir"} {
		if err := os.Chtimes(filepath.Join(root, n), time.Unix(1700000000, 5), time.Unix(1700000000, 5)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func list(t *testing.T, o Options) []Entry {
	t.Helper()
	var out []Entry
	if err := List(t.Context(), o, func(e Entry) error { out = append(out, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func names(entries []Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Relative)
	}
	return out
}

func TestList(t *testing.T) {
	root := sample(t)
	for _, tc := range []struct {
		name string
		o    Options
		want []string
	}{
		{"the start alone", Options{Path: "/dir"}, []string{"."}},
		{"one level, in the order of bytes", Options{Path: "/dir", Depth: 1}, []string{".", "a", "abs", "out", "pipe", "sock", "sub", "up", "z"}},
		{"all, and through no link", Options{Path: "dir", Depth: NoLimit}, []string{
			".", "a", "abs", "out", "pipe", "sock", "sub", "sub/b", "sub/deep", "sub/deep/c", "up", "z"}},
		{"regular files of all levels", Options{Path: "/dir", Depth: NoLimit, Types: Regular}, []string{"a", "sub/b", "sub/deep/c", "z"}},
		{"directories and links", Options{Path: "/dir", Depth: 1, Types: Directory | Symlink}, []string{".", "abs", "out", "sub", "up"}},
		{"special files", Options{Path: "/dir", Depth: 1, Types: Special}, []string{"pipe", "sock"}},
		{"a file", Options{Path: "/dir/a", Depth: NoLimit}, []string{"."}},
		{"a link in the path leads to the root, not out of it", Options{Path: "/var/run", Depth: 1}, []string{".", "r"}},
		{"nor does ..", Options{Path: "/../../dir/../run", Depth: 1}, []string{".", "r"}},
		{"nor a link with many ..", Options{Path: "/dir/up", Depth: 1}, []string{".", "r"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Root = root
			if d := cmp.Diff(tc.want, names(list(t, tc.o))); d != "" {
				t.Errorf("List() (-want +got):\n%s", d)
			}
		})
	}
	for path, want := range map[string]error{"/none": fs.ErrNotExist, "/dir/out": fs.ErrNotExist, "/dir/abs": fs.ErrNotExist, "/dir/a/b": unix.ENOTDIR} {
		if err := List(t.Context(), Options{Root: root, Path: path, Depth: 1}, func(e Entry) error {
			t.Errorf("List(%s) gave %s", path, e.Path)
			return nil
		}); !errors.Is(err, want) {
			t.Errorf("List(%s) = %v; want %v", path, err, want)
		}
	}
}

func TestWhatAnEntrySays(t *testing.T) {
	root := sample(t)
	if err := unix.Lsetxattr(filepath.Join(root, "dir/a"), "user.talos", []byte("x\x00y"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	} else if err != nil {
		t.Logf("no extended attributes on this file system: %v", err)
	}
	if err := os.Chmod(filepath.Join(root, "dir/sub"), 0o755|fs.ModeSticky|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	got := map[string]Entry{}
	for _, e := range list(t, Options{Root: root, Path: "/dir", Depth: 1, Xattrs: true}) {
		if e.Err != nil {
			t.Errorf("%s: %v", e.Path, e.Err)
		}
		got[e.Relative] = e
	}
	a := got["a"]
	if a.Path != "/dir/a" || a.Size != 5 || a.Mode != 0o640 || !a.ModTime.Equal(time.Unix(1700000000, 5)) || a.UID != uint32(os.Getuid()) || a.Links != 1 || a.Allocated == 0 {
		t.Errorf("entry of a file = %+v", a)
	}
	if len(a.Xattrs) > 0 && (a.Xattrs[0].Name != "user.talos" || string(a.Xattrs[0].Data) != "x\x00y") {
		t.Errorf("attributes = %+v", a.Xattrs)
	}
	if m := got["sub"].Mode; m != fs.ModeDir|0o755|fs.ModeSticky|fs.ModeSetgid {
		t.Errorf("mode of a directory = %v", m)
	}
	if l := got["out"]; l.Link != "../../outside" || l.Mode.Type() != fs.ModeSymlink {
		t.Errorf("entry of a link = %+v", l)
	}
	if got["pipe"].Mode.Type() != fs.ModeNamedPipe || got["sock"].Mode.Type() != fs.ModeSocket || got["z"].Links != 2 {
		t.Errorf("entries = %+v, %+v, %+v", got["pipe"], got["sock"], got["z"])
	}
}

func TestAnEntryThatCannotBeReadHasItsError(t *testing.T) {
	root := sample(t)
	if os.Getuid() == 0 {
		// Root reads everything, but not what was exchanged for a link meanwhile.
		n := 0
		err := List(t.Context(), Options{Root: root, Path: "/", Depth: NoLimit, Types: Directory}, func(e Entry) error {
			if e.Relative == "." {
				if err := os.Rename(filepath.Join(root, "dir"), filepath.Join(root, "was")); err != nil {
					return err
				}
				return os.Symlink("../outside", filepath.Join(root, "dir"))
			}
			if e.Relative == "dir" {
				n++
				if !errors.Is(e.Err, unix.ELOOP) && !errors.Is(e.Err, unix.ENOTDIR) {
					t.Errorf("entry = %+v; want it refused", e)
				}
			}
			if strings.HasPrefix(e.Relative, "dir/") {
				t.Errorf("the walk went out through a link: %s", e.Relative)
			}
			return nil
		})
		if err != nil || n != 1 {
			t.Errorf("List() = %v with %d errors; want it to go on after one", err, n)
		}
		return
	}
	if err := os.Chmod(filepath.Join(root, "dir/sub"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(root, "dir/sub"), 0o755)
	entries := list(t, Options{Root: root, Path: "/dir", Depth: NoLimit})
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Relative == "sub" })
	if i < 0 || !errors.Is(entries[i].Err, fs.ErrPermission) || len(entries) != 9 {
		t.Errorf("List() = %v; want sub with an error, and the others", names(entries))
	}
}

func TestTheContextAndTheCallerEndAWalk(t *testing.T) {
	root := sample(t)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	err := List(ctx, Options{Root: root, Path: "/dir", Depth: NoLimit}, func(Entry) error {
		if n++; n == 2 {
			cancel(enough)
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Errorf("List() = %v after %d entries; want the cause after 2", err, n)
	}
	if err := List(t.Context(), Options{Root: root, Path: "/dir", Depth: 1}, func(Entry) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("List() = %v; want the error of the caller", err)
	}
	if err := DiskUsage(ctx, UsageOptions{Root: root, Paths: []string{"/"}}, func(Usage) error { return nil }); !errors.Is(err, enough) {
		t.Errorf("DiskUsage() = %v; want the cause", err)
	}
	if err := Archive(ctx, io.Discard, ArchiveOptions{Root: root, Path: "/dir"}); !errors.Is(err, enough) {
		t.Errorf("Archive() = %v; want the cause", err)
	}
}

func TestDiskUsage(t *testing.T) {
	root := sample(t)
	usage := func(o UsageOptions) (out []string, by map[string]Usage) {
		o.Root, by = root, map[string]Usage{}
		if err := DiskUsage(t.Context(), o, func(u Usage) error {
			out = append(out, u.Path)
			by[u.Path] = u
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return out, by
	}
	got, by := usage(UsageOptions{Paths: []string{"/dir"}, Depth: NoLimit})
	if d := cmp.Diff([]string{"/dir/sub/deep", "/dir/sub", "/dir"}, got); d != "" {
		t.Errorf("directories (-want +got):\n%s", d)
	}
	// 10000 bytes with two names, 5 in a, three directories, three links: nothing twice.
	var dirs, want int64
	_ = filepath.Walk(filepath.Join(root, "dir"), func(p string, i fs.FileInfo, err error) error {
		if i.IsDir() {
			dirs += i.Size()
		}
		if i.Mode()&fs.ModeSymlink != 0 {
			want += i.Size()
		}
		return err
	})
	if want += dirs + 10005; by["/dir"].Apparent != want || by["/dir"].Size < 10005 || by["/dir/sub"].Size >= by["/dir"].Size {
		t.Errorf("usage = %+v; want %d bytes of content", by, want)
	}
	if got, _ = usage(UsageOptions{Paths: []string{"/dir"}, Depth: 0}); !slices.Equal(got, []string{"/dir"}) {
		t.Errorf("with depth 0: %v", got)
	}
	got, by = usage(UsageOptions{Paths: []string{"/dir/sub", "/dir/z", "/none"}, Depth: 1, All: true})
	if d := cmp.Diff([]string{"/dir/sub/b", "/dir/sub/deep", "/dir/sub", "/dir/z", "/none"}, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if by["/dir/z"].Size != 0 || by["/dir/sub/b"].Size == 0 || !errors.Is(by["/none"].Err, fs.ErrNotExist) {
		t.Errorf("usage = %+v; want z counted as b, and an error of none", by)
	}
	if got, _ = usage(UsageOptions{Paths: []string{"/dir"}, Depth: NoLimit, All: true, Threshold: 10000}); slices.Contains(got, "/dir/a") || !slices.Contains(got, "/dir/sub/b") {
		t.Errorf("at least 10000: %v", got)
	}
	if got, _ = usage(UsageOptions{Paths: []string{"/dir"}, Depth: NoLimit, All: true, Threshold: -5000}); !slices.Contains(got, "/dir/a") || slices.Contains(got, "/dir/sub/b") {
		t.Errorf("at most 5000: %v", got)
	}
}

func TestOpenFile(t *testing.T) {
	root := sample(t)
	f, err := OpenFile(root, "/var/run/r")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); string(b) != "r" || err != nil {
		t.Errorf("content = %q, %v", b, err)
	}
	for path, want := range map[string]error{
		"/dir": unix.EISDIR, "/dir/pipe": unix.EINVAL, "/none": fs.ErrNotExist, "/dir/out/secret/key": fs.ErrNotExist, "/dir/abs/secret/key": fs.ErrNotExist,
		"/../outside/secret/key": fs.ErrNotExist,
	} {
		if f, err := OpenFile(root, path); !errors.Is(err, want) {
			f.Close()
			t.Errorf("OpenFile(%s) = %v; want %v", path, err, want)
		}
	}
}

func TestProcIsWalked(t *testing.T) {
	n := 0
	if err := List(t.Context(), Options{Path: "/proc/self", Depth: 1}, func(Entry) error { n++; return nil }); err != nil || n < 10 {
		t.Errorf("List(/proc/self) = %d entries, %v", n, err)
	}
	// A magic link leads past every root.
	if err := List(t.Context(), Options{Path: "/proc/self/root", Depth: 1}, func(Entry) error { return nil }); !errors.Is(err, unix.ELOOP) {
		t.Errorf("List(/proc/self/root) = %v; want ELOOP", err)
	}
}

func FuzzNoPathLeadsOut(f *testing.F) {
	root := sample(f)
	for _, p := range []string{"/dir/a", "../outside/secret/key", "/dir/out/secret/key", "/dir/abs", "/var/run/../../outside/secret/key", "dir/up/../outside"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		file, err := OpenFile(root, p)
		if err != nil {
			return
		}
		defer file.Close()
		if b, _ := io.ReadAll(file); string(b) == "secret" {
			t.Errorf("OpenFile(%q) reads what is outside", p)
		}
	})
}
