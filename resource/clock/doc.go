// Package clock has what is known about the machine's clock.
//
// The package only declares. Everyone above resource may import it.
package clock

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "runtime"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[TimeStatus](),
		resource.TypeOf[NTPStatus](),
		resource.TypeOf[AdjtimeStatus](),
	}
}
