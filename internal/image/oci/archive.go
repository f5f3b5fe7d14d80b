package oci

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"talos.internal/internal/image/rootfs"
)

// WriteDocker writes the image as an archive for docker load (the format of docker save before OCI layouts). Its layers are
// not compressed: Docker 20.10 does not know zstd. The image's ID, which is the digest of its config, stays the same.
func WriteDocker(img Image, w io.Writer) error {
	if err := writeDocker(img, w); err != nil {
		return fmt.Errorf("archive %s: %w", img.Ref, err)
	}
	return nil
}

func writeDocker(img Image, w io.Writer) error {
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	id, err := img.ConfigName()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: id.Hex + ".json", RepoTags: []string{img.Ref}}
	if err := writeMember(out, entry.Config, config); err != nil {
		return err
	}
	for _, l := range layers {
		diffID, err := l.DiffID()
		if err != nil {
			return err
		}
		name := diffID.Hex + ".tar"
		entry.Layers = append(entry.Layers, name)
		if err := writeUnpacked(out, name, l); err != nil {
			return fmt.Errorf("layer %s: %w", diffID, err)
		}
	}
	manifest, err := json.Marshal([]any{entry})
	if err != nil {
		return err
	}
	if err := writeMember(out, "manifest.json", manifest); err != nil {
		return err
	}
	return out.Close()
}

func writeMember(out *tar.Writer, name string, data []byte) error {
	err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: rootfs.Epoch})
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// writeUnpacked unpacks the layer twice: a tar header needs the size before the content.
func writeUnpacked(out *tar.Writer, name string, l v1.Layer) error {
	size, err := UnpackedSize(l)
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: rootfs.Epoch}); err != nil {
		return err
	}
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, r.Close())
}

// UnpackedSize is the length of the layer's tar archive, in bytes.
func UnpackedSize(l v1.Layer) (int64, error) {
	if own, ok := l.(*Layer); ok {
		return own.unpacked, nil
	}
	r, err := l.Uncompressed()
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, r)
	return n, errors.Join(err, r.Close())
}

// Unpack writes the image's root file system to the folder dir, which it makes. Owners are set when root runs it.
func Unpack(img Image, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", img.Ref, err)
	}
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err == nil {
			err = errors.Join(rootfs.Extract(r, root, os.Geteuid() == 0), r.Close())
		}
		if err != nil {
			return fmt.Errorf("unpack %s: layer %d: %w", img.Ref, i+1, err)
		}
	}
	return nil
}
