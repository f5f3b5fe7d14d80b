// Package extctrl has the controllers of the services that system extensions bring.
//
// What there is follows from the files in the image (package extservice), which do not change while the machine runs. Each is a service ext-NAME, a container in the namespace
// of the system whose root file system is a folder of the image. What the machine config says for it (ExtensionServiceConfig) is a
// [runtime.ExtensionServiceConfig]; its files are written before the service begins, which a [runtime.ExtensionServiceConfigStatus] says, and a change of them starts it
// again.
//
// Extensions are as trusted as the system: they are part of the image that is signed. Their services have all capabilities and the network of the machine, and are
// kept apart from it in all else. Whoever composes a node imports this package, and nobody else.
package extctrl

import (
	"context"
	"io"

	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/supervise"
)

// Services is what is needed of the supervisor.
type Services interface {
	Load(...supervise.Service) error
	Start(ids ...string) error
	Restart(ctx context.Context, id string) error
	Status(id string) (supervise.Status, error)
}

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Root is where the image's files are; empty means "/".
	Root string
	// Dir is where files of configs are written, Scratch where containers write. Both are made, and are in memory on a machine.
	Dir, Scratch string
	Services     Services
	// Runner runs a container.
	Runner func(container.Spec) supervise.Runner
	// Cgroup is the group that the services' groups are in.
	Cgroup string
	// Console shows what services say that want that; nil shows nothing.
	Console io.Writer
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	return []controller.Controller{configs(), files(d.Dir), newServiceController(d)}
}
