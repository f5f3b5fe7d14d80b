package runtimectrl

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// EnvironmentID is the id of the environment of all services of the system.
const EnvironmentID = "machined"

// EnvironmentController says which environment variables the machine config gives to the services of the system.
type EnvironmentController struct{}

// Name implements [controller.Controller].
func (EnvironmentController) Name() string { return "runtime.EnvironmentController" }

// Inputs implements [controller.Controller].
func (EnvironmentController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[machineconfig.Config]().Named(machineconfig.Active)}
}

// Outputs implements [controller.Controller].
func (EnvironmentController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.Environment]()}
}

// Run implements [controller.Controller].
func (EnvironmentController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		cfg, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		return state.Put(ctx, rt, EnvironmentID, runtime.Environment{Variables: variables(cfg)})
	})
}

// variables returns "NAME=value" in the order of the names.
func variables(cfg *effective.Config) []string {
	if cfg == nil {
		return nil
	}
	doc, ok := schema.Find[*sysdoc.EnvironmentConfig](cfg.Set)
	if !ok {
		return nil
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(doc.Variables)) {
		out = append(out, name+"="+doc.Variables[name])
	}
	return out
}

// AddressOverlapID is the id of the diagnostic about addresses of the machine that Kubernetes uses as well.
const AddressOverlapID = "address-overlap"

// DiagnosticsController looks for problems that a person should solve.
type DiagnosticsController struct{}

// Name implements [controller.Controller].
func (DiagnosticsController) Name() string { return "runtime.DiagnosticsController" }

// Inputs implements [controller.Controller].
func (DiagnosticsController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active),
		controller.Weak[network.NodeAddress]().Named(network.NodeAddressDefault),
	}
}

// Outputs implements [controller.Controller].
func (DiagnosticsController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[runtime.Diagnostic]()}
}

// Run implements [controller.Controller].
func (DiagnosticsController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		cfg, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		addresses, err := state.Lookup[network.NodeAddress](ctx, rt, network.NodeAddressDefault)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if cfg != nil && addresses != nil {
			if details := overlaps(cfg.Set, addresses.Addresses); len(details) > 0 {
				if err := state.Put(ctx, rt, AddressOverlapID, runtime.Diagnostic{
					Message: "addresses of the machine overlap with those of pods or services: change podSubnets or serviceSubnets of KubeNetworkConfig",
					Details: details,
				}); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// overlaps describes each network of the machine that overlaps with one that Kubernetes gives addresses from. The set "default" is
// looked at because it is from before the network of pods: later the machine does have addresses in that.
func overlaps(set schema.Set, addresses []netip.Prefix) []string {
	doc, ok := schema.Find[*kubedoc.KubeNetworkConfig](set)
	if !ok {
		return nil
	}
	var details []string
	look := func(kind string, subnet netip.Prefix) {
		for _, a := range addresses {
			if a.Masked().Overlaps(subnet) {
				details = append(details, fmt.Sprintf("address %s overlaps with the %s subnet %s", a, kind, subnet))
			}
		}
	}
	for _, s := range doc.PodSubnets {
		look("pod", s.Prefix)
	}
	for _, s := range doc.ServiceSubnets {
		look("service", s.Prefix)
	}
	return details
}

// DiagnosticsLoggerController logs each diagnostic when it comes and when it has changed.
type DiagnosticsLoggerController struct{ seen map[string]resource.Resource }

// Name implements [controller.Controller].
func (*DiagnosticsLoggerController) Name() string { return "runtime.DiagnosticsLoggerController" }

// Inputs implements [controller.Controller].
func (*DiagnosticsLoggerController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[runtime.Diagnostic]()}
}

// Outputs implements [controller.Controller].
func (*DiagnosticsLoggerController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *DiagnosticsLoggerController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		list, err := state.List[runtime.Diagnostic](ctx, rt)
		if err != nil {
			return err
		}
		seen := map[string]resource.Resource{}
		for _, d := range list {
			id := d.Metadata().ID()
			seen[id] = d
			if old := c.seen[id]; old == nil || !old.SpecEqual(d) {
				log.Warn("diagnostic: "+d.Spec().Message, "id", id, "details", d.Spec().Details)
			}
		}
		c.seen = seen
		return nil
	})
}

// DevicesStatusController says when the devices of the machine have their nodes. In a container the runtime has made them; elsewhere
// that is when the drivers are loaded of those that were there at the start.
type DevicesStatusController struct {
	// Settled is closed then; nil means that it was so from the start.
	Settled <-chan struct{}
}

// Name implements [controller.Controller].
func (DevicesStatusController) Name() string { return "runtime.DevicesStatusController" }

// Inputs implements [controller.Controller].
func (DevicesStatusController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (DevicesStatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.DevicesStatus]()}
}

// Run implements [controller.Controller].
func (c DevicesStatusController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	if c.Settled != nil {
		if err := state.Put(ctx, rt, runtime.DevicesStatusID, runtime.DevicesStatus{}); err != nil {
			return err
		}
		select {
		case <-c.Settled:
		case <-ctx.Done():
			return nil
		}
	}
	return state.Put(ctx, rt, runtime.DevicesStatusID, runtime.DevicesStatus{Ready: true})
}

// mountStatusController shows mounted volumes in the form of older versions.
func mountStatusController() controller.Controller {
	return controller.Transform[block.MountStatus, runtime.MountStatus]{
		ControllerName: "runtime.MountStatusController",
		Reconcile: func(_ context.Context, _ controller.Runtime, _ *slog.Logger,
			in *resource.Typed[block.MountStatus], _ *resource.Metadata, out *runtime.MountStatus) error {
			*out = oldMount(in.Spec())
			return nil
		},
	}
}

func oldMount(m block.MountStatus) runtime.MountStatus {
	out := runtime.MountStatus{Source: m.Source, Target: m.Target, FilesystemType: m.Filesystem.String()}
	if m.ReadOnly {
		out.Options = append(out.Options, "ro")
	}
	if m.EncryptionProvider != block.EncryptionNone {
		out.Encrypted, out.EncryptionProviders = true, []string{m.EncryptionProvider.String()}
	}
	return out
}
