package kernel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"talos.internal/internal/image/rootfs"
)

// Set is some modules of a kernel, with everything that they need.
type Set struct {
	kernel *Kernel
	paths  []string // in the kernel's own order
}

// cryptoDirs are where the modules are that other modules ask for by the alias of an algorithm.
var cryptoDirs = Rules{"arch/", "crypto/", "lib/"}

// Select returns the modules that rules choose and those named, which may be built into the kernel, with all that these need.
//
// Soft dependencies are followed like hard ones. One that is no module's name is an alias, and is looked for among the
// modules chosen so far and among those that implement algorithms; where there is none, the kernel has it built in or does without.
//
// It fails with fs.ErrNotExist for a name or a rule that means nothing, and with ErrFormat for a broken module.
func (k *Kernel) Select(ctx context.Context, rules Rules, names ...string) (*Set, error) {
	chosen, err := rules.choose(sorted(k.modules))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch file, ok := k.paths[plainName(name)]; {
		case ok:
			chosen = append(chosen, file)
		case !k.builtin[plainName(name)]:
			return nil, fmt.Errorf("kernel %s has no module %s: %w", k.Release, name, fs.ErrNotExist)
		}
	}
	var crypto []string
	for _, file := range sorted(k.modules) {
		if slices.ContainsFunc(cryptoDirs, func(dir string) bool { return strings.HasPrefix(file, "kernel/"+dir) }) {
			crypto = append(crypto, file)
		}
	}
	if err := k.readAll(ctx, slices.Concat(chosen, crypto)); err != nil {
		return nil, err
	}
	all, err := k.close(ctx, chosen, crypto)
	if err != nil {
		return nil, err
	}
	return &Set{kernel: k, paths: k.inOrder(all)}, nil
}

// close adds to the modules chosen what they need, round by round until nothing is missing.
func (k *Kernel) close(ctx context.Context, chosen, crypto []string) (map[string]bool, error) {
	all := map[string]bool{}
	for len(chosen) > 0 {
		if err := k.readAll(ctx, chosen); err != nil {
			return nil, err
		}
		aliases := map[string]bool{}
		var next []string
		for _, file := range chosen {
			all[file] = true
			info := k.infos[file]
			for _, name := range info.Depends {
				if k.builtin[name] {
					continue
				}
				other, ok := k.paths[name]
				if !ok {
					return nil, fmt.Errorf("module %s needs %s, which is not in the package: %w", file, name, fs.ErrNotExist)
				}
				next = append(next, other)
			}
			for _, soft := range info.Soft {
				for _, name := range softNames(soft) {
					if other, ok := k.paths[plainName(name)]; ok {
						next = append(next, other)
					} else {
						aliases[plainName(name)] = true
					}
				}
			}
		}
		for _, file := range slices.Concat(sorted(all), crypto) {
			if slices.ContainsFunc(k.infos[file].Aliases, func(a string) bool { return aliases[plainName(a)] }) {
				next = append(next, file)
			}
		}
		chosen = slices.DeleteFunc(next, func(file string) bool { return all[file] })
		slices.Sort(chosen)
		chosen = slices.Compact(chosen)
	}
	return all, nil
}

// readAll reads what modules say of themselves, side by side: unpacking them is most of the work.
func (k *Kernel) readAll(ctx context.Context, files []string) error {
	files = slices.DeleteFunc(slices.Clone(files), func(file string) bool { _, ok := k.infos[file]; return ok })
	slices.Sort(files)
	files = slices.Compact(files)
	infos, errs := make([]Info, len(files)), make([]error, len(files))
	work := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range work {
				if errs[i] = ctx.Err(); errs[i] == nil {
					infos[i], errs[i] = readEntry(k.modules[files[i]])
				}
			}
		})
	}
	for i := range files {
		work <- i
	}
	close(work)
	workers.Wait()
	for i, file := range files {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("module %s: %w", file, errs[i])
			continue
		}
		k.infos[file] = infos[i]
	}
	return errors.Join(errs...)
}

// inOrder sorts modules as the kernel's makers link them, which decides who is asked first when several serve a device. Those
// that they do not list come last.
func (k *Kernel) inOrder(all map[string]bool) []string {
	list := sorted(all)
	place := func(file string) int {
		if n, ok := k.order[file]; ok {
			return n
		}
		return len(k.order) + 1
	}
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	return list
}

// Names are those of the set's modules, in the order of the index.
func (s *Set) Names() []string {
	names := make([]string, len(s.paths))
	for i, file := range s.paths {
		names[i] = moduleName(file)
	}
	return names
}

// Size is the sum of the modules' sizes, compressed, in bytes.
func (s *Set) Size() (n int64) {
	for _, file := range s.paths {
		n += s.kernel.modules[file].Size
	}
	return n
}

// Entries are the modules and their index, with paths of a root file system.
func (s *Set) Entries() []rootfs.Entry {
	dir := s.kernel.Dir()
	var all []rootfs.Entry
	for _, file := range s.paths {
		e := s.kernel.modules[file]
		e.Path, e.Mode, e.UID, e.GID = path.Join(dir, file), 0o644, 0, 0
		all = append(all, e)
	}
	for name, text := range map[string][]byte{
		"modules.dep": s.dep(), "modules.softdep": s.softdep(), "modules.alias": s.alias(), "modules.devname": s.devname(),
		"modules.builtin": s.kernel.texts["modules.builtin"],
	} {
		all = append(all, rootfs.Bytes(path.Join(dir, name), 0o644, text))
	}
	return all
}

// dep is modules.dep: after each module all that it needs, such that loading them from the last to the first works.
func (s *Set) dep() []byte {
	var b bytes.Buffer
	for _, file := range s.paths {
		b.WriteString(file + ":")
		for _, other := range s.kernel.needs(file) {
			b.WriteString(" " + other)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// needs returns all hard dependencies of a module whose closure has been read, each before those that it needs itself.
func (k *Kernel) needs(file string) []string {
	var loaded []string // in the order of loading
	seen := map[string]bool{file: true}
	var visit func(string)
	visit = func(file string) {
		for _, name := range k.infos[file].Depends {
			other, ok := k.paths[name]
			if !ok || seen[other] {
				continue
			}
			seen[other] = true
			visit(other)
			loaded = append(loaded, other)
		}
	}
	visit(file)
	slices.Reverse(loaded)
	return loaded
}

// softdep is modules.softdep.
func (s *Set) softdep() []byte {
	var b bytes.Buffer
	b.WriteString("# Soft dependencies extracted from modules themselves.\n")
	for _, file := range s.paths {
		for _, soft := range s.kernel.infos[file].Soft {
			fmt.Fprintf(&b, "softdep %s %s\n", moduleName(file), soft)
		}
	}
	return b.Bytes()
}

// alias is modules.alias.
func (s *Set) alias() []byte {
	var b bytes.Buffer
	b.WriteString("# Aliases extracted from modules themselves.\n")
	for _, file := range s.paths {
		for _, alias := range s.kernel.infos[file].Aliases {
			fmt.Fprintf(&b, "alias %s %s\n", alias, moduleName(file))
		}
	}
	return b.Bytes()
}

// devname is modules.devname: device nodes that are made before their module is loaded, whose opening loads it.
func (s *Set) devname() []byte {
	var b bytes.Buffer
	b.WriteString("# Device nodes to trigger on-demand module loading.\n")
	for _, file := range s.paths {
		node, number := "", ""
		for _, alias := range s.kernel.infos[file].Aliases {
			if name, ok := strings.CutPrefix(alias, "devname:"); ok {
				node = name
			}
			for prefix, kind := range map[string]string{"char-major-": "c", "block-major-": "b"} {
				if text, ok := strings.CutPrefix(alias, prefix); ok && !strings.Contains(text, "*") {
					number = kind + strings.Replace(text, "-", ":", 1)
				}
			}
		}
		if node != "" && strings.Contains(number, ":") {
			fmt.Fprintf(&b, "%s %s %s\n", moduleName(file), node, number)
		}
	}
	return b.Bytes()
}
