package discoveryctrl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"talos.internal/internal/kubeapi"
)

// pollEvery is how often is looked whether pods have gone.
const pollEvery = time.Second

var (
	nodeKind = kubeapi.KindOf("v1", "Node")
	podKind  = kubeapi.KindOf("v1", "Pod")
)

// KubeNodes is the Nodes of a cluster.
type KubeNodes struct {
	// Connect returns a client of the API server with an administrator's rights. It is closed after use.
	Connect func(ctx context.Context) (*kubeapi.Client, error)
}

// Drain implements [Nodes].
//
// It deletes pods, and does not ask for their eviction: a budget for disruptions is about what one may do to pods that run, and the
// machine is gone or is to go in any case. Those of DaemonSets would come again, and mirrors of static pods are kubelet's; both stay.
func (k KubeNodes) Drain(ctx context.Context, name string, gone bool) error {
	c, err := k.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.MergePatch(ctx, nodeKind, "", name, "", map[string]any{"spec": map[string]any{"unschedulable": true}})
	if errors.Is(err, kubeapi.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cordon Node %s: %w", name, err)
	}
	remove := c.Delete
	if gone {
		// Pods that wait for a dead kubelet keep what holds them, such as a volume, from starting elsewhere.
		remove = c.DeleteNow
	}
	asked := map[string]bool{}
	for {
		pods, _, err := c.List(ctx, podKind, "", kubeapi.ListOptions{Fields: "spec.nodeName=" + name})
		if err != nil {
			return fmt.Errorf("list the pods of Node %s: %w", name, err)
		}
		left := 0
		for _, p := range pods {
			// A pod of the same name on another machine may be there already: the selector is not all that counts.
			if stays(p) || p.Map("spec")["nodeName"] != name {
				continue
			}
			left++
			id, _ := p.Map("metadata")["uid"].(string)
			id += " " + p.Namespace() + "/" + p.Name()
			if asked[id] {
				continue
			}
			if err := remove(ctx, podKind, p.Namespace(), p.Name()); err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
				return fmt.Errorf("delete pod %s/%s: %w", p.Namespace(), p.Name(), err)
			}
			asked[id] = true
		}
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of the pods of Node %s, of which %d are left: %w", name, left, ctx.Err())
		}
	}
}

// stays reports whether a pod is none that could go somewhere else.
func stays(p kubeapi.Object) bool {
	if _, mirror := p.Annotations()["kubernetes.io/config.mirror"]; mirror {
		return true
	}
	return slices.ContainsFunc(p.Maps("metadata", "ownerReferences"), func(owner map[string]any) bool {
		return owner["kind"] == "DaemonSet" && owner["controller"] == true
	})
}

// Delete implements [Nodes].
func (k KubeNodes) Delete(ctx context.Context, name string) error {
	c, err := k.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Delete(ctx, nodeKind, "", name); err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
		return fmt.Errorf("delete Node %s: %w", name, err)
	}
	return nil
}
