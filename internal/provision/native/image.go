//go:build linux

package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"talos.internal/internal/image/oci"
)

// find returns the image of a reference from the image cache, and the name of its folder in the cache of unpacked images.
func (p *Provisioner) find(ref string) (oci.Image, string, error) {
	if p.images == "" {
		return oci.Image{}, "", fmt.Errorf("image %s: there is no image cache to take it from: %w", ref, fs.ErrNotExist)
	}
	images, err := oci.Read(p.images)
	if err != nil {
		return oci.Image{}, "", fmt.Errorf("image %s: %w; make the image cache with: make image", ref, err)
	}
	var refs []string
	for _, img := range images {
		if img.Ref != ref {
			refs = append(refs, img.Ref)
			continue
		}
		digest, err := img.Digest()
		if err != nil {
			return oci.Image{}, "", fmt.Errorf("image %s: %w", ref, err)
		}
		return img, digest.Algorithm + "-" + digest.Hex, nil
	}
	return oci.Image{}, "", fmt.Errorf("image %s: it is not in the image cache %s, which has:\n  %s\n%w",
		ref, p.images, strings.Join(refs, "\n  "), fs.ErrNotExist)
}

// root is the folder of an unpacked image.
func (p *Provisioner) root(name string) string { return filepath.Join(p.cache, name) }

// unpack unpacks an image into the cache, if it is not there. Who holds the lock of the store calls it, so parts of an
// unpacked image are leftovers, and removed.
func (p *Provisioner) unpack(img oci.Image, name string) error {
	if _, err := os.Stat(p.root(name)); err == nil {
		return nil
	}
	if err := os.MkdirAll(p.cache, 0o755); err != nil {
		return err
	}
	part := p.root(name) + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	p.trace("unpacked image")
	if err := oci.Unpack(img, part); err != nil {
		return err
	}
	// Docker makes the points of its mounts if they are missing; here everybody has the same folder, and it is read-only.
	for _, v := range volumes {
		if top := strings.Split(v[1], "/")[1]; !isDir(filepath.Join(part, top)) {
			return fmt.Errorf("image %s has no folder /%s: it is no node image: %w", img.Ref, top, fs.ErrInvalid)
		}
	}
	p.trace("name of the unpacked image")
	return os.Rename(part, p.root(name))
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// removeRoot removes an unpacked image, unless a cluster has it, and the cache if nothing is left in it.
func (p *Provisioner) removeRoot(name string) error {
	others, err := p.others("")
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Data[keyRoot] == name {
			return nil
		}
	}
	if err := errors.Join(os.RemoveAll(p.root(name)), os.RemoveAll(p.root(name)+".part")); err != nil {
		return err
	}
	for _, dir := range []string{p.cache, filepath.Dir(p.cache)} {
		if err := os.Remove(dir); err != nil {
			return nil // something else is in it, or it is not there
		}
	}
	return nil
}
