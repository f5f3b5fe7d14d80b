package kube

import (
	"testing"

	"talos.internal/resource"
)

// TestObjectsAreTheirOwnYAML holds that a person who reads these resources sees the object itself, as
// the column of StaticPodStatuses expects.
func TestObjectsAreTheirOwnYAML(t *testing.T) {
	pod := map[string]any{"kind": "Pod", "spec": map[string]any{"hostNetwork": true}}
	for _, tt := range []struct {
		name string
		r    resource.Resource
		want string
	}{
		{"pod", resource.New("a", StaticPod{Pod: pod}), "kind: Pod\nspec:\n    hostNetwork: true\n"},
		{"status", resource.New("a", StaticPodStatus{PodStatus: map[string]any{"phase": "Running"}}), "phase: Running\n"},
		{"manifest", resource.New("a", Manifest{Items: []Object{{Object: pod}}}), "items:\n    - kind: Pod\n      spec:\n        hostNetwork: true\n"},
		{"nothing", resource.New("a", StaticPod{}), "{}\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.r.SpecYAML()
			if err != nil || string(got) != tt.want {
				t.Errorf("SpecYAML = %s, %v; want %s", got, err, tt.want)
			}
			back, err := tt.r.Type().Decode(tt.r.Metadata(), nil, got)
			if err != nil || !back.SpecEqual(tt.r) {
				t.Errorf("Decode(%s) = %v; it differs", got, err)
			}
		})
	}
}
