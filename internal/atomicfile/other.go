//go:build !unix

package atomicfile

import "io/fs"

// keepOwner does nothing: a new file has the owner that its directory gives.
func keepOwner(string, fs.FileInfo) error { return nil }

// syncDir does nothing: directories cannot be opened for it.
func syncDir(string) error { return nil }
