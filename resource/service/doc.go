// Package service has the services that the node runs, and the two signals by which the boot sequence
// lets a config be acquired.
//
// The package only declares. Everyone above resource may import it.
package service

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "runtime"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Service](),
		resource.TypeOf[AcquireConfigSpec](),
		resource.TypeOf[AcquireConfigStatus](),
	}
}
