// Package catalog lists every resource type and namespace of a node, so that whoever runs a state, or
// reads one, knows all of them.
//
// It imports every package of types. Those do not import it, nor do controllers: they name the types
// that they mean.
package catalog

import (
	"maps"
	"slices"

	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/clock"
	"talos.internal/resource/cluster"
	"talos.internal/resource/containers"
	"talos.internal/resource/cri"
	"talos.internal/resource/etcd"
	"talos.internal/resource/files"
	"talos.internal/resource/hardware"
	"talos.internal/resource/kube"
	"talos.internal/resource/kubespan"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/meta"
	"talos.internal/resource/network"
	"talos.internal/resource/perf"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/resource/security"
	"talos.internal/resource/service"
	"talos.internal/resource/siderolink"
	"talos.internal/resource/storage"
)

// Types returns every resource type, those of package meta among them. The slice is the caller's.
func Types() []*resource.Type {
	return slices.Concat(
		meta.Types(),
		block.Types(),
		clock.Types(),
		cluster.Types(),
		containers.Types(),
		cri.Types(),
		etcd.Types(),
		files.Types(),
		hardware.Types(),
		kube.Types(),
		kubespan.Types(),
		machineconfig.Types(),
		network.Types(),
		perf.Types(),
		runtime.Types(),
		secrets.Types(),
		security.Types(),
		service.Types(),
		siderolink.Types(),
		storage.Types(),
	)
}

// Registry returns a registry of [Types].
func Registry() (*resource.Registry, error) { return resource.NewRegistry(Types()...) }

// Namespace is a namespace that a node has, and what it is for.
type Namespace struct{ Name, Description string }

var namespaces = map[string]string{
	block.Namespace:            "Disks, volumes and the running system.",
	cluster.Namespace:          "Members of the cluster.",
	cluster.RawNamespace:       "Members of the cluster, as each source knows them.",
	cluster.ConfigNamespace:    "The machine config and what follows from it alone.",
	containers.Namespace:       "Containers beside Kubernetes.",
	cri.Namespace:              "The container runtime.",
	etcd.Namespace:             "etcd.",
	files.Namespace:            "Files below /etc.",
	hardware.Namespace:         "What the machine is made of.",
	kube.Namespace:             "Kubernetes on this node.",
	kube.ControlPlaneNamespace: "The control plane of Kubernetes.",
	kubespan.Namespace:         "The mesh between the members.",
	meta.Namespace:             "Namespaces and types of resources.",
	network.Namespace:          "The network: what should be and what is.",
	network.ConfigNamespace:    "The network: what each source wants.",
	perf.Namespace:             "Counters of the kernel.",
	secrets.Namespace:          "Keys, certificates and tokens.",
	security.Namespace:         "Trust in images.",
	storage.Namespace:          "Volume groups and arrays.",
}

// Namespaces returns every namespace, in order of their names. The slice is the caller's.
func Namespaces() []Namespace {
	all := make([]Namespace, 0, len(namespaces))
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		all = append(all, Namespace{Name: name, Description: namespaces[name]})
	}
	return all
}
