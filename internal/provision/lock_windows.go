package provision

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// errSharing is the error for a file that another process has for itself (ERROR_SHARING_VIOLATION).
const errSharing = syscall.Errno(32)

// Lock waits until no other process has the lock of the store's folder, which is there, and takes it. The kernel gives it back
// when this process ends, however it ends. The error is fs.ErrNotExist if the folder is not there.
func (s Store) Lock(ctx context.Context) (unlock func(), err error) {
	name, err := syscall.UTF16PtrFromString(filepath.Join(s.Dir, ".lock"))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.Dir, err)
	}
	var h syscall.Handle
	err = Poll(ctx, "the lock of "+s.Dir+", which another process has", func() (bool, error) {
		const share = 0 // with nobody
		h, err = syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, share, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
		if errors.Is(err, errSharing) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.Dir, err)
	}
	return func() { _ = syscall.CloseHandle(h) }, nil // which ends the lock, too
}
