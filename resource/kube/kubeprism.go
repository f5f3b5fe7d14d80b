package kube

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	KubePrismConfigID    = "k8s-loadbalancer-config" // KubePrismConfig
	KubePrismEndpointsID = "k8s-cluster"             // KubePrismEndpoints
	KubePrismStatusID    = "k8s-loadbalancer"        // KubePrismStatus
)

// KubePrismConfig is how the node's own load balancer for the API servers runs.
type KubePrismConfig struct {
	Host      string              `yaml:"host" proto:"1"` // it listens at
	Port      int64               `yaml:"port" proto:"2"`
	Endpoints []KubePrismEndpoint `yaml:"endpoints" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (KubePrismConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubePrismConfigs.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Host", JSONPath: "{.host}"},
			{Name: "Port", JSONPath: "{.port}"},
			{Name: "Endpoints", JSONPath: "{.endpoints}"},
		},
	}
}

// KubePrismEndpoint is an API server.
type KubePrismEndpoint struct {
	Host string `yaml:"host" proto:"1"`
	Port uint32 `yaml:"port" proto:"2"`
}

// KubePrismEndpoints are the API servers that the load balancer may use.
type KubePrismEndpoints struct {
	Endpoints []KubePrismEndpoint `yaml:"endpoints" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (KubePrismEndpoints) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubePrismEndpoints.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Hosts", JSONPath: "{.endpoints[*].host}"},
			{Name: "Ports", JSONPath: "{.endpoints[*].port}"},
		},
	}
}

// KubePrismStatus says how the load balancer does.
type KubePrismStatus struct {
	Host    string `yaml:"host" proto:"1"`    // "host:port" it listens at
	Healthy bool   `yaml:"healthy" proto:"2"` // at least one API server answers
}

// ResourceDefinition implements [resource.Spec].
func (KubePrismStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubePrismStatuses.kubernetes.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "HOST", JSONPath: "{.host}"},
			{Name: "HEALTHY", JSONPath: "{.healthy}"},
		},
	}
}
