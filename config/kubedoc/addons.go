package kubedoc

import (
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeProxyConfig configures kube-proxy, which makes services reachable on each node. It runs as a DaemonSet.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeProxyConfig
//	image: registry.k8s.io/kube-proxy:v1.37.2
//	mode: nftables
type KubeProxyConfig struct {
	// Enabled deploys kube-proxy; set it to false if the CNI does its work. Left out, it is true.
	Enabled *bool `yaml:"enabled"`
	// Image is the container image of kube-proxy.
	Image scalar.Image `yaml:"image" required:"true"`
	// Mode is how packets are led to services: nftables, iptables or ipvs. Left out, it is nftables.
	Mode string `yaml:"mode" enum:"nftables|iptables|ipvs"`
	// Config is a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) that is laid over the system's own.
	//
	// Example:
	//
	//	config:
	//	    metricsBindAddress: 0.0.0.0:10249
	Config scalar.Object `yaml:"config"`
	// ExtraArgs are more command-line arguments, by name without leading hyphens.
	//
	// Example:
	//
	//	extraArgs:
	//	    v: "2"
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// Resources are what kube-proxy requests from each node and its limits.
	Resources *Resources `yaml:"resources"`
}

// DocumentKind implements [schema.Document].
func (*KubeProxyConfig) DocumentKind() string { return "KubeProxyConfig" }

// EnabledOrDefault reports whether kube-proxy is deployed.
func (c *KubeProxyConfig) EnabledOrDefault() bool { return valueOr(c.Enabled, true) }

// ModeOrDefault returns how packets are led to services.
func (c *KubeProxyConfig) ModeOrDefault() string {
	if c.Mode == "" {
		return "nftables"
	}
	return c.Mode
}

var proxyType = typeMeta{
	kind: "KubeProxyConfiguration", versions: []string{"kubeproxy.config.k8s.io/v1alpha1"}, optional: true,
}

// Validate implements [schema.Validator].
func (c *KubeProxyConfig) Validate(r *schema.Reporter) {
	proxyType.check(c.Config, r.At("config"))
	checkOwned("configuration of kube-proxy", c.Config, []ownedField{
		{"mode", "it has a key of its own", "set mode of KubeProxyConfig"},
	}, r.At("config"))
	checkArgs("kube-proxy", c.ExtraArgs, nil, r.At("extraArgs"))
}

// Defaults of flannel.
const (
	defaultFlannelBackend = "vxlan"
	defaultFlannelPort    = 4789
)

// KubeFlannelCNIConfig deploys flannel, the network plugin that comes with the system. Without this document the
// cluster has no network plugin until one is installed by other means.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeFlannelCNIConfig
//	backendType: vxlan
//	backendPort: 4789
type KubeFlannelCNIConfig struct {
	// BackendType is how packets get from node to node: vxlan, host-gw, wireguard, ipip, udp, alloc or extension. Left
	// out, it is vxlan.
	BackendType string `yaml:"backendType"`
	// BackendPort is the UDP port of the backend, from 1 to 65535. Left out, it is 4789.
	BackendPort *uint16 `yaml:"backendPort"`
	// BackendMTU is the largest packet of the backend in bytes. Left out, it is found from the node's link.
	BackendMTU uint32 `yaml:"backendMTU"`
	// BackendExtraConfig are more keys of the backend's configuration, as flannel's documentation has them.
	//
	// Example:
	//
	//	backendExtraConfig:
	//	    DirectRouting: true
	BackendExtraConfig scalar.Object `yaml:"backendExtraConfig"`
	// Resources are what flannel requests from each node and its limits.
	Resources *Resources `yaml:"resources"`
	// ExtraArgs are more command-line arguments of flanneld, each in full.
	//
	// Example:
	//
	//	extraArgs:
	//	    - --iface-can-reach=10.5.0.1
	ExtraArgs []string `yaml:"extraArgs"`
	// KubeNetworkPoliciesEnabled deploys kube-network-policies next to flannel, so that NetworkPolicy objects are
	// enforced. Left out, they are not.
	KubeNetworkPoliciesEnabled bool `yaml:"kubeNetworkPoliciesEnabled"`
}

// DocumentKind implements [schema.Document].
func (*KubeFlannelCNIConfig) DocumentKind() string { return "KubeFlannelCNIConfig" }

// BackendTypeOrDefault returns how packets get from node to node.
func (c *KubeFlannelCNIConfig) BackendTypeOrDefault() string {
	if c.BackendType == "" {
		return defaultFlannelBackend
	}
	return c.BackendType
}

// BackendPortOrDefault returns the backend's UDP port.
func (c *KubeFlannelCNIConfig) BackendPortOrDefault() uint16 {
	return valueOr(c.BackendPort, defaultFlannelPort)
}

// flannelBackends are from https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md.
var flannelBackends = []string{"vxlan", "host-gw", "wireguard", "ipip", "udp", "alloc", "extension"}

// The bounds of an MTU: the least that IPv6 works with (RFC 8200 §5), and the largest IP packet.
const (
	leastMTU = 1280
	mostMTU  = 65535
)

// Validate implements [schema.Validator].
func (c *KubeFlannelCNIConfig) Validate(r *schema.Reporter) {
	if !slices.Contains(flannelBackends, c.BackendTypeOrDefault()) {
		r.At("backendType").Errorf("expected one of %s, got %q", strings.Join(flannelBackends, ", "), clip(c.BackendType))
	}
	checkPort(c.BackendPortOrDefault(), r.At("backendPort"))
	if c.BackendMTU != 0 && (c.BackendMTU < leastMTU || c.BackendMTU > mostMTU) {
		r.At("backendMTU").Errorf("expected a number of bytes from %d to %d, got %d", leastMTU, mostMTU, c.BackendMTU)
	}
	checkOwned("backend's configuration", c.BackendExtraConfig, []ownedField{
		{"Type", "it has a key of its own", "set backendType"},
		{"Port", "it has a key of its own", "set backendPort"},
		{"MTU", "it has a key of its own", "set backendMTU"},
	}, r.At("backendExtraConfig"))
	for i, arg := range c.ExtraArgs {
		if !strings.HasPrefix(arg, "-") {
			r.At("extraArgs").Item(i).Errorf("expected an argument with its leading hyphens such as --iface=eth1, got %q", clip(arg))
		}
	}
}

// KubeCoreDNSConfig deploys CoreDNS, which gives services and pods their DNS names.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeCoreDNSConfig
//	enabled: true
type KubeCoreDNSConfig struct {
	// Enabled deploys CoreDNS. Left out, it is true.
	Enabled *bool `yaml:"enabled"`
	// Image is the container image of CoreDNS. Left out, it is the one that belongs to this version of the system.
	Image scalar.Image `yaml:"image"`
}

// DocumentKind implements [schema.Document].
func (*KubeCoreDNSConfig) DocumentKind() string { return "KubeCoreDNSConfig" }

// EnabledOrDefault reports whether CoreDNS is deployed.
func (c *KubeCoreDNSConfig) EnabledOrDefault() bool { return valueOr(c.Enabled, true) }
