// Package files has the files below /etc that the node writes.
//
// The package only declares. Everyone above resource may import it.
package files

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "files"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[EtcFileSpec](),
		resource.TypeOf[EtcFileStatus](),
	}
}
