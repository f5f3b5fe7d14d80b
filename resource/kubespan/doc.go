// Package kubespan has the WireGuard mesh between the members of the cluster.
//
// The package only declares. Everyone above resource may import it.
package kubespan

import "talos.internal/resource"

// Namespaces of the resources of this package.
const (
	Namespace       = "kubespan"
	ConfigNamespace = "config"
)

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Config](),
		resource.TypeOf[Identity](),
		resource.TypeOf[Endpoint](),
		resource.TypeOf[PeerSpec](),
		resource.TypeOf[PeerStatus](),
	}
}
