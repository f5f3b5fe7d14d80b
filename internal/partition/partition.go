// Package partition changes the partitions of a disk that is in use: it makes one in free space, lets one grow, and takes one away, in the table on the
// disk and in the kernel's picture of it.
//
// What is on the disk is looked at again before the first write, and nothing that is recognised is overwritten. Whoever calls holds install.Exclusive
// while something else may change the table. Package gpt knows tables, package install makes the first one of a system's disk.
//
// internal/ctrl imports this package.
package partition

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"

	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/internal/superblock"
)

// Disk is a disk that is open to be read and written, although its partitions may be in use. Offsets and sizes are in bytes.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Size() int64
	SectorSize() int
	// Reread has the kernel read the partition table anew; the others tell it of one partition.
	Reread(ctx context.Context) error
	AddPartition(number int, offset, size int64) error
	ResizePartition(number int, offset, size int64) error
	RemovePartition(number int) error
}

// Edge is what is made zero at both ends of a new partition, so that what was in that space once is not found in it.
const Edge = 1 << 20

// Create makes a partition in free space, with a table if the disk has nothing at all. size is rounded down to gpt.Align.
// The error says so if there is no space, the label is taken, or the disk has something else than a table.
func Create(ctx context.Context, d Disk, label string, kind gpt.GUID, size int64) error {
	fail := func(err error) error { return fmt.Errorf("make partition %s: %w", label, err) }
	t, err := tableFor(d)
	if err != nil {
		return fail(err)
	}
	if p, ok := t.Find(label); ok {
		return fail(fmt.Errorf("partition %d has that label", p.Number))
	}
	p, err := t.Add(label, kind, NewGUID(), size/gpt.Align*gpt.Align)
	if err != nil {
		return fail(err)
	}
	r := &install.Recorder{Target: d}
	zeros := make([]byte, min(Edge, p.Size))
	for _, at := range []int64{p.Offset, p.End() - int64(len(zeros))} {
		if _, err := r.WriteAt(zeros, at); err != nil {
			return fail(err)
		}
	}
	if err := r.Sync(); err != nil {
		return fail(err)
	}
	if err := install.WriteTable(r, t); err != nil {
		return fail(err)
	}
	if len(t.Partitions) == 1 {
		return d.Reread(ctx)
	}
	return d.AddPartition(p.Number, p.Offset, p.Size)
}

// tableFor returns the table of a disk, or a new one if nothing is recognised on it.
func tableFor(d Disk) (*gpt.Table, error) {
	found, ok, err := superblock.Probe(d, d.Size(), d.SectorSize())
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return gpt.New(NewGUID(), d.Size(), d.SectorSize())
	case found.Table == nil:
		return nil, fmt.Errorf("the disk has %s, which is not overwritten", found)
	}
	return found.Table, nil
}

// NewGUID returns a random GUID.
func NewGUID() gpt.GUID {
	var g gpt.GUID
	_, _ = rand.Read(g[:]) // never fails (crypto/rand)
	g[6] = g[6]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}

// Grow lets a partition, which may be mounted, have size bytes.
func Grow(d Disk, number int, size int64) error {
	fail := func(err error) error { return fmt.Errorf("grow partition %d: %w", number, err) }
	t, err := gpt.Read(d, d.Size(), d.SectorSize())
	if err != nil {
		return fail(err)
	}
	if err := t.Resize(number, size); err != nil {
		return fail(err)
	}
	if err := install.WriteTable(&install.Recorder{Target: d}, t); err != nil {
		return fail(err)
	}
	i := slices.IndexFunc(t.Partitions, func(p gpt.Partition) bool { return p.Number == number })
	return d.ResizePartition(number, t.Partitions[i].Offset, t.Partitions[i].Size)
}

// Drop takes a partition, which is not in use, out of the table.
func Drop(d Disk, number int) error {
	fail := func(err error) error { return fmt.Errorf("drop partition %d: %w", number, err) }
	t, err := gpt.Read(d, d.Size(), d.SectorSize())
	if err != nil {
		return fail(err)
	}
	if !t.Remove(number) {
		return fail(fmt.Errorf("it is not in the table"))
	}
	if err := d.RemovePartition(number); err != nil {
		return fail(err)
	}
	if err := install.WriteTable(&install.Recorder{Target: d}, t); err != nil {
		return fail(err)
	}
	return nil
}
