// Package perf has counters of the kernel, as they were when they were last read.
//
// The package only declares. Everyone above resource may import it.
package perf

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "perf"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[CPU](),
		resource.TypeOf[Memory](),
	}
}
