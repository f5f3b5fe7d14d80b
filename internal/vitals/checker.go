package vitals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"talos.internal/api/clusterpb"
	"talos.internal/client"
)

// Checker runs the checks on a node of the control plane, for cluster.ClusterService.
type Checker struct {
	// Client returns a client that reaches all machines of the cluster as an administrator, and the name that this node has
	// with it. It is called for each run, which closes the client.
	Client func() (c *client.Client, self string, err error)
}

// Check runs all checks until they have passed or ctx ends. The machines are those of in, or those of discovery if it names
// none, which are waited for. say gets lines in the form of talosctl; its error ends the run and is returned. At the end of the time
// the error is an [*Error].
func (s Checker) Check(ctx context.Context, in *clusterpb.ClusterInfo, say func(string) error) error {
	c, self, err := s.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	var nodes []Node
	for _, n := range in.GetControlPlaneNodes() {
		nodes = append(nodes, NewNode(hostOf(n), true))
	}
	for _, n := range in.GetWorkerNodes() {
		nodes = append(nodes, NewNode(hostOf(n), false))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tell := func(e Event) {
		if err := say(e.Line()); err != nil {
			cancel(err)
		}
	}
	if len(nodes) == 0 {
		nodes, err = AwaitMembers(ctx, c, self, tell)
	}
	if err == nil {
		err = Run(ctx, Options{Nodes: nodes, Machines: NewMachines(c), Kubernetes: Access(c, []string{self}, in.GetForceEndpoint())}, tell)
	}
	// At the end of the time, err says what is missing; at any other end, the cause is why.
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return err
}

// Known is what is waited for before there is anything to check.
const Known = "the machines of the cluster to be known"

// AwaitMembers returns the machines of the cluster as a node knows them, as soon as one of the control plane is among them. say
// hears of what is waited for. The error is that ctx has ended, with what was last seen.
func AwaitMembers(ctx context.Context, c *client.Client, node string, say func(Event)) ([]Node, error) {
	last := ""
	for {
		within, cancel := context.WithTimeout(ctx, Limit)
		found, err := Members(within, c, node)
		cancel()
		if slices.ContainsFunc(found, func(n Node) bool { return n.ControlPlane }) {
			return found, nil
		}
		why := "discovery knows of no machines of the control plane yet"
		if err != nil {
			why = explain(err)
		}
		if why != last && ctx.Err() == nil {
			last = why
			say(Event{Check: Known, State: Waiting, Text: why})
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the machines of the cluster are not known (%w): %s", context.Cause(ctx), last)
		case <-time.After(interval):
		}
	}
}

// Access returns how a run gets to Kubernetes: by a kubeconfig from the first of the nodes that gives one. A server that is not
// "" is called instead of the one in the kubeconfig.
func Access(c *client.Client, nodes []string, server string) func(ctx context.Context) (Kubernetes, error) {
	return func(ctx context.Context) (Kubernetes, error) {
		data, err := FirstKubeconfig(ctx, c, nodes)
		if err != nil {
			return nil, err
		}
		return NewKubernetes(data, server)
	}
}

// FirstKubeconfig returns the kubeconfig of the first of the nodes that gives one. All are asked at once.
func FirstKubeconfig(ctx context.Context, c *client.Client, nodes []string) ([]byte, error) {
	var errs []error
	for _, r := range client.Each(ctx, nodes, func(ctx context.Context, node string) ([]byte, error) { return Kubeconfig(ctx, c, node) }) {
		if r.Err == nil {
			return r.Value, nil
		}
		errs = append(errs, r.Err)
	}
	return nil, errors.Join(errs...)
}

// Line is an event as people read it, as published for checks.
func (e Event) Line() string {
	switch {
	case e.Check == "" && e.Text == "":
		return e.Node + " answers again"
	case e.Check == "":
		return e.Node + " does not answer: " + e.Text
	case e.State == Passed:
		return fmt.Sprintf("waiting for %s: OK", e.Check)
	case e.State == Skipped:
		return fmt.Sprintf("waiting for %s: SKIP (%s)", e.Check, e.Text)
	}
	return fmt.Sprintf("waiting for %s: %s", e.Check, e.Text)
}
