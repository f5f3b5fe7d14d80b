package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/rootfs"
)

// MetaPackage returns the name of the package that depends on the newest kernel of Debian's, for an architecture of Debian's.
func MetaPackage(arch string) string { return "linux-image-6.12-" + arch }

// Package returns the name of the kernel package that meta, the package named by [MetaPackage], depends on.
func Package(meta *debian.Deb) (string, error) {
	for _, name := range meta.Depends() {
		if strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", fmt.Errorf("package %s depends on no kernel: %w", meta.Name(), ErrFormat)
}

// Kernel is a kernel and all of its modules. It is not safe for concurrent use.
type Kernel struct {
	// Release is what uname -r says when it runs.
	Release string
	// Image is the kernel itself, boot/vmlinuz-RELEASE.
	Image rootfs.Entry

	modules map[string]rootfs.Entry // by path: kernel/fs/xfs/xfs.ko.xz
	paths   map[string]string       // of modules by their name
	order   map[string]int          // of paths: the order in which the kernel's makers link them
	builtin map[string]bool         // names
	texts   map[string][]byte       // modules.builtin, modules.builtin.modinfo
	infos   map[string]Info         // by path, as far as they were read
}

// suffix is that of all modules in the package.
const suffix = ".ko.xz"

// Read finds the kernel in its unpacked package. It fails with ErrFormat if there is not exactly one.
func Read(d *debian.Deb) (*Kernel, error) {
	k := &Kernel{
		modules: map[string]rootfs.Entry{}, paths: map[string]string{}, order: map[string]int{}, builtin: map[string]bool{},
		texts: map[string][]byte{}, infos: map[string]Info{},
	}
	for name, e := range d.Files {
		release, ok := strings.CutPrefix(name, "boot/vmlinuz-")
		if !ok {
			continue
		}
		if k.Release != "" {
			return nil, fmt.Errorf("package %s has the kernels %s and %s: %w", d.Name(), k.Release, release, ErrFormat)
		}
		k.Release, k.Image = release, e
	}
	if k.Release == "" {
		return nil, fmt.Errorf("package %s has no kernel: %w", d.Name(), ErrFormat)
	}
	for name, e := range d.Files {
		below, ok := strings.CutPrefix(name, k.Dir()+"/")
		if !ok || !strings.HasSuffix(below, suffix) {
			continue
		}
		k.modules[below] = e
		k.paths[moduleName(below)] = below
	}
	if len(k.modules) == 0 {
		return nil, fmt.Errorf("package %s has no modules in %s: %w", d.Name(), k.Dir(), ErrFormat)
	}
	return k, k.readTexts(d)
}

// Dir is the folder of the modules, as rootfs has paths.
func (k *Kernel) Dir() string { return "usr/lib/modules/" + k.Release }

func (k *Kernel) readTexts(d *debian.Deb) error {
	for _, name := range []string{"modules.order", "modules.builtin"} {
		e, ok := d.Files[k.Dir()+"/"+name]
		if !ok {
			return fmt.Errorf("package %s has no %s: %w", d.Name(), name, ErrFormat)
		}
		text, err := content(e)
		if err != nil {
			return fmt.Errorf("read %s of %s: %w", name, d.Name(), err)
		}
		k.texts[name] = text
	}
	n := 0
	for line := range bytes.Lines(k.texts["modules.order"]) {
		n++
		k.order[strings.TrimSuffix(strings.TrimSpace(string(line)), ".ko")+suffix] = n
	}
	for line := range bytes.Lines(k.texts["modules.builtin"]) {
		k.builtin[moduleName(strings.TrimSpace(string(line)))] = true
	}
	return nil
}

// moduleName is the name of the module in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return plainName(name)
}

func readEntry(e rootfs.Entry) (Info, error) {
	r, err := e.Open()
	if err != nil {
		return Info{}, err
	}
	info, err := readInfo(r)
	return info, errors.Join(err, r.Close())
}

func content(e rootfs.Entry) ([]byte, error) {
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}
