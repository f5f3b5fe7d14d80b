package imagecache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/registryd"
)

// Form is what a cache looks like on disk; package registryd describes both.
type Form string

// The forms.
const (
	Layout Form = "oci"
	Flat   Form = "flat"
)

// containerdName is the annotation that containerd takes for an image's name.
const containerdName = "io.containerd.image.name"

// store is a cache that is being written, in a directory that nobody else uses. put may be called concurrently.
type store struct {
	dir   string
	form  Form
	index []imagespec.Descriptor // of a layout
}

// blob is where a layer or a config is.
func (s *store) blob(d digest.Digest) string {
	if s.form == Flat {
		return filepath.Join(s.dir, filepath.FromSlash(registryd.FlatBlob(d)))
	}
	return filepath.Join(s.dir, imagespec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// put keeps what r has as the blob d. The error wraps registryd.ErrBroken if that is not it; nothing is kept then.
func (s *store) put(d imagespec.Descriptor, r io.Reader) error {
	return putFile(s.blob(d.Digest), d, r)
}

// putFile writes a file that has the digest and the size of d, or none.
func putFile(name string, d imagespec.Descriptor, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".part-")
	if err != nil {
		return err
	}
	err = errors.Join(copyWhole(f, d, r), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// copyWhole copies r to w and compares it with d while it does.
func copyWhole(w io.Writer, d imagespec.Descriptor, r io.Reader) error {
	sum := d.Digest.Algorithm().Digester()
	n, err := io.Copy(io.MultiWriter(w, sum.Hash()), io.LimitReader(r, d.Size+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || err == nil && n < d.Size:
		return fmt.Errorf("%w: it is cut after %d of %d bytes", registryd.ErrBroken, n, d.Size)
	case err != nil:
		return fmt.Errorf("after %d of %d bytes: %w", n, d.Size, err)
	case n > d.Size:
		return fmt.Errorf("%w: it is longer than its %d bytes", registryd.ErrBroken, d.Size)
	case sum.Digest() != d.Digest:
		return fmt.Errorf("%w: it is altered: its digest is %s", registryd.ErrBroken, sum.Digest())
	}
	return nil
}

// manifest keeps a manifest or an index of a repository.
func (s *store) manifest(repository string, d imagespec.Descriptor, raw []byte) error {
	name := s.blob(d.Digest)
	if s.form == Flat {
		name = filepath.Join(s.dir, filepath.FromSlash(registryd.FlatManifest(repository, d.Digest)))
	}
	return putFile(name, d, bytes.NewReader(raw))
}

// name gives a manifest or an index, which is kept already, the name of an image. A tag is what a name is then found by, and
// without one the digest.
func (s *store) name(ref reference.Named, d imagespec.Descriptor, raw []byte) error {
	name := ref.Name() + "@" + d.Digest.String()
	tagged, ok := ref.(reference.Tagged)
	if ok {
		name = ref.Name() + ":" + tagged.Tag()
	}
	if s.form == Flat {
		if !ok {
			return nil
		}
		return putFile(filepath.Join(s.dir, filepath.FromSlash(registryd.FlatTag(ref.Name(), tagged.Tag()))), d, bytes.NewReader(raw))
	}
	s.index = append(s.index, imagespec.Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform,
		Annotations: map[string]string{imagespec.AnnotationRefName: name, containerdName: name},
	})
	return nil
}

// finish writes what says that the cache is complete.
func (s *store) finish() error {
	if s.form == Flat {
		return nil
	}
	slices.SortFunc(s.index, func(a, b imagespec.Descriptor) int {
		return strings.Compare(a.Annotations[containerdName], b.Annotations[containerdName])
	})
	index, err := json.MarshalIndent(imagespec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex, Manifests: s.index,
	}, "", "   ")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{imagespec.ImageIndexFile: string(index), imagespec.ImageLayoutFile: `{"imageLayoutVersion":"` + imagespec.ImageLayoutVersion + `"}`} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// readable gives everything below dir its modes, whatever the umask is: others read what one user made.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(name, 0o755)
	})
}

// free fails if dir cannot become the cache: something is there, and it is no cache, or replacing it was not asked for.
func free(dir string, replace bool) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return err
	case !registryd.Is(dir):
		return fmt.Errorf("it has files and is no image cache: %w", fs.ErrExist)
	case !replace:
		return fmt.Errorf("there is an image cache already: %w", fs.ErrExist)
	}
	return nil
}

// exchange gives next the name dir; what had it is removed, or has it again after an error.
func exchange(dir, next, old string) error {
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(next, dir); err != nil {
		if back := os.Rename(old, dir); back != nil && !errors.Is(back, fs.ErrNotExist) {
			err = errors.Join(err, back)
		}
		return err
	}
	return os.RemoveAll(old)
}
