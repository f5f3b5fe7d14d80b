// Package runtimectrl says what runs on the machine and how it does: the stage that it is in and what keeps it from being ready, the
// version, the kernel, the components of the image, and where the API listens.
//
// [Controllers] returns the controllers. Who shuts the machine down tells them the stage through [Stage]; everything else they read
// in the state or below a root. The composition of the node imports this package.
package runtimectrl

import (
	"google.golang.org/protobuf/proto"

	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	// Root is where the files of the image are; empty means "/".
	Root string
	// Proc reads what the kernel reports.
	Proc proc.Reader
	Mode schema.Mode
	// Version is the system's name and version.
	Version runtime.Version
	// Settled is closed when the drivers of the devices are loaded that were there at the start; nil: they are.
	Settled <-chan struct{}
	// Stage is how the end of the machine's life is told; nil: it is never told.
	Stage *Stage
	// Required returns the services that a machine of a type needs for being ready, besides those that are loaded; nil is
	// [RequiredServices].
	Required func(machineconfig.MachineType) []string
	// BootImage opens what the machine started from: see [SecurityStateController]. nil: there is nothing.
	BootImage func(disk string) (BootImage, error)
	// Publish sends an event of the machine; nil drops it.
	Publish func(event proto.Message, actorID string)
}

// Controllers returns the controllers of the running system.
func Controllers(deps Deps) []controller.Controller {
	root := deps.Root
	if root == "" {
		root = "/"
	}
	required := deps.Required
	if required == nil {
		required = RequiredServices
	}
	stage := deps.Stage
	if stage == nil {
		stage = NewStage()
	}
	return []controller.Controller{
		&MachineStatusController{Stage: stage, Required: required},
		&MachineStatusPublisherController{Publish: deps.Publish},
		MaintenanceConfigController{},
		MaintenanceServiceInformController{},
		APIServiceConfigController{},
		EnvironmentController{},
		DiagnosticsController{},
		&DiagnosticsLoggerController{},
		DevicesStatusController{Settled: deps.Settled},
		mountStatusController(),
		versionController(deps.Version),
		bootIDController(deps.Proc),
		kernelCmdlineController(deps.Proc),
		&SecurityStateController{Root: root, Proc: deps.Proc, Image: deps.BootImage},
		extensionStatusController(root),
		sbomItemController(root),
	}
}
