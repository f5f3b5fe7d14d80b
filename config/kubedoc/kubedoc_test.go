package kubedoc_test

import (
	"testing"

	"talos.internal/config/doctest"
	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
)

var suite = doctest.Suite{
	Kinds: kubedoc.Kinds(), Check: kubedoc.Check, Keys: wantKeys, Required: required,
	Samples: map[schema.Role]int{schema.ControlPlane: 20, schema.Worker: 6},
}

func TestDocuments(t *testing.T) { suite.Run(t) }

func FuzzDecode(f *testing.F) { suite.Fuzz(f) }
