package fat32

import "io/fs"

type notFound struct{ path string }

func (e *notFound) Error() string { return "find " + e.path + " on FAT32: " + fs.ErrNotExist.Error() }

func (e *notFound) Unwrap() error { return fs.ErrNotExist }
