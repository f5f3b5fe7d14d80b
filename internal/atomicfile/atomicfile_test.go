package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree describes a directory: name, mode and content of everything in it.
func tree(t testing.TB, dir string) string {
	t.Helper()

	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	var out []string

	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}

		path := filepath.Join(dir, e.Name())

		switch {
		case e.IsDir():
			out = append(out, e.Name()+"/")
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			out = append(out, e.Name()+"->"+to)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}

			out = append(out, fmt.Sprintf("%s %o %s", e.Name(), info.Mode().Perm(), data))
		}
	}

	return strings.Join(out, "; ")
}

func put(t testing.TB, dir, name string, mode fs.FileMode, content string) {
	t.Helper()

	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, to, dir, name string) {
	t.Helper()

	if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestWriteFile(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  func(t *testing.T, dir string)
		mode    fs.FileMode
		options Options
		want    string // the directory afterwards
		errs    string
		is      error
	}{
		{"new", nil, 0o600, Options{}, "f 600 new", "", nil},
		{"new, mode is exact whatever the umask", nil, 0o666, Options{}, "f 666 new", "", nil},
		{"new, though it might overwrite", nil, 0o640, Options{Overwrite: true, Preserve: true}, "f 640 new", "", nil},
		{"protected", func(t *testing.T, dir string) { put(t, dir, "f", 0o644, "old") }, 0o600, Options{},
			"f 644 old", "file already exists", fs.ErrExist},
		{"protected, with Preserve", func(t *testing.T, dir string) { put(t, dir, "f", 0o644, "old") }, 0o600, Options{Preserve: true},
			"f 644 old", "file already exists", fs.ErrExist},
		{"protected by a dangling link", func(t *testing.T, dir string) { link(t, "nowhere", dir, "f") }, 0o600, Options{},
			"f->nowhere", "file already exists", fs.ErrExist},
		{"overwritten", func(t *testing.T, dir string) { put(t, dir, "f", 0o644, "old") }, 0o600, Options{Overwrite: true},
			"f 600 new", "", nil},
		{"overwritten, mode kept", func(t *testing.T, dir string) { put(t, dir, "f", 0o644, "old") }, 0o600, Options{Overwrite: true, Preserve: true},
			"f 644 new", "", nil},
		{"overwritten though read-only", func(t *testing.T, dir string) { put(t, dir, "f", 0o400, "old") }, 0o600, Options{Overwrite: true, Preserve: true},
			"f 400 new", "", nil},
		{"link refused", func(t *testing.T, dir string) { put(t, dir, "g", 0o644, "old"); link(t, "g", dir, "f") }, 0o600, Options{Overwrite: true},
			"f->g; g 644 old", "not a regular file: a symbolic link", nil},
		{"link followed", func(t *testing.T, dir string) { put(t, dir, "g", 0o644, "old"); link(t, "g", dir, "f") }, 0o600, Options{Overwrite: true, Preserve: true},
			"f->g; g 644 new", "", nil},
		{"dangling link", func(t *testing.T, dir string) { link(t, "nowhere", dir, "f") }, 0o600, Options{Overwrite: true, Preserve: true},
			"f->nowhere", "nowhere", fs.ErrNotExist},
		{"directory", func(t *testing.T, dir string) { _ = os.Mkdir(filepath.Join(dir, "f"), 0o700) }, 0o600, Options{Overwrite: true},
			"f/", "not a regular file: a directory", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.before != nil {
				tt.before(t, dir)
			}

			path := filepath.Join(dir, "f")
			err := WriteFile(path, []byte("new"), tt.mode, tt.options)

			if tt.errs == "" && err != nil || tt.errs != "" && (err == nil || !strings.Contains(err.Error(), "write "+path) || !strings.Contains(err.Error(), tt.errs)) {
				t.Errorf("WriteFile: error = %v; want %q", err, tt.errs)
			}

			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("WriteFile: %v does not wrap %v", err, tt.is)
			}

			if got := tree(t, dir); got != tt.want {
				t.Errorf("directory = %q; want %q", got, tt.want)
			}
		})
	}
}

func TestWriteFileInADirectoryThatIsNotThere(t *testing.T) {
	err := WriteFile(filepath.Join(t.TempDir(), "no", "f"), nil, 0o600, Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile: error = %v; want fs.ErrNotExist", err)
	}
}

func TestWriteFileOfALargeContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

	if err := WriteFile(path, data, 0o600, Options{}); err != nil {
		t.Fatal(err)
	}

	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadFile = %d bytes, %v; want %d", len(got), err, len(data))
	}
}

var errBroken = errors.New("broken on purpose")

// broken is the real file system, of which one operation fails; noLinks is one without hard links.
type broken struct {
	osVerbs
	step    string
	noLinks bool
}

func (b broken) fails(step string) error {
	if b.step == step {
		return errBroken
	}

	return nil
}

func (b broken) create(dir, pattern string) (tempFile, error) {
	if err := b.fails("create"); err != nil {
		return nil, err
	}

	f, err := b.osVerbs.create(dir, pattern)

	return brokenFile{f, b}, err
}

func (b broken) rename(from, to string) error {
	if err := b.fails("rename"); err != nil {
		return err
	}

	return b.osVerbs.rename(from, to)
}

func (b broken) link(from, to string) error {
	if err := b.fails("link"); err != nil {
		return err
	}

	if b.noLinks {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: errors.ErrUnsupported}
	}

	return b.osVerbs.link(from, to)
}

func (b broken) remove(name string) error {
	if err := b.fails("remove"); err != nil {
		return err
	}

	return b.osVerbs.remove(name)
}

func (b broken) syncDir(dir string) error {
	if err := b.fails("syncDir"); err != nil {
		return err
	}

	return b.osVerbs.syncDir(dir)
}

type brokenFile struct {
	tempFile
	b broken
}

// Write writes half before it fails, as a full disk does.
func (f brokenFile) Write(p []byte) (int, error) {
	switch f.b.step {
	case "write":
		n, _ := f.tempFile.Write(p[:len(p)/2])

		return n, errBroken
	case "short write":
		return f.tempFile.Write(p[:len(p)/2])
	default:
		return f.tempFile.Write(p)
	}
}

func (f brokenFile) Chmod(mode fs.FileMode) error {
	if err := f.b.fails("chmod"); err != nil {
		return err
	}

	return f.tempFile.Chmod(mode)
}

func (f brokenFile) Sync() error {
	if err := f.b.fails("sync"); err != nil {
		return err
	}

	return f.tempFile.Sync()
}

func (f brokenFile) Close() error {
	err := f.tempFile.Close()

	return errors.Join(f.b.fails("close"), err)
}

func TestAFailureAtAnyStepLeavesNothingBehind(t *testing.T) {
	steps := []string{"create", "write", "short write", "chmod", "sync", "close", "rename", "link", "syncDir"}

	for _, step := range steps {
		for _, tt := range []struct {
			name    string
			before  string
			options Options
			noLinks bool
			unused  []string // steps that this way does not take
		}{
			{"new", "", Options{}, false, []string{"rename"}},
			{"new, without hard links", "", Options{}, true, nil},
			{"new, might overwrite", "", Options{Overwrite: true}, false, []string{"link"}},
			{"overwritten", "f 644 old", Options{Overwrite: true}, false, []string{"link"}},
			{"preserved", "f 644 old", Options{Overwrite: true, Preserve: true}, false, []string{"link"}},
		} {
			t.Run(step+"/"+tt.name, func(t *testing.T) {
				dir := t.TempDir()
				if tt.before != "" {
					put(t, dir, "f", 0o644, "old")
				}

				err := writeFile(broken{step: step, noLinks: tt.noLinks}, filepath.Join(dir, "f"), []byte("brand new"), 0o600, tt.options)

				want := tt.before

				switch {
				case slices.Contains(tt.unused, step), step == "link": // a link that fails is made up for by the rename
					want = "f 600 brand new"
					if tt.options.Preserve {
						want = "f 644 brand new"
					}

					if err != nil {
						t.Errorf("writeFile: error = %v; want none", err)
					}
				case step == "syncDir": // the documented exception
					want = "f 600 brand new"
					if tt.options.Preserve {
						want = "f 644 brand new"
					}

					fallthrough
				default:
					if err == nil || step != "short write" && !errors.Is(err, errBroken) {
						t.Errorf("writeFile: error = %v; want the one of the step", err)
					}
				}

				if got := tree(t, dir); got != want {
					t.Errorf("directory = %q; want %q", got, want)
				}
			})
		}
	}
}

func TestATemporaryNameThatStaysIsReported(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")

	err := writeFile(broken{step: "remove"}, path, []byte("new"), 0o600, Options{})
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "it is written") {
		t.Errorf("writeFile: error = %v; want one that says that the file is written", err)
	}

	if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
		t.Errorf("ReadFile = %q, %v; want new", got, err)
	}
}
