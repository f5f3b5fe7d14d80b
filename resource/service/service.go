package service

import "talos.internal/resource"

// Service says how a service of the node does: apid, etcd, kubelet and so on. Its id is the name; a
// service that is not there does not run and is not meant to.
type Service struct {
	Running       bool `yaml:"running" proto:"1"`
	Healthy       bool `yaml:"healthy" proto:"2"` // its last check succeeded
	HealthUnknown bool `yaml:"unknown" proto:"3"` // it was not checked yet, or has no check
}

// ResourceDefinition implements [resource.Spec].
func (Service) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Services.v1alpha1.talos.dev", Namespace: Namespace,
		Aliases: []string{"svc"},
		Columns: []resource.Column{
			{Name: "Running", JSONPath: "{.running}"},
			{Name: "Healthy", JSONPath: "{.healthy}"},
			{Name: "Health Unknown", JSONPath: "{.unknown}"},
		},
	}
}

// AcquireConfigSpec is there once the config may be looked for.
type AcquireConfigSpec struct{}

// ResourceDefinition implements [resource.Spec].
func (AcquireConfigSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AcquireConfigSpecs.v1alpha1.talos.dev", Namespace: Namespace,
	}
}

// AcquireConfigStatus is there once a config was found.
type AcquireConfigStatus struct{}

// ResourceDefinition implements [resource.Spec].
func (AcquireConfigStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AcquireConfigStatuses.v1alpha1.talos.dev", Namespace: Namespace,
	}
}
