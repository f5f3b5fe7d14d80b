package kernelctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/sys/kparam"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// sysctlID returns the id of a parameter of sysctl, sysfsID that of an attribute.
func sysctlID(key string) string { return swap(kparam.Sysctl + "/" + sysdoc.ParamPath(key)) }
func sysfsID(key string) string  { return swap(kparam.Sysfs + "/" + sysdoc.ParamPath(key)) }

// paramDefaults wishes for what the system itself wants.
func paramDefaults(params []Param) controller.Controller {
	return controller.Pass{
		ControllerName: "runtime.KernelParamDefaultsController",
		To:             []controller.Output{controller.Exclusive[runtime.KernelParamDefaultSpec]()},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			for _, p := range params {
				if err := controller.Put(ctx, rt, sysctlID(p.Key), runtime.KernelParamDefaultSpec{Value: p.Value, IgnoreErrors: true}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// paramConfig wishes for what the machine config says.
func paramConfig() controller.Controller {
	return effective.Pass("runtime.KernelParamConfigController",
		[]controller.Output{controller.Exclusive[runtime.KernelParamSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			values := map[string]string{}
			if doc, ok := schema.Find[*sysdoc.SysctlConfig](c.Set); ok {
				for key, value := range doc.Params {
					values[sysctlID(key)] = value
				}
			}
			if doc, ok := schema.Find[*sysdoc.SysfsConfig](c.Set); ok {
				for key, value := range doc.Params {
					values[sysfsID(key)] = value
				}
			}
			for _, id := range slices.Sorted(maps.Keys(values)) {
				if err := controller.Put(ctx, rt, id, runtime.KernelParamSpec{Value: values[id]}); err != nil {
					return err
				}
			}
			return nil
		})
}

// paramSpecController sets parameters.
type paramSpecController struct {
	tree  kparam.Tree
	lacks error

	// original are the values from before, of the parameters that were set; set is what they were set to last.
	original, set map[string]string
	told          map[string]string // what was said about a parameter last
}

// Name implements [controller.Controller].
func (*paramSpecController) Name() string { return "runtime.KernelParamSpecController" }

// Inputs implements [controller.Controller]. A link or a module that comes brings parameters.
func (*paramSpecController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.KernelParamDefaultSpec](),
		controller.Weak[runtime.KernelParamSpec](),
		controller.Weak[runtime.LoadedKernelModule](),
		controller.Weak[network.LinkStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*paramSpecController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.KernelParamStatus](), diagnostics()}
}

// wish is what a parameter should be.
type wish struct {
	value   string
	mayMiss bool // a kernel without it is no error
}

// wishes puts what the config says over what the system wants.
func wishes(ctx context.Context, rt controller.Runtime) (map[string]wish, error) {
	defaults, err := controller.Running[runtime.KernelParamDefaultSpec](ctx, rt)
	if err != nil {
		return nil, err
	}
	specs, err := controller.Running[runtime.KernelParamSpec](ctx, rt)
	if err != nil {
		return nil, err
	}
	out := map[string]wish{}
	for _, d := range defaults {
		out[d.Metadata().ID()] = wish{d.Spec().Value, d.Spec().IgnoreErrors}
	}
	for _, s := range specs {
		out[s.Metadata().ID()] = wish{s.Spec().Value, s.Spec().IgnoreErrors}
	}
	return out, nil
}

// Run implements [controller.Controller].
func (c *paramSpecController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.set == nil {
		c.original, c.set, c.told = map[string]string{}, map[string]string{}, map[string]string{}
	}
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		wanted, err := wishes(ctx, rt)
		if err != nil {
			return err
		}
		c.restore(wanted, log)
		rt.TrackOutputs()
		var problems []string
		for _, id := range slices.Sorted(maps.Keys(wanted)) {
			status, err := c.apply(id, wanted[id])
			if wanted[id].mayMiss && kparam.Missing(err) {
				err = nil // the module that has it may come later
			}
			c.tell(log, id, err)
			if err != nil && c.lacks == nil {
				problems = append(problems, err.Error())
			}
			if err := state.Put(ctx, rt, id, status); err != nil {
				return err
			}
		}
		if len(problems) > 0 {
			d := runtime.Diagnostic{Message: "parameters of the kernel are not as the machine config says: change SysctlConfig or SysfsConfig", Details: problems}
			if err := state.Put(ctx, rt, ParamsDiagnosticID, d); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// tell says what became of a parameter when that has changed.
func (c *paramSpecController) tell(log *slog.Logger, id string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if c.told[id] == text {
		return
	}
	c.told[id] = text
	if err != nil {
		log.Warn("a parameter of the kernel is not set", "id", id, "error", err)
	}
}

// apply sets a parameter if that was not done, and says how it is now. One that somebody has changed since is left: whoever did
// that had its reason, and would do so again.
func (c *paramSpecController) apply(id string, w wish) (runtime.KernelParamStatus, error) {
	path := swap(id)
	current, readErr := c.tree.Read(path)
	status := runtime.KernelParamStatus{Current: current, Default: current}
	if before, ok := c.original[id]; ok {
		status.Default = before
	}
	switch {
	case c.lacks != nil:
		status.Unsupported = true
		return status, fmt.Errorf("set %s: %w", id, c.lacks)
	case kparam.Missing(readErr):
		// It went with its link or module, and begins anew when it comes back.
		delete(c.set, id)
		delete(c.original, id)
		return runtime.KernelParamStatus{Unsupported: true}, fmt.Errorf("set %s: the kernel has no such parameter, or not yet: %w", id, readErr)
	}
	if last, ok := c.set[id]; ok && last == w.value {
		return status, nil
	}
	if _, ok := c.original[id]; !ok && (readErr == nil || errors.Is(readErr, fs.ErrPermission)) {
		c.original[id] = current
	}
	if readErr != nil || !kparam.Same(current, w.value) {
		if err := c.tree.Write(path, w.value); err != nil {
			delete(c.set, id)
			return status, fmt.Errorf("set %s to %q: %w", id, w.value, err)
		}
	}
	c.set[id] = w.value
	// One that can only be written has no value.
	status.Current, _ = c.tree.Read(path)
	return status, nil
}

// restore gives what nobody wants any more its old value.
func (c *paramSpecController) restore(wanted map[string]wish, log *slog.Logger) {
	for _, id := range slices.Sorted(maps.Keys(c.original)) {
		if _, ok := wanted[id]; ok {
			continue
		}
		before := kparam.Chosen(c.original[id])
		delete(c.original, id)
		delete(c.set, id)
		delete(c.told, id)
		if before == "" {
			continue // it cannot be read, or had none
		}
		if err := c.tree.Write(swap(id), before); err != nil && !kparam.Missing(err) {
			log.Warn("a parameter of the kernel keeps its value until the next start", "id", id, "error", err)
		}
	}
}
