package assets

import (
	"fmt"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image/extension"
	"talos.internal/internal/image/kernel"
	"talos.internal/internal/image/rootfs"
)

// additions are what extensions add to the root file system.
type additions struct {
	entries []rootfs.Entry
	modules []string // by name; the kernel knows them
}

// extensions reads system extensions from layouts and makes their modules known to the kernel. Content is kept in the folder spool.
func (b *Builder) extensions(layouts []string, k *kernel.Kernel, spool string) (additions, error) {
	var all []extension.Extension
	for _, layout := range layouts {
		found, err := extension.Open(layout, spool)
		if err != nil {
			return additions{}, err
		}
		all = append(all, found...)
	}
	entries, modules, err := extension.Merge(buildinfo.Version, all)
	if err != nil {
		return additions{}, err
	}
	names, err := k.Add(modules...)
	if err != nil {
		return additions{}, fmt.Errorf("extensions: %w", err)
	}
	for _, x := range all {
		b.log("extension %s %s: %d files, %d kernel modules", x.Metadata.Name, x.Metadata.Version, len(x.Entries), len(x.Modules))
	}
	return additions{entries, names}, nil
}

// addTo puts the files into a root file system. A file that is there is not replaced: what an extension could change of the system
// itself, its makers would not know of.
func (a additions) addTo(tree *rootfs.Tree) error {
	if err := tree.Add(a.entries...); err != nil {
		return fmt.Errorf("add the extensions to the root file system: %w", err)
	}
	return nil
}
