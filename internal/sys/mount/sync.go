package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SyncAt writes what the file system at a path holds back to its disk, and waits for it. It also tells of an error of an earlier
// write that nobody was told of.
func SyncAt(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := errors.Join(unix.Syncfs(int(f.Fd())), f.Close()); err != nil {
		return fmt.Errorf("sync the file system at %s: %w", path, err)
	}
	return nil
}
