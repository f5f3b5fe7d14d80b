package registryd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of an index that have an image's full reference: containerd's, and the specification's, which other tools use for
// the tag alone.
const (
	annotationName = "io.containerd.image.name"
	annotationRef  = imagespec.AnnotationRefName
)

// maxIndex is the size of an index or a manifest that is read, as other registries have it.
const maxIndex = 4 << 20

// errBroken is the error for a blob that is not what its digest says.
var errBroken = errors.New("the image cache is damaged")

// layout is an OCI image layout.
type layout struct {
	dir string

	mu       sync.Mutex
	verdicts map[digest.Digest]*verdict
}

// verdict is whether the file of a blob is what its digest says.
type verdict struct {
	file fs.FileInfo // that was looked at
	once sync.Once
	err  error
}

// maxVerdicts bounds what is remembered; a cache has about a hundred blobs.
const maxVerdicts = 1024

func newLayout(dir string) *layout { return &layout{dir: dir, verdicts: map[digest.Digest]*verdict{}} }

// open opens a file of the layout. Nothing outside of its directory is opened, whatever links there are.
func (l *layout) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: no regular file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lookup returns the descriptor of the image with a full reference; fs.ErrNotExist if the layout has none.
func (l *layout) lookup(ref string) (imagespec.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return imagespec.Descriptor{}, err
	}
	for _, m := range index.Manifests {
		if m.Annotations[annotationName] == ref || m.Annotations[annotationName] == "" && m.Annotations[annotationRef] == ref {
			return m, nil
		}
	}
	return imagespec.Descriptor{}, fs.ErrNotExist
}

func (l *layout) index() (imagespec.Index, error) {
	f, err := l.open(imagespec.ImageIndexFile)
	if err != nil {
		return imagespec.Index{}, err
	}
	defer func() { _ = f.Close() }()
	return readIndex(f)
}

// readIndex parses the index of a layout.
func readIndex(r io.Reader) (imagespec.Index, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxIndex+1))
	if err != nil {
		return imagespec.Index{}, err
	}
	if len(b) > maxIndex {
		return imagespec.Index{}, fmt.Errorf("%w: its index is larger than %d bytes", errBroken, maxIndex)
	}
	var index imagespec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return imagespec.Index{}, fmt.Errorf("%w: its index: %w", errBroken, err)
	}
	return index, nil
}

// blob opens a blob and compares it with its digest. The error is fs.ErrNotExist if there is none, and wraps errBroken if it is
// not what the digest says.
func (l *layout) blob(d digest.Digest) (*os.File, fs.FileInfo, error) {
	if err := d.Validate(); err != nil {
		return nil, nil, fmt.Errorf("digest %q: %w", d, fs.ErrNotExist)
	}
	f, err := l.open(path.Join(imagespec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		v := l.verdict(d, info)
		v.once.Do(func() { v.err = verify(f, d) })
		err = v.err
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// verdict returns what is known of a file; a file that was changed is another one.
func (l *layout) verdict(d digest.Digest, info fs.FileInfo) *verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.verdicts[d]
	if v != nil && os.SameFile(v.file, info) && v.file.Size() == info.Size() && v.file.ModTime().Equal(info.ModTime()) {
		return v
	}
	if len(l.verdicts) >= maxVerdicts {
		clear(l.verdicts)
	}
	v = &verdict{file: info}
	l.verdicts[d] = v
	return v
}

func verify(r io.Reader, want digest.Digest) error {
	got := want.Algorithm().Digester()
	n, err := io.Copy(got.Hash(), r)
	if err != nil {
		return fmt.Errorf("%w: read blob %s after %d bytes: %w", errBroken, want, n, err)
	}
	if got.Digest() != want {
		return fmt.Errorf("%w: blob %s is cut or altered: its %d bytes have digest %s", errBroken, want, n, got.Digest())
	}
	return nil
}
