package assets

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/image/squash"
)

// WriteImageCache makes the file system with the image cache of the OCI layout in the folder layout, which the node mounts at
// /system/imagecache. Nothing is packed again: layers are compressed. The layout is verified first, since a machine cannot get another.
func (b *Builder) WriteImageCache(ctx context.Context, layout string) error {
	if err := oci.Verify(layout); err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	var entries []rootfs.Entry
	err := filepath.WalkDir(layout, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		inside, err := filepath.Rel(layout, name)
		if err != nil {
			return err
		}
		e, err := rootfs.Host(filepath.ToSlash(inside), 0o644, name)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	tree := &rootfs.Tree{}
	if err := tree.Add(entries...); err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	name := b.path("." + ImageCache)
	defer os.Remove(name) // it is renamed if all went well
	if err := squash.Write(ctx, b.Images.Debian, tree, name, squash.Options{Store: true}); err != nil {
		return err
	}
	return os.Rename(name, b.path(ImageCache))
}

// WriteInstaller makes the installer image from the parts in the builder's folder, and returns it: what an upgrade takes its parts
// from. Its layers are kept in the folder layers, which exists and stays as long as the image is used. It has no program: who installs
// is the system that runs, and reads the files.
func (b *Builder) WriteInstaller(ref, layers string) (oci.Image, error) {
	var made []*oci.Layer
	var words []string
	for _, name := range []string{Root, UKI, BootLoader} { // the root, which changes least often, lowest
		e, err := rootfs.Host("usr/install/"+b.Images.Arch+"/"+name, 0o644, b.path(name))
		if err != nil {
			return oci.Image{}, err
		}
		tree := &rootfs.Tree{}
		if err := tree.Add(e); err != nil {
			return oci.Image{}, err
		}
		l, err := oci.NewLayer(tree, layers)
		if err != nil {
			return oci.Image{}, err
		}
		made, words = append(made, l), append(words, name)
	}
	return oci.NewImage(ref, oci.Config{Arch: b.Images.Arch, Labels: map[string]string{"org.opencontainers.image.title": "installer"}}, made, words)
}
