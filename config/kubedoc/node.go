package kubedoc

import (
	"maps"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeNodeConfig says how the machine presents itself to Kubernetes as a Node: its address, labels, annotations and
// taints.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeNodeConfig
//	nodeIP:
//	    validSubnets:
//	        - 10.5.0.0/24
//	labels:
//	    topology.kubernetes.io/zone: rack-2
//	taints:
//	    example.com/gpu: "true:NoSchedule"
type KubeNodeConfig struct {
	// SkipNodeRegistration makes the kubelet run without a Node object: it runs static pods only.
	SkipNodeRegistration bool `yaml:"skipNodeRegistration"`
	// RegisterWithFQDN makes the Node's name the host name with its domain instead of the host name alone.
	RegisterWithFQDN bool `yaml:"registerWithFQDN"`
	// NodeIP selects the Node's addresses among the machine's. Left out, it is the first address of each family that pods
	// have.
	NodeIP *NodeIPConfig `yaml:"nodeIP"`
	// Labels are the Node's labels. One that is taken out here is removed from the Node. A worker may not set labels under
	// kubernetes.io and k8s.io, such as node-role.kubernetes.io/…, but for a few: the API server refuses them.
	//
	// Example:
	//
	//	labels:
	//	    example.com/rack: r2
	Labels map[string]string `yaml:"labels"`
	// Annotations are the Node's annotations. One that is taken out here is removed from the Node.
	//
	// Example:
	//
	//	annotations:
	//	    example.com/owner: team-a
	Annotations map[string]string `yaml:"annotations"`
	// Taints are the Node's taints by key; each value is VALUE:EFFECT or EFFECT alone, where the effect is NoSchedule,
	// PreferNoSchedule or NoExecute. On a worker they are set when the Node is registered, not later.
	//
	// Example:
	//
	//	taints:
	//	    node-role.kubernetes.io/control-plane: NoSchedule
	//	    example.com/gpu: "true:PreferNoSchedule"
	Taints map[string]string `yaml:"taints"`
}

// NodeIPConfig selects the Node's addresses.
type NodeIPConfig struct {
	// ValidSubnets are the prefixes that a Node's address must be in; with a leading "!", must not be in. Left out, any
	// address will do.
	//
	// Example:
	//
	//	validSubnets:
	//	    - 10.5.0.0/24
	//	    - "!10.5.0.100/32"
	ValidSubnets []scalar.Subnet `yaml:"validSubnets"`
}

// DocumentKind implements [schema.Document].
func (*KubeNodeConfig) DocumentKind() string { return "KubeNodeConfig" }

// ParsedTaints returns the taints sorted by key; those that do not parse are left out.
func (c *KubeNodeConfig) ParsedTaints() []Taint {
	var out []Taint
	for _, k := range slices.Sorted(maps.Keys(c.Taints)) {
		if t, err := parseTaint(k, c.Taints[k]); err == nil {
			out = append(out, t)
		}
	}
	return out
}

// Validate implements [schema.Validator].
func (c *KubeNodeConfig) Validate(r *schema.Reporter) {
	checkLabels(c.Labels, r.At("labels"))
	checkAnnotations(c.Annotations, r.At("annotations"))
	for _, k := range slices.Sorted(maps.Keys(c.Taints)) {
		at := r.At("taints").At(k)
		if err := qualifiedName(k); err != nil {
			at.Errorf("expected a taint key such as example.com/gpu, got %q: %v", clip(k), err)
		}
		if _, err := parseTaint(k, c.Taints[k]); err != nil {
			at.Errorf("expected EFFECT or VALUE:EFFECT such as NoSchedule or true:NoExecute, got %q: %v", clip(c.Taints[k]), err)
		}
	}
	if c.SkipNodeRegistration && len(c.Labels)+len(c.Annotations)+len(c.Taints) > 0 {
		r.At("skipNodeRegistration").Warnf("take them out, or let the node register",
			"labels, annotations and taints have no effect without a Node")
	}
}

// restrictedLabel reports whether the admission plugin NodeRestriction keeps a node from setting label key on itself
// (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction).
func restrictedLabel(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok {
		return false
	}
	within := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	switch {
	case within("node-restriction.kubernetes.io"):
		return true
	case !within("kubernetes.io") && !within("k8s.io"):
		return false
	case within("kubelet.kubernetes.io") || within("node.kubernetes.io"):
		return false
	}
	return !slices.Contains([]string{
		"kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os",
		"beta.kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type",
		"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone",
	}, key)
}
