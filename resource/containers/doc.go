// Package containers has containers that the node runs beside Kubernetes, because the machine config
// asks for them.
//
// A [Spec] is a wish. When its image is there ([ImageStatus]) and what it depends on is, an
// [InstanceSpec] says what to run.
//
// The package only declares. Everyone above resource may import it.
package containers

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "containers"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Spec](),
		resource.TypeOf[ImageStatus](),
		resource.TypeOf[InstanceSpec](),
	}
}
