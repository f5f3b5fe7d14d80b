// Package security has the rules by which images are trusted.
//
// The package only declares. Everyone above resource may import it.
package security

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "security"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[ImageVerificationRule](),
		resource.TypeOf[TUFTrustedRoot](),
	}
}
