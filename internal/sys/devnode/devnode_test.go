package devnode

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEnsure(t *testing.T) {
	root := t.TempDir()
	defer unix.Umask(unix.Umask(0o077))
	made, err := Ensure(root, Standard()...)
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("no devices can be made (needs CAP_MKNOD): %v", err)
	}
	if err != nil || len(made) != len(Standard()) {
		t.Fatalf("Ensure() = %v, %v; want all", made, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "dev/null"), &st); err != nil || st.Mode != unix.S_IFCHR|0o666 || unix.Major(st.Rdev) != 1 || unix.Minor(st.Rdev) != 3 {
		t.Errorf("null = %o %d, %v", st.Mode, st.Rdev, err)
	}
	if target, err := os.Readlink(filepath.Join(root, "dev/ptmx")); target != "pts/ptmx" || err != nil {
		t.Errorf("ptmx = %s, %v", target, err)
	}
	if err := os.Remove(filepath.Join(root, "dev/zero")); err != nil {
		t.Fatal(err)
	}
	if made, err := Ensure(root, Standard()...); len(made) != 1 || made[0] != "/dev/zero" || err != nil {
		t.Errorf("Ensure(again) = %v, %v; want zero alone", made, err)
	}
}

func TestWhatIsSomethingElseIsNotReplaced(t *testing.T) {
	for name, put := range map[string]func(string) error{
		"a file":      func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"a directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"a link":      func(p string) error { return os.Symlink("zero", p) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "dev"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := put(filepath.Join(root, "dev/null")); err != nil {
				t.Fatal(err)
			}
			if _, err := Ensure(root, Standard()...); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Ensure() = %v; want fs.ErrExist", err)
			}
		})
	}
}
