// Package qcow2 writes disk images in QEMU's format qcow2, version 3 (QEMU's docs/interop/qcow2.txt).
//
// An image holds what the disk has and no more: clusters that are all zero are left out. The same disk gives the same bytes. There are
// no snapshots, no backing file, no compression and no encryption, and nothing of the format is read here.
//
// The package is pure and imports nothing of ours.
package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The form of our images.
const (
	clusterBits = 16
	clusterSize = 1 << clusterBits
	perTable    = clusterSize / 8 // entries of 8 bytes in a cluster
	perRefs     = clusterSize / 2 // counts of 16 bits in a cluster
	headerSize  = 112
	copied      = 1 << 63 // nobody else has the cluster
)

// maxSize bounds a disk, in bytes: its first table fits into one cluster.
const maxSize = perTable * perTable * clusterSize

// Write writes an image of the disk, which has size bytes: a multiple of 512. w is empty. data reports where the disk may have
// something: it returns the first offset from at on that is not known to be zero, and size if there is none; nil means that all is read.
func Write(ctx context.Context, w io.WriterAt, disk io.ReaderAt, size int64, data func(at int64) (int64, error)) error {
	if size <= 0 || size%512 != 0 || size > maxSize {
		return fmt.Errorf("write qcow2: a disk of %d bytes; want a multiple of 512 up to %d", size, int64(maxSize))
	}
	if data == nil {
		data = func(at int64) (int64, error) { return at, nil }
	}
	// Header, first table, second tables and contents in the order of the disk, and at the end the counts of who uses what.
	i := &image{w: w, first: make([]uint64, perTable), next: 2}
	if err := i.contents(ctx, disk, size, data); err != nil {
		return fmt.Errorf("write qcow2: %w", err)
	}
	if err := i.finish(size); err != nil {
		return fmt.Errorf("write qcow2: %w", err)
	}
	return nil
}

type image struct {
	w      io.WriterAt
	first  []uint64 // where the second tables are
	second []uint64 // the one that is being filled
	which  int      // its place in first
	next   int64    // the first cluster that is free
}

// put writes a cluster at the next free place and returns its offset.
func (i *image) put(b []byte) (int64, error) {
	at := i.next * clusterSize
	i.next++
	_, err := i.w.WriteAt(b, at)
	return at, err
}

func (i *image) contents(ctx context.Context, disk io.ReaderAt, size int64, data func(int64) (int64, error)) error {
	b, zero := make([]byte, clusterSize), make([]byte, clusterSize)
	for at := int64(0); at < size; at += clusterSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		found, err := data(at)
		if err != nil {
			return err
		}
		if at = max(at, found/clusterSize*clusterSize); at >= size {
			break
		}
		n, err := disk.ReadAt(b[:min(clusterSize, size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(b[n:])
		if bytes.Equal(b, zero) {
			continue
		}
		if err := i.place(b, at/clusterSize); err != nil {
			return err
		}
	}
	return i.flush()
}

// place writes a cluster of the disk, and its place into the second table.
func (i *image) place(b []byte, number int64) error {
	if which := int(number / perTable); i.second == nil || which != i.which {
		if err := i.flush(); err != nil {
			return err
		}
		i.second, i.which = make([]uint64, perTable), which
	}
	at, err := i.put(b)
	i.second[number%perTable] = uint64(at) | copied
	return err
}

// flush writes the second table that is being filled.
func (i *image) flush() error {
	if i.second == nil {
		return nil
	}
	at, err := i.put(bigEndian(i.second))
	i.first[i.which] = uint64(at) | copied
	i.second = nil
	return err
}

// finish writes the counts, the first table and the header.
func (i *image) finish(size int64) error {
	// The clusters that hold the counts are counted too.
	blocks := int64(1)
	for i.next+1+blocks > blocks*perRefs {
		blocks++
	}
	if blocks > perTable {
		return fmt.Errorf("%d clusters are more than one table of counts has", i.next)
	}
	table, total := i.next, i.next+1+blocks
	refs := make([]uint64, perTable)
	for n := range blocks {
		refs[n] = uint64((table + 1 + n) * clusterSize)
	}
	if _, err := i.put(bigEndian(refs)); err != nil {
		return err
	}
	for n := range blocks {
		b := make([]byte, clusterSize)
		for c := range min(perRefs, total-n*perRefs) {
			b[2*c+1] = 1
		}
		if _, err := i.put(b); err != nil {
			return err
		}
	}
	if _, err := i.w.WriteAt(bigEndian(i.first), clusterSize); err != nil {
		return err
	}
	_, err := i.w.WriteAt(header(size, table*clusterSize), 0)
	return err
}

func bigEndian(table []uint64) []byte {
	b := make([]byte, 0, clusterSize)
	for _, n := range table {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func header(size, refTable int64) []byte {
	b := make([]byte, clusterSize)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(size))
	be.PutUint32(b[36:], uint32((size+perTable*clusterSize-1)/(perTable*clusterSize)))
	be.PutUint64(b[40:], clusterSize)
	be.PutUint64(b[48:], uint64(refTable))
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4) // counts of 2^4 bits
	be.PutUint32(b[100:], headerSize)
	return b
}
