package extension

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"talos.internal/internal/image/rootfs"
)

// allowed are the folders and files that an extension may bring, as paths of a root file system where /usr is merged.
var allowed = []string{
	"usr/local",
	"usr/lib/firmware",
	"usr/lib/modules",
	"usr/lib/udev/rules.d",
	"etc/cri/conf.d",
	// Programs that are linked with a C library want its loader here, whatever their prefix is.
	"usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1", "usr/lib/ld-musl-x86_64.so.1", "usr/lib/ld-musl-aarch64.so.1",
	// Drivers of GPUs are found by these.
	"etc/vulkan/icd.d", "etc/vulkan/implicit_layer.d", "usr/share/glvnd/egl_vendor.d", "usr/share/egl/egl_external_platform.d", "etc/OpenCL/vendors",
}

// partsDir is where parts of containerd's config are, which an extension has in etc/cri/conf.d: that is in memory on a machine.
const (
	criParts = "etc/cri/conf.d"
	partsDir = "usr/local/etc/cri/conf.d"
)

// Allowed returns the path that a file of an extension has in the root file system, or an error that says why it may not be there.
func Allowed(e rootfs.Entry) (string, error) {
	p := merged(e.Path)
	within := slices.ContainsFunc(allowed, func(a string) bool { return p == a || strings.HasPrefix(p, a+"/") })
	above := slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(a, p+"/") })
	switch {
	case within:
	case above && e.Mode.IsDir():
	default:
		return "", fmt.Errorf("/%s: an extension may have files in %s alone", e.Path, "/"+strings.Join(allowed, ", /"))
	}
	switch kind := e.Mode.Type(); {
	case kind != 0 && kind != fs.ModeDir && kind != fs.ModeSymlink:
		return "", fmt.Errorf("/%s: an extension may have files, folders and symbolic links alone", e.Path)
	case e.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 && !e.Mode.IsDir():
		return "", fmt.Errorf("/%s: a program that runs as another user than who starts it (setuid, setgid)", e.Path)
	case e.Xattrs["security.capability"] != "":
		return "", fmt.Errorf("/%s: a program with capabilities of its own", e.Path)
	}
	if below, ok := strings.CutPrefix(p, criParts+"/"); ok {
		return path.Join(partsDir, below), nil
	}
	return p, nil
}

// merged returns the path in a root file system whose /bin, /sbin, /lib and /lib64 are links into /usr.
func merged(p string) string {
	top, _, _ := strings.Cut(p, "/")
	switch top {
	case "bin", "sbin", "lib", "lib64":
		return "usr/" + p
	}
	return p
}
