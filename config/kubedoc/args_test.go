package kubedoc_test

import (
	"testing"

	"talos.internal/config/kubedoc"
)

func TestDeniedArg(t *testing.T) {
	for _, c := range []struct {
		component, name string
		denied          bool
	}{
		{"kube-apiserver", "etcd-servers", true},
		{"kube-apiserver", "tls_min_version", true},
		{"kube-apiserver", "v", false},
		{"kube-controller-manager", "authentication-kubeconfig", true},
		{"kube-controller-manager", "config", false},
		{"kube-scheduler", "config", true},
		{"kubelet", "cert-dir", true},
		{"kubelet", "node-labels", false},
	} {
		if err := kubedoc.DeniedArg(c.component, c.name); (err != nil) != c.denied {
			t.Errorf("DeniedArg(%s, %s) = %v; want an error: %v", c.component, c.name, err, c.denied)
		}
	}
}
