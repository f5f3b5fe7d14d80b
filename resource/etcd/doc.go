// Package etcd has the resources of etcd on this node. None of them is there on a worker.
//
// The package only declares. Everyone above resource may import it.
package etcd

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "etcd"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Config](),
		resource.TypeOf[Spec](),
		resource.TypeOf[Member](),
		resource.TypeOf[PKIStatus](),
	}
}
