// Package block has disks, what is on them, and volumes: what should be on them and where it is
// mounted.
//
// A [VolumeConfig] is a wish; its [VolumeStatus] with the same id says how far it is. Who wants to use
// a volume makes a [VolumeMountRequest] and waits for the [VolumeMountStatus] with the same id; a
// finalizer there keeps the volume mounted. Sizes are in bytes; "pretty" sizes are for a person.
//
// The package only declares. Everyone above resource may import it.
package block

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "runtime"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Device](),
		resource.TypeOf[Disk](),
		resource.TypeOf[SystemDisk](),
		resource.TypeOf[Symlink](),
		resource.TypeOf[DiscoveredVolume](),
		resource.TypeOf[DiscoveredVolumesStatus](),
		resource.TypeOf[DiscoveryRefreshRequest](),
		resource.TypeOf[DiscoveryRefreshStatus](),
		resource.TypeOf[UserDiskConfigStatus](),
		resource.TypeOf[VolumeConfig](),
		resource.TypeOf[VolumeStatus](),
		resource.TypeOf[VolumeLifecycle](),
		resource.TypeOf[RecoveryKey](),
		resource.TypeOf[VolumeMountRequest](),
		resource.TypeOf[VolumeMountStatus](),
		resource.TypeOf[MountRequest](),
		resource.TypeOf[MountStatus](),
		resource.TypeOf[SwapStatus](),
		resource.TypeOf[ZswapStatus](),
		resource.TypeOf[VolumeTrimSchedule](),
		resource.TypeOf[FSScrubSchedule](),
		resource.TypeOf[FSScrubStatus](),
	}
}
