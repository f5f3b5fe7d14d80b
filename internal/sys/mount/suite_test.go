package mount

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// isolated gives the test's goroutine a thread of its own in a mount namespace of its own. The goroutine never gives the
// thread back, so the runtime ends it with the test, and the namespace with it.
func isolated(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("no mount namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// kernel returns the kernel's verbs below an empty tmpfs, private to the test, with the directories given.
func kernel(t *testing.T, dirs ...string) Verbs {
	t.Helper()
	isolated(t)
	k := Kernel{Root: t.TempDir()}
	if err := unix.Mount("tmpfs", k.Root, "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(k.Root, unix.MNT_DETACH) })
	for _, d := range dirs {
		if err := os.MkdirAll(k.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// picture describes the mounts below "/", one a line, in the order of their points.
func picture(t *testing.T, v Verbs) []string {
	t.Helper()
	table, err := v.Table()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range table {
		if m.Point == "/" && m.Type != "proc" {
			m.Type = "root"
		}
		f, _ := ParseOptions(m.Options)
		s := m.Point + " " + m.Type
		if f &= perMount; f != 0 {
			s += " " + f.String()
		}
		if m.Shared != 0 {
			s += " shared"
		}
		if m.Unbindable {
			s += " unbindable"
		}
		if m.HasSuperOption("ro") {
			s += " super-ro"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// verbsSuite is what every implementation of Verbs has to do.
var verbsSuite = []struct {
	name string
	dirs []string
	do   func(v Verbs) error
	is   error // what the error of do is; nil for none
	want []string
}{
	{"a mount shows with its flags", []string{"/run"},
		func(v Verbs) error {
			return v.Mount(Call{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: NoSuid | NoDev, Data: "size=1m"})
		},
		nil, []string{"/ root", "/run tmpfs nosuid,nodev"}},
	{"a mount point has to be there", nil,
		func(v Verbs) error { return v.Mount(Call{Target: "/run", Type: "tmpfs"}) }, fs.ErrNotExist, []string{"/ root"}},
	{"a type has to be known", []string{"/run"},
		func(v Verbs) error { return v.Mount(Call{Target: "/run", Type: "no-such-type"}) }, syscall.ENODEV, []string{"/ root"}},
	{"a bind mount shows the same below another path", []string{"/a/b", "/c"},
		func(v Verbs) error {
			if err := v.Mount(Call{Target: "/a", Type: "tmpfs"}); err != nil {
				return err
			}
			if err := v.MakePoint("/a/x/y", false, 0o755); err != nil {
				return err
			}
			if err := BindTo(v, "/a/x", "/c", ReadOnly|NoExec); err != nil {
				return err
			}
			return v.Mount(Call{Target: "/c/y", Type: "tmpfs"})
		},
		nil, []string{"/ root", "/a tmpfs", "/c tmpfs ro,noexec", "/c/y tmpfs"}},
	{"a bind mount leaves out what is mounted below, unless it is recursive", []string{"/a/b", "/c", "/d"},
		func(v Verbs) error {
			return errors.Join(
				v.Mount(Call{Target: "/a/b", Type: "tmpfs"}), BindTo(v, "/a", "/c", 0), BindTo(v, "/a", "/d", Rec))
		},
		nil, []string{"/ root", "/a/b tmpfs", "/c tmpfs", "/d tmpfs", "/d/b tmpfs"}},
	{"a bind mount of what is not there", []string{"/c"},
		func(v Verbs) error { return BindTo(v, "/a", "/c", 0) }, fs.ErrNotExist, []string{"/ root"}},
	{"a bind mount of a file onto a directory", []string{"/c"},
		func(v Verbs) error {
			if err := v.MakePoint("/f", true, 0o644); err != nil {
				return err
			}
			return BindTo(v, "/f", "/c", 0)
		}, syscall.ENOTDIR, []string{"/ root"}},
	{"a bind mount of a file", nil,
		func(v Verbs) error {
			return errors.Join(v.MakePoint("/f", true, 0o644), v.MakePoint("/x/g", true, 0o644), v.MakePoint("/x/g", true, 0o644), BindTo(v, "/f", "/x/g", 0))
		}, nil, []string{"/ root", "/x/g tmpfs"}},
	{"two mounts on one point come off one by one", []string{"/a"},
		func(v Verbs) error {
			return errors.Join(
				v.Mount(Call{Target: "/a", Type: "tmpfs", Flags: NoDev}), v.Mount(Call{Target: "/a", Type: "tmpfs", Flags: NoExec}),
				v.Unmount("/a", 0))
		},
		nil, []string{"/ root", "/a tmpfs nodev"}},
	{"what is no mount point cannot be unmounted", []string{"/a"},
		func(v Verbs) error { return v.Unmount("/a", 0) }, syscall.EINVAL, []string{"/ root"}},
	{"nor what is not there", nil,
		func(v Verbs) error { return v.Unmount("/a", 0) }, fs.ErrNotExist, []string{"/ root"}},
	{"a mount with another on it is busy", []string{"/a"},
		func(v Verbs) error {
			if err := errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs"}), v.MakePoint("/a/b", false, 0o755), v.Mount(Call{Target: "/a/b", Type: "tmpfs"})); err != nil {
				return err
			}
			return v.Unmount("/a", 0)
		},
		ErrBusy, []string{"/ root", "/a tmpfs", "/a/b tmpfs"}},
	{"detach takes off all below", []string{"/a"},
		func(v Verbs) error {
			return errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs"}), v.MakePoint("/a/b", false, 0o755), v.Mount(Call{Target: "/a/b", Type: "tmpfs"}), v.Unmount("/a", Detach))
		},
		nil, []string{"/ root"}},
	{"a bind remount changes the mount and not the file system", []string{"/a", "/b"},
		func(v Verbs) error {
			return errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs", Flags: NoDev}), BindTo(v, "/a", "/b", 0), v.Mount(Call{Target: "/a", Flags: Remount | Bind | ReadOnly}))
		},
		nil, []string{"/ root", "/a tmpfs ro", "/b tmpfs nodev"}},
	{"a remount changes both", []string{"/a", "/b"},
		func(v Verbs) error {
			return errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs"}), BindTo(v, "/a", "/b", 0), v.Mount(Call{Target: "/a", Flags: Remount | ReadOnly}))
		},
		nil, []string{"/ root", "/a tmpfs ro super-ro", "/b tmpfs super-ro"}},
	{"a remount needs a mount", []string{"/a"},
		func(v Verbs) error { return v.Mount(Call{Target: "/a", Flags: Remount | ReadOnly}) }, syscall.EINVAL, []string{"/ root"}},
	{"what is mounted below a shared mount is shared", []string{"/a", "/b"},
		func(v Verbs) error {
			return errors.Join(v.Mount(Call{Target: "/b", Type: "tmpfs"}), Propagate(v, "/", Shared), v.Mount(Call{Target: "/a", Type: "tmpfs"}))
		},
		nil, []string{"/ root shared", "/a tmpfs shared", "/b tmpfs"}},
	{"recursive propagation takes what is mounted already", []string{"/a", "/b"},
		func(v Verbs) error {
			return errors.Join(v.Mount(Call{Target: "/b", Type: "tmpfs"}), Propagate(v, "/", Shared|Rec), Propagate(v, "/b", Unbindable))
		},
		nil, []string{"/ root shared", "/b tmpfs unbindable"}},
	{"an unbindable mount is no source", []string{"/a", "/b"},
		func(v Verbs) error {
			if err := errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs"}), Propagate(v, "/a", Unbindable)); err != nil {
				return err
			}
			return BindTo(v, "/a", "/b", 0)
		}, syscall.EINVAL, []string{"/ root", "/a tmpfs unbindable"}},
	{"propagation needs a mount", []string{"/a"},
		func(v Verbs) error { return Propagate(v, "/a", Private) }, syscall.EINVAL, []string{"/ root"}},
	{"a move takes all below with it", []string{"/a", "/b"},
		func(v Verbs) error {
			return errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs"}), v.MakePoint("/a/x", false, 0o755), v.Mount(Call{Target: "/a/x", Type: "tmpfs"}), MoveTo(v, "/a", "/b"))
		},
		nil, []string{"/ root", "/b tmpfs", "/b/x tmpfs"}},
	{"a move from a shared mount is refused", []string{"/a", "/b"},
		func(v Verbs) error {
			if err := errors.Join(Propagate(v, "/", Shared), v.Mount(Call{Target: "/a", Type: "tmpfs"})); err != nil {
				return err
			}
			return MoveTo(v, "/a", "/b")
		}, syscall.EINVAL, []string{"/ root shared", "/a tmpfs shared"}},
	{"a move into itself is refused", []string{"/a"},
		func(v Verbs) error {
			if err := errors.Join(v.Mount(Call{Target: "/a", Type: "tmpfs"}), v.MakePoint("/a/x", false, 0o755)); err != nil {
				return err
			}
			return MoveTo(v, "/a", "/a/x")
		}, syscall.ELOOP, []string{"/ root", "/a tmpfs"}},
	{"a mount point below a file is refused", nil,
		func(v Verbs) error {
			if err := v.MakePoint("/f", true, 0o644); err != nil {
				return err
			}
			return v.MakePoint("/f/d", false, 0o755)
		}, syscall.ENOTDIR, []string{"/ root"}},
	{"a mount point on what is read-only is refused", []string{"/a"},
		func(v Verbs) error {
			if err := v.Mount(Call{Target: "/a", Type: "tmpfs", Flags: ReadOnly}); err != nil {
				return err
			}
			return v.MakePoint("/a/d", false, 0o755)
		}, syscall.EROFS, []string{"/ root", "/a tmpfs ro super-ro"}},
	{"usage of what is not there", nil,
		func(v Verbs) error { _, err := v.Usage("/a"); return err }, fs.ErrNotExist, []string{"/ root"}},
}

func TestVerbs(t *testing.T) {
	for name, make := range map[string]func(*testing.T, ...string) Verbs{
		"Kernel": kernel,
		"Memory": func(_ *testing.T, dirs ...string) Verbs {
			m := NewMemory(dirs...)
			m.Missing = []string{"no-such-type"}
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, tc := range verbsSuite {
				t.Run(tc.name, func(t *testing.T) {
					v := make(t, tc.dirs...)
					if err := tc.do(v); !errors.Is(err, tc.is) {
						t.Errorf("error = %v; want %v", err, tc.is)
					}
					if d := cmp.Diff(tc.want, picture(t, v)); d != "" {
						t.Errorf("mounts (-want +got):\n%s", d)
					}
				})
			}
		})
	}
}

func TestMemoryFailsAtTheVerbThatItIsToldAndDoesNothing(t *testing.T) {
	m := NewMemory("/a")
	m.FailAt, m.FailErr = 2, fs.ErrPermission
	if err := m.Mount(Call{Target: "/a", Type: "tmpfs"}); err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount("/a", 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("second verb = %v; want fs.ErrPermission", err)
	}
	if err := m.MakePoint("/b", false, 0); err != nil {
		t.Errorf("third verb = %v; want it done", err)
	}
	if d := cmp.Diff([]string{"/ root", "/a tmpfs"}, picture(t, m)); d != "" {
		t.Errorf("mounts (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"mount tmpfs on /a", "unmount /a", "make mount point /b"}, m.Log()); d != "" {
		t.Errorf("Log() (-want +got):\n%s", d)
	}
}

func TestKernelRefusesSymbolicLinksInAMountPoint(t *testing.T) {
	k := Kernel{Root: t.TempDir()}
	if err := os.Symlink("/tmp", k.path("/link")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		path string
		file bool
	}{{"/link", false}, {"/link/x", false}, {"/link/x", true}, {"/link", true}} {
		if err := k.MakePoint(p.path, p.file, 0o755); !errors.Is(err, unix.ELOOP) || strings.Contains(err.Error(), k.Root) {
			t.Errorf("MakePoint(%s, %v) = %v; want ELOOP, without the root", p.path, p.file, err)
		}
	}
}

func TestKernelMakesMountPointsWithTheirModeWhateverTheUmask(t *testing.T) {
	k := Kernel{Root: t.TempDir()}
	defer unix.Umask(unix.Umask(0o077))
	if err := k.MakePoint("/a/b", false, 0o755); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(k.path("/a/b"))
	if err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("mode = %v, %v; want 0755", st.Mode(), err)
	}
}

func TestUsageAddsUp(t *testing.T) {
	u, err := Kernel{}.Usage("/")
	if err != nil || u.Size == 0 || u.Used > u.Size || u.Available > u.Size || u.InodesUsed+u.InodesFree != u.Inodes {
		t.Errorf("Usage(/) = %+v, %v", u, err)
	}
}
