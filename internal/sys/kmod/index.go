package kmod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Index knows the modules of one kernel. It keeps names and files in memory, and reads aliases when it is asked for some:
// those of a whole distribution are megabytes, and are asked for rarely. It is safe for concurrent use once it is open.
type Index struct {
	dir     string
	modules map[string]module // by name
	soft    map[string]softdep
	builtin map[string]bool
}

type module struct {
	file string   // relative to dir
	deps []string // names, all of them: modules.dep has the closure
}

// softdep are names or aliases.
type softdep struct{ pre, post []string }

// maxLine limits a line of an index file. The longest of a distribution, with a module's dependencies, has a few KiB.
const maxLine = 1 << 20

// Dir returns where the modules of a kernel are. root is put before the path; empty means "/".
func Dir(root, release string) string {
	return filepath.Join("/", root, "usr/lib/modules", release)
}

// Open reads the index of the modules in dir. Without modules.dep the error wraps fs.ErrNotExist; the other files may be
// missing, as they are from a kernel that has nothing to say there.
func Open(dir string) (*Index, error) {
	x := &Index{dir: dir, modules: map[string]module{}, soft: map[string]softdep{}, builtin: map[string]bool{}}
	for _, f := range []struct {
		name   string
		needed bool
		parse  func(line string) error
	}{
		{"modules.dep", true, x.dep},
		{"modules.softdep", false, x.softdep},
		{"modules.builtin", false, func(line string) error {
			x.builtin[nameOf(line)] = true
			return nil
		}},
	} {
		err := lines(filepath.Join(dir, f.name), f.parse)
		if err != nil && (f.needed || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("read the index of kernel modules: %w", err)
		}
	}
	return x, nil
}

// lines calls parse for each line of a file that is neither empty nor a comment.
func lines(file string, parse func(string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	err = eachLine(f, parse)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func eachLine(r io.Reader, parse func(string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := parse(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// dep takes a line of modules.dep: "kernel/fs/a.ko.xz: kernel/lib/b.ko.xz".
func (x *Index) dep(line string) error {
	file, deps, ok := strings.Cut(line, ":")
	if !ok || strings.HasPrefix(path.Clean(file), "..") {
		return fmt.Errorf("%q names no module", line)
	}
	m := module{file: file}
	for _, d := range strings.Fields(deps) {
		m.deps = append(m.deps, nameOf(d))
	}
	x.modules[nameOf(file)] = m
	return nil
}

// softdep takes a line of modules.softdep: "softdep a pre: b c post: d".
func (x *Index) softdep(line string) error {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "softdep" {
		return fmt.Errorf("%q is no soft dependency", line)
	}
	name := Name(words[1])
	s := x.soft[name]
	var list *[]string
	for _, w := range words[2:] {
		switch {
		case w == "pre:":
			list = &s.pre
		case w == "post:":
			list = &s.post
		case list == nil: // Debian's index has "softdep cifs gcm"; kmod passes over it, too
		default:
			*list = append(*list, Name(w))
		}
	}
	x.soft[name] = s
	return nil
}

// Name returns the name of a module as the kernel has it.
func Name(s string) string { return strings.ReplaceAll(s, "-", "_") }

// nameOf returns the name of the module in a file.
func nameOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return Name(name)
}

// Has reports whether there is a module of this name, or the kernel has it built in.
func (x *Index) Has(name string) bool {
	name = Name(name)
	_, ok := x.modules[name]
	return ok || x.builtin[name]
}

// Match returns for each alias the names of the modules that serve it, in the order of modules.alias. An alias is what a
// device says in its modalias ("pci:v00001AF4d…"), or what the kernel asks for ("fs-xfs", "crypto-aes"). What the kernel
// has built in is not among them; an alias that nothing serves is missing.
func (x *Index) Match(aliases ...string) (map[string][]string, error) {
	wanted := byBus(aliases)
	found := map[string][]string{}
	f, err := os.Open(filepath.Join(x.dir, "modules.alias"))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		err = errors.Join(eachAlias(f, wanted, func(a alias, module string) { found[a.given] = append(found[a.given], Name(module)) }), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("read the aliases of kernel modules: %w", err)
	}
	return found, nil
}

// eachAlias goes through modules.alias, thousands of lines of "alias PATTERN MODULE". Most are of a bus that nobody asks for, and make no
// garbage: this is done a dozen times in a start.
func eachAlias(r io.Reader, wanted map[string][]alias, take func(alias, string)) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 32<<10), maxLine)
	for s.Scan() {
		line, ok := bytes.CutPrefix(s.Bytes(), []byte("alias "))
		if !ok {
			continue // a comment, or nothing that this version knows
		}
		end := bytes.IndexByte(line, ' ')
		if end < 0 {
			continue
		}
		list := wanted[string(busOfPattern(line[:end]))]
		if len(list) == 0 {
			continue
		}
		pattern, module := string(line[:end]), strings.TrimSpace(string(line[end:]))
		for _, a := range list {
			if match(pattern, a.normal) {
				take(a, module)
			}
		}
	}
	return s.Err()
}

// Builtin returns the names of the modules that the kernel has built in, sorted.
func (x *Index) Builtin() []string { return slices.Sorted(maps.Keys(x.builtin)) }
