package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestOfSeveralWritersOneWins(t *testing.T) {
	for _, noLinks := range []bool{false, true} {
		t.Run(fmt.Sprintf("noLinks=%t", noLinks), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			errs := make([]error, 16)

			var group sync.WaitGroup
			for i := range errs {
				group.Go(func() {
					errs[i] = writeFile(broken{noLinks: noLinks}, path, fmt.Appendf(nil, "writer %d", i), 0o600, Options{})
				})
			}

			group.Wait()

			winner := -1

			for i, err := range errs {
				switch {
				case err == nil && winner < 0:
					winner = i
				case err == nil:
					t.Errorf("writers %d and %d both succeed", winner, i)
				case !errors.Is(err, fs.ErrExist):
					t.Errorf("writer %d: %v; want fs.ErrExist", i, err)
				}
			}

			if got, want := tree(t, dir), fmt.Sprintf("f 600 writer %d", winner); got != want {
				t.Errorf("directory = %q; want %q", got, want)
			}
		})
	}
}

// A reader sees the old content or the new one, never a part.
func TestReadersSeeNoPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	contents := [][]byte{bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 50_000)}

	if err := WriteFile(path, contents[0], 0o600, Options{}); err != nil {
		t.Fatal(err)
	}

	var writer sync.WaitGroup

	done := make(chan struct{})

	writer.Go(func() {
		defer close(done)

		for i := range 50 {
			if err := WriteFile(path, contents[i%2], 0o600, Options{Overwrite: true}); err != nil {
				t.Errorf("WriteFile: %v", err)

				return
			}
		}
	})

	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}

		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			t.Errorf("ReadFile = %d bytes, %v; want one of the two contents", len(got), err)

			break
		}
	}

	writer.Wait()
}
