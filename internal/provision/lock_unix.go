//go:build unix

package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Lock waits until no other process has the lock of the store's folder, which is there, and takes it. The kernel gives it back
// when this process ends, however it ends. The error is fs.ErrNotExist if the folder was removed meanwhile.
func (s Store) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(s.Dir)
	if err != nil {
		return nil, err
	}
	err = Poll(ctx, "the lock of "+s.Dir+", which another process has", func() (bool, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err == nil {
		var locked, there fs.FileInfo
		if locked, err = f.Stat(); err == nil {
			if there, err = os.Stat(s.Dir); err == nil && !os.SameFile(locked, there) {
				err = fs.ErrNotExist
			}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", s.Dir, err)
	}
	return func() { _ = f.Close() }, nil // which ends the lock, too
}
