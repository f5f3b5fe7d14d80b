// Package kernelctrl has the controllers for what a machine config says about the kernel: its parameters, attributes of devices
// and drivers, and modules; and those that show what the kernel has.
//
// A parameter has an id that is its path with dots and slashes exchanged, "proc.sys.net.ipv4.ip_forward", "sys.block.sda.queue.scheduler".
// What the system itself wants is a [runtime.KernelParamDefaultSpec]; what the machine config says is a [runtime.KernelParamSpec] and
// wins. A parameter that nobody wants any more gets the value back that it had before. What came of it is a
// [runtime.KernelParamStatus]. Parameters of a module or a link that is not there yet are set when it comes.
//
// A module is loaded once and never taken out. What cannot be done and a person should know is a [runtime.Diagnostic].
//
// The kernel of a container is that of its host: there the config's wishes are shown as unsupported, and nothing is done. Whoever
// composes a node imports this package, and nobody else.
package kernelctrl

import (
	"context"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/sys/kparam"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource/runtime"
)

// Ids of diagnostics.
const (
	ParamsDiagnosticID = "kernel-parameters" // runtime.Diagnostic
	modulesDiagnostic  = "kernel-modules"    // runtime.Diagnostic
)

// Param is a parameter of the kernel and the value that the system wants it to have. A kernel without it is no error.
type Param struct {
	Key   string // as sysctl(8) takes it
	Value string
}

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// NoParams is why the parameters of the kernel are not this machine's to change, NoModules the same for its modules; nil
	// means that they are. Otherwise nothing is changed, and modules are not shown.
	NoParams, NoModules error
	// Defaults are the parameters that the system wants. They may be set already.
	Defaults []Param
	// Params is where parameters are; the zero Tree is that of the machine.
	Params kparam.Tree
	// Load loads a module and what it needs. That it is there already is no error.
	Load func(ctx context.Context, name string, params []string) error
	// Builtin returns the modules that the kernel has built in; nil means that none are shown.
	Builtin func() ([]string, error)
	// Modules reads what is loaded.
	Modules proc.Reader
	// Watch calls changed when modules come or go, until ctx ends; nil means that they are looked at once.
	Watch func(ctx context.Context, changed func()) error
}

// settle is how long one waits for more modules after one has come: they come in crowds.
const settle = time.Second

// loadMost is how long the modules of the config may take to load.
const loadMost = time.Minute

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	all := []controller.Controller{
		paramConfig(),
		&paramSpecController{tree: d.Params, lacks: d.NoParams},
		moduleConfig(),
		&moduleSpecController{tree: d.Params, lacks: d.NoModules, load: d.Load},
	}
	if d.NoParams == nil {
		all = append(all, paramDefaults(d.Defaults))
	}
	if d.NoModules == nil {
		all = append(all, &moduleStatusController{modules: d.Modules, builtin: d.Builtin, watch: d.Watch})
	}
	return all
}

// swap exchanges dots and slashes. Done twice it gives what was there.
func swap(s string) string { return strings.NewReplacer(".", "/", "/", ".").Replace(s) }

// diagnostics is what both controllers that change the kernel write beside their own.
func diagnostics() controller.Output { return controller.Shared[runtime.Diagnostic]() }
