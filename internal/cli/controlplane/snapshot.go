package controlplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// summary is what a snapshot of etcd has in it, as etcdutl counts it.
type summary struct {
	fileSize int64
	hash     uint32 // CRC-32C of all buckets, keys and values
	revision int64
	keys     int
	size     int64
}

// sector is what the size of a bbolt file is a multiple of. etcd appends the SHA-256 of what it sends, which is how a
// snapshot that came through the API differs from a copy of the file.
const sector = 512

// summarize checks a snapshot against its checksum and reads it.
func summarize(file string) (summary, error) {
	size, err := checkSum(file)
	if err != nil {
		return summary{}, err
	}
	sum := summary{fileSize: size}
	db, err := bbolt.Open(file, 0o400, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return summary{}, fmt.Errorf("read the snapshot: %w", err)
	}
	err = db.View(func(tx *bbolt.Tx) error { return sum.read(tx) })
	if err := errors.Join(err, db.Close()); err != nil {
		return summary{}, fmt.Errorf("read the snapshot: %w", err)
	}
	return sum, nil
}

func (s *summary) read(tx *bbolt.Tx) error {
	s.size = tx.Size()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		h.Write(name)
		err := b.ForEach(func(k, v []byte) error {
			h.Write(k)
			h.Write(v)
			s.keys++
			// A key of this bucket is a revision: eight bytes big-endian, an underline, and the number within it.
			if bytes.Equal(name, []byte("key")) && len(k) >= 8 {
				s.revision = max(s.revision, int64(binary.BigEndian.Uint64(k)))
			}
			return nil
		})
		s.hash = h.Sum32()
		return err
	})
}

// checkSum returns the size of a snapshot whose checksum is right.
func checkSum(file string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if size%sector != sha256.Size {
		return 0, fmt.Errorf("the snapshot is incomplete: %d bytes do not end with a checksum", size)
	}
	h := sha256.New()
	if _, err := io.CopyN(h, f, size-sha256.Size); err != nil {
		return 0, err
	}
	want, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(h.Sum(nil), want) {
		return 0, errors.New("the snapshot is damaged: its checksum is wrong")
	}
	return size, nil
}
