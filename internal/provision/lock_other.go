//go:build !unix && !windows

package provision

import (
	"context"
	"fmt"
	"runtime"
)

// Lock fails with ErrNotSupported.
func (s Store) Lock(context.Context) (unlock func(), err error) {
	return nil, fmt.Errorf("lock %s: %w on %s", s.Dir, ErrNotSupported, runtime.GOOS)
}
