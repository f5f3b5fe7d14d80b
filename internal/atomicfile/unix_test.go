//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOwnerIsKeptIfToldTo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the right to change owners is missing: not root")
	}

	const other = 12345

	for _, tt := range []struct {
		name    string
		options Options
		want    uint32
	}{
		{"Preserve", Options{Overwrite: true, Preserve: true}, other},
		{"not Preserve", Options{Overwrite: true}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			put(t, dir, "f", 0o600, "old")

			if err := os.Chown(path, other, other); err != nil {
				t.Fatal(err)
			}

			if err := WriteFile(path, []byte("new"), 0o600, tt.options); err != nil {
				t.Fatal(err)
			}

			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}

			stat := info.Sys().(*syscall.Stat_t)
			if stat.Uid != tt.want || stat.Gid != tt.want {
				t.Errorf("owner = %d:%d; want %d:%d", stat.Uid, stat.Gid, tt.want, tt.want)
			}

			if got := tree(t, dir); got != "f 600 new" {
				t.Errorf("directory = %q; want %q", got, "f 600 new")
			}
		})
	}
}

func TestADevicesContentIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}

	if err := WriteFile(path, nil, 0o600, Options{Overwrite: true}); err == nil {
		t.Error("WriteFile to a pipe: error = nil")
	}
}
