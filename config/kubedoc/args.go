package kubedoc

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// denial is an argument that a config may not set, because the system sets it and other parts rely on its value.
type denial struct {
	// flag is the argument's name; a "*" stands for any characters.
	flag string
	// why completes "it cannot be set: …"; instead says what to do.
	why, instead string
}

const (
	byPKI      = "the system makes the certificate and renews it"
	byEndpoint = "the system writes the file with the node's own credentials"
)

// The arguments that are denied, by component (the contract's "denied overrides").
var (
	apiServerDenied = []denial{
		{"etcd-*", "the address of etcd and the credentials for it are this node's", "set etcd under cluster.etcd of the root document"},
		{"client-ca-file", "the file is made from the accepted authorities", "add yours to acceptedCAs of KubeAPIServerCAConfig"},
		{"requestheader-client-ca-file", "the file is made from the aggregator's authorities",
			"add yours to acceptedCAs of KubeAggregatorCAConfig"},
		{"proxy-client-*", byPKI, "set issuingCA of KubeAggregatorCAConfig"},
		{"kubelet-client-*", byPKI, "set issuingCA of KubeAPIServerCAConfig"},
		{"service-account-key-file", "the file is made from the accepted keys", "add yours to accepted.publicKeys of KubeServiceAccountConfig"},
		{"service-account-signing-key-file", "the file is made from the issuer's key", "set issuer.privateKey of KubeServiceAccountConfig"},
		{"tls-cert-file", byPKI, "set certExtraSANs of KubeAPIServerConfig for more names in it"},
		{"tls-private-key-file", byPKI, "set certExtraSANs of KubeAPIServerConfig for more names in the certificate"},
		{"tls-min-version", "the API is served with TLS 1.3 only", "leave it out"},
		{"encryption-provider-config", "the system writes the file", "set config of KubeEtcdEncryptionConfig"},
		{"authentication-config", "the system writes the file", "set configuration of KubeAuthenticationConfig"},
		{"authorization-config", "the system writes the file", "add a KubeAuthorizerConfig document"},
	}
	controllerManagerDenied = []denial{
		{"cluster-signing-*", "it signs with the cluster's own authority", "set issuingCA of KubeAPIServerCAConfig"},
		{"*-kubeconfig", byEndpoint, "leave it out"},
		{"kubeconfig", byEndpoint, "leave it out"},
		{"root-ca-file", "the file is made from the accepted authorities", "add yours to acceptedCAs of KubeAPIServerCAConfig"},
		{"service-account-private-key-file", "the file is made from the issuer's key", "set issuer.privateKey of KubeServiceAccountConfig"},
	}
	schedulerDenied = []denial{
		{"config", "the system writes the file", "set config of KubeSchedulerConfig"},
		{"*-kubeconfig", byEndpoint, "leave it out"},
		{"kubeconfig", byEndpoint, "leave it out"},
	}
	kubeletDenied = []denial{
		{"kubeconfig", byEndpoint, "leave it out"},
		{"bootstrap-kubeconfig", "the system writes the file with the bootstrap token", "set cluster.token of the root document"},
		{"container-runtime-endpoint", "the kubelet uses this system's container runtime", "leave it out"},
		{"config", "the system writes the file", "set config of KubeletConfig"},
		{"cert-dir", "the system keeps the kubelet's certificates", "leave it out"},
	}
)

// matches reports whether name, normalised, is what d denies.
func (d denial) matches(name string) bool {
	before, after, open := strings.Cut(d.flag, "*")
	if !open {
		return name == d.flag
	}
	return len(name) > len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// DeniedArg returns why a config may not set an argument of a component, nil if it may. The component is kube-apiserver,
// kube-controller-manager, kube-scheduler or kubelet. Validation refuses these arguments; whoever puts a command line together
// asks again, so that no other way leads around it.
func DeniedArg(component, name string) error {
	denied := map[string][]denial{
		"kube-apiserver": apiServerDenied, "kube-controller-manager": controllerManagerDenied,
		"kube-scheduler": schedulerDenied, "kubelet": kubeletDenied,
	}
	flag := strings.ReplaceAll(name, "_", "-")
	for _, d := range denied[component] {
		if d.matches(flag) {
			return fmt.Errorf("the argument %s of %s cannot be set: %s; %s", flag, component, d.why, d.instead)
		}
	}
	return nil
}

// checkArgs reports arguments of component that are misspelt or denied.
func checkArgs(component string, args scalar.Args, denied []denial, r *schema.Reporter) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		at := r.At(name)
		if !checkArgName(name, at) {
			continue
		}
		// Components of Kubernetes read "_" in the name of a flag as "-".
		flag := strings.ReplaceAll(name, "_", "-")
		for _, d := range denied {
			if d.matches(flag) {
				at.Hintf(d.instead, "the argument %s of the %s cannot be set: %s", flag, component, d.why)
				break
			}
		}
	}
}

// checkArgName reports the name of an argument that cannot be one, and whether it is fine.
func checkArgName(name string, r *schema.Reporter) bool {
	bare := strings.TrimLeft(name, "-")
	switch key, _, assigned := strings.Cut(bare, "="); {
	case bare != name && bare != "":
		r.Hintf("write "+key, "expected the name of an argument without leading hyphens, got %q", clip(name))
		return false
	case assigned:
		r.Hintf("write the value after the colon", "expected the name of an argument such as %s, got %q", key, clip(name))
		return false
	case name == "" || !isAlphanumeric(name[0]) || strings.ContainsFunc(name, func(c rune) bool {
		return c > 'z' || !isAlphanumeric(byte(c)) && c != '-' && c != '_' && c != '.'
	}):
		r.Errorf("expected the name of an argument such as v or feature-gates, got %q", clip(name))
		return false
	}
	return true
}
