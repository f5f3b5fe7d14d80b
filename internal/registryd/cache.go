package registryd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/distribution/reference"
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

// ErrBroken is the error for content of a cache that is not what its digest says.
var ErrBroken = errors.New("the image cache is damaged")

// Cache reads the image cache in a directory, in either form; see the package comment. It is safe for concurrent use, and what it
// reads may change or come later. Use [Open].
type Cache struct {
	dir string

	mu       sync.Mutex
	verdicts map[key]*verdict
}

// key names a file that was looked at: one digest may be kept under several names.
type key struct {
	digest digest.Digest
	name   string
}

// verdict is whether the file of a blob is what its digest says.
type verdict struct {
	file fs.FileInfo // that was looked at
	once sync.Once
	err  error
}

// maxVerdicts bounds what is remembered; a cache has about a hundred blobs.
const maxVerdicts = 1024

// Open returns the cache in dir. Nothing is read yet: a directory that is not there has no images.
func Open(dir string) *Cache { return &Cache{dir: dir, verdicts: map[key]*verdict{}} }

// Is reports whether dir has an image cache in one of the two forms.
func Is(dir string) bool {
	for _, name := range []string{imagespec.ImageIndexFile, flatManifests} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// open opens a file of the cache. Nothing outside of its directory is opened, whatever links there are.
func (c *Cache) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(c.dir)
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

// Lookup returns the descriptor of the image with a full reference: registry.k8s.io/etcd:v3.7.3, or one with a digest behind an @ .
// The error is fs.ErrNotExist if the cache has none of that name, and wraps [ErrBroken] if it cannot be told.
func (c *Cache) Lookup(ref string) (imagespec.Descriptor, error) {
	index, err := c.index()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return imagespec.Descriptor{}, err
	}
	for _, m := range index.Manifests {
		if m.Annotations[annotationName] == ref || m.Annotations[annotationName] == "" && m.Annotations[annotationRef] == ref {
			return m, nil
		}
	}
	named, err := reference.ParseNamed(ref)
	if err != nil {
		return imagespec.Descriptor{}, fs.ErrNotExist
	}
	if d, ok := named.(reference.Digested); ok {
		return c.manifest(named.Name(), d.Digest())
	}
	if tagged, ok := named.(reference.Tagged); ok {
		return c.flatTag(named.Name(), tagged.Tag())
	}
	return imagespec.Descriptor{}, fs.ErrNotExist
}

// manifest returns the descriptor of a manifest or an index that is known by its digest.
func (c *Cache) manifest(repository string, d digest.Digest) (imagespec.Descriptor, error) {
	f, info, err := c.Blob(repository, d)
	if err != nil {
		return imagespec.Descriptor{}, err
	}
	defer func() { _ = f.Close() }()
	t := mediaTypeOf(f)
	if t == "" {
		return imagespec.Descriptor{}, fs.ErrNotExist
	}
	return imagespec.Descriptor{MediaType: t, Digest: d, Size: info.Size()}, nil
}

func (c *Cache) index() (imagespec.Index, error) {
	f, err := c.open(imagespec.ImageIndexFile)
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
		return imagespec.Index{}, fmt.Errorf("%w: its index is larger than %d bytes", ErrBroken, maxIndex)
	}
	var index imagespec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return imagespec.Index{}, fmt.Errorf("%w: its index: %w", ErrBroken, err)
	}
	return index, nil
}

// Blob opens a blob and compares it with its digest; a manifest may be one of a repository, which is empty if that is not known.
// The caller closes the file. The error is fs.ErrNotExist if there is none, and wraps [ErrBroken] if it is not what the digest says.
func (c *Cache) Blob(repository string, d digest.Digest) (*os.File, fs.FileInfo, error) {
	if err := d.Validate(); err != nil {
		return nil, nil, fmt.Errorf("digest %q: %w", d, fs.ErrNotExist)
	}
	broken := error(nil)
	for _, name := range blobNames(repository, d) {
		f, info, err := c.whole(name, d)
		if err == nil {
			return f, info, nil
		}
		if broken == nil && !errors.Is(err, fs.ErrNotExist) {
			broken = err // another name may have it whole
		}
	}
	if broken != nil {
		return nil, nil, broken
	}
	return nil, nil, fs.ErrNotExist
}

// whole opens a file whose content has that digest.
func (c *Cache) whole(name string, d digest.Digest) (*os.File, fs.FileInfo, error) {
	f, err := c.open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		v := c.verdict(key{d, name}, info)
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
func (c *Cache) verdict(k key, info fs.FileInfo) *verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.verdicts[k]
	if v != nil && os.SameFile(v.file, info) && v.file.Size() == info.Size() && v.file.ModTime().Equal(info.ModTime()) {
		return v
	}
	if len(c.verdicts) >= maxVerdicts {
		clear(c.verdicts)
	}
	v = &verdict{file: info}
	c.verdicts[k] = v
	return v
}

func verify(r io.Reader, want digest.Digest) error {
	got := want.Algorithm().Digester()
	n, err := io.Copy(got.Hash(), r)
	if err != nil {
		return fmt.Errorf("%w: read blob %s after %d bytes: %w", ErrBroken, want, n, err)
	}
	if got.Digest() != want {
		return fmt.Errorf("%w: blob %s is cut or altered: its %d bytes have digest %s", ErrBroken, want, n, got.Digest())
	}
	return nil
}
