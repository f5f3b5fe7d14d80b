package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Step is one module to load.
type Step struct {
	Name string
	File string   // its path
	Args string   // its parameters, as the kernel takes them
	Hard []string // modules that it cannot be loaded without
	Soft []string // modules that are to be tried before it
}

// Options say what is not in the index.
type Options struct {
	// Loaded are modules that are there already.
	Loaded []string
	// Args are parameters by the name of the module.
	Args map[string]string
	// Deny are modules that no alias loads, only their name.
	Deny []string
}

// ErrNoModule is wrapped by the error for a name that neither a module nor the kernel itself has.
var ErrNoModule = fmt.Errorf("there is no such kernel module: %w", fs.ErrNotExist)

// Plan returns what has to be loaded to have the modules with the names given, those that it needs first. A name may be an
// alias. The order is one in which they can be loaded one by one. What is loaded or built in is not in it.
//
// For names that there are none of the error wraps ErrNoModule; the plan has the others all the same.
func (x *Index) Plan(o Options, names ...string) ([]Step, error) {
	p := &planning{index: x, o: o, aliases: map[string][]string{}, done: map[string]bool{}, deny: map[string]bool{}}
	for _, m := range o.Loaded {
		p.done[Name(m)] = true
	}
	for _, m := range o.Deny {
		p.deny[Name(m)] = true
	}
	if err := p.readAliases(names); err != nil {
		return nil, err
	}
	var errs []error
	for _, n := range names {
		mods := p.resolve(n)
		if len(mods) == 0 && !x.builtin[Name(n)] {
			errs = append(errs, fmt.Errorf("%s: %w", n, ErrNoModule))
		}
		for _, m := range mods {
			p.add(m)
		}
	}
	return p.steps, errors.Join(errs...)
}

// PlanAliases returns what has to be loaded for devices and requests of the kernel. An alias that nothing serves is no error:
// the kernel has it built in, or nobody has a driver for it.
func (x *Index) PlanAliases(o Options, aliases ...string) ([]Step, error) {
	found, err := x.Match(aliases...)
	if err != nil {
		return nil, err
	}
	deny := map[string]bool{}
	for _, m := range o.Deny {
		deny[Name(m)] = true
	}
	var names []string
	for _, a := range aliases {
		for _, m := range found[a] {
			if _, ok := x.modules[m]; ok && !deny[m] {
				names = append(names, m)
			}
		}
	}
	slices.Sort(names)
	return x.Plan(o, slices.Compact(names)...)
}

type planning struct {
	index   *Index
	o       Options
	aliases map[string][]string
	done    map[string]bool // loaded, planned or being planned
	deny    map[string]bool
	steps   []Step
}

// readAliases looks up everything that is no module's name, in as many passes over the file as soft dependencies are deep.
func (p *planning) readAliases(names []string) error {
	seen := map[string]bool{}
	for len(names) > 0 {
		var unknown, next []string
		for _, n := range names {
			if seen[n] {
				continue
			}
			seen[n] = true
			if _, ok := p.index.modules[Name(n)]; !ok && !p.index.builtin[Name(n)] {
				unknown = append(unknown, n)
				continue
			}
			next = append(next, p.index.wants(Name(n))...)
		}
		if len(unknown) > 0 {
			found, err := p.index.Match(unknown...)
			if err != nil {
				return err
			}
			for a, mods := range found {
				p.aliases[a] = mods
				next = append(next, mods...)
			}
		}
		names = next
	}
	return nil
}

// wants are the names that the planning of a module meets next.
func (x *Index) wants(name string) []string {
	s := x.soft[name]
	return slices.Concat(s.pre, x.modules[name].deps, s.post)
}

// resolve returns the modules for a name or an alias.
func (p *planning) resolve(name string) []string {
	if _, ok := p.index.modules[Name(name)]; ok {
		return []string{Name(name)}
	}
	var out []string
	for _, m := range p.aliases[name] {
		if _, ok := p.index.modules[m]; ok && !p.deny[m] {
			out = append(out, m)
		}
	}
	return out
}

// add plans a module after what it needs. Soft dependencies may go round in circles; a module that is being planned is not
// begun a second time.
func (p *planning) add(name string) {
	m, ok := p.index.modules[name]
	if !ok || p.done[name] {
		return
	}
	p.done[name] = true
	step := Step{Name: name, File: p.index.dir + "/" + m.file, Args: p.o.Args[name]}
	before := func(list *[]string, names ...string) {
		for _, n := range names {
			p.add(n)
			// One that is being planned comes later and cannot be waited for.
			if slices.ContainsFunc(p.steps, func(s Step) bool { return s.Name == n }) {
				*list = append(*list, n)
			}
		}
	}
	soft := p.index.soft[name]
	for _, n := range soft.pre {
		before(&step.Soft, p.resolve(n)...)
	}
	// modules.dep has the nearest first; loading begins with the farthest.
	deps := slices.Clone(m.deps)
	slices.Reverse(deps)
	before(&step.Hard, deps...)
	p.steps = append(p.steps, step)
	for _, n := range soft.post {
		for _, m := range p.resolve(n) {
			p.add(m)
		}
	}
}
