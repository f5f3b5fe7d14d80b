package debian

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"talos.internal/internal/image/rootfs"
)

// Want is a file of a package, such as mount's usr/bin/mount. With a path of a folder, it is everything below that.
type Want struct{ Package, Path string }

// Used is a package that gave something.
type Used struct {
	Name, Version, Arch, Source string
	Licence                     Licence
	// Files is how many files and links it gave, its copyright file left out.
	Files int
}

// Picked is what was taken.
type Picked struct {
	Tree rootfs.Tree
	Used []Used // sorted by name
	// Read names all packages that the result depends on: those of Used, and those that only gave a licence text.
	Read map[string]bool
}

// libraryDirs are the folders in which Debian's loader looks for libraries when there is no ld.so.cache.
func libraryDirs(arch string) []string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
	return []string{"usr/lib/" + triplet, "usr/lib"}
}

// picker is the state of one Pick.
type picker struct {
	ctx    context.Context // lives as long as one call of Pick
	from   Source
	loaded map[string]*Deb
	taken  map[string]string // path to the package that gave it
	wanted *Deb              // the package of the Want that is being followed
	out    Picked
}

// Pick takes what is wanted, and what that needs. Setuid and setgid bits are dropped: nothing in an image gains rights by
// being started.
//
// It fails with ErrNoPackage if a package is missing, and with fs.ErrNotExist if a package does not have the file or if no
// package that it depends on has a library.
func Pick(ctx context.Context, from Source, wants []Want) (*Picked, error) {
	p := &picker{
		ctx: ctx, from: from, loaded: map[string]*Deb{}, taken: map[string]string{},
		out: Picked{Read: map[string]bool{}},
	}
	for _, w := range wants {
		d, err := p.load(w.Package)
		if err != nil {
			return nil, fmt.Errorf("take %s: %w", w.Path, err)
		}
		p.wanted = d
		if err := p.takeAll(d, w.Path); err != nil {
			return nil, fmt.Errorf("take %s from %s: %w", w.Path, w.Package, err)
		}
	}
	if p.out.Tree.Len() > 0 {
		for _, name := range slices.Sorted(maps.Keys(usrLinks)) {
			if err := p.out.Tree.Add(rootfs.Symlink(name, usrLinks[name])); err != nil {
				return nil, err
			}
		}
	}
	return &p.out, p.finish()
}

func (p *picker) load(name string) (*Deb, error) {
	if d, ok := p.loaded[name]; ok {
		return d, nil
	}
	d, err := p.from.Package(p.ctx, name)
	if err == nil {
		p.loaded[name] = d
	}
	return d, err
}

// takeAll takes the file name, or all files below the folder name.
func (p *picker) takeAll(d *Deb, name string) error {
	if _, ok := d.Files[name]; ok {
		return p.take(d, name)
	}
	found := false
	for _, file := range slices.Sorted(maps.Keys(d.Files)) {
		if strings.HasPrefix(file, name+"/") {
			found = true
			if err := p.take(d, file); err != nil {
				return err
			}
		}
	}
	if !found {
		return fs.ErrNotExist
	}
	return nil
}

// take takes the file or link name of d, and what it needs.
func (p *picker) take(d *Deb, name string) error {
	if _, done := p.taken[name]; done {
		return nil
	}
	e, ok := d.Files[name]
	if !ok {
		return fmt.Errorf("%s is not in %s: %w", name, d.Name(), fs.ErrNotExist)
	}
	p.taken[name] = d.Name()
	e.Mode &^= fs.ModeSetuid | fs.ModeSetgid
	if err := p.out.Tree.Add(e); err != nil {
		return err
	}
	if e.Mode.Type() == fs.ModeSymlink {
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		return p.find(d, merged(target), nil)
	}
	return p.takeLibraries(d, e)
}

// takeLibraries takes what an ELF file's dynamic section and program headers name. Other files need nothing: a script
// would need an interpreter, and there is none in an image.
func (p *picker) takeLibraries(d *Deb, e rootfs.Entry) error {
	data, err := read(e)
	if err != nil {
		return err
	}
	needs, err := linked(data)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", e.Path, d.Name(), err)
	}
	if needs.loader != "" {
		if err := p.find(d, merged(needs.loader), nil); err != nil {
			return fmt.Errorf("loader of %s: %w", e.Path, err)
		}
	}
	dirs := libraryDirs(d.Arch())
	for _, dir := range needs.runpath {
		dir = strings.NewReplacer("$ORIGIN", "/"+path.Dir(e.Path), "${ORIGIN}", "/"+path.Dir(e.Path)).Replace(dir)
		dirs = append([]string{merged(dir)}, dirs...)
	}
	for _, soname := range needs.sonames {
		if err := p.find(d, soname, dirs); err != nil {
			return fmt.Errorf("library of %s: %w", e.Path, err)
		}
	}
	return nil
}

// find takes name, below one of dirs if there are any, from d or from the first package that has it of those that d
// depends on: those named like the library first, as Debian's policy names them (libblkid.so.1 is in libblkid1). Last come
// those that the wanted package depends on: libext2fs2 does not say that it needs libcom-err2, e2fsprogs does.
func (p *picker) find(d *Deb, name string, dirs []string) error {
	names := []string{name}
	if dirs != nil {
		names = nil
		for _, dir := range dirs {
			names = append(names, path.Join(dir, name))
		}
	}
	for _, file := range names {
		if _, ok := p.taken[file]; ok {
			return nil
		}
	}
	stem, _, _ := strings.Cut(path.Base(name), ".so")
	var alike, others []string
	for _, dep := range slices.Concat(d.Control.needs(), p.wanted.Control.needs()) {
		switch {
		case strings.HasPrefix(plain(dep), plain(stem)):
			alike = append(alike, dep)
		case strings.HasPrefix(dep, "lib") || dep == "zlib1g": // which does not follow the policy
			others = append(others, dep)
		}
	}
	for _, from := range slices.Concat([]string{d.Name()}, alike, others) {
		giver, err := p.load(from)
		// A dependency may be virtual, and a lock has only what is used.
		if stale := new(StaleError); errors.Is(err, ErrNoPackage) && !errors.As(err, &stale) {
			continue
		}
		if err != nil {
			return err
		}
		for _, file := range names {
			if _, ok := giver.Files[file]; ok {
				return p.take(giver, file)
			}
		}
	}
	return fmt.Errorf("%s is neither in %s nor in a package that it depends on: %w", name, d.Name(), fs.ErrNotExist)
}

// plain is a name without what package names cannot have: libcom_err and libcom-err are the same.
func plain(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// finish adds the copyright files and the list of packages.
func (p *picker) finish() error {
	count := map[string]int{}
	for _, name := range p.taken {
		count[name]++
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		d := p.loaded[name]
		p.out.Read[name] = true
		text, err := p.copyright(d)
		if err != nil {
			return fmt.Errorf("licence of %s: %w", name, err)
		}
		doc := "usr/share/doc/" + name + "/copyright"
		if _, wanted := p.taken[doc]; !wanted {
			if err := p.out.Tree.Add(rootfs.Bytes(doc, 0o644, text)); err != nil {
				return err
			}
		}
		p.out.Used = append(p.out.Used, Used{
			Name: name, Version: d.Version(), Arch: d.Arch(), Source: d.Control.source(),
			Licence: ParseLicence(d.Control.source(), text), Files: count[name],
		})
	}
	return nil
}

// copyright returns the text of a package's copyright file, which may be that of another package of the same source.
func (p *picker) copyright(d *Deb) ([]byte, error) {
	dir := "usr/share/doc/" + d.Name()
	if e, ok := d.Files[dir+"/copyright"]; ok && e.Mode.IsRegular() {
		return read(e)
	}
	link, ok := d.Files[dir]
	if !ok || link.Mode.Type() != fs.ModeSymlink {
		return nil, fmt.Errorf("%s/copyright: %w", dir, fs.ErrNotExist)
	}
	other, err := p.load(path.Base(link.Target))
	if err != nil {
		return nil, err
	}
	p.out.Read[other.Name()] = true
	e, ok := other.Files["usr/share/doc/"+other.Name()+"/copyright"]
	if !ok || !e.Mode.IsRegular() {
		return nil, fmt.Errorf("%s, which leads to %s: %w", dir, other.Name(), fs.ErrNotExist)
	}
	return read(e)
}

// links is what an ELF file needs to start.
type links struct {
	loader           string
	sonames, runpath []string
}

// linked reads what an executable or a library needs; for what is no ELF file that is nothing.
func linked(data []byte) (l links, err error) {
	if len(data) < 4 || string(data[:4]) != elf.ELFMAG {
		return l, nil
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return l, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP || prog.Filesz > 4096 {
			continue
		}
		text := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(text, 0); err != nil {
			return l, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		l.loader = strings.TrimRight(string(text), "\x00")
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return l, nil
	}
	if l.sonames, err = f.ImportedLibraries(); err != nil {
		return l, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, err := f.DynString(tag)
		if err != nil {
			return l, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		for _, p := range paths {
			l.runpath = append(l.runpath, strings.Split(p, ":")...)
		}
	}
	return l, nil
}
