// Package drain takes the pods off a Node of Kubernetes before its machine goes away, for a while or for good.
//
// [Node] keeps new pods from a Node and has those that it has end, until none is left or its context ends. Pods of DaemonSets, which
// would come again, and the mirrors of static pods, which are kubelet's, stay. [Open] lets pods come again.
//
// Whoever has a client of the Kubernetes API may import it: controllers, and commands. It prints nothing.
package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"talos.internal/internal/kubeapi"
)

// Every is how often is looked whether pods have gone.
const Every = time.Second

var (
	nodeKind = kubeapi.KindOf("v1", "Node")
	podKind  = kubeapi.KindOf("v1", "Pod")
)

// How is how pods are brought to an end.
type How uint8

const (
	// Evict asks for their eviction. A budget for disruptions may forbid that for a while; it is asked for again then.
	Evict How = iota
	// Delete deletes them, whatever budgets say: the machine is to go in any case.
	Delete
	// Remove is Delete without waiting for anybody to confirm the end of a pod: nobody on the machine can.
	Remove
)

// Result is what was done to a Node.
type Result struct {
	// Missing says that there is no such Node, and nothing was done.
	Missing bool
	// Cordoned says that the Node took pods before, so that it is for the caller to open it again.
	Cordoned bool
	// Pods is how many pods have gone.
	Pods int
}

// Node drains a Node: it takes no new pods any more, and those that it has go, by how, until none is left. It waits for that until ctx
// ends, which should have a deadline; the error then says which pods are left and why, and the Node stays closed. say, which may
// be nil, hears of the pods that are left whenever that changes.
func Node(ctx context.Context, c *kubeapi.Client, name string, how How, say func(left string)) (Result, error) {
	var r Result
	n, err := c.Get(ctx, nodeKind, "", name)
	if errors.Is(err, kubeapi.ErrNotFound) {
		return Result{Missing: true}, nil
	}
	if err != nil {
		return r, fmt.Errorf("drain Node %s: %w", name, err)
	}
	if closed, _ := n.Map("spec")["unschedulable"].(bool); !closed {
		_, err := c.MergePatch(ctx, nodeKind, "", name, "", unschedulable(true))
		if errors.Is(err, kubeapi.ErrNotFound) {
			return Result{Missing: true}, nil
		}
		if err != nil {
			return r, fmt.Errorf("cordon Node %s: %w", name, err)
		}
		r.Cordoned = true
	}
	d := drainer{client: c, node: name, how: how, asked: map[string]bool{}}
	said := ""
	for {
		left, err := d.look(ctx)
		r.Pods = len(d.asked)
		if ctx.Err() != nil {
			return r, fmt.Errorf("wait for the end of the pods of Node %s: %w; left: %s", name, context.Cause(ctx), orNone(said))
		}
		if err != nil {
			return r, fmt.Errorf("drain Node %s: %w", name, err)
		}
		if len(left) == 0 {
			return r, nil
		}
		if text := list(left); text != said {
			if said = text; say != nil {
				say(text)
			}
		}
		select {
		case <-time.After(Every):
		case <-ctx.Done():
		}
	}
}

// Open lets a Node take pods again. It is no error if there is no such Node.
func Open(ctx context.Context, c *kubeapi.Client, name string) error {
	_, err := c.MergePatch(ctx, nodeKind, "", name, "", unschedulable(false))
	if err != nil && !errors.Is(err, kubeapi.ErrNotFound) {
		return fmt.Errorf("uncordon Node %s: %w", name, err)
	}
	return nil
}

func unschedulable(yes bool) map[string]any {
	return map[string]any{"spec": map[string]any{"unschedulable": yes}}
}

// drainer is a drain that is under way.
type drainer struct {
	client *kubeapi.Client
	node   string
	how    How
	asked  map[string]bool // pods whose end was asked for, by UID and name
}

// look asks for the end of pods that it finds, and returns those that are left, each with what keeps it.
func (d *drainer) look(ctx context.Context) (left []string, err error) {
	pods, _, err := d.client.List(ctx, podKind, "", kubeapi.ListOptions{Fields: "spec.nodeName=" + d.node})
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		// A pod of the same name on another machine may be there already: the selector is not all that counts.
		if Stays(p) || p.Map("spec")["nodeName"] != d.node {
			continue
		}
		name := p.Namespace() + "/" + p.Name()
		uid, _ := p.Map("metadata")["uid"].(string)
		if id := uid + " " + name; !d.asked[id] {
			err := d.end(ctx, p)
			switch {
			case errors.Is(err, kubeapi.ErrBudget):
				left = append(left, name+" (a budget for disruptions keeps it)")
				continue
			case err != nil && !errors.Is(err, kubeapi.ErrNotFound):
				return nil, err
			}
			d.asked[id] = true
		}
		left = append(left, name)
	}
	slices.Sort(left)
	return left, nil
}

func (d *drainer) end(ctx context.Context, p kubeapi.Object) error {
	switch d.how {
	case Delete:
		return d.client.Delete(ctx, podKind, p.Namespace(), p.Name())
	case Remove:
		// Pods that wait for a dead kubelet keep what holds them, such as a volume, from starting elsewhere.
		return d.client.DeleteNow(ctx, podKind, p.Namespace(), p.Name())
	}
	return d.client.Evict(ctx, p.Namespace(), p.Name())
}

// Stays reports whether a pod is none that could go somewhere else: one of a DaemonSet, or the mirror of a static one. One that has
// ended holds nothing, and stays, too.
func Stays(p kubeapi.Object) bool {
	if _, mirror := p.Annotations()["kubernetes.io/config.mirror"]; mirror {
		return true
	}
	switch p.Map("status")["phase"] {
	case "Succeeded", "Failed":
		return true
	}
	return slices.ContainsFunc(p.Maps("metadata", "ownerReferences"), func(owner map[string]any) bool {
		return owner["kind"] == "DaemonSet" && owner["controller"] == true
	})
}

// list names some pods of all.
func list(left []string) string {
	const most = 4
	if n := len(left) - most; n > 0 {
		left = append(left[:most:most], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(left, ", ")
}

func orNone(text string) string {
	if text == "" {
		return "not known"
	}
	return text
}
