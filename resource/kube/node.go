package kube

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	NodenameID     = "nodename" // Nodename
	NodeCordonedID = "cordoned" // NodeCordonedSpec
)

// Nodename is the name of this node in Kubernetes.
type Nodename struct {
	Name                 string `yaml:"nodename" proto:"1"`
	HostnameVersion      string `yaml:"hostnameVersion" proto:"2"`      // of the HostnameStatus that it was made from
	SkipNodeRegistration bool   `yaml:"skipNodeRegistration" proto:"3"` // there will be no Node object
}

// ResourceDefinition implements [resource.Spec].
func (Nodename) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Nodenames.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Nodename", JSONPath: "{.nodename}"}},
	}
}

// NodeIP are the addresses of this node in Kubernetes: at most one of each family. Its id is
// [KubeletID].
type NodeIP struct {
	Addresses []netip.Addr `yaml:"addresses" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeIP) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeIPs.kubernetes.talos.dev", Namespace: Namespace,
	}
}

// NodeIPConfig is how these addresses are chosen. Its id is [KubeletID].
type NodeIPConfig struct {
	ValidSubnets   []string `yaml:"validSubnets" proto:"1"` // empty is any
	ExcludeSubnets []string `yaml:"excludeSubnets" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeIPConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeIPConfigs.kubernetes.talos.dev", Namespace: Namespace,
	}
}

// NodeStatus is what the Node object of this node says. Its id is the name of the node.
type NodeStatus struct {
	Nodename      string            `yaml:"nodename" proto:"1"`
	NodeReady     bool              `yaml:"nodeReady" proto:"2"`
	Unschedulable bool              `yaml:"unschedulable" proto:"3"`
	Labels        map[string]string `yaml:"labels" proto:"4"`
	Annotations   map[string]string `yaml:"annotations" proto:"5"`
	PodCIDRs      []netip.Prefix    `yaml:"podCIDRs" proto:"6"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeStatuses.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Ready", JSONPath: "{.nodeReady}"},
			{Name: "Unschedulable", JSONPath: "{.unschedulable}"},
		},
	}
}

// NodeLabelSpec is a label that the Node object should have. Its id is the key.
type NodeLabelSpec struct {
	Key   string `yaml:"key" proto:"1"`
	Value string `yaml:"value" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeLabelSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeLabelSpecs.k8s.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{{Name: "Value", JSONPath: "{.value}"}},
	}
}

// NodeAnnotationSpec is an annotation that the Node object should have. Its id is the key.
type NodeAnnotationSpec struct {
	Key   string `yaml:"key" proto:"1"`
	Value string `yaml:"value" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeAnnotationSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeAnnotationSpecs.k8s.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{{Name: "Value", JSONPath: "{.value}"}},
	}
}

// NodeTaintSpec is a taint that the Node object should have. Its id is the key.
type NodeTaintSpec struct {
	Key    string `yaml:"key" proto:"1"`
	Effect string `yaml:"effect" proto:"2"`
	Value  string `yaml:"value" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (NodeTaintSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeTaintSpecs.k8s.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{
			{Name: "Effect", JSONPath: "{.effect}"},
			{Name: "Value", JSONPath: "{.value}"},
		},
	}
}

// NodeCordonedSpec is there while no new pods should come to this node.
type NodeCordonedSpec struct{}

// ResourceDefinition implements [resource.Spec].
func (NodeCordonedSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NodeCordonedSpecs.k8s.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}
