package crictrl

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"

	"encoding/json"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/cri"
	"talos.internal/state"
)

// derived is a controller whose resources follow from the machine config alone.
type derived[S resource.Spec] struct {
	name string
	// derive returns the resources by id; none without a config.
	derive func(c *effective.Config) (map[string]S, error)
}

// Name implements [controller.Controller].
func (d derived[S]) Name() string { return d.name }

// Inputs implements [controller.Controller].
func (d derived[S]) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.DestroyReady[S]()}
}

// Outputs implements [controller.Controller].
func (d derived[S]) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[S]()}
}

// Run implements [controller.Controller].
func (d derived[S]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		var want map[string]S
		if c != nil {
			if want, err = d.derive(c); err != nil {
				return err
			}
		}
		rt.TrackOutputs()
		for id, spec := range want {
			if err := state.Put(ctx, rt, id, spec); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// customization has the parts of containerd's configuration.
func customization() controller.Controller {
	return derived[cri.CustomizationConfig]{name: "cri.CustomizationConfigController", derive: func(c *effective.Config) (map[string]cri.CustomizationConfig, error) {
		out := map[string]cri.CustomizationConfig{}
		for _, d := range schema.All[*sysdoc.CRICustomizationConfig](c.Set) {
			out[d.Name] = cri.CustomizationConfig{Content: d.Content}
		}
		return out, nil
	}}
}

// Ids of cri.BaseRuntimeSpecConfig.
const (
	specDefault   = "default"
	specOverrides = "overrides"
)

// runtimeSpec has what changes the runtime specification of pods, and what it changes.
func runtimeSpec() controller.Controller {
	return derived[cri.BaseRuntimeSpecConfig]{name: "cri.RuntimeSpecConfigController", derive: func(c *effective.Config) (map[string]cri.BaseRuntimeSpecConfig, error) {
		d, ok := schema.Find[*sysdoc.CRIBaseRuntimeSpecConfig](c.Set)
		if !ok || len(d.Overrides) == 0 {
			return nil, nil
		}
		base, err := defaultSpec()
		if err != nil {
			return nil, err
		}
		return map[string]cri.BaseRuntimeSpecConfig{specDefault: {Object: base}, specOverrides: {Object: d.Overrides}}, nil
	}}
}

// defaultSpec is what the CRI plugin takes when it is told nothing: containerd's default without its limits, which are too low for
// some programs, so that a pod has those of containerd.
func defaultSpec() (map[string]any, error) {
	ctx := namespaces.WithNamespace(context.Background(), container.Pods)
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{})
	if err != nil {
		return nil, fmt.Errorf("make the default runtime specification: %w", err)
	}
	s.Process.Rlimits, s.Linux.CgroupsPath = nil, ""
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("make the default runtime specification: %w", err)
	}
	var out map[string]any
	return out, json.Unmarshal(b, &out)
}

// seccompProfile has the filters of system calls that pods can name.
func seccompProfile() controller.Controller {
	return derived[cri.SeccompProfile]{name: "cri.SeccompProfileController", derive: func(c *effective.Config) (map[string]cri.SeccompProfile, error) {
		root, _, ok := rootdoc.Find(c.Set)
		if !ok || root.Machine == nil {
			return nil, nil
		}
		out := map[string]cri.SeccompProfile{}
		for _, p := range root.Machine.SeccompProfiles {
			out[p.Name] = cri.SeccompProfile{Name: p.Name, Value: p.Value}
		}
		return out, nil
	}}
}
