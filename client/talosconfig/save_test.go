package talosconfig

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".talos")
	path := filepath.Join(dir, "config")
	data := read(t, "v1.14.talosconfig")
	c := load(t, string(data))
	mode := func(path string) fs.FileMode { return must(os.Stat(path))(t).Mode().Perm() }

	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}

	if got := text(t, path); got != string(data) || mode(path) != 0o600 || mode(dir) != 0o700 {
		t.Errorf("Save: file mode %o, directory mode %o; want 600, 700, and the same text:\n%s", mode(path), mode(dir), got)
	}

	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}

	c.Context = "other"
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}

	if got := text(t, path); !strings.HasPrefix(got, "context: other\n") || mode(path) != 0o640 {
		t.Errorf("Save over an existing file: mode %o; want 640, and the new text:\n%.40s", mode(path), got)
	}

	if entries := must(os.ReadDir(dir))(t); len(entries) != 1 {
		t.Errorf("the directory has %v; want the file alone", entries)
	}

	wantError(t, "Save into a file", c.Save(filepath.Join(path, "x")), "save talosconfig")
}

func text(t testing.TB, path string) string {
	t.Helper()

	return string(must(os.ReadFile(path))(t))
}

func TestLocate(t *testing.T) {
	home := filepath.Join("home", "me")
	config := filepath.Join(home, ".talos", "config")

	for _, tt := range []struct {
		name   string
		env    Env
		exists []string
		want   string
		errs   []string
	}{
		{"flag", Env{"flag", "variable", home}, []string{"variable", config, ServiceAccountPath}, "flag", nil},
		{"variable", Env{"", "variable", home}, []string{config, ServiceAccountPath}, "variable", nil},
		{"home", Env{"", "", home}, []string{config, ServiceAccountPath}, config, nil},
		{"in a pod", Env{"", "", home}, []string{ServiceAccountPath}, ServiceAccountPath, nil},
		{"in a pod without home", Env{}, []string{ServiceAccountPath}, ServiceAccountPath, nil},
		{"nothing yet", Env{"", "", home}, nil, config, nil},
		{"nothing at all", Env{}, nil, "", []string{"no home directory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Locate(tt.env, func(path string) bool { return slices.Contains(tt.exists, path) })
			wantError(t, "Locate", err, tt.errs...)

			if got != tt.want {
				t.Errorf("Locate(%+v) = %s; want %s", tt.env, got, tt.want)
			}
		})
	}
}
