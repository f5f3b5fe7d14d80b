// Package hardware has what the machine is made of: as its firmware tells (SMBIOS, DSP0134), as the
// kernel tells, and on the PCI bus.
//
// The package only declares. Everyone above resource may import it.
package hardware

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "hardware"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[SystemInformation](),
		resource.TypeOf[Processor](),
		resource.TypeOf[MemoryModule](),
		resource.TypeOf[CPUCore](),
		resource.TypeOf[PCIDevice](),
		resource.TypeOf[PCIDriverRebindConfig](),
		resource.TypeOf[PCIDriverRebindStatus](),
		resource.TypeOf[PCRStatus](),
	}
}
