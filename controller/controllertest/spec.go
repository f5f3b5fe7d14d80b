package controllertest

import "talos.internal/resource"

// ASpec and BSpec are two types for tests of controllers in general.
type ASpec struct {
	Text string `yaml:"text"`
	N    int    `yaml:"n"`
}

// ResourceDefinition implements [resource.Spec].
func (ASpec) ResourceDefinition() resource.Definition {
	return resource.Definition{Type: "As.test.talos.dev", Namespace: "test"}
}

// BSpec is like ASpec.
type BSpec struct {
	Text string `yaml:"text"`
	N    int    `yaml:"n"`
}

// ResourceDefinition implements [resource.Spec].
func (BSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{Type: "Bs.test.talos.dev", Namespace: "test"}
}
