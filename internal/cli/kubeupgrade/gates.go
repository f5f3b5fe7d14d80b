package kubeupgrade

import (
	"fmt"
	"slices"
	"strings"
)

// goneGates are the feature gates that a minor version does not know any more, and the one before did: a component that is given one does
// not start. They are the names in the sources of v1.36.3 (pkg/features of Kubernetes, and of the modules that it is built from) that those
// of v1.37.2 lack. No flag of a component went between these two.
var goneGates = map[int][]string{
	37: {
		"APIServerTracing", "AnonymousAuthConfigurableEndpoints", "AnyVolumeDataSource", "AuthorizeNodeWithSelectors",
		"AuthorizeWithSelectors", "BtreeWatchCache", "ConsistentListFromCache", "GangScheduling", "JobBackoffLimitPerIndex",
		"JobPodReplacementPolicy", "JobSuccessPolicy", "LogarithmicScaleDown", "OrderedNamespaceDeletion",
		"PodLifecycleSleepAction", "PodLifecycleSleepActionAllowZero", "PreventStaticPodAPIReferences",
		"RelaxedDNSSearchValidation", "ResilientWatchCacheInitialization", "RetryGenerateName", "SchedulerQueueingHints",
		"SidecarContainers", "StreamingCollectionEncodingToJSON", "StreamingCollectionEncodingToProtobuf",
		"StructuredAuthenticationConfiguration", "WorkloadAwarePreemption",
	},
}

// gatesOf returns the names of the feature gates that are set: in arguments, and in a configuration that has a mapping of them.
func gatesOf(args map[string][]string, configuration map[string]any) []string {
	var out []string
	for _, list := range args["feature-gates"] {
		for pair := range strings.SplitSeq(list, ",") {
			// A gate may be for one component of several: kube:Name=true.
			name, _, _ := strings.Cut(pair, "=")
			out = append(out, strings.TrimSpace(name[strings.LastIndexByte(name, ':')+1:]))
		}
	}
	if gates, ok := configuration["featureGates"].(map[string]any); ok {
		for name := range gates {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// checkGates returns a problem for each feature gate of the configs that keeps a component from starting with the new version.
func checkGates(machines []machine, from, to version) []error {
	var out []error
	for minor := from.minor + 1; minor <= to.minor; minor++ {
		for _, m := range machines {
			for _, c := range components {
				for _, gate := range m.gates[c] {
					if slices.Contains(goneGates[minor], gate) {
						out = append(out, fmt.Errorf("%s of %s sets the feature gate %s, which v1.%d does not know: it would not start; take it out of the config", c, m.name, gate, minor))
					}
				}
			}
		}
	}
	return out
}
