package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The annotations that name an image in a layout's index.
const (
	refName        = "org.opencontainers.image.ref.name"
	containerdName = "io.containerd.image.name"
)

// WriteLayout writes images as an OCI image layout to the folder dir, which then holds these and nothing else.
//
// The layout is built beside dir and gets its name when it is complete: a reader sees the old layout, for a moment none, or
// the new one. After an error the old one is there as it was. A folder that is not empty and is no layout is not
// replaced, with fs.ErrExist: it is something else, named by mistake.
func WriteLayout(dir string, images []Image) error {
	if err := replaceable(dir); err != nil {
		return fmt.Errorf("write layout %s: %w", dir, err)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // what is left of it is no layout and nobody's target
	next := filepath.Join(temp, "next")
	if err := fill(next, images); err != nil {
		return fmt.Errorf("write layout %s: %w", dir, err)
	}
	return replace(dir, next, filepath.Join(temp, "old"))
}

func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, "oci-layout")); err != nil {
		return fmt.Errorf("it has files and is no layout: %w", fs.ErrExist)
	}
	return nil
}

func fill(dir string, images []Image) error {
	images = slices.SortedFunc(slices.Values(images), func(a, b Image) int { return strings.Compare(a.Ref, b.Ref) })
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for i, img := range images {
		if i > 0 && images[i-1].Ref == img.Ref {
			return fmt.Errorf("%s is there twice", img.Ref)
		}
		if err := path.WriteImage(img.Image); err != nil {
			return fmt.Errorf("%s: %w", img.Ref, err)
		}
		d, err := describe(img)
		if err != nil {
			return fmt.Errorf("%s: %w", img.Ref, err)
		}
		if err := path.AppendDescriptor(d); err != nil {
			return fmt.Errorf("%s: %w", img.Ref, err)
		}
	}
	return readable(dir)
}

// describe is the image's entry of the index.
func describe(img Image) (v1.Descriptor, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	text, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := img.Digest()
	return v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: int64(len(text)), Digest: digest,
		Annotations: map[string]string{refName: img.Ref, containerdName: img.Ref},
		Platform:    &v1.Platform{OS: config.OS, Architecture: config.Architecture},
	}, err
}

// readable gives everything below dir its modes, whatever the umask is: others read what root built.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(name, 0o755)
		}
		return os.Chmod(name, 0o644)
	})
}

// replace moves dir to old, if it is there, and next to dir.
func replace(dir, next, old string) error {
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(next, dir); err != nil {
		back := os.Rename(old, dir)
		if errors.Is(back, fs.ErrNotExist) {
			back = nil
		}
		return errors.Join(err, back)
	}
	return nil
}

// Read returns the images of the layout in dir, as its index has them. Their content is read, and checked against its
// digest or not, as it is asked for: see [Verify]. Of an image for several platforms, which others make, the one for this machine's
// kind is returned; if there is none, that image is left out.
func Read(dir string) ([]Image, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	images := make([]Image, 0, len(manifest.Manifests))
	for _, d := range manifest.Manifests {
		img, err := imageOf(index, d)
		if err != nil {
			return nil, fmt.Errorf("read layout %s: image %s: %w", dir, d.Annotations[refName], err)
		}
		if img == nil {
			continue
		}
		images = append(images, Image{d.Annotations[refName], img})
	}
	return images, nil
}

// imageOf returns the image that an entry of an index stands for; nil if it is an index without one for this machine's kind.
func imageOf(index v1.ImageIndex, d v1.Descriptor) (v1.Image, error) {
	if !d.MediaType.IsIndex() {
		return index.Image(d.Digest)
	}
	child, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := child.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			return imageOf(child, m)
		}
	}
	return nil, nil
}
