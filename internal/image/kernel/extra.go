package kernel

import (
	"bytes"
	"fmt"
	"strings"

	"talos.internal/internal/image/rootfs"
)

// Add makes modules known that are not in the kernel's package, by their paths in a root file system, and returns their names for
// [Kernel.Select]. A module that the package has may be among them, if it is the same.
//
// It fails with ErrFormat for a module of another kernel, one that is not compressed by xz, and one that has the name of another module of the package. Whether
// the running kernel takes a module is its own business: it wants the signature of who built it.
func (k *Kernel) Add(entries ...rootfs.Entry) ([]string, error) {
	var names []string
	for _, e := range entries {
		below, ok := strings.CutPrefix(e.Path, k.Dir()+"/")
		switch {
		case !ok:
			return nil, fmt.Errorf("module /%s is not for the kernel %s, whose modules are in /%s: %w", e.Path, k.Release, k.Dir(), ErrFormat)
		case !strings.HasSuffix(below, suffix):
			return nil, fmt.Errorf("module /%s: its name has to end with %s: %w", e.Path, suffix, ErrFormat)
		}
		name := moduleName(below)
		if other, ok := k.paths[name]; ok {
			same, err := sameContent(k.modules[other], e)
			if err != nil {
				return nil, err
			}
			if !same {
				return nil, fmt.Errorf("module /%s: the kernel has another module %s: %w", e.Path, name, ErrFormat)
			}
			names = append(names, name)
			continue
		}
		if k.builtin[name] {
			return nil, fmt.Errorf("module /%s: the kernel has %s built in: %w", e.Path, name, ErrFormat)
		}
		k.modules[below], k.paths[name] = e, below
		names = append(names, name)
	}
	return names, nil
}

func sameContent(a, b rootfs.Entry) (bool, error) {
	if a.Size != b.Size {
		return false, nil
	}
	x, err := content(a)
	if err != nil {
		return false, err
	}
	y, err := content(b)
	return bytes.Equal(x, y), err
}
