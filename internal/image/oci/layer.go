package oci

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"talos.internal/internal/image/rootfs"
)

// Layer is a compressed tar archive in a file. It implements v1.Layer. It does not change and is safe for concurrent use.
type Layer struct {
	file           string
	digest, diffID v1.Hash
	size, unpacked int64
}

// NewLayer writes the tree as a layer into the folder dir, under its digest in hex, or leaves the file that is there
// under that name. The same tree gives the same digest with the same version of this program's compressor, whatever
// the number of processors.
func NewLayer(t *rootfs.Tree, dir string) (*Layer, error) {
	f, err := os.CreateTemp(dir, ".layer-")
	if err != nil {
		return nil, err
	}
	l, err := compress(t, f)
	if err = errors.Join(err, f.Close()); err == nil {
		l.file = filepath.Join(dir, l.digest.Hex)
		err = os.Rename(f.Name(), l.file)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return l, nil
}

// compress is given concurrency 1 and a fixed level because both may change the bytes that come out.
func compress(t *rootfs.Tree, f io.Writer) (*Layer, error) {
	out := counter{w: f, hash: sha256.New()}
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	in := counter{w: z, hash: sha256.New()}
	buffered := bufio.NewWriterSize(&in, 1<<20)
	if err := t.WriteTar(buffered); err != nil {
		return nil, errors.Join(err, z.Close())
	}
	if err := errors.Join(buffered.Flush(), z.Close()); err != nil {
		return nil, err
	}
	return &Layer{digest: out.sum(), size: out.n, diffID: in.sum(), unpacked: in.n}, nil
}

// counter passes on what is written and keeps its length and hash.
type counter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.hash.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func (c *counter) sum() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(c.hash.Sum(nil))}
}

// Digest is the hash of the compressed bytes.
func (l *Layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the hash of the tar archive.
func (l *Layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size is the number of compressed bytes.
func (l *Layer) Size() (int64, error) { return l.size, nil }

// MediaType says that the layer is compressed by zstd.
func (l *Layer) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }

// Compressed returns the layer's bytes.
func (l *Layer) Compressed() (io.ReadCloser, error) { return os.Open(l.file) }

// Uncompressed returns the tar archive.
func (l *Layer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	return unzstd(f)
}

// unzstd decompresses r, which it closes in the end.
func unzstd(r io.ReadCloser) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &unpacked{z.IOReadCloser(), r}, nil
}

type unpacked struct {
	io.ReadCloser
	under io.Closer
}

func (u *unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.under.Close()) }
