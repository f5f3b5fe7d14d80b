package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/image/sbom"
)

// Builder makes images.
type Builder struct {
	Components map[string]Component // by name
	Arch       string               // of the programs, as GOARCH
	Debian     debian.Source
	Log        func(format string, args ...any) // progress, a line each; may be nil
}

// searchPath is that of every image.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// Build makes the images of specs, which are expanded ones. Layers are kept in the folder dir, which exists and has to stay as
// long as the images are used. On error nothing but layers is left in it.
func (b *Builder) Build(ctx context.Context, specs []Spec, dir string) ([]oci.Image, error) {
	plan, err := b.plan(ctx, specs)
	if err != nil {
		return nil, err
	}
	if err := plan.compress(ctx, dir, b.log); err != nil {
		return nil, err
	}
	images := make([]oci.Image, len(specs))
	for i, s := range specs {
		var layers []*oci.Layer
		var contents []string
		for _, key := range plan.images[i] {
			layers = append(layers, plan.layers[key].done)
			contents = append(contents, key)
		}
		if err := s.checkSize(layers); err != nil {
			return nil, err
		}
		images[i], err = oci.NewImage(s.Ref, oci.Config{
			Arch: b.Arch, User: s.User, Entrypoint: s.Entrypoint, Env: []string{searchPath},
			Labels: map[string]string{"org.opencontainers.image.title": s.Name, "org.opencontainers.image.version": s.tag()},
		}, layers, contents)
		if err != nil {
			return nil, err
		}
	}
	return images, nil
}

func (b *Builder) log(format string, args ...any) {
	if b.Log != nil {
		b.Log(format, args...)
	}
}

// plan is the layers of a build by what they hold, and which of them each image has, the lowest first.
type plan struct {
	layers map[string]*part
	images [][]string
	more   *part // what every image has besides its spec; nil is nothing
}

// part is a layer, and what is in it for the bill of materials.
type part struct {
	tree  rootfs.Tree
	items []sbom.Item
	done  *oci.Layer
}

func (b *Builder) plan(ctx context.Context, specs []Spec) (*plan, error) {
	p := &plan{layers: map[string]*part{}}
	for _, s := range specs {
		keys, err := b.place(ctx, p, s)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", s.Name, err)
		}
		p.images = append(p.images, keys)
	}
	return p, nil
}

// place adds the layers of an image to p and returns their keys.
func (b *Builder) place(ctx context.Context, p *plan, s Spec) ([]string, error) {
	var keys []string
	add := func(key string, makePart func() (*part, error)) error {
		keys = append(keys, key)
		if p.layers[key] != nil {
			return nil
		}
		made, err := makePart()
		p.layers[key] = made
		return err
	}
	if s.Base {
		if err := add("base", func() (*part, error) { return b.base(ctx) }); err != nil {
			return nil, err
		}
	}
	for _, component := range s.components() {
		programs := s.of(component)
		names := make([]string, len(programs))
		for i, program := range programs {
			names[i] = program.Path
		}
		key := component + " " + b.Components[component].Version + ": " + strings.Join(names, " ")
		if err := add(key, func() (*part, error) { return b.component(component, programs) }); err != nil {
			return nil, err
		}
	}
	if len(s.Tools) > 0 {
		if err := add("tools: "+strings.Join(s.Tools, " "), func() (*part, error) { return b.tools(ctx, s.Tools) }); err != nil {
			return nil, err
		}
	}
	if p.more != nil {
		if err := add("more", func() (*part, error) { return p.more, nil }); err != nil {
			return nil, err
		}
	}
	var items []sbom.Item
	for _, key := range keys {
		items = append(items, p.layers[key].items...)
	}
	if err := add(s.Name+" "+s.tag()+": own files and bill of materials", func() (*part, error) { return b.last(s, items) }); err != nil {
		return nil, err
	}
	var trees []*rootfs.Tree
	for _, key := range keys {
		trees = append(trees, &p.layers[key].tree)
	}
	return keys, s.checkExecutables(trees)
}

// components returns the components of the spec's programs, sorted.
func (s Spec) components() []string {
	set := map[string]bool{}
	for _, p := range s.Programs {
		set[p.Component] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// of returns the programs of a component.
func (s Spec) of(component string) []Program {
	return slices.DeleteFunc(slices.Clone(s.Programs), func(p Program) bool { return p.Component != component })
}

// last is the layer that only one image has.
func (b *Builder) last(s Spec, items []sbom.Item) (*part, error) {
	p := &part{}
	if err := p.tree.Add(s.Files...); err != nil {
		return nil, err
	}
	bill, err := sbom.Marshal(sbom.Item{Name: s.Ref, Version: s.tag(), Purpose: sbom.Container, Parts: items})
	if err != nil {
		return nil, err
	}
	return p, p.tree.Add(rootfs.Bytes(s.bill(), 0o644, bill))
}

// compress makes a layer of every part, the largest first, with a worker for each processor.
func (p *plan) compress(ctx context.Context, dir string, log func(string, ...any)) error {
	keys := slices.Sorted(maps.Keys(p.layers))
	slices.SortStableFunc(keys, func(x, y string) int { return int(p.layers[y].size() - p.layers[x].size()) })
	work := make(chan string)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for key := range work {
				if err := ctx.Err(); err != nil {
					errs[i] = err
					continue
				}
				l, err := oci.NewLayer(&p.layers[key].tree, dir)
				if err != nil {
					errs[i] = errors.Join(errs[i], fmt.Errorf("layer %s: %w", key, err))
					continue
				}
				p.layers[key].done = l
				if size, err := l.Size(); err == nil {
					log("layer %s: %s, compressed %s", key, mebibytes(p.layers[key].size()), mebibytes(size))
				}
			}
		})
	}
	for _, key := range keys {
		work <- key
	}
	close(work)
	workers.Wait()
	return errors.Join(errs...)
}

// size is the sum of the files' sizes.
func (p *part) size() (n int64) {
	for _, e := range p.tree.Entries() {
		n += e.Size
	}
	return n
}

// WriteCache builds the images of specs and writes them as an OCI layout to the folder out: see [oci.WriteLayout].
func (b *Builder) WriteCache(ctx context.Context, specs []Spec, out string) error {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(out)), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(filepath.Clean(out)), ".layers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // layers that are in no image yet; the next build does not need them
	images, err := b.Build(ctx, specs, dir)
	if err != nil {
		return err
	}
	return oci.WriteLayout(out, images)
}
