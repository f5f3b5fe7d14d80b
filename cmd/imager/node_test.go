package main

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"talos.internal/internal/boot"
	"talos.internal/internal/image"
	"talos.internal/internal/image/rootfs"
)

// The root of a node is read-only from the start where native has made it, so what the boot mounts on has to be there.
func TestNodeImageHasWhatTheBootMountsOn(t *testing.T) {
	specs := image.Specs()
	node := specs[slices.IndexFunc(specs, func(s image.Spec) bool { return s.Name == image.Node })]
	has := func(name string, want fs.FileMode) bool {
		name = strings.TrimPrefix(name, "/")
		return name == "tmp" && node.Base || slices.ContainsFunc(node.Files, func(e rootfs.Entry) bool {
			return e.Path == name && e.Mode.Type() == want || want == fs.ModeDir && strings.HasPrefix(e.Path, name+"/")
		}) || want == fs.ModeDir && slices.ContainsFunc(node.Programs, func(p image.Program) bool { return strings.HasPrefix(p.Path, name+"/") })
	}
	dirs, files := boot.Points()
	for _, name := range dirs {
		if !has(name, fs.ModeDir) {
			t.Errorf("the node image has no folder %s", name)
		}
	}
	for _, name := range append(files, "/etc/os-release") {
		if !has(name, 0) {
			t.Errorf("the node image has no file %s", name)
		}
	}
	if has("/nothing", fs.ModeDir) || has("/nothing", 0) {
		t.Error("this test finds everything")
	}
}
