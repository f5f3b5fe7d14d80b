package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ErrBroken is the error for content that is not what its digest and size say.
var ErrBroken = errors.New("broken")

// BlobError says which blob is wrong. Its cause is ErrBroken, or what the file system said.
type BlobError struct {
	Digest string // sha256:…
	Role   string // what it is and of which image
	Cause  error
}

func (e *BlobError) Error() string {
	return fmt.Sprintf("blob %s, the %s: %v", e.Digest, e.Role, e.Cause)
}

// Unwrap returns the cause.
func (e *BlobError) Unwrap() error { return e.Cause }

// Verify reads all of the layout in dir and compares every blob with its digest and its size, and every unpacked layer with
// the config's. It returns all that is wrong, joined: a [BlobError] for each blob, and an error that wraps
// ErrBroken for files that belong to no image.
func Verify(dir string) error {
	v := verifier{dir: dir, seen: map[string]bool{}}
	index, err := v.start()
	if err != nil {
		return fmt.Errorf("verify layout %s: %w", dir, err)
	}
	for _, d := range index.Manifests {
		v.image(d)
	}
	v.strays()
	if len(v.bad) > 0 {
		return fmt.Errorf("verify layout %s: %w", dir, errors.Join(v.bad...))
	}
	return nil
}

type verifier struct {
	dir  string
	seen map[string]bool // digests that were read
	bad  []error
}

// start reads the two files that have no digest.
func (v *verifier) start() (index v1.IndexManifest, err error) {
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	for name, into := range map[string]any{"oci-layout": &version, "index.json": &index} {
		text, err := os.ReadFile(filepath.Join(v.dir, name))
		if err != nil {
			return index, err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return index, fmt.Errorf("%s: %w: %w", name, ErrBroken, err)
		}
	}
	if version.Version != "1.0.0" {
		return index, fmt.Errorf("oci-layout: version %q; want 1.0.0: %w", version.Version, ErrBroken)
	}
	return index, nil
}

func (v *verifier) report(d v1.Descriptor, role string, err error) {
	v.bad = append(v.bad, &BlobError{d.Digest.String(), role, err})
}

func (v *verifier) image(d v1.Descriptor) {
	ref := d.Annotations[refName]
	if ref == "" {
		v.report(d, "manifest of an image without a name", ErrBroken)
		return
	}
	var manifest v1.Manifest
	if d.MediaType != types.OCIManifestSchema1 {
		v.report(d, "manifest of "+ref, fmt.Errorf("media type %q: %w", d.MediaType, ErrBroken))
		return
	}
	if !v.document(d, "manifest of "+ref, &manifest) {
		return
	}
	var config v1.ConfigFile
	if !v.document(manifest.Config, "config of "+ref, &config) {
		return
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		v.report(manifest.Config, "config of "+ref, fmt.Errorf("%d layers; the manifest has %d: %w",
			len(config.RootFS.DiffIDs), len(manifest.Layers), ErrBroken))
		return
	}
	for i, l := range manifest.Layers {
		role := fmt.Sprintf("layer %d of %s", i+1, ref)
		if v.seen[l.Digest.String()+config.RootFS.DiffIDs[i].String()] {
			continue
		}
		v.seen[l.Digest.String()+config.RootFS.DiffIDs[i].String()] = true
		if v.blob(l, role, io.Discard) {
			v.unpack(l, role, config.RootFS.DiffIDs[i])
		}
	}
}

// maxDocument bounds a manifest or config, in bytes. containerd's limit is the same order.
const maxDocument = 8 << 20

func (v *verifier) document(d v1.Descriptor, role string, into any) bool {
	if d.Size > maxDocument {
		v.report(d, role, fmt.Errorf("%d bytes; at most %d: %w", d.Size, maxDocument, ErrBroken))
		return false
	}
	var text strings.Builder
	if !v.blob(d, role, &text) {
		return false
	}
	if err := json.Unmarshal([]byte(text.String()), into); err != nil {
		v.report(d, role, fmt.Errorf("%w: %w", ErrBroken, err))
		return false
	}
	return true
}

func (v *verifier) path(d v1.Descriptor) (string, error) {
	raw, err := hex.DecodeString(d.Digest.Hex)
	if d.Digest.Algorithm != "sha256" || err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("not a SHA-256: %w", ErrBroken)
	}
	return filepath.Join(v.dir, "blobs", "sha256", d.Digest.Hex), nil
}

// blob copies a blob to w and reports whether its size and its digest are right.
func (v *verifier) blob(d v1.Descriptor, role string, w io.Writer) bool {
	v.seen[d.Digest.String()] = true
	name, err := v.path(d)
	if err != nil {
		v.report(d, role, err)
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		v.report(d, role, err)
		return false
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, w), io.LimitReader(f, d.Size+1))
	switch got := hex.EncodeToString(h.Sum(nil)); {
	case err != nil:
	case n > d.Size:
		err = fmt.Errorf("longer than its %d bytes: %w", d.Size, ErrBroken)
	case n < d.Size:
		err = fmt.Errorf("%d bytes; want %d: %w", n, d.Size, ErrBroken)
	case got != d.Digest.Hex:
		err = fmt.Errorf("its content has digest sha256:%s: %w", got, ErrBroken)
	}
	if err != nil {
		v.report(d, role, err)
	}
	return err == nil
}

func (v *verifier) unpack(d v1.Descriptor, role string, want v1.Hash) {
	if d.MediaType != types.OCILayerZStd {
		v.report(d, role, fmt.Errorf("media type %q; want %q: %w", d.MediaType, types.OCILayerZStd, ErrBroken))
		return
	}
	name, err := v.path(d)
	if err != nil {
		return // reported by blob
	}
	f, err := os.Open(name)
	if err != nil {
		v.report(d, role, err)
		return
	}
	r, err := unzstd(f)
	if err != nil {
		v.report(d, role, err)
		return
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		v.report(d, role, fmt.Errorf("unpack: %w: %w", ErrBroken, err))
	} else if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
		v.report(d, role, fmt.Errorf("unpacked it has digest sha256:%s; the config says %s: %w", got, want, ErrBroken))
	}
}

// strays reports files that no image refers to: a layout of ours has none, so they are remains or additions.
func (v *verifier) strays() {
	dir := filepath.Join(v.dir, "blobs")
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil && !v.seen[strings.Replace(filepath.ToSlash(rel), "/", ":", 1)] {
			v.bad = append(v.bad, fmt.Errorf("blobs/%s belongs to no image: %w", filepath.ToSlash(rel), ErrBroken))
		}
		return err
	})
	// With a broken manifest or config, what it refers to is unknown; blobs that only seem strays are not reported.
	if slices.ContainsFunc(v.bad, func(err error) bool { return errors.As(err, new(*BlobError)) }) {
		v.bad = slices.DeleteFunc(v.bad, func(err error) bool { return !errors.As(err, new(*BlobError)) })
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.bad = append(v.bad, err)
	}
}
