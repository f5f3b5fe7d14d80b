// Package hardwarectrl says what the machine is made of, and how busy it is.
//
// Everything is as the kernel tells. In a container that is the machine which the container is on. Memory modules, which only the
// tables of the firmware describe, and PCI devices are not here. The composition of the node imports this package.
package hardwarectrl

import (
	"talos.internal/controller"
	"talos.internal/internal/sys/proc"
)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	// Proc reads what the kernel reports.
	Proc proc.Reader
}

// Controllers returns the controllers of the hardware.
func Controllers(deps Deps) []controller.Controller {
	return []controller.Controller{
		CPUInfoController(deps),
		SystemInfoController(deps),
		StatsController(deps),
	}
}
