package kubedoc

import (
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubePrismConfig turns on KubePrism: a load balancer on each machine's loopback address that leads to every API server
// of the cluster. The system's own clients and host-network pods keep working while the cluster's endpoint does not.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubePrismConfig
//	port: 7445
type KubePrismConfig struct {
	// Port is the TCP port on the loopback address, from 1 to 65535; 7445 is customary.
	Port uint16 `yaml:"port" required:"true"`
	// TLSServerName is the name that the API servers' certificates are checked for. Left out, it is the host name of the
	// cluster's endpoint.
	TLSServerName string `yaml:"tlsServerName"`
}

// DocumentKind implements [schema.Document].
func (*KubePrismConfig) DocumentKind() string { return "KubePrismConfig" }

// Validate implements [schema.Validator].
func (c *KubePrismConfig) Validate(r *schema.Reporter) {
	checkPort(c.Port, r.At("port"))
	if c.TLSServerName != "" && !isServerName(c.TLSServerName) {
		r.At("tlsServerName").Errorf("expected a host name or an address such as api.example.com, got %q", clip(c.TLSServerName))
	}
}

func checkPort(port uint16, r *schema.Reporter) {
	if port == 0 {
		r.Errorf("expected a port from 1 to 65535, got 0")
	}
}

// isServerName reports whether a certificate can be issued for s: an address or a host name.
func isServerName(s string) bool {
	var a scalar.Addr
	return a.UnmarshalText([]byte(s)) == nil || scalar.ValidHostname(s) && !strings.HasSuffix(s, ".")
}

// KubeTalosAPIAccessConfig lets pods call this system's API: a pod in one of the allowed namespaces asks for
// credentials with a ServiceAccount object of the group talos.dev.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeTalosAPIAccessConfig
//	allowedRoles:
//	    - os:reader
//	allowedKubernetesNamespaces:
//	    - monitoring
type KubeTalosAPIAccessConfig struct {
	// AllowedRoles are the roles that pods may ask for: os:reader, os:operator, os:admin, os:etcd:backup,
	// os:image:verifier or os:meta:writer. Left out, none.
	//
	// Example:
	//
	//	allowedRoles:
	//	    - os:reader
	AllowedRoles []string `yaml:"allowedRoles"`
	// AllowedKubernetesNamespaces are the namespaces whose pods may ask. Left out, none.
	//
	// Example:
	//
	//	allowedKubernetesNamespaces:
	//	    - monitoring
	AllowedKubernetesNamespaces []string `yaml:"allowedKubernetesNamespaces"`
}

// DocumentKind implements [schema.Document].
func (*KubeTalosAPIAccessConfig) DocumentKind() string { return "KubeTalosAPIAccessConfig" }

// podRoles are the roles that a pod may be given. The impersonator is not one: it speaks for anyone.
var podRoles = []string{"os:admin", "os:operator", "os:reader", "os:etcd:backup", "os:image:verifier", "os:meta:writer"}

// Validate implements [schema.Validator].
func (c *KubeTalosAPIAccessConfig) Validate(r *schema.Reporter) {
	for i, role := range c.AllowedRoles {
		if slices.Contains(podRoles, role) {
			continue
		}
		hint := ""
		if near := schema.Nearest(role, podRoles); near != "" && role != "os:impersonator" {
			hint = "did you mean " + near + "?"
		}
		r.At("allowedRoles").Item(i).Hintf(hint, "expected one of %s, got %q", strings.Join(podRoles, ", "), clip(role))
	}
	for i, name := range c.AllowedKubernetesNamespaces {
		if !isDNSLabel(name) {
			r.At("allowedKubernetesNamespaces").Item(i).Errorf(
				"expected the name of a namespace, of at most 63 lower-case letters, digits and '-', got %q", clip(name))
		}
	}
}
