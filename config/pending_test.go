package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
)

func TestPendingHasKindsAndFieldsThatExist(t *testing.T) {
	root := schema.TypeOf(reflect.TypeFor[rootdoc.Config]())
	for i, name := range pending {
		if slices.Index(pending, name) != i {
			t.Errorf("pending has %s twice", name)
		}
		if _, ok := Registry().Kind(name); ok {
			continue
		}
		at := root
		for key := range strings.SplitSeq(name, ".") {
			f := at.Field(key)
			if f == nil {
				t.Errorf("pending has %s, which is neither a kind nor a field of the root document", name)
				break
			}
			at = f.Type
		}
	}
}
