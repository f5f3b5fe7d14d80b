// Package cri has the configuration of the container runtime: registries, the image cache, seccomp
// profiles.
//
// The package only declares. Everyone above resource may import it.
package cri

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "cri"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[BaseRuntimeSpecConfig](),
		resource.TypeOf[CustomizationConfig](),
		resource.TypeOf[SeccompProfile](),
		resource.TypeOf[ImageCacheConfig](),
		resource.TypeOf[RegistryConfig](),
	}
}
