package nodectrl

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/state"
)

var (
	nodeKind  = kubeapi.KindOf("v1", "Node")
	sliceKind = kubeapi.KindOf("discovery.k8s.io/v1", "EndpointSlice")
)

// StatusController says what the Node object of this machine says.
type StatusController struct{ Deps Deps }

// Name implements [controller.Controller].
func (*StatusController) Name() string { return "k8s.NodeStatusController" }

// Inputs implements [controller.Controller].
func (*StatusController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.KubeletKubeconfig]().Named(kube.KubeletID), controller.Weak[kube.Nodename]().Named(kube.NodenameID),
		controller.DestroyReady[kube.NodeStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*StatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.NodeStatus]()}
}

// Run implements [controller.Controller].
func (c *StatusController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var watched credentials
	var name string
	var f *follower
	defer func() { f.stop() }()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		node, err := state.Lookup[kube.Nodename](ctx, rt, kube.NodenameID)
		if err != nil {
			return err
		}
		keys, waiting, err := c.Deps.kubeletCredentials(ctx, rt)
		if err != nil {
			return err
		}
		wanted := waiting == "" && node != nil && !node.SkipNodeRegistration
		if f != nil && (!wanted || watched != keys || name != node.Name) {
			f.stop()
			f = nil
		}
		if wanted && f == nil {
			client, err := c.Deps.connect(keys)
			if err != nil {
				return err
			}
			watched, name = keys, node.Name
			f = follow(ctx, client, nodeKind, "", kubeapi.ListOptions{Fields: "metadata.name=" + name}, rt.Wake, log)
		}
		rt.TrackOutputs()
		if f != nil {
			items, known := f.get()
			if !known {
				return nil // what was there last stays until it is known better
			}
			for _, item := range items {
				if err := state.Put(ctx, rt, item.Name(), statusOf(item)); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// statusOf is what is kept of a Node.
func statusOf(node kubeapi.Object) kube.NodeStatus {
	out := kube.NodeStatus{Nodename: node.Name(), Labels: node.Labels(), Annotations: node.Annotations()}
	out.Unschedulable, _ = node.Map("spec")["unschedulable"].(bool)
	ready, _ := node.Condition("Ready")
	out.NodeReady = ready == "True"
	cidrs, _ := node.Map("spec")["podCIDRs"].([]any)
	for _, v := range cidrs {
		if p, err := netip.ParsePrefix(text(v)); err == nil {
			out.PodCIDRs = append(out.PodCIDRs, p)
		}
	}
	return out
}

// EndpointController says where the API of the cluster says that API servers are.
type EndpointController struct{ Deps Deps }

// Name implements [controller.Controller].
func (*EndpointController) Name() string { return "k8s.EndpointController" }

// Inputs implements [controller.Controller].
func (*EndpointController) Inputs() []controller.Input {
	return append(credentialInputs(), controller.DestroyReady[kube.Endpoint]())
}

// Outputs implements [controller.Controller].
func (*EndpointController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[kube.Endpoint]()}
}

// Run implements [controller.Controller].
func (c *EndpointController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var watched credentials
	var f *follower
	defer func() { f.stop() }()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		keys, waiting, err := c.Deps.credentialsOf(ctx, rt)
		if err != nil {
			return err
		}
		if f != nil && watched != keys {
			f.stop()
			f = nil
		}
		if f == nil && waiting == "" {
			client, err := c.Deps.connect(keys)
			if err != nil {
				return err
			}
			watched = keys
			// The slices of a service have its name in a label; there is one for each family, or more.
			f = follow(ctx, client, sliceKind, "default", kubeapi.ListOptions{Labels: "kubernetes.io/service-name=kubernetes"}, rt.Wake, log)
		}
		rt.TrackOutputs()
		if f != nil {
			items, known := f.get()
			if !known {
				return nil
			}
			if addresses := addressesOf(items); len(addresses) > 0 {
				if err := state.Put(ctx, rt, kube.EndpointAPIServer, kube.Endpoint{Addresses: addresses}); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// addressesOf returns the addresses in slices, sorted, each once.
func addressesOf(items []kubeapi.Object) []netip.Addr {
	var out []netip.Addr
	for _, item := range items {
		for _, e := range item.Maps("endpoints") {
			if ready, ok := kubeapi.Object(e).Map("conditions")["ready"].(bool); ok && !ready {
				continue
			}
			list, _ := e["addresses"].([]any)
			for _, v := range list {
				if a, err := netip.ParseAddr(text(v)); err == nil {
					out = append(out, a)
				}
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
