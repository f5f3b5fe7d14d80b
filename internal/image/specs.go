package image

import "talos.internal/internal/image/rootfs"

// own is the registry of the images that nobody else makes. No one can serve it: the top-level domain internal is
// reserved for private use, so these names only ever come from the image cache or a mirror.
const own = "talos.internal"

// The users that images run as. Those of the control plane and of etcd are part of the published contract: files on the node
// belong to them. The last is what upstream's CoreDNS runs as.
const (
	etcdUser              = "60:60"
	coreDNSUser           = "65532:65532"
	apiServerUser         = "65534:65534"
	controllerManagerUser = "65535:65535"
	schedulerUser         = "65536:65536"
)

// Specs is the table of the images of a default cluster, for every Kubernetes version that components/versions has.
//
// Names and paths of programs are upstream's, so that a manifest works with either image.
func Specs() []Spec {
	var all []Spec
	for _, component := range []string{"kubernetes", "kubernetes-1.36"} {
		all = append(all, kubernetesSpecs(component)...)
	}
	return append(all,
		nodeSpec(),
		Spec{
			Name: "etcd", Ref: "registry.k8s.io/etcd:{etcd}", Base: true, User: etcdUser,
			Programs:   []Program{{Component: "etcd", File: "etcd", Path: "usr/local/bin/etcd"}},
			Files:      []rootfs.Entry{rootfs.Symlink("usr/local/bin/etcdutl", "etcd")}, // recovers a cluster from a snapshot
			Entrypoint: []string{"/usr/local/bin/etcd"},
			Check:      Check{[]string{"--version"}, "etcd Version: {etcd:bare}\n"},
		},
		Spec{
			Name: "coredns", Ref: "registry.k8s.io/coredns/coredns:{coredns}", Base: true, User: coreDNSUser,
			Programs:   []Program{{Component: "coredns", File: "coredns", Path: "coredns", LowPorts: true}},
			Entrypoint: []string{"/coredns"},
			Check:      Check{[]string{"-version"}, "CoreDNS-{coredns:bare}\n"},
		},
		Spec{
			// It makes interfaces, routes and rules of the node's own network: root. cp is for the manifest's init
			// container that puts the CNI configuration in its place.
			Name: "flannel", Ref: "ghcr.io/flannel-io/flannel:{flannel}", Base: true, Tools: []string{"nft", "cp"},
			Programs:   []Program{{Component: "flannel", File: "flanneld", Path: "opt/bin/flanneld"}},
			Entrypoint: []string{"/opt/bin/flanneld"},
			Check:      Check{[]string{"--version"}, "{flannel}\n"},
		},
		Spec{
			// It puts the plugin into a folder of the node: root. The last part of the tag is upstream's count of its
			// plugin's releases, as the manifest of flannel v0.28.10 has it.
			Name: "flannel-cni-plugin", Ref: "ghcr.io/flannel-io/flannel-cni-plugin:{cni}-flannel3", Tools: []string{"cp"},
			Programs:   []Program{{Component: "cni", File: "flannel", Path: "flannel"}},
			Entrypoint: []string{"/flannel"},
			Check:      Check{nil, "plugin {cni}\n"},
		},
		Spec{
			// The tag is the one that containerd v2.4 asks for when its config does not name a sandbox image; the
			// program is ours and says its own version.
			Name: "pause", Ref: "registry.k8s.io/pause:3.10.2", User: "65535:65535",
			Programs:   []Program{{Component: "pause", File: "pause", Path: "pause"}},
			Entrypoint: []string{"/pause"},
			Check:      Check{[]string{"-v"}, "pause {pause}\n"},
		},
	)
}

// kubernetesSpecs are the images of one Kubernetes version. All have one program under different names.
func kubernetesSpecs(component string) []Spec {
	version := "{" + component + "}"
	spec := func(name, ref, user string, tools ...string) Spec {
		return Spec{
			Name: name, Ref: ref + ":" + version, Base: true, User: user, Tools: tools,
			Programs:   []Program{{Component: component, File: "kubernetes", Path: "usr/local/bin/kubernetes"}},
			Files:      []rootfs.Entry{rootfs.Symlink("usr/local/bin/"+name, "kubernetes")},
			Entrypoint: []string{"/usr/local/bin/" + name},
			Check:      Check{[]string{"--version"}, "Kubernetes " + version + "\n"},
		}
	}
	return []Spec{
		spec("kube-apiserver", "registry.k8s.io/kube-apiserver", apiServerUser),
		spec("kube-controller-manager", "registry.k8s.io/kube-controller-manager", controllerManagerUser),
		spec("kube-scheduler", "registry.k8s.io/kube-scheduler", schedulerUser),
		// The kernel lets no one but root change rules and mounts.
		spec("kube-proxy", "registry.k8s.io/kube-proxy", "", "nft"),
		spec("kubelet", own+"/kubelet", "", "mount", "umount", "losetup", "blkid", "blockdev", "fsck",
			"mkfs.ext4", "fsck.ext4", "resize2fs", "mkfs.xfs", "xfs_growfs"),
	}
}
