package image

import (
	"slices"

	"talos.internal/internal/image/debian"
)

// Tool is a C program that is in an image because something there starts it.
type Tool struct {
	Name    string
	Package string // Debian's
	Path    string // in the image, with /usr merged
	Why     string // who starts it, and what does not work without
	Version string // the argument that makes it print its version; "" if it prints that when it has none
}

// Tools is the list of all C programs that images are made of. A program that nothing starts has no place here; neither has
// a shell, nor what a script would do.
//
// Left out on purpose: iptables (kube-proxy, flannel and portmap drive nft; kubelet says that there is no iptables support
// and goes on), conntrack (kube-proxy uses netlink), mount.nfs and iscsiadm (CSI drivers bring their own; in-tree nfs and
// iscsi volumes do not work), lsattr and xfs_quota (project quotas are a feature that is off), getsubids (the default
// range is used), xfs_repair (kubelet does not start it; fsck skips a volume whose type has no fsck.TYPE, and
// XFS replays its log when it is mounted), a shell (fsck.xfs and others are scripts).
func Tools() []Tool {
	return []Tool{
		{"nft", "nftables", "usr/sbin/nft", "kube-proxy, flannel and the CNI plugin portmap put their rules in by it, by way of the module knftables", "--version"},
		{"mount", "mount", "usr/bin/mount", "kubelet mounts every volume by it: emptyDir in memory, subPath, secrets, CSI", "--version"},
		{"umount", "mount", "usr/bin/umount", "kubelet unmounts volumes by it", "--version"},
		{"losetup", "mount", "usr/sbin/losetup", "kubelet holds a raw block volume by a loop device while a pod has it", "--version"},
		{"blkid", "util-linux", "usr/sbin/blkid", "kubelet asks what is on a disk before it formats or mounts it", "--version"},
		{"blockdev", "util-linux", "usr/sbin/blockdev", "kubelet asks for a disk's size and write protection before it grows the file system", "--version"},
		{"fsck", "util-linux", "usr/sbin/fsck", "kubelet checks a volume's file system before it mounts it; it starts fsck.TYPE", "--version"},
		{"mkfs.ext4", "e2fsprogs", "usr/sbin/mkfs.ext4", "kubelet formats new local and block volumes; ext4 is the default type", "-V"},
		{"fsck.ext4", "e2fsprogs", "usr/sbin/fsck.ext4", "fsck of an ext4 volume", "-V"},
		{"resize2fs", "e2fsprogs", "usr/sbin/resize2fs", "kubelet grows an ext4 volume whose disk has grown", ""},
		{"mkfs.xfs", "xfsprogs", "usr/sbin/mkfs.xfs", "kubelet formats new volumes of type xfs", "-V"},
		{"xfs_growfs", "xfsprogs", "usr/sbin/xfs_growfs", "kubelet grows an XFS volume whose disk has grown", "-V"},
		{"cp", "coreutils", "usr/bin/cp", "flannel's manifest starts it by name in init containers, to put the CNI plugin and its configuration on the node", "--version"},
	}
}

// tool returns the tool of that name; ok is false if there is none.
func tool(name string) (t Tool, ok bool) {
	all := Tools()
	i := slices.IndexFunc(all, func(t Tool) bool { return t.Name == name })
	if i < 0 {
		return Tool{}, false
	}
	return all[i], true
}

// caBundle is what the base layer's CA certificates are made of.
var caBundle = debian.Want{Package: "ca-certificates", Path: "usr/share/ca-certificates/mozilla"}

// Wants is all that the specs take from Debian packages, for [debian.Pick].
func Wants(specs []Spec) []debian.Want {
	wants := []debian.Want{caBundle}
	for _, t := range Tools() {
		if slices.ContainsFunc(specs, func(s Spec) bool { return slices.Contains(s.Tools, t.Name) }) {
			wants = append(wants, debian.Want{Package: t.Package, Path: t.Path})
		}
	}
	return wants
}
