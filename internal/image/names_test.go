package image

import (
	"os"
	"slices"
	"strings"
	"testing"

	"talos.internal/config/defaults"
	"talos.internal/internal/buildinfo"
)

// A cluster whose config says nothing about images finds all of them in the cache.
func TestImagesHaveTheNamesThatConfigsHaveByDefault(t *testing.T) {
	text, err := os.ReadFile("../../components/versions")
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]Component{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && !strings.HasPrefix(line, "#") {
			built[f[0]] = Component{Version: f[1], Licence: f[2]}
		}
	}
	built[Node] = Component{Version: buildinfo.Version}
	specs, err := Expand(Specs(), built)
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, s := range specs {
		there = append(there, s.Ref)
	}
	older := strings.TrimPrefix(built["kubernetes-1.36"].Version, "v")
	for _, kubernetes := range []string{defaults.Kubernetes, older} {
		if !slices.Contains(there, NodeRef(buildinfo.Version)) {
			t.Errorf("the image cache has no %s; it has %v", NodeRef(buildinfo.Version), there)
		}
		i := defaults.ImagesOf(kubernetes)
		for _, want := range []string{i.APIServer, i.ControllerManager, i.Scheduler, i.Proxy, i.Kubelet, i.Etcd, i.CoreDNS, i.Flannel} {
			if !slices.Contains(there, want) {
				t.Errorf("the image cache has no %s; it has %v", want, there)
			}
		}
	}
}
