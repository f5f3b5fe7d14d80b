package netctrl

import (
	"context"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// merger is the controller that merges the wishes of one kind.
func merger[S resource.Spec](name string, decide func([]Wish[S]) map[string]S) controller.Controller {
	return controller.Pass{
		ControllerName: name, From: []controller.Input{controller.Weak[S]().In(network.ConfigNamespace)}, To: []controller.Output{controller.Exclusive[S]()},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			list, err := controller.Running[S](ctx, rt, state.In(network.ConfigNamespace))
			if err != nil {
				return err
			}
			all := make([]Wish[S], 0, len(list))
			for _, r := range list {
				all = append(all, Wish[S]{r.Metadata().ID(), r.Spec()})
			}
			for id, spec := range decide(all) {
				if err := controller.Put(ctx, rt, id, spec); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func mergeAddresses() controller.Controller {
	return merger("network.AddressMergeController", MergeAddresses)
}
func mergeLinks() controller.Controller  { return merger("network.LinkMergeController", MergeLinks) }
func mergeRoutes() controller.Controller { return merger("network.RouteMergeController", MergeRoutes) }
func mergeProbes() controller.Controller { return merger("network.ProbeMergeController", MergeProbes) }
func mergeRoutingRules() controller.Controller {
	return merger("network.RoutingRuleMergeController", MergeRoutingRules)
}
func mergeHostnames() controller.Controller {
	return merger("network.HostnameMergeController", MergeHostnames)
}
func mergeResolvers() controller.Controller {
	return merger("network.ResolverMergeController", MergeResolvers)
}
func mergeTimeServers() controller.Controller {
	return merger("network.TimeServerMergeController", MergeTimeServers)
}
func mergeOperators() controller.Controller {
	return merger("network.OperatorMergeController", MergeOperators)
}
