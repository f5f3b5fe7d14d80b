package registryd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The folders of a flat cache.
const (
	flatBlobs     = "blob"
	flatManifests = "manifests"
	flatTags      = "reference"
	flatDigests   = "digest"
)

// FlatBlob is the name of a blob's file in a flat cache: blob/sha256-HEX.
func FlatBlob(d digest.Digest) string { return path.Join(flatBlobs, flatDigest(d)) }

// FlatTag is the name of the file with the manifest that a tag means: manifests/REGISTRY/REPOSITORY/reference/TAG.
func FlatTag(repository, tag string) string {
	return path.Join(flatManifests, flatRepository(repository), flatTags, tag)
}

// FlatManifest is the name of the file with a manifest, by its digest: manifests/REGISTRY/REPOSITORY/digest/sha256-HEX.
func FlatManifest(repository string, d digest.Digest) string {
	return path.Join(flatManifests, flatRepository(repository), flatDigests, flatDigest(d))
}

// flatDigest has no colon, which not every file system can store.
func flatDigest(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

// flatRepository is the folder of a repository with its registry. The colon before a port is no character of file names
// everywhere, and an underscore is none of host names.
func flatRepository(repository string) string {
	host, rest, _ := strings.Cut(repository, "/")
	if name, port, ok := strings.Cut(host, ":"); ok {
		host = name + "_" + port + "_"
	}
	return path.Join(host, rest)
}

// blobNames are the files in which a blob may be, or, if the repository is known, a manifest of it.
func blobNames(repository string, d digest.Digest) []string {
	names := []string{path.Join(imagespec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), FlatBlob(d)}
	if repository != "" {
		names = append(names, FlatManifest(repository, d))
	}
	return names
}

// flatTag returns the descriptor of what a tag means in a flat cache. Nothing but its content says what digest it has, so the file
// counts only if the manifest is there under that digest as well: a file that was cut has another one.
func (c *Cache) flatTag(repository, tag string) (imagespec.Descriptor, error) {
	name := FlatTag(repository, tag)
	f, err := c.open(name)
	if err != nil {
		return imagespec.Descriptor{}, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return imagespec.Descriptor{}, fmt.Errorf("%w: read %s: %w", ErrBroken, name, err)
	}
	d := imagespec.Descriptor{MediaType: mediaTypeOf(bytes.NewReader(b)), Digest: digest.FromBytes(b), Size: int64(len(b))}
	if d.MediaType == "" {
		return imagespec.Descriptor{}, fmt.Errorf("%w: %s is no manifest", ErrBroken, name)
	}
	twin, _, err := c.Blob(repository, d.Digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return imagespec.Descriptor{}, fmt.Errorf("%w: %s is cut or altered: no manifest has its digest %s", ErrBroken, name, d.Digest)
	case err != nil:
		return imagespec.Descriptor{}, err
	}
	return d, twin.Close()
}
