package sysdoc_test

import (
	"testing"

	"talos.internal/config/doctest"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

var suite = doctest.Suite{
	Kinds: sysdoc.Kinds(), Check: sysdoc.Check, Keys: wantKeys, Required: required,
	Dependent: []string{"DiscoveryServiceConfig"}, // it needs an identity, which another document has
	Samples:   map[schema.Role]int{schema.ControlPlane: 4, schema.Worker: 4},
}

func TestDocuments(t *testing.T) { suite.Run(t) }

func FuzzDecode(f *testing.F) { suite.Fuzz(f) }
