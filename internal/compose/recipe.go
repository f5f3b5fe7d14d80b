package compose

import (
	"strings"
	"time"
)

// Recipe says how a component is built. Strings in it may use {version} (v1.2.3), {bare} (1.2.3),
// {major} and {minor}, of the component's version.
type Recipe struct {
	Name     string
	Dir      string        // below components/; "" is Name
	Modfile  string        // in Dir; "" is go.mod
	Packages []string      // Debian packages the build needs; their versions are inputs
	Limit    time.Duration // for all of the build, fetching included; 0 is 30 minutes
	VCS      bool          // stamp the commit, where there is one
	Programs []Program
}

// Program is one executable of a component.
type Program struct {
	Name    string
	Package string   // what go build is given, in the component's module
	Tags    []string // build tags
	Stamps  []string // variable=value, set by the linker
	Static  bool     // with cgo, linked statically; otherwise without cgo
	Links   []string // further names, as symbolic links
	Checks  []Check
}

// Check is a way to run a built program that shows it is the one that was meant.
type Check struct {
	As   string // the name to run it under; "" is the program's
	Args []string
	Want string // must be in what it prints
}

// dir is the nested module's folder below components/.
func (r Recipe) dir() string {
	if r.Dir == "" {
		return r.Name
	}
	return r.Dir
}

// modfile is the name of the file that pins the component's modules.
func (r Recipe) modfile() string {
	if r.Modfile == "" {
		return "go.mod"
	}
	return r.Modfile
}

// sumfile is the name of the go.sum that belongs to modfile.
func (r Recipe) sumfile() string { return strings.TrimSuffix(r.modfile(), ".mod") + ".sum" }

// limit is the time that the build may take.
func (r Recipe) limit() time.Duration {
	if r.Limit == 0 {
		return 30 * time.Minute
	}
	return r.Limit
}

// expand replaces {version} and the others in s.
func expand(s, version string) string {
	bare := strings.TrimPrefix(version, "v")
	major, rest, _ := strings.Cut(bare, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return strings.NewReplacer("{version}", version, "{bare}", bare, "{major}", major, "{minor}", minor).Replace(s)
}

// buildArgs is the command line of go for one program, its output file left out.
// -p is not part of it: how many compilers run changes nothing in the result.
func (r Recipe) buildArgs(p Program, version string) []string {
	vcs := "-buildvcs=false"
	if r.VCS {
		vcs = "-buildvcs=auto"
	}
	args := []string{"build", "-mod=readonly", "-trimpath", vcs}
	if r.Modfile != "" {
		args = append(args, "-modfile="+r.Modfile)
	}
	if len(p.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(p.Tags, ","))
	}
	ld := []string{"-s", "-w"}
	if p.Static {
		ld = append(ld, "-linkmode=external", "-extldflags=-static")
	}
	for _, stamp := range p.Stamps {
		ld = append(ld, "-X="+expand(stamp, version))
	}
	return append(args, "-ldflags="+strings.Join(ld, " "), p.Package)
}

// cgo is the value of CGO_ENABLED for a program.
func (p Program) cgo() string {
	if p.Static {
		return "1"
	}
	return "0"
}
