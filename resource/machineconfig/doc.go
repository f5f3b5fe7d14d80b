// Package machineconfig has the machine config and the machine's part in the cluster, as resources.
//
// The package only declares. Everyone above resource may import it.
package machineconfig

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "config"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Config](),
		resource.TypeOf[Type](),
	}
}
