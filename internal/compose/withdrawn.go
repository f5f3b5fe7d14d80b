package compose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// withdrawn is a linked module that its authors have taken back.
type withdrawn struct {
	component, module, version string
	retracted                  []string // reasons, as the authors give them; a version may be retracted without one
	isRetracted                bool
	deprecated                 string // the message; empty if the module is not deprecated
	update                     string // the newest version; empty if this is it
}

// ownState is the system itself: its two programs.
func ownState() state {
	return state{
		component: Component{Name: "talos", Module: "talos.internal"},
		recipe:    Recipe{Name: "talos", Dir: "..", Programs: []Program{{Package: "./cmd/machined"}, {Package: "./cmd/talosctl"}}},
	}
}

// Withdrawn asks the module proxy about every module that is linked into the named components, or into all and the system itself when
// none is named, and writes a table of those whose version was retracted by its authors, or that are deprecated. It fails if a
// retracted one is not in components/vulnerabilities, as "COMPONENT MODULE@VERSION reason".
//
// It is what can be known of bad versions where the vulnerability database is not reached: authors retract a version for a
// security hole now and then, and for other reasons too. It is no replacement for [Builder.Vulnerabilities]. Each component may take
// ten minutes.
func (b *Builder) Withdrawn(ctx context.Context, w io.Writer, names ...string) error {
	states, err := b.look(ctx, names)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		states = append(states, ownState())
	}
	accepted, err := b.accepted()
	if err != nil {
		return err
	}
	log := newProgress(b.Log, len(states))
	var found []withdrawn
	var asked []string
	var failed []error
	for _, s := range states {
		line := log.start(s.component.Name, s.component.Version, "withdrawn modules")
		list, n, err := b.withdrawn(ctx, s, line)
		line.end(err)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.component.Name, err))
		}
		found = append(found, list...)
		asked = append(asked, fmt.Sprintf("%s (%d)", s.component.Name, n))
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if _, err := io.WriteString(w, withdrawnTable(asked, found, accepted)); err != nil {
		return err
	}
	for _, m := range found {
		if m.isRetracted && accepted[m.component+" "+m.module+"@"+m.version] == "" {
			failed = append(failed, fmt.Errorf("%s links %s@%s, which its authors have retracted: %s", m.component, m.module, m.version, m.why()))
		}
	}
	return errors.Join(failed...)
}

// withdrawn asks about the modules of one component, and returns how many there are.
func (b *Builder) withdrawn(ctx context.Context, s state, line *line) ([]withdrawn, int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("the module proxy: not done after 10 minutes"))
	defer cancel()
	g := gocmd{dir: filepath.Join(b.Source, s.recipe.dir()), line: line}
	packages, err := b.fetch(ctx, g, s)
	if err != nil {
		return nil, 0, err
	}
	modules := modulesOf(packages)
	if len(modules) == 0 {
		return nil, 0, nil
	}
	args := []string{"list", "-m", "-u", "-retracted", "-json=Path,Version,Replace,Retracted,Deprecated,Update", "-mod=readonly"}
	if s.recipe.Modfile != "" {
		args = append(args, "-modfile="+s.recipe.Modfile)
	}
	out, err := g.output(ctx, environ(os.Environ()), append(args, modules...)...)
	if err != nil {
		return nil, 0, fmt.Errorf("ask the module proxy: %w", err)
	}
	list, err := parseWithdrawn(s.component.Name, strings.NewReader(string(out)))
	return list, len(modules), err
}

// modulesOf returns the paths of the modules that packages come from, sorted.
func modulesOf(packages []pkg) []string {
	var list []string
	for _, p := range packages {
		if p.module != "" && p.module != "main" {
			list = append(list, p.module)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// parseWithdrawn reads what go list -m -u -retracted -json prints, and keeps what was withdrawn.
func parseWithdrawn(component string, r io.Reader) ([]withdrawn, error) {
	type module struct {
		Path, Version, Deprecated string
		Retracted                 []string
		Update                    *struct{ Version string }
		Replace                   *module
	}
	var list []withdrawn
	for d := json.NewDecoder(r); ; {
		var m module
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("what go list says of modules: %w", err)
		}
		if m.Replace != nil {
			m = *m.Replace // what is linked
		}
		found := withdrawn{
			component: component, module: m.Path, version: m.Version,
			retracted: m.Retracted, isRetracted: m.Retracted != nil, deprecated: m.Deprecated,
		}
		if m.Update != nil {
			found.update = m.Update.Version
		}
		if found.isRetracted || found.deprecated != "" {
			list = append(list, found)
		}
	}
}

// why is what the authors say.
func (m withdrawn) why() string {
	reason := cmp.Or(strings.Join(m.retracted, "; "), m.deprecated, "no reason is given")
	return strings.Join(strings.Fields(reason), " ")
}

// withdrawnTable is a document in Markdown.
func withdrawnTable(asked []string, found []withdrawn, accepted map[string]string) string {
	var b strings.Builder
	b.WriteString("# Linked modules that were withdrawn\n\n" +
		"Written by `go run ./cmd/components withdrawn >docs/components-withdrawn.md` from what the module proxy says of every module that is\n" +
		"linked into a component: versions that their authors have retracted, and modules that are deprecated. It stands in for a report of\n" +
		"known vulnerabilities only as far as authors retract what is dangerous; see [arch/components.md](arch/components.md).\n\n" +
		"Modules asked about: " + strings.Join(asked, ", ") + ".\n\n")
	if len(found) == 0 {
		b.WriteString("None was retracted, none is deprecated.\n")
		return b.String()
	}
	b.WriteString("| component | module | version | what | newest | its authors say | why it stays |\n|---|---|---|---|---|---|---|\n")
	for _, m := range found {
		what := "deprecated"
		if m.isRetracted {
			what = "**retracted**"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s | %s |\n", m.component, m.module, m.version, what, cmp.Or(m.update, "this"),
			strings.ReplaceAll(m.why(), "|", "\\|"), accepted[m.component+" "+m.module+"@"+m.version])
	}
	return b.String()
}
