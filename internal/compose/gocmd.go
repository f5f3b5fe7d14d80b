package compose

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gocmd runs the go command for one component.
type gocmd struct {
	dir  string
	line *line
}

// fixed are the variables that decide what go makes, so that neither the user's environment nor
// go env -w does. None is empty: go takes an empty variable for one that is not set.
// Where modules and caches come from stays the user's: GOPROXY, GOSUMDB, GOMODCACHE, GOCACHE.
var fixed = []string{
	"GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local", "GOWORK=off", "GO111MODULE=on",
	"GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOAMD64=v1", "GOARM64=v8.0",
	"CC=gcc", "CGO_CFLAGS=-O2 -g", "CGO_LDFLAGS=-O2 -g", "PKG_CONFIG=pkg-config", "LC_ALL=C",
}

// environ is what the go command sees: env, with what decides the result fixed.
func environ(env []string, more ...string) []string {
	set := slices.Concat(fixed, more)
	out := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.ContainsFunc(set, func(f string) bool { return strings.HasPrefix(f, name+"=") })
	})
	return append(out, set...)
}

// command is go with args, killed with all that it started when ctx ends.
func (g gocmd) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = g.dir
	cmd.Env = env
	ownGroup(cmd)
	return cmd
}

// ownGroup puts cmd and its children into a process group of their own and ends all of it when the
// context does: the compilers, too, which go itself would leave to finish.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
}

// output runs go and returns what it printed. The error has the last lines of standard error.
func (g gocmd) output(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := g.command(ctx, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, tail(stderr.String(), 12))
	}
	return stdout.Bytes(), nil
}

// pkg is a package that a component is linked from.
type pkg struct {
	path      string // import path
	dir       string
	module    string // "" for the standard library
	version   string
	moduleDir string
}

// fetch makes sure that the modules of a component are there, downloading what is missing, and
// returns the packages that it is made of. Nothing is downloaded that it is not made of.
func (b *Builder) fetch(ctx context.Context, g gocmd, s state) ([]pkg, error) {
	var all []pkg
	seen := make(map[string]bool)
	for _, group := range groups(s.recipe) {
		args := []string{"list", "-deps", "-mod=readonly"}
		if s.recipe.Modfile != "" {
			args = append(args, "-modfile="+s.recipe.Modfile)
		}
		if len(group.tags) > 0 {
			args = append(args, "-tags="+strings.Join(group.tags, ","))
		}
		// A replaced module is where its replacement is; its version is the replacement's.
		args = append(args, "-f", "{{.ImportPath}}\t{{.Dir}}\t{{with .Module}}{{if not .Main}}{{.Path}}\t"+
			"{{if .Replace}}{{.Replace.Version}}{{else}}{{.Version}}{{end}}\t{{.Dir}}{{else}}main\t\t{{end}}{{else}}\t\t{{end}}")
		env := environ(os.Environ(), "CGO_ENABLED="+group.cgo)
		if b.Offline {
			env = environ(os.Environ(), "CGO_ENABLED="+group.cgo, "GOPROXY=off")
		}
		out, err := g.output(ctx, env, append(args, group.packages...)...)
		if err != nil {
			return nil, fmt.Errorf("fetch modules: %w", err)
		}
		lines := bufio.NewScanner(bytes.NewReader(out))
		for lines.Scan() {
			f := strings.Split(lines.Text(), "\t")
			if len(f) == 5 && !seen[f[0]] {
				seen[f[0]] = true
				all = append(all, pkg{f[0], f[1], f[2], f[3], f[4]})
			}
		}
	}
	g.line.packages(all)
	return all, nil
}

// group is programs that go can list at once.
type group struct {
	cgo      string
	tags     []string
	packages []string
}

// groups puts the programs together that have the same tags.
func groups(r Recipe) []group {
	var all []group
	for _, p := range r.Programs {
		i := slices.IndexFunc(all, func(g group) bool { return g.cgo == p.cgo() && slices.Equal(g.tags, p.Tags) })
		if i < 0 {
			all = append(all, group{cgo: p.cgo(), tags: p.Tags})
			i = len(all) - 1
		}
		all[i].packages = append(all[i].packages, p.Package)
	}
	return all
}

// compile builds one program to output. The modules must be there: it does not use the network.
func (g gocmd) compile(ctx context.Context, s state, p Program, output string) error {
	args := s.recipe.buildArgs(p, s.component.Version)
	// -v names each package as it is compiled, which is the progress. -p is all cores also when
	// two components build: the linker and large packages use one, and the other has work then.
	args = slices.Insert(args, 1, "-v", "-p="+strconv.Itoa(runtime.NumCPU()), "-o", output)
	cmd := g.command(ctx, environ(os.Environ(), "GOPROXY=off", "CGO_ENABLED="+p.cgo()), args...)
	said := &compilerOutput{line: g.line}
	cmd.Stdout, cmd.Stderr = said, said
	err := cmd.Run()
	if cmd.ProcessState != nil {
		g.line.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		return fmt.Errorf("%w\n%s\nagain: %s", err, tail(said.rest(), 20), shellLine(g.dir, p.cgo(), s, p))
	}
	return nil
}

// shellLine is what a person types to run a failed build again.
func shellLine(dir, cgo string, s state, p Program) string {
	words := []string{"cd", dir, "&&", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local", "CGO_ENABLED=" + cgo, "go"}
	for _, arg := range slices.Insert(s.recipe.buildArgs(p, s.component.Version), 1, "-o", os.DevNull) {
		if strings.ContainsAny(arg, " {}$'\"") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// goRelease is the Go release and what it builds for: "go1.26.8 linux/amd64".
func goRelease(ctx context.Context) (string, error) {
	out, err := gocmd{}.output(ctx, environ(os.Environ()), "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)) + " linux/" + runtime.GOARCH, nil
}

// debianVersions returns the versions of installed Debian packages. When one is missing, the error
// is the line that installs it.
func debianVersions(ctx context.Context, component string, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	versions := make(map[string]string)
	cmd := exec.CommandContext(ctx, "dpkg-query", append([]string{"-W", "-f", "${Package}\t${db:Status-Status}\t${Version}\n"}, names...)...)
	out, err := cmd.Output() // fails also when only some are unknown, and prints the others
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("%s needs Debian's %s: %w", component, strings.Join(names, " "), err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 3 && f[1] == "installed" {
			versions[f[0]] = f[2]
		}
	}
	var missing []string
	for _, name := range names {
		if versions[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s needs packages that are not installed: apt-get install -y --no-install-recommends %s",
			component, strings.Join(missing, " "))
	}
	return versions, nil
}
