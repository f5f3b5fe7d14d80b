package container

import (
	"errors"
	"io"
	"os"
	"testing"
)

func TestViewShowsTheFilesOfAnImage(t *testing.T) {
	d := startDaemon(t)
	c := d.newClient(t)
	if _, err := c.View(t.Context(), System, "registry.example.internal/none:v1", io.Discard); err == nil {
		t.Fatal("an image that is nowhere can be viewed")
	}
	for _, ns := range []string{System, Pods} {
		v, err := c.View(t.Context(), ns, testImage, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		dir := v.dir
		f, err := v.Root.Open("program")
		if err != nil {
			t.Fatal(err)
		}
		if st, err := f.Stat(); err != nil || st.Size() == 0 {
			t.Errorf("Stat = %v, %v", st, err)
		}
		if err := errors.Join(f.Close(), v.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}
