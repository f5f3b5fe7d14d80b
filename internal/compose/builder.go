package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Builder builds the components of one source tree. Its methods that write results hold a lock on
// Out, across processes: a second one waits for the first.
type Builder struct {
	Source  string    // the folder components/
	Out     string    // where results go: one folder for each component
	Jobs    int       // components built side by side; 0 is 2
	Offline bool      // fetch nothing: the modules must be there
	Log     io.Writer // progress, for people
}

// state is what a look at a component found.
type state struct {
	component Component
	recipe    Recipe
	want      inputs
	reason    string // why it must be built; "" when it need not
	missing   error  // what the machine lacks to build it
}

// result is the folder of a component's result.
func (b *Builder) result(name string) string { return filepath.Join(b.Out, name) }

// Components reads components/versions and holds it against the recipes and the go.mod files: each
// component has a recipe, and each pin is the version that is written down.
func (b *Builder) Components() ([]Component, error) {
	name := filepath.Join(b.Source, "versions")
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	list, err := ParseVersions(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, c := range list {
		r, ok := recipe(c.Name)
		if !ok {
			return nil, fmt.Errorf("%s: no recipe for %s", name, c.Name)
		}
		if c.Own() {
			continue
		}
		modfile := filepath.Join(b.Source, r.dir(), r.modfile())
		text, err := os.ReadFile(modfile)
		if err != nil {
			return nil, err
		}
		if pin := pinned(text, c.Module); pin != c.Version {
			return nil, fmt.Errorf("%s has %s %s, but %s pins %q: components upgrade %[2]s %[3]s makes them agree",
				name, c.Name, c.Version, modfile, pin)
		}
	}
	return list, nil
}

// look finds out for the components named (all when none is) whether they must be built, in the
// order of the recipes.
func (b *Builder) look(ctx context.Context, names []string) ([]state, error) {
	components, err := b.Components()
	if err != nil {
		return nil, err
	}
	goVersion, err := goRelease(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(components, func(c Component) bool { return c.Name == name }) {
			return nil, fmt.Errorf("no component %q in components/versions", name)
		}
	}
	var states []state
	for _, r := range Recipes() {
		i := slices.IndexFunc(components, func(c Component) bool { return c.Name == r.Name })
		if i < 0 {
			return nil, fmt.Errorf("no component %q in components/versions, but a recipe", r.Name)
		}
		if len(names) > 0 && !slices.Contains(names, r.Name) {
			continue
		}
		packages, missing := debianVersions(ctx, r.Name, r.Packages)
		want, err := collect(components[i], r, os.DirFS(filepath.Join(b.Source, r.dir())), goVersion, packages)
		if err != nil {
			return nil, err
		}
		states = append(states, state{components[i], r, want, stale(b.result(r.Name), want), missing})
	}
	return states, nil
}

// stale says why the result in dir is not what want describes, "" when it is.
// Programs are held against files.txt by size; their content is not read.
func stale(dir string, want inputs) string {
	text, err := os.ReadFile(filepath.Join(dir, "inputs.txt"))
	if errors.Is(err, os.ErrNotExist) {
		return "not built yet"
	}
	if err != nil {
		return err.Error()
	}
	if why := changes(parseInputs(text), want); why != "" {
		return why
	}
	return damaged(dir)
}

// Build builds those of the named components (all when none is named) whose inputs changed since
// their result was made, Jobs side by side. A result is replaced when the new one is complete, and
// stays when the build fails or ctx ends. Build tries every component; its error names
// those that were not built, and the log says why, with the last lines of what the compiler said and
// a command that runs it again.
func (b *Builder) Build(ctx context.Context, names ...string) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	states, err := b.look(ctx, names)
	if err != nil {
		return err
	}
	// Said at once, not after ten minutes of compiling.
	for _, s := range states {
		if s.missing != nil {
			return s.missing
		}
	}
	current := len(states)
	states = slices.DeleteFunc(states, func(s state) bool { return s.reason == "" })
	current -= len(states)
	log := newProgress(b.Log, len(states))
	if len(states) == 0 {
		log.sayf("components: all %d are up to date", current)
		return nil
	}
	log.sayf("components: %d to build, %d up to date", len(states), current)

	jobs := b.Jobs
	if jobs <= 0 {
		jobs = 2
	}
	queue := make(chan state)
	var failed []string
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range min(jobs, len(states)) {
		workers.Go(func() {
			for s := range queue {
				if err := b.buildOne(ctx, s, log); err != nil {
					mu.Lock()
					failed = append(failed, s.component.Name)
					mu.Unlock()
				}
			}
		})
	}
feed:
	for _, s := range states {
		select {
		case queue <- s:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("components: %w; what was finished is kept", err)
	}
	log.sayf("components: %d built, %d failed", len(states)-len(failed), len(failed))
	if len(failed) > 0 {
		slices.Sort(failed)
		return fmt.Errorf("components: not built: %s", strings.Join(failed, ", "))
	}
	return nil
}

// buildOne fetches, compiles, tries and keeps one component.
func (b *Builder) buildOne(ctx context.Context, s state, log *progress) (err error) {
	name := s.component.Name
	ctx, cancel := context.WithTimeoutCause(ctx, s.recipe.limit(),
		fmt.Errorf("not done after %v", s.recipe.limit()))
	defer cancel()
	line := log.start(name, s.component.Version, s.reason)
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		line.end(err)
	}()

	out, err := filepath.Abs(b.Out) // go runs in another folder
	if err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(out, ".building-"+name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	g := gocmd{dir: filepath.Join(b.Source, s.recipe.dir()), line: line}
	linked, err := b.fetch(ctx, g, s)
	if err != nil {
		return err
	}
	for _, p := range s.recipe.Programs {
		if err := g.compile(ctx, s, p, filepath.Join(temporary, p.Name)); err != nil {
			return err
		}
		for _, link := range p.Links {
			if err := os.Symlink(p.Name, filepath.Join(temporary, link)); err != nil {
				return err
			}
		}
		for _, c := range p.Checks {
			if err := try(ctx, temporary, p, c, s.component.Version); err != nil {
				return err
			}
		}
	}
	size, err := describe(temporary, s, linked)
	if err != nil {
		return err
	}
	line.size = size
	if err := os.WriteFile(filepath.Join(temporary, "inputs.txt"), s.want.text(), 0o644); err != nil {
		return err
	}
	return replace(temporary, b.result(name))
}

// Fetch downloads the modules that the named components (all when none is named) are made of, and
// no others. After it, builds of them need no network.
func (b *Builder) Fetch(ctx context.Context, names ...string) error {
	states, err := b.look(ctx, names)
	if err != nil {
		return err
	}
	log := newProgress(b.Log, len(states))
	var failed []error
	for _, s := range states {
		line := log.start(s.component.Name, s.component.Version, "fetch")
		g := gocmd{dir: filepath.Join(b.Source, s.recipe.dir()), line: line}
		_, err := b.fetch(ctx, g, s)
		line.end(err)
		if err != nil {
			failed = append(failed, fmt.Errorf("fetch %s: %w", s.component.Name, err))
		}
	}
	return errors.Join(failed...)
}

// List writes a table of the components and whether their results are current.
func (b *Builder) List(ctx context.Context, w io.Writer) error {
	states, err := b.look(ctx, nil)
	if err != nil {
		return err
	}
	for _, s := range states {
		c := s.component
		status := "current, " + megabytes(resultSize(b.result(c.Name)))
		if s.reason != "" {
			status = "to build: " + s.reason
		}
		if s.missing != nil {
			status = s.missing.Error()
		}
		fmt.Fprintf(w, "%-16s %-10s %-15s %s\n", c.Name, c.Version, c.Licence, status)
	}
	return nil
}

// megabytes writes a size in bytes for people.
func megabytes(n int64) string {
	return strings.TrimSpace(fmt.Sprintf("%6.1f MB", float64(n)/1e6))
}
