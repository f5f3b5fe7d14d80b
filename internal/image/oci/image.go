// Package oci makes container images of layers, and keeps them: in an OCI image layout, which is what an image cache is,
// or as an archive for docker load.
//
// The form is that of the OCI image specification 1.1: manifest, config, zstd-compressed layers, one platform. An image's digest
// depends on its layers and its [Config] and on nothing else.
//
// A layout holds several images, and each blob once, whatever the number of images that have it. Its index names each
// image by its full reference, in the annotations org.opencontainers.image.ref.name and io.containerd.image.name: the first is the
// specification's, the second is what containerd takes for the name when it imports.
//
// The package is for internal/image and for who serves or reads an image cache.
package oci

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"talos.internal/internal/image/rootfs"
)

// Config is how an image is started when who starts it does not say otherwise.
type Config struct {
	Arch       string // as GOARCH
	User       string // "uid:gid"; "" is root
	Entrypoint []string
	Env        []string // NAME=value
	Labels     map[string]string
}

// Image is an image with its name.
type Image struct {
	Ref string // full reference: registry.k8s.io/kube-apiserver:v1.37.2
	v1.Image
}

// NewImage makes an image of layers, the lowest first. Each layer comes with a few words on what is in it, which become the
// image's history.
func NewImage(ref string, c Config, layers []*Layer, contents []string) (Image, error) {
	if len(layers) != len(contents) {
		return Image{}, fmt.Errorf("image %s: %d layers and %d descriptions", ref, len(layers), len(contents))
	}
	created := v1.Time{Time: rootfs.Epoch}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: c.Arch, OS: "linux", Created: created, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{User: c.User, Entrypoint: c.Entrypoint, Env: c.Env, Labels: c.Labels, WorkingDir: "/"},
	})
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	add := make([]mutate.Addendum, len(layers))
	for i, l := range layers {
		add[i] = mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "imager", Comment: contents[i]}}
	}
	img, err := mutate.Append(base, add...)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	return Image{ref, img}, nil
}
