//go:build !linux

package qemu

import (
	"fmt"
	"runtime"

	"talos.internal/internal/provision"
)

// New fails with provision.ErrNotSupported.
func New(Options) (provision.Provisioner, error) {
	return nil, fmt.Errorf("provisioner %s: %w on %s: it needs Linux; use docker", Name, provision.ErrNotSupported, runtime.GOOS)
}

// Slow says why machines are slow on this computer; "" here, where there are none.
func Slow() string { return "" }
