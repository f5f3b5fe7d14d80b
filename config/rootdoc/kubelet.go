package rootdoc

import (
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Kubelet configures kubelet and the node that it registers.
type Kubelet struct {
	// Image is kubelet's image. Default: the one of the Kubernetes version that the system comes with.
	Image scalar.Image `yaml:"image"`
	// ClusterDNS are the addresses of the cluster's DNS service. Default: the tenth address of each service subnet.
	ClusterDNS []scalar.Addr `yaml:"clusterDNS"`
	// ExtraArgs are command-line arguments by name, without hyphens; a list gives an argument several times.
	//
	// Example:
	//
	//	extraArgs:
	//	    v: "4"
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// ExtraMounts are mounts of the kubelet container besides those that it always has. No document has them: put what
	// pods need on a volume below /var/mnt (UserVolumeConfig).
	ExtraMounts []ExtraMount `yaml:"extraMounts" deprecated:"nothing: use a UserVolumeConfig"`
	// ExtraConfig is merged into kubelet's configuration (kind KubeletConfiguration).
	//
	// Example:
	//
	//	extraConfig:
	//	    serverTLSBootstrap: true
	ExtraConfig scalar.Object `yaml:"extraConfig"`
	// CredentialProviderConfig is the configuration of plugins that give credentials for images (kind
	// CredentialProviderConfig).
	CredentialProviderConfig scalar.Object `yaml:"credentialProviderConfig" merge:"replace" deprecated:"KubeCredentialProviderConfig"`
	// DefaultRuntimeSeccompProfileEnabled gives every container the runtime's seccomp profile if it names none.
	DefaultRuntimeSeccompProfileEnabled *bool `yaml:"defaultRuntimeSeccompProfileEnabled"`
	// RegisterWithFQDN registers the node under its full domain name. Default: false.
	RegisterWithFQDN *bool `yaml:"registerWithFQDN" deprecated:"KubeNodeConfig"`
	// NodeIP chooses the node's addresses.
	NodeIP *NodeIP `yaml:"nodeIP" deprecated:"KubeNodeConfig"`
	// SkipNodeRegistration runs kubelet without a node in the cluster: only static pods. Default: false.
	SkipNodeRegistration *bool `yaml:"skipNodeRegistration" deprecated:"KubeNodeConfig"`
	// DisableManifestsDirectory had kubelet not read /etc/kubernetes/manifests. It never does; the value is ignored.
	DisableManifestsDirectory *bool `yaml:"disableManifestsDirectory" deprecated:"KubeStaticPodConfig"`
}

// NodeIP chooses the node's addresses.
type NodeIP struct {
	// ValidSubnets are the subnets in which the node's addresses are; an address in one with a leading "!" is not used.
	//
	// Example:
	//
	//	validSubnets:
	//	    - 10.0.0.0/8
	//	    - '!10.0.0.3/32'
	ValidSubnets []scalar.Subnet `yaml:"validSubnets"`
}

// ExtraMount is a mount of the kubelet container, in the terms of the OCI runtime specification.
type ExtraMount struct {
	// Destination is the path in the container.
	Destination string `yaml:"destination" required:"true"`
	// Type is the type of the file system; bind for a directory of the machine.
	Type string `yaml:"type"`
	// Source is the device, or the directory of the machine.
	Source string `yaml:"source"`
	// Options are mount options.
	//
	// Example:
	//
	//	options:
	//	    - bind
	//	    - rshared
	//	    - rw
	Options []string `yaml:"options"`
	// UIDMappings map the user ids of a mount with shifted ids.
	UIDMappings []IDMapping `yaml:"uidMappings"`
	// GIDMappings map its group ids.
	GIDMappings []IDMapping `yaml:"gidMappings"`
}

// IDMapping maps a range of ids.
type IDMapping struct {
	// ContainerID is the first id in the container.
	ContainerID uint32 `yaml:"containerID"`
	// HostID is the id of the machine that it maps to.
	HostID uint32 `yaml:"hostID"`
	// Size is the number of ids.
	Size uint32 `yaml:"size"`
}

// Validate implements [schema.Validator].
func (m *ExtraMount) Validate(r *schema.Reporter) {
	if !strings.HasPrefix(m.Destination, "/") {
		r.At("destination").Errorf("expected an absolute path, got %q", m.Destination)
	}
}

// deniedKubelet are the arguments that the system sets itself.
var deniedKubelet = []string{"kubeconfig", "bootstrap-kubeconfig", "container-runtime-endpoint", "config", "cert-dir"}

// Validate implements [schema.Validator].
func (k *Kubelet) Validate(r *schema.Reporter) {
	checkArgs(r.At("extraArgs"), k.ExtraArgs, deniedKubelet)
	unique(r.At("extraMounts"), "destination", k.ExtraMounts, func(m ExtraMount) string { return m.Destination })
}
