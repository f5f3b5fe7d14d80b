// Package metastore is the key/value store on the partition META: what a machine has to know before it has a config, such as the
// network on metal or the slot that it came from.
//
// The partition has 1 MiB and holds two copies, each in a half of its own. Each has a generation and a checksum; the valid one with the
// higher generation counts. A change is written to the other one, so a write that is torn, or power that is cut, leaves the old contents.
// The format is ours and little-endian:
//
//	 0  8  "TALOSKV1"
//	 8  8  generation, from 1
//	16  4  length of the entries
//	20  4  zero
//	24 32  SHA-256 of bytes 0 to 23 and of the entries
//	56  …  entries, in the order of their keys: key (1), length (4), value
//
// The package does no I/O but through the interface that it is given, and imports nothing of ours.
package metastore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Key says what a value is. The numbers are those of the published contract.
type Key uint8

// The keys that are in use.
const (
	Upgrade                Key = 0x06 // the boot entry from before an upgrade that has not proved itself yet
	StagedUpgradeImage     Key = 0x07
	StagedUpgradeOptions   Key = 0x08 // JSON
	StateEncryption        Key = 0x09 // JSON: how STATE is opened
	MetalNetworkPlatform   Key = 0x0a // YAML
	DownloadURLCode        Key = 0x0b
	UserReserved1          Key = 0x0c
	UserReserved2          Key = 0x0d
	UserReserved3          Key = 0x0e
	UUIDOverride           Key = 0x0f
	UniqueMachineToken     Key = 0x10
	DiskImageBootloaderKey Key = 0x11
)

// String returns the key as the ids of resources have it: "0x0a".
func (k Key) String() string { return fmt.Sprintf("0x%02x", uint8(k)) }

// ParseKey parses a number as in Go source: "0x0a" or "10".
func ParseKey(s string) (Key, error) {
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("parse META key %q: expected a number from 1 to 255, such as 0xa", s)
	}
	return Key(n), nil
}

// Size is that of the partition, in bytes.
const Size = 1 << 20

const (
	copySize   = Size / 2
	headerSize = 56
	magic      = "TALOSKV1"
	maxEntries = copySize - headerSize
	block      = 4096 // writes are multiples of it
)

// ErrTooLarge says that the values do not fit into META.
var ErrTooLarge = errors.New("META is full")

// Values are what META has.
type Values map[Key]string

// Contents is META as it was read.
type Contents struct {
	Values Values
	// Generation counts the changes; 0 is a META that has never been written.
	Generation uint64
	at         int64 // of the copy
}

// Read reads META. A partition without a valid copy is an empty META, which is what a new disk has; damaged says that it has one that
// is not valid, which a write that was torn leaves beside a valid one.
func Read(r io.ReaderAt) (c Contents, damaged bool, err error) {
	c.Values = Values{}
	for _, at := range []int64{0, copySize} {
		b := make([]byte, copySize)
		if _, err := r.ReadAt(b, at); err != nil {
			return c, false, fmt.Errorf("read META at %d: %w", at, err)
		}
		values, generation, state := decode(b)
		switch {
		case state == copyDamaged:
			damaged = true
		case state == copyValid && generation > c.Generation:
			c = Contents{Values: values, Generation: generation, at: at}
		}
	}
	return c, damaged, nil
}

type copyState int

const (
	copyEmpty copyState = iota
	copyDamaged
	copyValid
)

func decode(b []byte) (Values, uint64, copyState) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != magic {
		return nil, 0, copyEmpty
	}
	n := int64(le.Uint32(b[16:]))
	if headerSize+n > int64(len(b)) {
		return nil, 0, copyDamaged
	}
	entries := b[headerSize : headerSize+n]
	if checksum(b[:24], entries) != [32]byte(b[24:56]) {
		return nil, 0, copyDamaged
	}
	values := Values{}
	for len(entries) > 0 {
		if len(entries) < 5 || int64(le.Uint32(entries[1:])) > int64(len(entries)-5) {
			return nil, 0, copyDamaged
		}
		end := 5 + le.Uint32(entries[1:])
		values[Key(entries[0])] = string(entries[5:end])
		entries = entries[end:]
	}
	return values, le.Uint64(b[8:]), copyValid
}

func checksum(header, entries []byte) [32]byte {
	h := sha256.New()
	h.Write(header)
	h.Write(entries)
	return [32]byte(h.Sum(nil))
}

// Encode returns a copy with that generation, filled to a multiple of 4096 bytes. It returns ErrTooLarge if the values do not fit.
func Encode(values Values, generation uint64) ([]byte, error) {
	le := binary.LittleEndian
	b := make([]byte, headerSize)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		v := values[k]
		b = append(b, byte(k))
		b = le.AppendUint32(b, uint32(min(len(v), Size)))
		b = append(b, v...)
		if len(b) > copySize {
			return nil, fmt.Errorf("encode META: %w: the values take more than %d bytes", ErrTooLarge, maxEntries)
		}
	}
	copy(b, magic)
	le.PutUint64(b[8:], generation)
	le.PutUint32(b[16:], uint32(len(b)-headerSize))
	sum := checksum(b[:24], b[headerSize:])
	copy(b[24:], sum[:])
	if n := len(b) % block; n != 0 {
		b = append(b, make([]byte, block-n)...)
	}
	return b, nil
}

// Device is what META is written to.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Update reads META, lets change alter the values, and writes them if they are different, to the copy that does not count. It returns
// what META has then. After an error META has what it had, or, if the device broke off at the very end, what it should have. Calls on
// one device must not overlap.
func Update(d Device, change func(Values)) (Values, error) {
	c, _, err := Read(d)
	if err != nil {
		return nil, err
	}
	values := maps.Clone(c.Values)
	change(values)
	if maps.Equal(values, c.Values) {
		return values, nil
	}
	b, err := Encode(values, c.Generation+1)
	if err != nil {
		return nil, err
	}
	at := int64(0)
	if c.Generation > 0 && c.at == 0 {
		at = copySize
	}
	if _, err := d.WriteAt(b, at); err != nil {
		return nil, fmt.Errorf("write META at %d: %w", at, err)
	}
	if err := d.Sync(); err != nil {
		return nil, fmt.Errorf("write META at %d: %w", at, err)
	}
	return values, nil
}
