package boot

import (
	"context"
	"errors"
	"slices"
	"strings"

	"talos.internal/internal/sys/kmod"
)

// KernelParams returns the parameters of the kernel that the plans of a machine set, with their values.
func KernelParams() map[string]string {
	out := map[string]string{}
	for _, s := range slices.Concat(sysctls, bridgeSysctls) {
		out[s.key] = s.value
	}
	return out
}

// Module loads a module by name or by plain alias, with parameters such as "wq_unbound=Y" after those that the kernel's command line
// has for it. What is there already is no error, and keeps its parameters.
func (d *Drivers) Module(ctx context.Context, name string, params []string) error {
	x, o, err := index()
	if err != nil {
		return err
	}
	if len(params) > 0 {
		if o.Args == nil {
			o.Args = map[string]string{}
		}
		key := kmod.Name(name)
		o.Args[key] = strings.TrimSpace(o.Args[key] + " " + strings.Join(params, " "))
	}
	plan, err := x.Plan(o, name)
	_, loadErr := d.load(ctx, plan, false)
	return errors.Join(err, loadErr)
}

// Builtin returns the names of the modules that the kernel has built in.
func (*Drivers) Builtin() ([]string, error) {
	x, _, err := index()
	if err != nil {
		return nil, err
	}
	return x.Builtin(), nil
}
