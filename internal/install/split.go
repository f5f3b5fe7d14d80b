package install

import (
	"errors"
	"fmt"
)

// Split is a disk of which some parts are written through devices of their own. The kernel keeps what is read and written of a disk and of its
// partitions in different places: what others read through a partition has to be written through it, and a partition can be claimed.
type Split struct {
	Whole Target
	Parts []SplitPart
}

// SplitPart is a part of a disk that has a device of its own.
type SplitPart struct {
	Offset, Size int64 // in bytes, on the disk
	Target       Target
}

// find returns the target of n bytes at off, and where they are there.
func (s *Split) find(off int64, n int) (Target, int64, error) {
	for _, p := range s.Parts {
		if off+int64(n) <= p.Offset || off >= p.Offset+p.Size {
			continue
		}
		if off < p.Offset || off+int64(n) > p.Offset+p.Size {
			return nil, 0, fmt.Errorf("%d bytes at %d are in more than one partition", n, off)
		}
		return p.Target, off - p.Offset, nil
	}
	return s.Whole, off, nil
}

// ReadAt implements [io.ReaderAt].
func (s *Split) ReadAt(b []byte, off int64) (int, error) {
	t, at, err := s.find(off, len(b))
	if err != nil {
		return 0, err
	}
	return t.ReadAt(b, at)
}

// WriteAt implements [io.WriterAt].
func (s *Split) WriteAt(b []byte, off int64) (int, error) {
	t, at, err := s.find(off, len(b))
	if err != nil {
		return 0, err
	}
	return t.WriteAt(b, at)
}

// each calls f for all targets.
func (s *Split) each(f func(Target) error) error {
	var errs []error
	for _, p := range s.Parts {
		errs = append(errs, f(p.Target))
	}
	return errors.Join(append(errs, f(s.Whole))...)
}

// Sync implements [Target].
func (s *Split) Sync() error { return s.each(Target.Sync) }

// Forget has all devices read from the medium again, as far as they can.
func (s *Split) Forget() error {
	return s.each(func(t Target) error {
		if f, ok := t.(forgetter); ok {
			return f.Forget()
		}
		return nil
	})
}
