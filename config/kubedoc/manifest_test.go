package kubedoc_test

import (
	"fmt"
	"strings"
	"testing"

	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
)

// largeManifest has the size and shape of a CNI's: custom resource definitions.
func largeManifest() string {
	var b strings.Builder
	for i := 0; b.Len() < 200<<10; i++ {
		fmt.Fprintf(&b, "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n    name: things%d.example.com\nspec:\n", i)
		for j := range 100 {
			fmt.Fprintf(&b, "    property%d:\n        description: what the property means to a user\n        type: string\n", j)
		}
	}
	return b.String()
}

func TestLargeManifestIsValid(t *testing.T) {
	var report schema.Report
	c := &kubedoc.KubeInlineManifestConfig{Name: "cni", Manifest: largeManifest()}
	c.Validate(schema.NewReporter(&report, "", "", nil))
	if len(report) > 0 {
		t.Errorf("Validate(a manifest of %d bytes) = %v; want no problem", len(c.Manifest), report)
	}
}

func BenchmarkInlineManifest(b *testing.B) {
	c := &kubedoc.KubeInlineManifestConfig{Name: "cni", Manifest: largeManifest()}
	b.SetBytes(int64(len(c.Manifest)))
	for b.Loop() {
		var report schema.Report
		c.Validate(schema.NewReporter(&report, "", "", nil))
		if len(report) > 0 {
			b.Fatal(report)
		}
	}
}
