package kube

import "talos.internal/resource"

// AccessConfigID is the id of the only [AccessConfig].
const AccessConfigID = "config"

// AccessConfig says which pods may call the node's API.
type AccessConfig struct {
	Enabled                     bool     `yaml:"enabled" proto:"1"`
	AllowedAPIRoles             []string `yaml:"allowedAPIRoles" proto:"2"`
	AllowedKubernetesNamespaces []string `yaml:"allowedKubernetesNamespaces" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (AccessConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubernetesAccessConfigs.cluster.talos.dev", Namespace: ConfigNamespace, Sensitive: true,
	}
}
