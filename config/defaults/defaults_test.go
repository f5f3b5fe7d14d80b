package defaults_test

import (
	"os"
	"strings"
	"testing"

	"talos.internal/config/defaults"
)

func TestVersionsAreThoseThatAreBuilt(t *testing.T) {
	text, err := os.ReadFile("../../components/versions")
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && !strings.HasPrefix(line, "#") {
			built[f[0]] = f[1]
		}
	}
	for name, version := range map[string]string{
		"kubernetes": defaults.Kubernetes, "etcd": defaults.Etcd, "coredns": defaults.CoreDNS, "flannel": defaults.Flannel,
	} {
		if built[name] != "v"+version {
			t.Errorf("the default version of %s is %s; components/versions builds %q", name, version, built[name])
		}
	}
}

func TestCheckKubernetes(t *testing.T) {
	for version, want := range map[string]string{
		defaults.Kubernetes: "", "1.36.3": "", "1.32.0": "", "1.37.0-rc.1": "",
		"1.31.9":  "expected a version of Kubernetes from 1.32 to 1.37",
		"1.38.0":  "expected a version of Kubernetes from 1.32 to 1.37",
		"v1.37.2": "expected a version of Kubernetes such as",
		"1.37":    "expected a version of Kubernetes such as",
		"1.37.02": "expected a version of Kubernetes such as",
		"1.37.2-": "expected a version of Kubernetes such as",
		"":        "expected a version of Kubernetes such as",
	} {
		err := defaults.CheckKubernetes(version)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("CheckKubernetes(%q) = %v; want %q", version, err, want)
		}
	}
}

func TestImagesOf(t *testing.T) {
	got := defaults.ImagesOf("1.36.3")
	if got.Kubelet != "talos.internal/kubelet:v1.36.3" || got.APIServer != "registry.k8s.io/kube-apiserver:v1.36.3" {
		t.Errorf("ImagesOf = %+v", got)
	}
}
