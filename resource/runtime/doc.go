// Package runtime has the resources of the running system: what the kernel was told and has, which
// stage the machine is in, what the platform says about it, and the signals between the boot sequence
// and the controllers.
//
// A resource whose spec is empty is a signal: it says something by being there.
//
// The package only declares. Everyone above resource may import it.
package runtime

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "runtime"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[MachineStatus](),
		resource.TypeOf[MachineResetSignal](),
		resource.TypeOf[RebootRequest](),
		resource.TypeOf[MaintenanceServiceConfig](),
		resource.TypeOf[MaintenanceServiceRequest](),
		resource.TypeOf[APIServiceConfig](),
		resource.TypeOf[UnattendedInstallStatus](),
		resource.TypeOf[UpgradeStatus](),
		resource.TypeOf[UniqueMachineToken](),
		resource.TypeOf[Diagnostic](),
		resource.TypeOf[Version](),
		resource.TypeOf[BootID](),
		resource.TypeOf[BootedEntry](),
		resource.TypeOf[Environment](),
		resource.TypeOf[SecurityState](),
		resource.TypeOf[ServicePID](),
		resource.TypeOf[DevicesStatus](),
		resource.TypeOf[ExtensionStatus](),
		resource.TypeOf[ExtensionServiceConfig](),
		resource.TypeOf[ExtensionServiceConfigStatus](),
		resource.TypeOf[SBOMItem](),
		resource.TypeOf[ImageFactorySchematic](),
		resource.TypeOf[KernelCmdline](),
		resource.TypeOf[KernelModuleSpec](),
		resource.TypeOf[KernelModuleStatus](),
		resource.TypeOf[LoadedKernelModule](),
		resource.TypeOf[KernelParamSpec](),
		resource.TypeOf[KernelParamDefaultSpec](),
		resource.TypeOf[KernelParamStatus](),
		resource.TypeOf[KmsgLogConfig](),
		resource.TypeOf[EventSinkConfig](),
		resource.TypeOf[WatchdogTimerConfig](),
		resource.TypeOf[WatchdogTimerStatus](),
		resource.TypeOf[OOMAction](),
		resource.TypeOf[MetaKey](),
		resource.TypeOf[MetaLoaded](),
		resource.TypeOf[MountStatus](),
		resource.TypeOf[PlatformMetadata](),
	}
}
