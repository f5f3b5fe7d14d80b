package command

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unwritable is a name that nothing forbids, and for which no temporary file can be made beside it: its name would be longer
// than the 255 bytes that file systems allow (NAME_MAX).
var unwritable = strings.Repeat("x", 255)

func TestWriteFilesLeavesNothingHalfWritten(t *testing.T) {
	for _, tc := range []struct {
		name  string
		old   map[string]string // what is there before
		force bool
		files []string // each is written with its own name as content
		want  map[string]string
		is    error
		says  string
	}{
		{
			name:  "all are written",
			files: []string{"a", "sub/b"},
			want:  map[string]string{"a": "a", "sub/b": "sub/b"},
		},
		{
			name: "none is replaced", old: map[string]string{"b": "old"},
			files: []string{"a", "b", "c"},
			want:  map[string]string{"b": "old"},
			is:    fs.ErrExist, says: "use --force",
		},
		{
			name: "replaced by force", old: map[string]string{"b": "old"}, force: true,
			files: []string{"a", "b"},
			want:  map[string]string{"a": "a", "b": "b"},
		},
		{
			name:  "new ones are removed when a later one cannot be written",
			files: []string{"a", "b", unwritable},
			want:  map[string]string{},
			says:  unwritable,
		},
		{
			name: "replaced ones are named when a later one cannot be written", old: map[string]string{"a": "old"}, force: true,
			files: []string{"a", "b", unwritable},
			want:  map[string]string{"a": "a"},
			says:  "; replaced before it: ",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tc.old {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var files []File
			for _, name := range tc.files {
				files = append(files, File{filepath.Join(dir, name), []byte(name)})
			}
			var stderr bytes.Buffer
			err := Env{Stderr: &stderr}.WriteFiles(tc.force, files...)
			if failed := tc.says != ""; (err != nil) != failed {
				t.Fatalf("WriteFiles(%v, %v) = %v; want an error: %v", tc.force, tc.files, err, failed)
			}
			if err != nil && (!strings.Contains(err.Error(), tc.says) || tc.is != nil && !errors.Is(err, tc.is) || stderr.Len() > 0) {
				t.Errorf("WriteFiles(%v, %v) = %v, printed %q; want %q and nothing printed", tc.force, tc.files, err, &stderr, tc.says)
			}
			checkFolder(t, dir, tc.want)
		})
	}
}

// checkFolder checks that the files in dir are those of want, and those that are not old have the mode of secrets.
func checkFolder(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		got[name] = string(data)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode != secretMode && string(data) != "old" {
			t.Errorf("mode of %s = %o; want %o", name, mode, secretMode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range got {
		if want[name] != content {
			t.Errorf("%s = %q; want %q", name, content, want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files are there; want %d", len(got), len(want))
	}
}
