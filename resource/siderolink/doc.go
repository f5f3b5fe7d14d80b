// Package siderolink has the link to a management plane: a WireGuard tunnel, or one through gRPC where
// UDP does not pass.
//
// The package only declares. Everyone above resource may import it.
package siderolink

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "config"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Config](),
		resource.TypeOf[Status](),
		resource.TypeOf[Tunnel](),
	}
}
