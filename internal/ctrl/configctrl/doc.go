// Package configctrl finds the machine config, keeps it, and changes it.
//
// The config is two resources of the type machineconfig.Config: the active one, by which the machine acts, and the persistent one,
// which it will act by after the next boot, and which is a file in the state directory. [Store] is the only writer of both; the API
// changes the config through it, and so does [AcquireController] when the machine starts. As long as there is no complete config,
// that is one with a root document, the machine is in maintenance: a runtime.MaintenanceServiceRequest says so.
//
// What a config means is the business of the controllers that read it. The composition of the node imports this package.
package configctrl

import (
	"context"

	"google.golang.org/protobuf/proto"

	"talos.internal/config/schema"
	"talos.internal/controller"
)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	Store *Store
	// Userdata is the config that the platform gives, as it gives it: base64 of YAML, which may be compressed with gzip. Empty is none.
	Userdata string
	// Sources are asked after the state directory and the user data.
	Sources []Source
	// Volumes says that the state directory is a volume that the controllers of disks mount.
	Volumes bool
	// Mode decides which rules a config of the platform is held to.
	Mode schema.Mode
	// Publish sends an event of the machine; nil drops it.
	Publish func(event proto.Message, actorID string)
}

// Controllers returns the controllers of the machine config.
func Controllers(deps Deps) []controller.Controller {
	userdata := Source{Name: "the platform", Read: func(context.Context, func(error)) (string, error) { return decodeUserdata(deps.Userdata) }}
	return []controller.Controller{
		&AcquireController{
			Store: deps.Store, Sources: append([]Source{userdata}, deps.Sources...), Volumes: deps.Volumes, Mode: deps.Mode, Publish: deps.Publish,
		},
		&PersistenceController{Store: deps.Store, Volumes: deps.Volumes},
		MachineTypeController{},
	}
}
