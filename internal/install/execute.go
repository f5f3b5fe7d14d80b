package install

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"talos.internal/internal/gpt"
	"talos.internal/internal/superblock"
	"talos.internal/internal/sys/blockdev"
)

// Target is what is written to: a disk, or a file in its place.
type Target interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when what was written is on the medium.
	Sync() error
}

// Record is one write, or, if Data is nil, one flush.
type Record struct {
	Offset int64
	Data   []byte // not to be kept: it is used again
}

// Recorder is the one place through which a disk of the system is written. It is a Target itself.
type Recorder struct {
	Target Target
	// Record is told of each write and flush before it is done; nil is nobody.
	Record func(Record)
}

// ReadAt implements [io.ReaderAt].
func (r *Recorder) ReadAt(b []byte, off int64) (int, error) { return r.Target.ReadAt(b, off) }

// WriteAt implements [io.WriterAt].
func (r *Recorder) WriteAt(b []byte, off int64) (int, error) {
	if r.Record != nil && len(b) > 0 {
		r.Record(Record{Offset: off, Data: b})
	}
	return r.Target.WriteAt(b, off)
}

// Sync implements [Target].
func (r *Recorder) Sync() error {
	if r.Record != nil {
		r.Record(Record{})
	}
	return r.Target.Sync()
}

// chunk is how much is written at once.
const chunk = 1 << 20

// Execute carries out a plan. say is called before each step; nil is nobody. It stops at the first error and when ctx ends. An asset that
// is not what its digest says is an error, before the disk has a partition table.
func Execute(ctx context.Context, p Plan, r *Recorder, a Assets, say func(Step)) error {
	buf := make([]byte, chunk)
	for _, s := range p.Steps {
		if say != nil {
			say(s)
		}
		if err := do(ctx, p, s, r, a, buf); err != nil {
			return fmt.Errorf("write to %s: %s: %w", p.Disk, s, err)
		}
	}
	return nil
}

func do(ctx context.Context, p Plan, s Step, r *Recorder, a Assets, buf []byte) error {
	switch s.Do {
	case OpFlush:
		return r.Sync()
	case OpZero:
		clear(buf)
		return pieces(ctx, s.Size, func(at, n int64) error {
			_, err := r.WriteAt(buf[:n], s.Offset+at)
			return err
		})
	case OpWrite:
		_, err := r.WriteAt([]byte(s.Data), s.Offset)
		return err
	case OpCopy:
		return copyBlob(ctx, s, r, a.blob(s.Asset), buf)
	case OpCheck:
		return compare(ctx, s, r, a.blob(s.Asset), buf)
	case OpTable:
		return changeTable(p, s, r)
	case OpMeta:
		return changeMeta(s, r)
	}
	return fmt.Errorf("unknown operation %q", s.Do)
}

func copyBlob(ctx context.Context, s Step, r *Recorder, b Blob, buf []byte) error {
	if b.Reader == nil || b.Size != s.Size {
		return fmt.Errorf("the plan has %d bytes of the %s, which has %d", s.Size, s.Asset, b.Size)
	}
	sum := sha256.New()
	err := pieces(ctx, s.Size, func(at, n int64) error {
		if m, err := b.Reader.ReadAt(buf[:n], at); int64(m) < n {
			return fmt.Errorf("read the %s at %d: %w", s.Asset, at, err)
		}
		sum.Write(buf[:n])
		_, err := r.WriteAt(buf[:n], s.Offset+at)
		return err
	})
	if err != nil {
		return err
	}
	if got := sum.Sum(nil); b.SHA256 != [sha256.Size]byte{} && string(got) != string(b.SHA256[:]) {
		return fmt.Errorf("the %s has the SHA-256 %x; expected %x", s.Asset, got, b.SHA256)
	}
	return nil
}

// pieces calls f for each chunk of size bytes.
func pieces(ctx context.Context, size int64, f func(at, n int64) error) error {
	for at := int64(0); at < size; at += chunk {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := f(at, min(chunk, size-at)); err != nil {
			return err
		}
	}
	return nil
}

// Device is what can be inspected: blockdev.Device is one.
type Device interface {
	io.ReaderAt
	Size() int64
	SectorSize() int
}

// Inspect says what a plan has to know of an open disk.
func Inspect(name string, d Device) (Disk, error) {
	disk := Disk{Name: name, Size: d.Size(), SectorSize: d.SectorSize()}
	found, ok, err := superblock.Probe(d, d.Size(), d.SectorSize())
	if err != nil {
		return Disk{}, fmt.Errorf("inspect %s: %w", name, err)
	}
	if ok {
		disk.Found = &found
	}
	return disk, nil
}

// Wipe makes partitions of a disk empty, by their labels, or without labels the whole disk. disk is a path. The error wraps
// blockdev.ErrBusy if one of those partitions is still in use, or for the whole disk any; then, as after a refusal, nothing was
// changed. Partitions that are not named may be in use: the root of the running system is one.
func Wipe(ctx context.Context, disk string, labels []string) error {
	open := blockdev.Claim
	if len(labels) > 0 {
		open = blockdev.Share // the running system's root is on the same disk
	}
	d, err := open(disk)
	if err != nil {
		return fmt.Errorf("wipe %s: %w", disk, err)
	}
	defer d.Close()
	facts, err := Inspect(disk, d)
	if err != nil {
		return err
	}
	p, err := PlanWipe(facts, labels)
	if err != nil {
		return err
	}
	if len(labels) > 0 {
		release, err := claim(disk, p.Table, labels)
		if err != nil {
			return fmt.Errorf("wipe %s: %w", disk, err)
		}
		defer release()
	}
	if err := Execute(ctx, p, &Recorder{Target: d}, Assets{}, nil); err != nil {
		return err
	}
	if len(labels) > 0 {
		return nil
	}
	return d.Reread(ctx)
}

// claim takes the partitions with labels from the kernel, so that nobody has them mounted, until release is called. A file has no
// partitions that anybody could have.
func claim(disk string, table *gpt.Table, labels []string) (release func(), err error) {
	var claimed []io.Closer
	release = func() {
		for _, c := range claimed {
			_ = c.Close() // nothing was written by way of it
		}
	}
	if st, err := os.Stat(disk); err != nil || st.Mode().IsRegular() {
		return release, err
	}
	disks, err := blockdev.List("")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(disks, func(d blockdev.Disk) bool { return d.Path() == disk })
	if i < 0 {
		return nil, fmt.Errorf("the kernel has no such disk: %w", fs.ErrNotExist)
	}
	for _, p := range disks[i].Partitions {
		entry := slices.IndexFunc(table.Partitions, func(e gpt.Partition) bool { return e.Number == p.Number })
		if entry < 0 || !slices.Contains(labels, table.Partitions[entry].Label) {
			continue
		}
		c, err := blockdev.Claim(p.Path())
		if err != nil {
			release()
			return nil, err
		}
		claimed = append(claimed, c)
	}
	return release, nil
}
