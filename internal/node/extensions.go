package node

import (
	"io"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/container"
	"talos.internal/internal/ctrl/extctrl"
	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/kmsg"
)

// Where services of extensions have their files, and write.
const (
	extensionFiles   = "/system/config/extensions"
	extensionScratch = "/system/overlays/extensions"
)

// ofExtensions are the controllers of the services that the image's extensions bring.
func (n *node) ofExtensions() []controller.Controller {
	var console io.Writer
	if n.machine != nil {
		w, err := kmsg.NewWriter("", kmsg.Daemon, kmsg.Info)
		if err != nil {
			n.log.Warn("services of extensions cannot write to the console", "error", err)
		} else {
			console = w
		}
	}
	return extctrl.Controllers(extctrl.Deps{
		Dir: extensionFiles, Scratch: extensionScratch, Services: n.services, Cgroup: boot.GroupExtensions, Console: console,
		Runner: func(s container.Spec) supervise.Runner { return container.Runner{Client: n.runtime, Spec: s} },
	})
}
