package compose

import (
	"bytes"
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

// Vulnerabilities runs govulncheck, in source mode, over everything that was built into the named
// components (all and the system itself when none is), and fails when code that a program can reach has a known
// vulnerability that components/vulnerabilities does not name with a reason. Source mode because the
// programs are stripped: without symbols, govulncheck cannot tell what is reachable.
//
// It needs the vulnerability database: by network, or db as file:///FOLDER, "" for the network.
// Each component may take 20 minutes. The result of govulncheck must be built.
func (b *Builder) Vulnerabilities(ctx context.Context, db string, names ...string) error {
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
	log := newProgress(b.Log, len(states))
	var failed []error
	for _, s := range states {
		line := log.start(s.component.Name, s.component.Version, "vulnerabilities")
		err := b.scan(ctx, scanner, db, s, accepted, line)
		line.end(err)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.component.Name, err))
		}
	}
	return errors.Join(failed...)
}

// scan looks at one component.
func (b *Builder) scan(ctx context.Context, scanner, db string, s state, accepted map[string]string, line *line) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Minute, errors.New("govulncheck: not done after 20 minutes"))
	defer cancel()
	reachable := make(map[string]string)
	for _, g := range groups(s.recipe) {
		args := []string{"-format=json"}
		if db != "" {
			args = append(args, "-db="+db)
		}
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
				return cause
			}
			return fmt.Errorf("govulncheck: %w\n%s", err, tail(stderr.String(), 10))
		}
		found, err := findings(&stdout)
		if err != nil {
			return fmt.Errorf("govulncheck's report: %w", err)
		}
		maps.Copy(reachable, found)
	}
	var bad []string
	for _, id := range slices.Sorted(maps.Keys(reachable)) {
		if reason := accepted[s.component.Name+" "+id]; reason != "" {
			line.sayf("       %s in %s, accepted: %s", id, reachable[id], reason)
			continue
		}
		bad = append(bad, id+" in "+reachable[id])
	}
	if len(bad) > 0 {
		return fmt.Errorf("reachable vulnerabilities:\n  %s", strings.Join(bad, "\n  "))
	}
	return nil
}

// findings reads govulncheck's report, a sequence of JSON objects, and returns where each
// vulnerability is that the program can reach: a finding whose trace begins in a function.
func findings(report io.Reader) (map[string]string, error) {
	found := make(map[string]string)
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
			return nil, err
		}
		complete = complete || message.Config != nil
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			t := f.Trace[0]
			fixed := "not fixed"
			if f.FixedVersion != "" {
				fixed = "fixed in " + f.FixedVersion
			}
			found[f.OSV] = fmt.Sprintf("%s@%s, %s.%s, %s", t.Module, t.Version, t.Package, t.Function, fixed)
		}
	}
	if !complete {
		// An empty report would otherwise pass for a clean one.
		return nil, errors.New("it has no config message")
	}
	return found, nil
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
