package image

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/rootfs"
)

// MachineSpec is the root file system of a machine: the node image's, and what a machine needs more. It is no container image, and
// not among [Specs].
func MachineSpec() Spec {
	s := nodeSpec()
	s.Tools = append(s.Tools, "mkfs.xfs", "mkfs.ext4")
	s.Files = slices.DeleteFunc(s.Files, func(e rootfs.Entry) bool { return e.Path == "usr/etc/in-container" })
	// The kernel starts it by this name when it wants a module, dozens of times while drivers are loaded. It is the small program of the
	// initramfs: the start of the large one takes the time of ten of its own.
	s.Programs = append(s.Programs, Program{Component: Node, File: "initramfs", Path: "usr/sbin/modprobe"})
	s.Executables = append(s.Executables,
		"usr/sbin/modprobe",
		"usr/sbin/mkfs.xfs",                     // for volumes
		"usr/sbin/mkfs.ext4", "usr/sbin/mke2fs", // the same, for user volumes of that type
	)
	return s
}

// Tree returns the files of all layers of an image in one tree, with more added: files, and the names of the Debian packages that
// these are from, for the bill of materials and the licences.
func (b *Builder) Tree(ctx context.Context, s Spec, more []rootfs.Entry, packages ...string) (*rootfs.Tree, error) {
	var wants []debian.Want
	for _, name := range packages {
		wants = append(wants, debian.Want{Package: name, Path: "usr/share/doc/" + name + "/copyright"})
	}
	picked, err := debian.Pick(ctx, b.Debian, wants)
	if err != nil {
		return nil, err
	}
	p := &plan{layers: map[string]*part{}, more: &part{tree: picked.Tree, items: debianItems(picked)}}
	if err := p.more.tree.Add(more...); err != nil {
		return nil, err
	}
	keys, err := b.place(ctx, p, s)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", s.Name, err)
	}
	all := map[string]rootfs.Entry{}
	for _, key := range keys { // what a later layer has stands over what an earlier one has
		for _, e := range p.layers[key].tree.Entries() {
			all[e.Path] = e
		}
	}
	tree := &rootfs.Tree{}
	if err := tree.Add(slices.Collect(maps.Values(all))...); err != nil {
		return nil, fmt.Errorf("image %s: %w", s.Name, err)
	}
	return tree, nil
}
