package nodectrl

import (
	"context"
	"log/slog"
	"regexp"
	"strings"

	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// list returns the specs of a kind that will stay.
func list[S resource.Spec](ctx context.Context, rt controller.Runtime) ([]S, error) {
	all, err := controller.Running[S](ctx, rt)
	var out []S
	for _, r := range all {
		out = append(out, r.Spec())
	}
	return out, err
}

// wishes is a controller that keeps what the Node should have of one kind, by key.
type wishes[Out resource.Spec] struct {
	name string
	of   func(doc *kubedoc.KubeNodeConfig, extensions []runtime.ExtensionStatus) map[string]Out
}

// Name implements [controller.Controller].
func (w wishes[Out]) Name() string { return w.name }

// Inputs implements [controller.Controller].
func (w wishes[Out]) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active), controller.Weak[runtime.ExtensionStatus](),
		controller.DestroyReady[Out](),
	}
}

// Outputs implements [controller.Controller].
func (w wishes[Out]) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[Out]()}
}

// Run implements [controller.Controller].
func (w wishes[Out]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		extensions, err := list[runtime.ExtensionStatus](ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c != nil {
			doc, ok := schema.Find[*kubedoc.KubeNodeConfig](c.Set)
			if !ok {
				doc = &kubedoc.KubeNodeConfig{}
			}
			for key, spec := range w.of(doc, extensions) {
				if err := state.Put(ctx, rt, key, spec); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// extensionPrefix is before the name of an extension in the label with its version.
const extensionPrefix = "extensions.talos.dev/"

// labelValue is what a label may have (Kubernetes, "Labels and Selectors", syntax).
var labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)

// versionOf returns key and value for an extension; label is false if the value can only be an annotation's.
func versionOf(e runtime.ExtensionStatus) (key, value string, label bool) {
	// "+" stands in versions of Go and not in labels.
	short := strings.ReplaceAll(e.Metadata.Version, "+", "-")
	if labelValue.MatchString(short) {
		return extensionPrefix + e.Metadata.Name, short, true
	}
	return extensionPrefix + e.Metadata.Name, e.Metadata.Version, false
}

func labelSpecs() controller.Controller {
	return wishes[kube.NodeLabelSpec]{"k8s.NodeLabelSpecController",
		func(doc *kubedoc.KubeNodeConfig, extensions []runtime.ExtensionStatus) map[string]kube.NodeLabelSpec {
			out := map[string]kube.NodeLabelSpec{}
			for _, e := range extensions {
				if k, v, label := versionOf(e); label && e.Metadata.Name != "" {
					out[k] = kube.NodeLabelSpec{Key: k, Value: v}
				}
			}
			for k, v := range doc.Labels {
				out[k] = kube.NodeLabelSpec{Key: k, Value: v}
			}
			return out
		}}
}

func annotationSpecs() controller.Controller {
	return wishes[kube.NodeAnnotationSpec]{"k8s.NodeAnnotationSpecController",
		func(doc *kubedoc.KubeNodeConfig, extensions []runtime.ExtensionStatus) map[string]kube.NodeAnnotationSpec {
			out := map[string]kube.NodeAnnotationSpec{}
			for _, e := range extensions {
				if k, v, label := versionOf(e); !label && e.Metadata.Name != "" {
					out[k] = kube.NodeAnnotationSpec{Key: k, Value: v}
				}
			}
			for k, v := range doc.Annotations {
				out[k] = kube.NodeAnnotationSpec{Key: k, Value: v}
			}
			return out
		}}
}

func taintSpecs() controller.Controller {
	return wishes[kube.NodeTaintSpec]{"k8s.NodeTaintSpecController",
		func(doc *kubedoc.KubeNodeConfig, _ []runtime.ExtensionStatus) map[string]kube.NodeTaintSpec {
			out := map[string]kube.NodeTaintSpec{}
			for _, t := range doc.ParsedTaints() {
				out[t.Key] = kube.NodeTaintSpec{Key: t.Key, Effect: string(t.Effect), Value: t.Value}
			}
			return out
		}}
}

// CordonedSpecController wants no new pods on a machine that goes down.
type CordonedSpecController struct{}

// Name implements [controller.Controller].
func (CordonedSpecController) Name() string { return "k8s.NodeCordonedSpecController" }

// Inputs implements [controller.Controller].
func (CordonedSpecController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.MachineStatus]().Named(runtime.MachineStatusID), controller.DestroyReady[kube.NodeCordonedSpec](),
	}
}

// Outputs implements [controller.Controller].
func (CordonedSpecController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.NodeCordonedSpec]()}
}

// Run implements [controller.Controller].
func (CordonedSpecController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		s, err := state.Lookup[runtime.MachineStatus](ctx, rt, runtime.MachineStatusID)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if s != nil && leaves(s.Stage) {
			if err := state.Put(ctx, rt, kube.NodeCordonedID, kube.NodeCordonedSpec{}); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

func leaves(s runtime.MachineStage) bool {
	switch s {
	case runtime.StageRebooting, runtime.StageShuttingDown, runtime.StageUpgrading, runtime.StageResetting:
		return true
	}
	return false
}
