package loop

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsShownAsABlockDevice(t *testing.T) {
	if _, err := Attach(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Attach(nothing) = %v; want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(controlFile); err != nil || os.Getuid() != 0 {
		t.Skip("it needs root, and a kernel with loop devices; CI has both")
	}
	file := filepath.Join(t.TempDir(), "image")
	want := bytes.Repeat([]byte("block..."), 1024)
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Attach(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(d.Path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, %v; want those of the file", d.Path, len(got), err)
	}
	if err := os.WriteFile(d.Path, []byte("other"), 0); err == nil {
		t.Errorf("%s can be written", d.Path)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
