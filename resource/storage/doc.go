// Package storage has volume groups and logical volumes of LVM, and arrays of disks (MD).
//
// What LVM reports is kept as lvs(8), vgs(8) and pvs(8) print it, numbers too; "pretty" sizes are for a
// person.
//
// The package only declares. Everyone above resource may import it.
package storage

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "storage"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[LVMPhysicalVolumeSpec](),
		resource.TypeOf[LVMVolumeGroupSpec](),
		resource.TypeOf[LVMLogicalVolumeSpec](),
		resource.TypeOf[LVMPhysicalVolumeStatus](),
		resource.TypeOf[LVMVolumeGroupStatus](),
		resource.TypeOf[LVMLogicalVolumeStatus](),
		resource.TypeOf[LVMRefreshRequest](),
		resource.TypeOf[LVMValidationError](),
		resource.TypeOf[MDArraySpec](),
		resource.TypeOf[MDArrayStatus](),
		resource.TypeOf[MDRefreshRequest](),
	}
}
