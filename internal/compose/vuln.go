package compose

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// database is the module that the Go project's vulnerability database is published as, besides https://vuln.go.dev. The module
// proxy is what a build has anyway, and the checksum database vouches for the content.
const database = "golang.org/x/vulndb"

// scanned is what the scanner said of one component: identifiers of the database, and for those that a program reaches, where.
type scanned struct {
	component Component
	linked    []string          // of linked modules, in code that no program calls
	reached   map[string]string // where
}

// Vulnerabilities runs govulncheck, in source mode, over everything that was built into the named
// components (all and the system itself when none is), writes a table of what it found as Markdown, and fails when code that a program
// can reach has a known vulnerability that components/vulnerabilities does not name with a reason. Source mode because the
// programs are stripped: without symbols, govulncheck cannot tell what is reachable.
//
// db is the vulnerability database as https://HOST or file:///FOLDER, which may be a folder of entries in the OSV format; "" is the
// newest version of the module golang.org/x/vulndb.
// Each component may take 20 minutes. The result of govulncheck must be built.
func (b *Builder) Vulnerabilities(ctx context.Context, w io.Writer, db string, names ...string) error {
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
	scanner, err := filepath.Abs(filepath.Join(b.result("govulncheck"), "govulncheck"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(scanner); err != nil {
		return fmt.Errorf("build govulncheck first: %w", err)
	}
	source := db
	if db == "" {
		if db, source, err = b.database(ctx); err != nil {
			return err
		}
	}
	log := newProgress(b.Log, len(states))
	var all []scanned
	var failed []error
	for _, s := range states {
		line := log.start(s.component.Name, s.component.Version, "vulnerabilities")
		found, err := b.scan(ctx, scanner, db, s)
		if err == nil {
			all = append(all, found)
			err = found.refused(accepted)
		}
		line.end(err)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.component.Name, err))
		}
	}
	if len(all) == len(states) {
		if _, err := io.WriteString(w, vulnerabilitiesTable(source, all, accepted)); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// database fetches the database's module and returns its entries as file:///FOLDER, and its name and version.
func (b *Builder) database(ctx context.Context) (db, version string, err error) {
	if b.Offline {
		return "", "", errors.New("-offline: name a copy of the vulnerability database by -db file:///FOLDER")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("the module proxy: not done after 5 minutes"))
	defer cancel()
	folder, err := os.MkdirTemp("", "vulndb") // outside of any module, so that nothing is added to one
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(folder)
	line := newProgress(b.Log, 1).start(database, "", "fetch")
	g := gocmd{dir: folder, line: line}
	out, err := g.output(ctx, environ(os.Environ(), "GOFLAGS=", "GOWORK=off"), "mod", "download", "-json", database+"@latest")
	line.end(err)
	if err != nil {
		return "", "", fmt.Errorf("fetch the vulnerability database %s: %w", database, err)
	}
	var module struct{ Version, Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", "", fmt.Errorf("what go mod download says of %s: %w", database, err)
	}
	entries := filepath.Join(module.Dir, "data", "osv")
	// A database without entries would make everything look clean.
	list, err := filepath.Glob(filepath.Join(entries, "GO-*.json"))
	if err != nil {
		return "", "", err
	}
	if len(list) == 0 {
		return "", "", fmt.Errorf("the vulnerability database %s@%s has no entries in data/osv", database, module.Version)
	}
	return "file://" + filepath.ToSlash(entries), fmt.Sprintf("`%s@%s`, %d entries", database, module.Version, len(list)), nil
}

// scan looks at one component.
func (b *Builder) scan(ctx context.Context, scanner, db string, s state) (scanned, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Minute, errors.New("govulncheck: not done after 20 minutes"))
	defer cancel()
	all := scanned{component: s.component, reached: make(map[string]string)}
	for _, g := range groups(s.recipe) {
		args := []string{"-format=json", "-db=" + db}
		if len(g.tags) > 0 {
			args = append(args, "-tags="+strings.Join(g.tags, ","))
		}
		flags := "GOFLAGS=-mod=readonly"
		if s.recipe.Modfile != "" {
			flags += " -modfile=" + s.recipe.Modfile
		}
		cmd := exec.CommandContext(ctx, scanner, append(args, g.packages...)...)
		cmd.Dir = filepath.Join(b.Source, s.recipe.dir())
		cmd.Env = environ(os.Environ(), flags, "CGO_ENABLED="+g.cgo)
		ownGroup(cmd)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return all, cause
			}
			return all, fmt.Errorf("govulncheck: %w\n%s", err, tail(stderr.String(), 10))
		}
		reached, linked, err := findings(&stdout)
		if err != nil {
			return all, fmt.Errorf("govulncheck's report: %w", err)
		}
		maps.Copy(all.reached, reached)
		all.linked = append(all.linked, linked...)
	}
	slices.Sort(all.linked)
	all.linked = slices.DeleteFunc(slices.Compact(all.linked), func(id string) bool { return all.reached[id] != "" })
	return all, nil
}

// refused is an error that names what a program reaches and nobody has accepted.
func (s scanned) refused(accepted map[string]string) error {
	var bad []string
	for _, id := range slices.Sorted(maps.Keys(s.reached)) {
		if accepted[s.component.Name+" "+id] == "" {
			bad = append(bad, id+" in "+s.reached[id])
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("reachable vulnerabilities that components/vulnerabilities does not accept:\n  %s", strings.Join(bad, "\n  "))
}

// findings reads govulncheck's report, a sequence of JSON objects, and returns where each
// vulnerability is that the program can reach, which is a finding whose trace begins in a function, and the identifiers of all others that
// are in a linked module.
func findings(report io.Reader) (reached map[string]string, linked []string, err error) {
	reached = make(map[string]string)
	complete := false
	for d := json.NewDecoder(report); ; {
		var message struct {
			Config  json.RawMessage `json:"config"`
			Finding *struct {
				OSV          string `json:"osv"`
				FixedVersion string `json:"fixed_version"`
				Trace        []struct{ Module, Version, Package, Function string }
			} `json:"finding"`
		}
		err := d.Decode(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		complete = complete || message.Config != nil
		f := message.Finding
		if f == nil || len(f.Trace) == 0 {
			continue
		}
		t := f.Trace[0]
		if t.Function == "" {
			linked = append(linked, f.OSV)
			continue
		}
		fixed := "not fixed"
		if f.FixedVersion != "" {
			fixed = "fixed in " + f.FixedVersion
		}
		reached[f.OSV] = fmt.Sprintf("%s@%s, %s.%s, %s", t.Module, t.Version, t.Package, t.Function, fixed)
	}
	if !complete {
		// An empty report would otherwise pass for a clean one.
		return nil, nil, errors.New("it has no config message")
	}
	slices.Sort(linked)
	linked = slices.DeleteFunc(slices.Compact(linked), func(id string) bool { return reached[id] != "" })
	return reached, linked, nil
}

// vulnerabilitiesTable is a document in Markdown.
func vulnerabilitiesTable(source string, all []scanned, accepted map[string]string) string {
	var b strings.Builder
	b.WriteString("# Known vulnerabilities\n\n" +
		"Written by `go run ./cmd/components vuln >docs/components-vulnerabilities.md`: govulncheck, in source mode, over every program that is built.\n" +
		"Database: " + source + ".\n\n" +
		"Reached means that there is a way of calls from a program's start to the vulnerable code. Linked means that a module has an entry and\n" +
		"no program calls what it is about.\n\n" +
		"| component | version | reached | linked, not reached |\n|---|---|---|---|\n")
	reached := 0
	for _, s := range all {
		reached += len(s.reached)
		fmt.Fprintf(&b, "| %s | %s | %d | %s |\n", s.component.Name, s.component.Version, len(s.reached), cmp.Or(strings.Join(s.linked, " "), "none"))
	}
	if reached == 0 {
		return b.String()
	}
	b.WriteString("\n## Reached\n\n| component | entry | where | why it stays |\n|---|---|---|---|\n")
	for _, s := range all {
		for _, id := range slices.Sorted(maps.Keys(s.reached)) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.component.Name, id, s.reached[id],
				cmp.Or(accepted[s.component.Name+" "+id], "**nobody has accepted it**"))
		}
	}
	return b.String()
}

// accepted reads components/vulnerabilities: a line for each that cannot be fixed yet, "COMPONENT
// ID reason"; # starts a comment. A line without a reason is an error.
func (b *Builder) accepted() (map[string]string, error) {
	name := filepath.Join(b.Source, "vulnerabilities")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	list := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s: %q has no reason", name, strings.TrimSpace(line))
		}
		list[fields[0]+" "+fields[1]] = strings.Join(fields[2:], " ")
	}
	return list, nil
}
