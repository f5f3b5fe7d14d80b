package vt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestShownNeedsADriverThatIsBoundAndNoDummy(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"no terminals", nil, false},
		{"no screen", map[string]string{"vtcon0/name": "(S) dummy device\n", "vtcon0/bind": "1\n"}, false},
		{"text", map[string]string{"vtcon0/name": "(S) VGA+\n", "vtcon0/bind": "1\n"}, true},
		{"frame buffer in place of it", map[string]string{
			"vtcon0/name": "(S) dummy device\n", "vtcon0/bind": "0\n", "vtcon1/name": "(M) frame buffer device\n", "vtcon1/bind": "1\n",
		}, true},
		{"not bound", map[string]string{"vtcon0/name": "(S) dummy device\n", "vtcon0/bind": "1\n", "vtcon1/name": "(M) frame buffer device\n", "vtcon1/bind": "0\n"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range test.files {
				file := filepath.Join(root, "sys/class/vtconsole", name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := Shown(root); got != test.want || err != nil {
				t.Errorf("Shown = %t, %v; want %t", got, err, test.want)
			}
		})
	}
}

func TestOnlyTerminalsAreGiven(t *testing.T) {
	root := t.TempDir()
	if err := Give(root, 2, 50); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Give of a terminal that is not there = %v; want fs.ErrNotExist", err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "dev"), 0o755), os.WriteFile(Device(root, 2), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := Give(root, 2, 50); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Give of a file = %v; want fs.ErrInvalid", err)
	}
	if err := KernelMessages(root, 1); err == nil {
		t.Error("KernelMessages without terminals = nil; want an error")
	}
	if err := Show(root, 2); err == nil {
		t.Error("Show without terminals = nil; want an error")
	}
}
