package kernelctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/sys/kmod"
	"talos.internal/internal/sys/kparam"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// moduleConfig wishes for the modules of the machine config.
func moduleConfig() controller.Controller {
	return effective.Pass("runtime.KernelModuleConfigController",
		[]controller.Output{controller.Exclusive[runtime.KernelModuleSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			for _, doc := range schema.All[*sysdoc.KernelModuleConfig](c.Set) {
				spec := runtime.KernelModuleSpec{Name: doc.Name, Parameters: slices.Clone(doc.Parameters)}
				if err := controller.Put(ctx, rt, doc.Name, spec); err != nil {
					return err
				}
			}
			return nil
		})
}

// moduleSpecController loads modules.
type moduleSpecController struct {
	tree  kparam.Tree
	lacks error
	load  func(ctx context.Context, name string, params []string) error

	done map[string]string // the parameters that a module was loaded with
}

// Name implements [controller.Controller].
func (*moduleSpecController) Name() string { return "runtime.KernelModuleSpecController" }

// Inputs implements [controller.Controller].
func (*moduleSpecController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[runtime.KernelModuleSpec]()}
}

// Outputs implements [controller.Controller].
func (*moduleSpecController) Outputs() []controller.Output {
	return []controller.Output{diagnostics()}
}

// Run implements [controller.Controller]. What fails is tried again, unless there is no such module: then a person has to do
// something.
func (c *moduleSpecController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.done == nil {
		c.done = map[string]string{}
	}
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		specs, err := controller.Running[runtime.KernelModuleSpec](ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		var problems []string
		var again error
		for _, s := range specs {
			params := strings.Join(s.Spec().Parameters, " ")
			if last, ok := c.done[s.Spec().Name]; ok && last == params {
				continue
			}
			if c.lacks != nil {
				log.Warn("a module of the kernel is not loaded", "module", s.Spec().Name, "error", c.lacks)
				c.done[s.Spec().Name] = params
				continue
			}
			if err := c.one(ctx, s.Spec()); err != nil {
				problems = append(problems, err.Error())
				if !errors.Is(err, kmod.ErrNoModule) {
					again = errors.Join(again, err)
				}
				continue
			}
			c.done[s.Spec().Name] = params
			log.Info("a module of the kernel is loaded, as the machine config says", "module", s.Spec().Name)
		}
		if len(problems) > 0 {
			d := runtime.Diagnostic{Message: "modules of the kernel are not loaded as the machine config says: change KernelModuleConfig", Details: problems}
			if err := state.Put(ctx, rt, modulesDiagnostic, d); err != nil {
				return err
			}
		}
		return errors.Join(again, rt.CleanupOutputs(ctx))
	})
}

// one loads a module. If it was there before, its parameters are set one by one, as far as it lets that happen.
func (c *moduleSpecController) one(ctx context.Context, s runtime.KernelModuleSpec) error {
	ctx, cancel := context.WithTimeout(ctx, loadMost)
	defer cancel()
	if err := c.load(ctx, s.Name, s.Parameters); err != nil {
		return err
	}
	var errs []error
	for _, p := range s.Parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			value = "1"
		}
		path := kparam.ModuleParam(s.Name, name)
		now, err := c.tree.Read(path)
		if err != nil || kparam.Same(now, value) {
			continue // it does not show it, or it is so
		}
		err = c.tree.Write(path, value)
		switch {
		case errors.Is(err, fs.ErrPermission):
			errs = append(errs, fmt.Errorf("set the parameter %s of the module %s: it is loaded with %s=%s; the next start loads it with %s", name, s.Name, name, now, p))
		case err != nil:
			errs = append(errs, fmt.Errorf("set the parameter %s of the module %s to %q: %w", name, s.Name, value, err))
		}
	}
	return errors.Join(errs...)
}

// moduleStatusController shows the modules that the kernel has.
type moduleStatusController struct {
	modules proc.Reader
	builtin func() ([]string, error)
	watch   func(ctx context.Context, changed func()) error
}

// Name implements [controller.Controller].
func (*moduleStatusController) Name() string { return "runtime.KernelModuleStatusController" }

// Inputs implements [controller.Controller].
func (*moduleStatusController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (*moduleStatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.LoadedKernelModule](), controller.Exclusive[runtime.KernelModuleStatus]()}
}

// Run implements [controller.Controller].
func (c *moduleStatusController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	// What is built in does not change.
	var builtin []string
	if c.builtin != nil {
		var err error
		// An image without an index of modules has nothing to say about them.
		if builtin, err = c.builtin(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var last []proc.Module
	return controller.Watched(ctx, rt, c.crowds, func(ctx context.Context) error {
		list, err := c.modules.Modules()
		if err != nil {
			return err
		}
		if last != nil && slices.EqualFunc(list, last, sameModule) {
			return nil
		}
		rt.TrackOutputs()
		for _, name := range builtin {
			if err := state.Put(ctx, rt, name, runtime.KernelModuleStatus{Type: runtime.ModuleTypeBuiltin, State: runtime.ModuleBuiltIn}); err != nil {
				return err
			}
		}
		for _, m := range list {
			if err := errors.Join(state.Put(ctx, rt, m.Name, loaded(m)), state.Put(ctx, rt, m.Name, moduleStatus(m))); err != nil {
				return err
			}
		}
		last = list
		return rt.CleanupOutputs(ctx)
	})
}

// crowds tells once of modules that come together.
func (c *moduleStatusController) crowds(ctx context.Context, changed func()) error {
	if c.watch == nil {
		<-ctx.Done()
		return nil
	}
	var timer *time.Timer
	err := c.watch(ctx, func() {
		if timer == nil {
			timer = time.AfterFunc(settle, changed)
			return
		}
		timer.Reset(settle)
	})
	if timer != nil {
		timer.Stop()
	}
	return err
}

func sameModule(a, b proc.Module) bool {
	return a.Name == b.Name && a.References == b.References && a.State == b.State && slices.Equal(a.UsedBy, b.UsedBy)
}

func loaded(m proc.Module) runtime.LoadedKernelModule {
	return runtime.LoadedKernelModule{
		Size: int64(m.Size), ReferenceCount: int64(m.References), Dependencies: m.UsedBy, State: m.State, Address: m.Address,
	}
}

func moduleStatus(m proc.Module) runtime.KernelModuleStatus {
	states := map[string]runtime.KernelModuleState{"Loading": runtime.ModuleLoading, "Unloading": runtime.ModuleUnloading}
	return runtime.KernelModuleStatus{
		Type: runtime.ModuleTypeDynamic, Size: int64(m.Size), ReferenceCount: int64(m.References), Dependencies: m.UsedBy,
		State: states[m.State], Address: m.Address,
	}
}
