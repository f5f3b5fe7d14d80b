// Package meta is what the state says about itself: the namespaces there are and the definitions of
// the types, both as resources, so that a client that knows no type can list, name and print them all.
//
// Both types live in the namespace [Namespace]. The API serves only what has a namespace and a
// definition here; see package state for the policy and for registration.
package meta

import (
	"fmt"
	"slices"
	"strings"

	"talos.internal/resource"
)

// Namespace is the namespace of the resources of this package.
const Namespace = "meta"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{resource.TypeOf[NamespaceSpec](), resource.TypeOf[DefinitionSpec]()}
}

// NamespaceSpec says what a namespace is for; its name is the id. (Message cosi.resource.NamespaceSpec.)
type NamespaceSpec struct {
	Description string `yaml:"description" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (NamespaceSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type:      "Namespaces.meta.cosi.dev",
		Namespace: Namespace,
		Aliases:   []string{"ns"},
		Columns:   []resource.Column{{Name: "Description", JSONPath: "{.description}"}},
	}
}

// NewNamespace returns the resource for the namespace name.
func NewNamespace(name, description string) *resource.Typed[NamespaceSpec] {
	return resource.New(name, NamespaceSpec{Description: description})
}

// DefinitionSpec is a [resource.Definition] as a client reads it; its id is the type in lower case.
// (Message cosi.resource.ResourceDefinitionSpec.)
type DefinitionSpec struct {
	Type             string        `yaml:"type" proto:"1"`
	DisplayType      string        `yaml:"displayType" proto:"2"`
	DefaultNamespace string        `yaml:"defaultNamespace" proto:"3"`
	Aliases          []string      `yaml:"aliases" proto:"4"`
	AllAliases       []string      `yaml:"allAliases" proto:"5"`
	PrintColumns     []PrintColumn `yaml:"printColumns" proto:"6"`
	Sensitivity      Sensitivity   `yaml:"sensitivity" proto:"7"`
}

// PrintColumn is one column of a table: a heading and a JSONPath into the spec.
type PrintColumn struct {
	Name     string `yaml:"name" proto:"1"`
	JSONPath string `yaml:"jsonPath" proto:"2"`
}

// Sensitivity says who may read resources of a type.
type Sensitivity string

const (
	NonSensitive Sensitivity = ""          // every role that may read
	Sensitive    Sensitivity = "sensitive" // administrators only
)

// ProtoEnum implements [resource.ProtoEnum].
func (s Sensitivity) ProtoEnum() int32 {
	if s == NonSensitive {
		return 0
	}
	return 1
}

// SetProtoEnum implements [resource.ProtoEnumSetter]. A value from a newer peer is taken for
// sensitive: the other guess could show a secret.
func (s *Sensitivity) SetProtoEnum(n int32) error {
	*s = Sensitive
	if n == 0 {
		*s = NonSensitive
	}
	return nil
}

// ResourceDefinition implements [resource.Spec].
func (DefinitionSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type:      "ResourceDefinitions.meta.cosi.dev",
		Namespace: Namespace,
		Aliases:   []string{"api-resources"},
		Columns:   []resource.Column{{Name: "Aliases", JSONPath: "{.aliases[:]}"}},
	}
}

// NewDefinition returns the resource that describes d.
func NewDefinition(d resource.Definition) *resource.Typed[DefinitionSpec] {
	spec := DefinitionSpec{
		Type:             d.Type,
		DisplayType:      d.DisplayType(),
		DefaultNamespace: d.Namespace,
		Aliases:          d.Aliases,
		AllAliases:       d.AllAliases(),
	}
	for _, c := range d.Columns {
		spec.PrintColumns = append(spec.PrintColumns, PrintColumn(c))
	}
	if d.Sensitive {
		spec.Sensitivity = Sensitive
	}
	return resource.New(d.ID(), spec)
}

// Resolve returns the definition that a person means by name: one whose full type or id is name in
// any case, otherwise the only one which has name among its aliases. The error says that there is
// none, or names all the types between which name does not decide.
func Resolve(definitions []DefinitionSpec, name string) (DefinitionSpec, error) {
	lower := strings.ToLower(name)
	var found []DefinitionSpec
	for _, d := range definitions {
		if strings.ToLower(d.Type) == lower {
			return d, nil
		}
		if slices.Contains(d.AllAliases, lower) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return DefinitionSpec{}, fmt.Errorf("no resource type is called %q", name)
	case 1:
		return found[0], nil
	}
	types := make([]string, 0, len(found))
	for _, d := range found {
		types = append(types, strings.ToLower(d.Type))
	}
	slices.Sort(types)
	return DefinitionSpec{}, fmt.Errorf("%q may be any of %s", name, strings.Join(types, ", "))
}
