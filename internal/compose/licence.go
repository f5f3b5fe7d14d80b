package compose

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// licenceFile is the form of the names of licence texts and notices.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|unlicense|patents)([._-].*)?$|^(apache|mit|bsd)-.*licen[cs]e$`)

// sourceFile is what such a name can be without being a text.
var sourceFile = regexp.MustCompile(`\.(go|s|c|h|tmpl|json|ya?ml)$`)

// linkedModule is a module that a component is linked from, with its licence texts.
type linkedModule struct {
	path, version string
	texts         map[string][]byte // by file name, relative to the module
	licence       string            // SPDX expression, or "unknown"
}

// Classify returns the licence that texts are, as an SPDX expression: identifiers joined by AND when
// there are several (which of them applies to what, the texts say), "unknown" when none is known.
// It goes by phrases that each licence has and the others do not; it is a help for people, no advice.
func Classify(texts ...[]byte) string {
	found := make(map[string]bool)
	for _, text := range texts {
		words := strings.ToLower(strings.Join(strings.Fields(string(text)), " "))
		has := func(phrase string) bool { return strings.Contains(words, phrase) }
		for _, l := range []struct {
			id string
			is bool
		}{
			{"Apache-2.0", has("apache license") && has("version 2.0") || has("apache.org/licenses/license-2.0")},
			{"MPL-2.0", has("mozilla public license") && has("2.0")},
			{"MIT", has("permission is hereby granted, free of charge, to any person obtaining a copy")},
			{"ISC", has("permission to use, copy, modify, and/or distribute this software") || has("permission to use, copy, modify, and distribute this software")},
			{"BSD-3-Clause", has("redistribution and use in source and binary forms") && (has("endorse or promote") || has("neither the name"))},
			{"BSD-2-Clause", has("redistribution and use in source and binary forms") && !has("endorse or promote") && !has("neither the name")},
			// The Mozilla licence names this one, as a licence that it is compatible with.
			{"LGPL-2.1", has("gnu lesser general public license") && has("2.1") && !has("mozilla public license")},
			{"Unlicense", has("this is free and unencumbered software released into the public domain")},
			{"CC0-1.0", has("cc0 1.0 universal")},
			{"CC-BY-SA-4.0", has("creative commons attribution-sharealike 4.0")},
		} {
			if l.is {
				found[l.id] = true
			}
		}
	}
	if len(found) == 0 {
		return "unknown"
	}
	return strings.Join(slices.Sorted(maps.Keys(found)), " AND ")
}

// linkedModules gathers the modules of packages and the licence texts that hold for them: those of
// each package's folder and of the folders above it, up to its module's.
func linkedModules(packages []pkg) ([]linkedModule, error) {
	modules := make(map[string]*linkedModule)
	looked := make(map[string]bool)
	for _, p := range packages {
		if p.module == "" || p.module == "main" {
			continue
		}
		m := modules[p.module]
		if m == nil {
			m = &linkedModule{path: p.module, version: p.version, texts: make(map[string][]byte)}
			modules[p.module] = m
		}
		for dir := p.dir; !looked[dir] && strings.HasPrefix(dir, p.moduleDir); dir = filepath.Dir(dir) {
			looked[dir] = true
			if err := gather(m.texts, dir, p.moduleDir); err != nil {
				return nil, err
			}
		}
	}
	list := make([]linkedModule, 0, len(modules))
	for _, m := range modules {
		m.licence = Classify(slices.Collect(maps.Values(m.texts))...)
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b linkedModule) int { return cmp.Compare(a.path, b.path) })
	return list, nil
}

// gather adds the licence texts in dir to texts, by their names below root.
func gather(texts map[string][]byte, dir, root string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) || sourceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		texts[name] = text
	}
	return nil
}

// writeLicences writes LICENSE and NOTICE of the component's module, modules.txt and NOTICES.txt.
// A module without a licence text is an error: what may not be passed on must not get into an image.
func writeLicences(dir string, c Component, packages []pkg) error {
	modules, err := linkedModules(packages)
	if err != nil {
		return err
	}
	goText, err := os.ReadFile(filepath.Join(goRoot(packages), "LICENSE"))
	if err != nil {
		return err
	}
	modules = append(modules, linkedModule{"std", runtime.Version(), map[string][]byte{"LICENSE": goText}, Classify(goText)})
	r, _ := recipe(c.Name)
	for _, name := range r.Packages {
		// Of the packages for the build only libraries end up in the program.
		if library := strings.TrimSuffix(name, "-dev"); library != name {
			text, err := os.ReadFile(filepath.Join("/usr/share/doc", name, "copyright"))
			if err != nil {
				return err
			}
			modules = append(modules, linkedModule{"debian/" + library, "linked statically", map[string][]byte{"copyright": text}, Classify(text)})
		}
	}
	var bare []string
	var list bytes.Buffer
	for _, m := range modules {
		if len(m.texts) == 0 {
			bare = append(bare, m.path)
		}
		fmt.Fprintf(&list, "%-14s %s %s\n", m.licence, m.path, m.version)
		if m.path == c.Module {
			if err := copyOwn(dir, m); err != nil {
				return err
			}
		}
	}
	if len(bare) > 0 {
		return fmt.Errorf("no licence text in %s", strings.Join(bare, ", "))
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.txt"), list.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "NOTICES.txt"), notices(modules), 0o644)
}

// copyOwn puts the texts at the top of the component's module beside the programs.
func copyOwn(dir string, m linkedModule) error {
	var errs []error
	for name, text := range m.texts {
		if !strings.ContainsRune(name, '/') {
			errs = append(errs, os.WriteFile(filepath.Join(dir, name), text, 0o644))
		}
	}
	return errors.Join(errs...)
}

// notices is every licence text once, under the names of all that it is the text of.
func notices(modules []linkedModule) []byte {
	type entry struct {
		of   []string
		text []byte
	}
	var order []*entry
	known := make(map[[sha256.Size]byte]*entry)
	for _, m := range modules {
		for _, name := range slices.Sorted(maps.Keys(m.texts)) {
			text := m.texts[name]
			key := sha256.Sum256(bytes.TrimSpace(text))
			if known[key] == nil {
				known[key] = &entry{text: text}
				order = append(order, known[key])
			}
			known[key].of = append(known[key].of, m.path+" "+m.version+" "+name)
		}
	}
	var out bytes.Buffer
	for _, e := range order {
		rule := strings.Repeat("=", 80)
		fmt.Fprintf(&out, "%s\n%s\n%s\n\n%s\n\n", rule, strings.Join(e.of, "\n"), rule, bytes.TrimSpace(e.text))
	}
	return out.Bytes()
}

// goRoot finds the Go tree by the folder of a package of the standard library.
func goRoot(packages []pkg) string {
	for _, p := range packages {
		if root, ok := strings.CutSuffix(p.dir, filepath.Join("src", p.path)); ok && p.module == "" {
			return root
		}
	}
	return ""
}

// Licences writes, for each result, how many modules are under which licence, and the modules whose
// licence was not recognised. Components that are not built are named as such.
func (b *Builder) Licences(w io.Writer) error {
	components, err := b.Components()
	if err != nil {
		return err
	}
	for _, c := range components {
		text, err := os.ReadFile(filepath.Join(b.result(c.Name), "modules.txt"))
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(w, "%-16s not built\n", c.Name)
			continue
		}
		if err != nil {
			return err
		}
		count := make(map[string]int)
		var unknown []string
		for line := range strings.Lines(string(text)) {
			// The expression has blanks only around AND; the path is the first word after it.
			words := strings.Fields(strings.ReplaceAll(line, " AND ", "+"))
			if len(words) < 2 {
				return fmt.Errorf("modules.txt of %s has the line %q", c.Name, line)
			}
			count[strings.ReplaceAll(words[0], "+", " AND ")]++
			if words[0] == "unknown" {
				unknown = append(unknown, words[1])
			}
		}
		var parts []string
		for _, id := range slices.Sorted(maps.Keys(count)) {
			parts = append(parts, fmt.Sprintf("%s %d", id, count[id]))
		}
		fmt.Fprintf(w, "%-16s %s; linked: %s\n", c.Name, c.Licence, strings.Join(parts, ", "))
		if len(unknown) > 0 {
			fmt.Fprintf(w, "%-16s look at: %s\n", "", strings.Join(unknown, ", "))
		}
	}
	return nil
}
