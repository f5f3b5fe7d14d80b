// Package logctrl has the controllers that take logs out of the rings that they are in: to receivers on the network, and to /var/log, where
// they are still there after the next start.
//
// Services' logs go to the receivers of machine.logging, the kernel's to those of KmsgLogConfig and of talos.logging.kernel on the kernel's
// command line; package logship says in which form. Each receiver has readers of its own, so that one that is away holds up nobody else. The
// kernel's log is kept in a ring, too, as if it were that of a service "kernel".
//
// Files in /var/log are written by a [Keeper]. Whoever composes a node imports this package, and nobody else.
package logctrl

import (
	"context"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/logship"
	"talos.internal/internal/supervise/logring"
	"talos.internal/internal/sys/kmsg"
	"talos.internal/internal/sys/proc"
)

// KernelService is the service by whose name the kernel's log is known.
const KernelService = "kernel"

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Logs are the rings of the services.
	Logs *logring.Set
	// Cmdline is the kernel's command line.
	Cmdline []proc.Param
	// NoKernel is why the kernel's log is not this machine's; nil means that it is.
	NoKernel error
	// Kernel reads the kernel's log from its beginning, until ctx ends or fn fails; nil is the kernel that runs this process.
	Kernel func(ctx context.Context, fn func(kmsg.Record) error) error
	// Boot returns when the kernel started, by the clock as it is now; nil is the kernel that runs this process.
	Boot func() time.Time
	// Dial connects to receivers; nil is the network.
	Dial logship.Dial
	// Keeper writes files.
	Keeper *Keeper
	// Volumes says that files can be written only when EPHEMERAL is mounted.
	Volumes bool
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.Kernel == nil {
		d.Kernel = func(ctx context.Context, fn func(kmsg.Record) error) error {
			return kmsg.Read(ctx, "", kmsg.Options{Follow: true}, fn)
		}
	}
	if d.Boot == nil {
		d.Boot = bootTime
	}
	all := []controller.Controller{
		&deliveryController{logs: d.Logs, dial: d.Dial},
		kmsgConfig(d.Cmdline),
		&kmsgDeliveryController{Deps: d},
		&persistenceController{keeper: d.Keeper, volumes: d.Volumes},
	}
	if d.NoKernel == nil {
		all = append(all, kmsgStorageController{d})
	}
	return all
}

// bootTime is when the kernel started, or now if it does not say.
func bootTime() time.Time {
	now := time.Now()
	up, err := proc.Reader{}.Uptime()
	if err != nil {
		return now
	}
	return now.Add(-time.Duration(up.Up * float64(time.Second)))
}
