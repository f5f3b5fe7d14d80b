package imagecache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/registryd"
)

// Options are for [Create].
type Options struct {
	// Dir is the folder that becomes the cache. It may be there if it is empty, or with Replace if it is a cache.
	Dir     string
	Form    Form
	Replace bool
	// Images are references as people write them; each is taken once.
	Images []string
	// Sources are asked in this order.
	Sources []Source
	// Platforms are the ones that are taken of an index, as OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT. An image without an index
	// is taken as it is. At least one.
	Platforms []string
	// Signatures takes the signatures of images as well, where cosign puts them.
	Signatures bool
	// Layers is a folder in which blobs are kept between runs, by digest; empty for none.
	Layers string
	// Log is told what happens, a line each; may be nil. It is called by several goroutines.
	Log func(format string, args ...any)
}

// Result is what a cache has.
type Result struct {
	Images int
	Blobs  int   // layers and configs
	Bytes  int64 // of all blobs
}

const (
	// maxManifest is the size of a manifest or an index that is read, as other programs have it.
	maxManifest = 4 << 20
	// stalled is how long a transfer may stand still.
	stalled = time.Minute
	// transfers is how many blobs are fetched at a time.
	transfers = 4
)

// Create makes a cache. It appears whole, when everything is there: after an error Dir is as it was. The error names every
// image of which something is missing, and what each source said.
func Create(ctx context.Context, o Options) (Result, error) {
	c := &collector{o: o, blobs: map[digest.Digest]blob{}, made: map[string]bool{}}
	if err := c.prepare(); err != nil {
		return Result{}, err
	}
	if err := free(o.Dir, o.Replace); err != nil {
		return Result{}, fmt.Errorf("make the image cache %s: %w", o.Dir, err)
	}
	parent := filepath.Dir(filepath.Clean(o.Dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Result{}, err
	}
	temp, err := os.MkdirTemp(parent, "."+filepath.Base(o.Dir)+".tmp-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(temp) // what is left of it is no cache and nobody's target
	c.store = &store{dir: filepath.Join(temp, "next"), form: o.Form}
	if err := os.Mkdir(c.store.dir, 0o755); err != nil {
		return Result{}, err
	}
	if err := c.collect(ctx); err != nil {
		return Result{}, fmt.Errorf("make the image cache %s: %w", o.Dir, err)
	}
	if err := errors.Join(c.store.finish(), readable(c.store.dir)); err != nil {
		return Result{}, err
	}
	if err := exchange(o.Dir, c.store.dir, filepath.Join(temp, "old")); err != nil {
		return Result{}, err
	}
	r := Result{Images: len(c.images), Blobs: len(c.blobs)}
	for _, b := range c.blobs {
		r.Bytes += b.desc.Size
	}
	return r, nil
}

// collector puts a cache together.
type collector struct {
	o         Options
	store     *store
	images    []reference.Named
	platforms []imagespec.Platform
	blobs     map[digest.Digest]blob // that are needed
	made      map[string]bool        // repositories with the manifests that are kept
}

// blob is a layer or a config that an image needs.
type blob struct {
	ref  string // of an image that has it
	desc imagespec.Descriptor
}

func (c *collector) log(format string, args ...any) {
	if c.o.Log != nil {
		c.o.Log(format, args...)
	}
}

// prepare reads the options.
func (c *collector) prepare() error {
	if len(c.o.Sources) == 0 || len(c.o.Platforms) == 0 || c.o.Dir == "" {
		return fmt.Errorf("make an image cache: it needs a folder, a source and a platform: %w", fs.ErrInvalid)
	}
	if c.o.Form != Layout && c.o.Form != Flat {
		return fmt.Errorf("make an image cache: the form %q is neither %s nor %s: %w", c.o.Form, Layout, Flat, fs.ErrInvalid)
	}
	seen := map[string]bool{}
	for _, text := range c.o.Images {
		ref, err := reference.ParseDockerRef(text)
		if err != nil {
			return fmt.Errorf("image %q: %w", text, err)
		}
		if !seen[ref.String()] {
			seen[ref.String()] = true
			c.images = append(c.images, ref)
		}
	}
	if len(c.images) == 0 {
		return fmt.Errorf("make an image cache: no images are named: %w", fs.ErrInvalid)
	}
	for _, text := range c.o.Platforms {
		p, err := parsePlatform(text)
		if err != nil {
			return err
		}
		c.platforms = append(c.platforms, p)
	}
	return nil
}

// collect takes all images: first what they are made of, then the blobs.
func (c *collector) collect(ctx context.Context) error {
	var bad []error
	for _, ref := range c.images {
		d, err := c.image(ctx, ref)
		if err == nil && c.o.Signatures {
			err = c.signature(ctx, ref, d)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		bad = append(bad, err)
	}
	if err := errors.Join(bad...); err != nil {
		return err
	}
	return c.fetchAll(ctx)
}

// image takes the manifests of an image, and notes its blobs.
func (c *collector) image(ctx context.Context, ref reference.Named) (imagespec.Descriptor, error) {
	var said []error
	failed := map[digest.Digest]bool{}
	for _, s := range c.o.Sources {
		d, err := s.Resolve(ctx, ref.String())
		if err == nil && failed[d.Digest] {
			continue // every source was asked for it
		}
		if err == nil {
			failed[d.Digest] = true
			var raw []byte
			if raw, err = c.manifests(ctx, ref, d, "what the name means"); err == nil {
				c.log("%s: %s, as %s says", ref, d.Digest, s)
				return d, c.store.name(ref, d, raw)
			}
		}
		if ctx.Err() != nil {
			return imagespec.Descriptor{}, ctx.Err()
		}
		said = append(said, fmt.Errorf("%s: %w", s, err))
	}
	return imagespec.Descriptor{}, unavailable(ref.String(), said)
}

// signature takes what cosign keeps beside an image: a tag that is made of its digest. None is no error.
func (c *collector) signature(ctx context.Context, ref reference.Named, d imagespec.Descriptor) error {
	tag, err := reference.WithTag(reference.TrimNamed(ref), d.Digest.Algorithm().String()+"-"+d.Digest.Encoded()+".sig")
	if err != nil {
		return err
	}
	if _, err = c.image(ctx, tag); errors.Is(err, fs.ErrNotExist) && !errors.Is(err, registryd.ErrBroken) {
		c.log("%s has no signature", ref)
		return nil
	}
	return err
}

// unavailable is the error for what no source has whole. It is fs.ErrNotExist only if every source says so.
func unavailable(what string, said []error) error {
	lines := make([]string, len(said))
	missing := true
	for i, err := range said {
		lines[i] = err.Error()
		missing = missing && errors.Is(err, fs.ErrNotExist)
	}
	text := strings.Join(lines, "\n  ")
	if missing {
		return fmt.Errorf("%s: no source has it:\n  %s%w", what, text, silent{fs.ErrNotExist})
	}
	return fmt.Errorf("%s: no source has it whole:\n  %s%w", what, text, silent{errors.Join(said...)})
}

// silent is a cause whose text is in that of its error already.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// manifests keeps a manifest, or an index and the manifests in it that are wanted, and notes their blobs.
func (c *collector) manifests(ctx context.Context, ref reference.Named, d imagespec.Descriptor, role string) ([]byte, error) {
	raw, err := c.document(ctx, ref, d, role)
	if err != nil {
		return nil, err
	}
	var m struct {
		Manifests []imagespec.Descriptor `json:"manifests"`
		Config    imagespec.Descriptor   `json:"config"`
		Layers    []imagespec.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s of %s: %w: it is no JSON: %w", role, ref, registryd.ErrBroken, err)
	}
	switch d.MediaType {
	case imagespec.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.list.v2+json":
		wanted := c.wanted(m.Manifests)
		if len(wanted) == 0 {
			return nil, fmt.Errorf("%s is not made for %s: %w", ref, strings.Join(c.o.Platforms, " or "), fs.ErrNotExist)
		}
		for _, child := range wanted {
			if _, err := c.manifests(ctx, ref, child, "the manifest for "+platformName(child.Platform)); err != nil {
				return nil, err
			}
		}
	case imagespec.MediaTypeImageManifest, "application/vnd.docker.distribution.manifest.v2+json":
		for _, b := range append([]imagespec.Descriptor{m.Config}, m.Layers...) {
			if err := b.Digest.Validate(); err != nil || b.Size < 0 {
				return nil, fmt.Errorf("%s of %s: %w: blob %q of %d bytes", role, ref, registryd.ErrBroken, b.Digest, b.Size)
			}
			if _, ok := c.blobs[b.Digest]; !ok {
				c.blobs[b.Digest] = blob{ref.String(), b}
			}
		}
	default:
		return nil, fmt.Errorf("%s of %s is of the type %q, which is no image that can be cached", role, ref, d.MediaType)
	}
	if at := ref.Name() + " " + d.Digest.String(); !c.made[at] {
		c.made[at] = true
		return raw, c.store.manifest(ref.Name(), d, raw)
	}
	return raw, nil
}

// document reads a manifest or an index from the first source that has it whole.
func (c *collector) document(ctx context.Context, ref reference.Named, d imagespec.Descriptor, role string) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil || d.Size < 0 || d.Size > maxManifest {
		return nil, fmt.Errorf("%s of %s: %w: digest %q, %d bytes", role, ref, registryd.ErrBroken, d.Digest, d.Size)
	}
	var out bytes.Buffer
	err := c.from(ctx, c.o.Sources, blob{ref.String(), d}, role, func(r io.Reader) error {
		out.Reset()
		return copyWhole(&out, d, r)
	})
	return out.Bytes(), err
}

// from has a blob read from each source until one has it whole.
func (c *collector) from(ctx context.Context, sources []Source, b blob, role string, read func(io.Reader) error) error {
	var said []error
	for _, s := range sources {
		err := c.readFrom(ctx, s, b, read)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			c.log("%s of %s, %s, is not taken from %s: %v", role, b.ref, b.desc.Digest, s, err)
		}
		said = append(said, fmt.Errorf("%s: %w", s, err))
	}
	return unavailable(fmt.Sprintf("%s of %s, %s", role, b.ref, b.desc.Digest), said)
}

func (c *collector) readFrom(ctx context.Context, s Source, b blob, read func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stalled, func() { cancel(fmt.Errorf("nothing has come for %v", stalled)) })
	defer watch.Stop()
	rc, err := s.Fetch(ctx, b.ref, b.desc)
	if err == nil {
		err = errors.Join(notExist(read(progress{rc, watch})), rc.Close())
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// progress puts off the end of a transfer as long as something comes.
type progress struct {
	io.Reader
	watch *time.Timer
}

func (p progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.watch.Reset(stalled)
	}
	return n, err
}

// fetchAll fetches the blobs, several at a time, the largest first.
func (c *collector) fetchAll(ctx context.Context) error {
	list := make([]blob, 0, len(c.blobs))
	for _, b := range c.blobs {
		list = append(list, b)
	}
	slices.SortFunc(list, func(x, y blob) int {
		if x.desc.Size != y.desc.Size {
			return int(y.desc.Size>>10 - x.desc.Size>>10)
		}
		return strings.Compare(x.desc.Digest.String(), y.desc.Digest.String())
	})
	work := make(chan blob)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var bad []error
	for range transfers {
		workers.Go(func() {
			for b := range work {
				if err := c.fetch(ctx, b); err != nil {
					mu.Lock()
					bad = append(bad, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, b := range list {
		if ctx.Err() != nil {
			break
		}
		work <- b
	}
	close(work)
	workers.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(bad...)
}

// fetch puts a blob into the store, from the folder of layers or a source.
func (c *collector) fetch(ctx context.Context, b blob) error {
	sources := c.o.Sources
	if c.o.Layers != "" {
		sources = append([]Source{layers(c.o.Layers)}, sources...)
	}
	began := time.Now()
	if err := c.from(ctx, sources, b, "a blob", func(r io.Reader) error { return c.store.put(b.desc, r) }); err != nil {
		return err
	}
	c.log("%s of %s: %d bytes in %v", b.desc.Digest, b.ref, b.desc.Size, time.Since(began).Round(time.Millisecond))
	if c.o.Layers == "" {
		return nil
	}
	return layers(c.o.Layers).keep(b.desc, c.store.blob(b.desc.Digest))
}

// layers is the folder of blobs that are kept between runs.
type layers string

func (l layers) String() string { return string(l) }

func (l layers) path(d digest.Digest) string {
	return filepath.Join(string(l), d.Algorithm().String()+"-"+d.Encoded())
}

func (l layers) Resolve(context.Context, string) (imagespec.Descriptor, error) {
	return imagespec.Descriptor{}, fs.ErrNotExist
}

func (l layers) Fetch(_ context.Context, _ string, d imagespec.Descriptor) (io.ReadCloser, error) {
	return os.Open(l.path(d.Digest))
}

// keep copies a blob, which is whole, into the folder, unless one of its size is there that was read before.
func (l layers) keep(d imagespec.Descriptor, file string) error {
	if info, err := os.Stat(l.path(d.Digest)); err == nil && info.Size() == d.Size {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return errors.Join(putFile(l.path(d.Digest), d, f), f.Close())
}
