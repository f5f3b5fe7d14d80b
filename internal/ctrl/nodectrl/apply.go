package nodectrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/state"
)

const (
	// conflicts is how often a Node that somebody changes at the same time is looked at anew.
	conflicts = 5
	// retry is when the Node is looked at again after the API server was away.
	retry = 2 * time.Second
)

// ApplyController puts on the Node what it should have.
type ApplyController struct{ Deps Deps }

// Name implements [controller.Controller].
func (*ApplyController) Name() string { return "k8s.NodeApplyController" }

// Inputs implements [controller.Controller].
func (*ApplyController) Inputs() []controller.Input {
	return append(credentialInputs(),
		controller.Weak[kube.NodeLabelSpec](), controller.Weak[kube.NodeAnnotationSpec](), controller.Weak[kube.NodeTaintSpec](),
		controller.Weak[kube.NodeCordonedSpec](), controller.Weak[kube.NodeStatus](),
		controller.Weak[kube.Nodename]().Named(kube.NodenameID),
	)
}

// Outputs implements [controller.Controller].
func (*ApplyController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *ApplyController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	a := &applying{log: log, refused: map[string]string{}}
	say := func(away error) { log.Info("the Node is not as it should be yet", "error", away) }
	return controller.Retried(ctx, rt, retry, say, func(ctx context.Context) (away, err error) { return c.round(ctx, rt, a) })
}

// round makes the Node as it should be. away is why that was not possible now, and will be tried again.
func (c *ApplyController) round(ctx context.Context, rt controller.Runtime, a *applying) (away, err error) {
	node, err := state.Lookup[kube.Nodename](ctx, rt, kube.NodenameID)
	if err != nil || node == nil || node.SkipNodeRegistration {
		return nil, err
	}
	status, err := state.Lookup[kube.NodeStatus](ctx, rt, node.Name)
	if err != nil || status == nil {
		return nil, err // there is no Node yet
	}
	keys, waiting, err := c.Deps.credentialsOf(ctx, rt)
	if err != nil || waiting != "" {
		return nil, err
	}
	want, err := wanted(ctx, rt, keys.admin)
	if err != nil {
		return nil, err
	}
	client, err := c.Deps.connect(keys)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return a.apply(ctx, client, node.Name, want), nil
}

// wanted reads what the Node should have. Only an administrator may change taints.
func wanted(ctx context.Context, rt controller.Runtime, admin bool) (desired, error) {
	out := desired{labels: map[string]string{}, annotations: map[string]string{}}
	labels, err1 := list[kube.NodeLabelSpec](ctx, rt)
	annotations, err2 := list[kube.NodeAnnotationSpec](ctx, rt)
	taints, err3 := list[kube.NodeTaintSpec](ctx, rt)
	cordoned, err4 := state.Lookup[kube.NodeCordonedSpec](ctx, rt, kube.NodeCordonedID)
	for _, s := range labels {
		out.labels[s.Key] = s.Value
	}
	for _, s := range annotations {
		out.annotations[s.Key] = s.Value
	}
	if admin {
		out.taints = map[string]kube.NodeTaintSpec{}
		for _, s := range taints {
			out.taints[s.Key] = s
		}
	}
	out.cordoned = cordoned != nil
	return out, errors.Join(err1, err2, err3, err4)
}

// applying is one life of the controller.
type applying struct {
	log     *slog.Logger
	refused map[string]string // labels that the API server does not let this machine set
	noted   string
}

// apply makes the Node as it should be.
func (a *applying) apply(ctx context.Context, client *kubeapi.Client, name string, want desired) error {
	var err error
	for range conflicts {
		if err = a.try(ctx, client, name, want); !errors.Is(err, kubeapi.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("somebody else keeps changing it: %w", err)
}

func (a *applying) try(ctx context.Context, client *kubeapi.Client, name string, want desired) error {
	node, err := client.Get(ctx, nodeKind, "", name)
	if err != nil {
		return err
	}
	want.labels = maps.Clone(want.labels)
	maps.DeleteFunc(want.labels, func(k, v string) bool { no, ok := a.refused[k]; return ok && no == v })
	c := plan(node, want)
	a.note(c.notes)
	if c.empty() {
		return nil
	}
	version, _ := node.Map("metadata")["resourceVersion"].(string)
	_, err = client.MergePatch(ctx, nodeKind, "", name, "", c.patch(version))
	if !errors.Is(err, kubeapi.ErrForbidden) {
		if err == nil {
			a.log.Info("the Node was changed", "labels", sorted(c.labels), "annotations", sorted(c.annotations),
				"taints", c.taints != nil, "cordon", c.unschedulable != nil)
		}
		return err
	}
	return a.sift(ctx, client, name, c.labels, err)
}

// sift finds out which labels the API server refuses, so that the others can be set. A refusal that is about none of them is
// returned.
func (a *applying) sift(ctx context.Context, client *kubeapi.Client, name string, labels map[string]any, refusal error) error {
	found := false
	for _, k := range sorted(labels) {
		value, ok := labels[k].(string)
		if !ok {
			continue
		}
		_, err := client.MergePatch(ctx, nodeKind, "", name, "", map[string]any{"metadata": map[string]any{"labels": map[string]any{k: value}}})
		switch {
		case errors.Is(err, kubeapi.ErrForbidden):
			a.log.Warn("the API server does not let a worker set a label; set it as an administrator", "label", k, "error", err)
			a.refused[k] = value
			found = true
		case err != nil:
			return err
		}
	}
	if !found {
		return refusal
	}
	return fmt.Errorf("without the labels that were refused: %w", kubeapi.ErrConflict) // once more, at once
}

// note logs what was left alone, once.
func (a *applying) note(notes []string) {
	if text := fmt.Sprint(notes); text != a.noted {
		a.noted = text
		for _, n := range notes {
			a.log.Warn(n)
		}
	}
}

func sorted(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
