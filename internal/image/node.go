package image

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// Node is the component that our own programs for a node belong to, and the short name of the node's image.
const Node = "talos"

// NodeRef returns the reference of the node image of a version of the system, such as v1.15.0.
func NodeRef(version string) string { return own + "/" + Node + ":" + version }

// InstallerRef returns the reference of the installer image of a version of the system.
func InstallerRef(version string) string { return own + "/installer:" + version }

// nodeSpec is the image of a node in a container. The rules for what is in it:
//
//   - one program of ours, under the names that it knows itself by; containerd with its shim and runc, which run everything
//     else; the CNI plugins, which containerd starts on the node; nft, which the plugin portmap starts there. No shell;
//   - kubelet, etcd and the control plane come as images of their own;
//   - the root file system is read-only, so every point that something is mounted on is here as an empty folder or file.
//     It has no volume: /var, /system/state and /opt are given by who starts it.
func nodeSpec() Spec {
	s := Spec{
		Name: Node, Ref: NodeRef("{" + Node + "}"), Base: true, Tools: []string{"nft"},
		Programs: []Program{
			{Component: Node, File: "machined", Path: "usr/sbin/init"},
			{Component: "containerd", File: "containerd", Path: "usr/bin/containerd"},
			{Component: "containerd", File: "containerd-shim-runc-v2", Path: "usr/bin/containerd-shim-runc-v2"},
			{Component: "runc", File: "runc", Path: "usr/bin/runc"},
		},
		Entrypoint: []string{"/sbin/init"},
		Check:      Check{[]string{"--version"}, "{" + Node + "}"},
		Files: []rootfs.Entry{
			rootfs.Symlink("bin", "usr/bin"), rootfs.Symlink("sbin", "usr/sbin"), rootfs.Symlink("lib", "usr/lib"),
			rootfs.Bytes("etc/passwd", 0o644, []byte(users+nodeUsers)),
			rootfs.Bytes("etc/group", 0o644, []byte(groups+nodeGroups)),
			rootfs.Bytes("usr/lib/os-release", 0o644, []byte(OSRelease())),
			rootfs.Bytes("usr/etc/in-container", 0o444, nil), // who finds it knows that this is no machine
		},
	}
	for _, name := range []string{"apid", "trustd", "dashboard", "machined"} {
		s.Files = append(s.Files, rootfs.Symlink("usr/sbin/"+name, "init"))
	}
	// The only file of its folder: containerd starts all that are there.
	s.Files = append(s.Files, rootfs.Symlink(verifier, "../../sbin/init"))
	for _, name := range []string{"bridge", "flannel", "host-local", "loopback", "portmap"} {
		s.Programs = append(s.Programs, Program{Component: "cni", File: name, Path: "opt/cni/bin/" + name})
	}
	for _, name := range []string{
		"dev", "proc", "sys", "run", "system", "var", "usr/lib/modules", "usr/local/bin", "usr/local/sbin",
		"etc/cni/net.d", "etc/cri/conf.d", "etc/kubernetes/manifests",
	} {
		s.Files = append(s.Files, rootfs.Dir(name, 0o755))
	}
	// The node's own files stand over these: see docs/arch/node.md.
	for _, name := range []string{"hostname", "hosts", "resolv.conf", "machine-id"} {
		s.Files = append(s.Files, rootfs.Bytes("etc/"+name, 0o644, nil))
	}
	// A link would not do: the file can be replaced by a mount, and that has to stand at this name.
	s.Files = append(s.Files, rootfs.Bytes("etc/os-release", 0o644, []byte(OSRelease())))
	s.Executables, s.MaxSize = nodeExecutables(), 80e6
	return s
}

// verifier is what containerd asks about images where the machine config has them verified: our program under one more name.
const verifier = "usr/libexec/image-verifier/image-verifier"

// nodeExecutables is the list that a node image is held to. Who adds a line says why it is needed.
func nodeExecutables() []string {
	return []string{
		"usr/sbin/init",                                                                         // ours
		"usr/sbin/apid", "usr/sbin/dashboard", "usr/sbin/machined", "usr/sbin/trustd", verifier, // the same under its other names
		"usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/runc", // run everything else
		"opt/cni/bin/bridge", "opt/cni/bin/flannel", "opt/cni/bin/host-local", "opt/cni/bin/loopback", "opt/cni/bin/portmap",
		"usr/sbin/nft", // for portmap: hostPort of pods
		// The loader of nft's libraries, by architecture, and the names that programs ask for it by.
		"usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2",
		"usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", "usr/lib/ld-linux-aarch64.so.1",
		// Libraries that Debian's packages mark as executable.
		"usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/aarch64-linux-gnu/libc.so.6",
	}
}

// nodeUsers and nodeGroups are those of a node beyond the ones of every image.
const (
	nodeUsers = `apid:x:50:50:apid:/:/nonexistent
trustd:x:51:51:trustd:/:/nonexistent
`
	nodeGroups = `apid:x:50:
trustd:x:51:
`
)

// OSRelease is os-release(5) of the system. kubelet reports PRETTY_NAME as the node's OS image.
func OSRelease() string {
	name, version := buildinfo.Name, buildinfo.Version
	return fmt.Sprintf("NAME=%q\nID=%s\nVERSION_ID=%s\nPRETTY_NAME=\"%s (%s)\"\n%s=%d\n",
		name, strings.ToLower(name), version, name, version, buildinfo.ConfigFormatKey, buildinfo.ConfigFormat)
}

// checkExecutables fails if there is something to execute in the layers of the image, the lowest first, that the spec does not
// list.
func (s Spec) checkExecutables(layers []*rootfs.Tree) error {
	if s.Executables == nil {
		return nil
	}
	for _, name := range executables(layers) {
		if !slices.Contains(s.Executables, name) {
			return fmt.Errorf("/%s can be executed and is not in the list of what may be: leave it out, or add it with its reason: %w",
				name, fs.ErrInvalid)
		}
	}
	return nil
}

// checkSize fails if the layers together are larger than the spec lets them be.
func (s Spec) checkSize(layers []*oci.Layer) error {
	var sum int64
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return err
		}
		sum += n
	}
	if s.MaxSize > 0 && sum > s.MaxSize {
		return fmt.Errorf("image %s weighs %d bytes; at most %d: leave something out: %w", s.Name, sum, s.MaxSize, fs.ErrInvalid)
	}
	return nil
}

// executables returns the paths of all files that can be executed, and of the links that lead to one, sorted.
func executables(layers []*rootfs.Tree) []string {
	all := map[string]rootfs.Entry{}
	for _, layer := range layers {
		for _, e := range layer.Entries() {
			all[e.Path] = e
		}
	}
	const links = 40 // as many as the kernel follows
	var found []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e, at := all[name], name
		for range links {
			if e.Mode&fs.ModeSymlink == 0 {
				break
			}
			if path.IsAbs(e.Target) {
				at = strings.TrimPrefix(path.Clean(e.Target), "/")
			} else {
				at = path.Join(path.Dir(at), e.Target)
			}
			e = all[at]
		}
		if e.Mode.IsRegular() && e.Mode&0o111 != 0 && e.Path != "" {
			found = append(found, name)
		}
	}
	return found
}
