package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Upgrade moves a component to another version: its go.mod, go.sum and its line in components/versions.
//
// The version is one of the module's, or a query that go get understands: "latest", or a prefix such
// as "v1.36". Everything that the component links moves with it, as far as its module asks for.
// Nothing is built. After an error all files are as they were.
func (b *Builder) Upgrade(ctx context.Context, name, query string) (err error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	components, err := b.Components()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(components, func(c Component) bool { return c.Name == name })
	if i < 0 {
		return fmt.Errorf("no component %q in components/versions", name)
	}
	c := components[i]
	if c.Own() {
		return fmt.Errorf("%s is our own: edit its version in components/versions", name)
	}
	r, _ := recipe(name)
	folder := filepath.Join(b.Source, r.dir())
	versions := filepath.Join(b.Source, "versions")
	restore, err := snapshot(versions, filepath.Join(folder, r.modfile()), filepath.Join(folder, r.sumfile()))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("upgrade %s to %s: %w", name, query, err), restore())
		}
	}()

	line := newProgress(b.Log, 1).start(name, c.Version, "upgrade to "+query)
	defer func() { line.end(err) }()
	g := gocmd{dir: folder, line: line}
	version, err := g.resolve(ctx, c.Module, query)
	if err != nil {
		return err
	}
	if err := g.pin(ctx, c, r, version); err != nil {
		return err
	}
	text, err := os.ReadFile(versions)
	if err != nil {
		return err
	}
	if text, err = setVersion(text, name, version); err != nil {
		return err
	}
	if err := os.WriteFile(versions, text, 0o644); err != nil {
		return err
	}
	line.sayf("       %s → %s; next: components build %s", c.Version, version, name)
	return nil
}

// module is what go prints of a module with -json.
type module struct {
	Path, Version, GoMod string
	Error                any
}

// resolve returns the version that a query stands for. It asks outside of any module, so that what
// is required now has no say.
func (g gocmd) resolve(ctx context.Context, path, query string) (string, error) {
	m, err := g.download(ctx, path+"@"+query)
	if err != nil {
		return "", err
	}
	if !versionForm.MatchString(m.Version) {
		return "", fmt.Errorf("%s@%s is %q, which is no release", path, query, m.Version)
	}
	return m.Version, nil
}

// download fetches a module as go mod download does, without a module of ours around it.
func (g gocmd) download(ctx context.Context, query string) (module, error) {
	var m module
	elsewhere, err := os.MkdirTemp("", "compose-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(elsewhere)
	g.dir = elsewhere
	out, err := g.output(ctx, environ(os.Environ()), "mod", "download", "-json", query)
	if len(out) == 0 {
		return m, fmt.Errorf("%s: %w", query, err)
	}
	return m, json.Unmarshal(out, &m)
}

// pin writes version into the component's go.mod and makes go.mod and go.sum whole.
func (g gocmd) pin(ctx context.Context, c Component, r Recipe, version string) error {
	modfile := "-modfile=" + r.modfile()
	if c.Module == "k8s.io/kubernetes" {
		if err := g.pinKubernetes(ctx, r, version); err != nil {
			return err
		}
	} else if _, err := g.output(ctx, environ(os.Environ()), "get", modfile, c.Module+"@"+version); err != nil {
		return err
	}
	_, err := g.output(ctx, environ(os.Environ()), "mod", "tidy", modfile)
	return err
}

// pinKubernetes writes the go.mod of Kubernetes anew. Kubernetes requires the modules of its
// staging folder at v0.0.0 and replaces them by that folder; outside of its tree each is replaced by
// its published version, v0.X.Y for Kubernetes v1.X.Y. Which modules these are is read from its go.mod.
func (g gocmd) pinKubernetes(ctx context.Context, r Recipe, version string) error {
	m, err := g.download(ctx, "k8s.io/kubernetes@"+version)
	if err != nil {
		return err
	}
	out, err := g.output(ctx, environ(os.Environ()), "mod", "edit", "-json", m.GoMod)
	if err != nil {
		return err
	}
	text, err := kubernetesMod(out, version)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.dir, r.modfile()), text, 0o644)
}

// kubernetesMod makes the go.mod of components/kubernetes from that of Kubernetes, given as
// go mod edit -json prints it. The indirect requirements are left to go mod tidy.
func kubernetesMod(upstream []byte, version string) ([]byte, error) {
	var mod struct {
		Go      string
		Replace []struct{ Old, New struct{ Path string } }
	}
	if err := json.Unmarshal(upstream, &mod); err != nil {
		return nil, err
	}
	published, ok := strings.CutPrefix(version, "v1.")
	if !ok {
		return nil, fmt.Errorf("kubernetes %s: its staging modules are known only for v1", version)
	}
	release := strings.Join(strings.SplitN(mod.Go, ".", 3)[:min(2, strings.Count(mod.Go, ".")+1)], ".")
	var out bytes.Buffer
	fmt.Fprintf(&out, "module talos.internal/components/kubernetes\n\ngo %s\n\n", mod.Go)
	fmt.Fprintf(&out, "godebug default=go%s\n\nrequire k8s.io/kubernetes %s\n\nreplace (\n", release, version)
	for _, r := range mod.Replace {
		if strings.HasPrefix(r.New.Path, "./staging/") {
			fmt.Fprintf(&out, "\t%s => %s v0.%s\n", r.Old.Path, r.Old.Path, published)
		}
	}
	out.WriteString(")\n")
	return out.Bytes(), nil
}

// snapshot remembers files and returns what puts them back. A file that is not there is removed then.
func snapshot(names ...string) (restore func() error, err error) {
	was := make(map[string][]byte)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		was[name] = text
	}
	return func() error {
		var errs []error
		for name, text := range was {
			if text == nil {
				if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, err)
				}
				continue
			}
			errs = append(errs, os.WriteFile(name, text, 0o644))
		}
		return errors.Join(errs...)
	}, nil
}
