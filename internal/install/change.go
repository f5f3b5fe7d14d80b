package install

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"talos.internal/internal/gpt"
	"talos.internal/internal/metastore"
)

// changing keeps two from changing the same table or META at once: a change reads what is there first.
var changing sync.Mutex

// Exclusive calls f while nobody else in this process changes a partition table or META. Whoever changes one does it within f; f must not
// call [Execute] with a plan that changes one of them.
func Exclusive(f func() error) error {
	changing.Lock()
	defer changing.Unlock()
	return f()
}

// forgetter is a Target that can be made to read from the medium what it has in memory.
type forgetter interface{ Forget() error }

// Forget has the target read from the medium again, if it can do that.
func (r *Recorder) Forget() error {
	if f, ok := r.Target.(forgetter); ok {
		return f.Forget()
	}
	return nil
}

// compare reads back what was copied.
func compare(ctx context.Context, s Step, r *Recorder, b Blob, buf []byte) error {
	if err := r.Forget(); err != nil {
		return err
	}
	want := make([]byte, chunk)
	return pieces(ctx, s.Size, func(at, n int64) error {
		if m, err := b.Reader.ReadAt(want[:n], at); int64(m) < n {
			return fmt.Errorf("read the %s at %d: %w", s.Asset, at, err)
		}
		if m, err := r.ReadAt(buf[:n], s.Offset+at); int64(m) < n {
			return fmt.Errorf("read back at %d: %w", s.Offset+at, err)
		}
		if !bytes.Equal(want[:n], buf[:n]) {
			return fmt.Errorf("what was read back between %d and %d is not what was written: the disk is faulty", s.Offset+at, s.Offset+at+n)
		}
		return nil
	})
}

// changeTable gives a partition a GUID.
func changeTable(p Plan, s Step, r *Recorder) error {
	guid, err := gpt.ParseGUID(s.Data)
	if err != nil {
		return err
	}
	return Exclusive(func() error {
		// Others may have made partitions since the plan was made.
		t, err := gpt.Read(r, s.Size, p.Table.SectorSize)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(t.Partitions, func(p gpt.Partition) bool { return p.Label == s.Label })
		if i < 0 {
			return fmt.Errorf("there is no partition %s any more", s.Label)
		}
		t.Partitions[i].GUID = guid
		return WriteTable(r, t)
	})
}

// WriteTable writes a table in its order, and waits until it is on the medium. It belongs into [Exclusive].
func WriteTable(r *Recorder, t *gpt.Table) error {
	for _, w := range t.Encode() {
		if w.Flush {
			if err := r.Sync(); err != nil {
				return err
			}
		}
		if _, err := r.WriteAt(w.Data, w.Offset); err != nil {
			return fmt.Errorf("write the %s: %w", w.What, err)
		}
	}
	return r.Sync()
}

// window is a part of a target.
type window struct {
	r  *Recorder
	at int64
}

func (w window) ReadAt(b []byte, off int64) (int, error)  { return w.r.ReadAt(b, w.at+off) }
func (w window) WriteAt(b []byte, off int64) (int, error) { return w.r.WriteAt(b, w.at+off) }
func (w window) Sync() error                              { return w.r.Sync() }

func changeMeta(s Step, r *Recorder) error {
	c, err := decodeChanges(s.Data)
	if err != nil {
		return err
	}
	return Exclusive(func() error {
		_, err := metastore.Update(window{r, s.Offset}, c.apply)
		return err
	})
}
