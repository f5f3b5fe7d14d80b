package rootdoc

import (
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Machine is about one machine: its role, its secrets, and how its operating system behaves.
type Machine struct {
	// Type is the machine's role in the cluster: controlplane runs etcd and the Kubernetes control plane, worker only
	// runs pods. The old names init (controlplane) and join (worker) are accepted.
	Type string `yaml:"type" enum:"controlplane|worker|init|join"`
	// Token is the secret with which a machine asks the control plane for its certificate: six and sixteen lower-case
	// letters and digits with a dot between them. It is the same on all machines of a cluster.
	Token string `yaml:"token" secret:"true"`
	// CA is the authority of the machine API. Control-plane nodes have its certificate and key; workers have the
	// certificate alone.
	CA *CertAndKey `yaml:"ca"`
	// AcceptedCAs are authorities whose certificates are accepted besides those of ca, as during a rotation. Each is a
	// mapping with the key crt.
	AcceptedCAs []Cert `yaml:"acceptedCAs"`
	// CertSANs are names and addresses that the API's certificate is valid for, besides those that the machine has.
	//
	// Example:
	//
	//	certSANs:
	//	    - 10.5.0.10
	//	    - node1.example.com
	CertSANs []string `yaml:"certSANs"`
	// ControlPlane turns components of the Kubernetes control plane off.
	ControlPlane *MachineControlPlane `yaml:"controlPlane" deprecated:"KubeControllerManagerConfig and KubeSchedulerConfig"`
	// Kubelet configures kubelet and the node that it registers.
	Kubelet *Kubelet `yaml:"kubelet" deprecated:"KubeletConfig, KubeNodeConfig and KubeCredentialProviderConfig"`
	// Pods are static pods: Kubernetes objects of kind Pod that kubelet runs without asking the control plane.
	Pods scalar.Objects `yaml:"pods" deprecated:"KubeStaticPodConfig"`
	// Network configures links, addresses, routes and name resolution.
	Network *Network `yaml:"network" deprecated:"the network documents"`
	// Disks are disks besides the system's that are partitioned and mounted.
	Disks []Disk `yaml:"disks" deprecated:"UserVolumeConfig"`
	// Install says where and with which image the system is installed.
	Install *Install `yaml:"install" deprecated:"UnattendedInstallConfig"`
	// Files are files that are written when the machine starts.
	Files []File `yaml:"files" deprecated:"EtcFileConfig and CRICustomizationConfig"`
	// Env are environment variables of the system's services, such as the proxy's.
	//
	// Example:
	//
	//	env:
	//	    https_proxy: http://proxy.example.com:3128
	Env map[string]string `yaml:"env" deprecated:"EnvironmentConfig"`
	// Time configures how the clock is set.
	Time *Time `yaml:"time" deprecated:"TimeSyncConfig"`
	// Sysctls are kernel parameters (/proc/sys) by their dotted name.
	//
	// Example:
	//
	//	sysctls:
	//	    net.ipv4.ip_forward: "0"
	Sysctls map[string]string `yaml:"sysctls" deprecated:"SysctlConfig"`
	// Sysfs are values that are written below /sys, by their dotted path.
	//
	// Example:
	//
	//	sysfs:
	//	    devices.system.cpu.cpu0.cpufreq.scaling_governor: performance
	Sysfs map[string]string `yaml:"sysfs" deprecated:"SysfsConfig"`
	// Registries configures mirrors of image registries and access to them.
	Registries *Registries `yaml:"registries" deprecated:"RegistryMirrorConfig, RegistryTLSConfig and RegistryAuthConfig"`
	// SystemDiskEncryption encrypts the system's partitions.
	SystemDiskEncryption *SystemDiskEncryption `yaml:"systemDiskEncryption" deprecated:"VolumeConfig"`
	// Features are properties of the system that can be turned on or off.
	Features *Features `yaml:"features"`
	// Udev configures device events.
	Udev *Udev `yaml:"udev" deprecated:"UdevRulesConfig"`
	// Logging sends the logs of the system's services elsewhere.
	Logging *Logging `yaml:"logging"`
	// Kernel configures the kernel's modules.
	Kernel *Kernel `yaml:"kernel" deprecated:"KernelModuleConfig"`
	// SeccompProfiles are profiles that pods can name: files below /var/lib/kubelet/seccomp/profiles.
	SeccompProfiles []SeccompProfile `yaml:"seccompProfiles" merge:"key=name"`
	// BaseRuntimeSpecOverrides is part of an OCI runtime specification that is merged into that of every container of
	// Kubernetes.
	//
	// Example:
	//
	//	baseRuntimeSpecOverrides:
	//	    process:
	//	        rlimits:
	//	            - type: RLIMIT_NOFILE
	//	              hard: 1024
	//	              soft: 1024
	BaseRuntimeSpecOverrides scalar.Object `yaml:"baseRuntimeSpecOverrides" merge:"replace" deprecated:"CRIBaseRuntimeSpecConfig"`
	// NodeLabels are labels of the Kubernetes node.
	NodeLabels map[string]string `yaml:"nodeLabels" deprecated:"KubeNodeConfig"`
	// NodeAnnotations are annotations of the Kubernetes node.
	NodeAnnotations map[string]string `yaml:"nodeAnnotations" deprecated:"KubeNodeConfig"`
	// NodeTaints are taints of the Kubernetes node: an effect, or a value and an effect with a colon between them.
	//
	// Example:
	//
	//	nodeTaints:
	//	    example.com/dedicated: storage:NoSchedule
	NodeTaints map[string]string `yaml:"nodeTaints" deprecated:"KubeNodeConfig"`
}

// MachineControlPlane turns components of the Kubernetes control plane off on this machine.
type MachineControlPlane struct {
	// ControllerManager is about kube-controller-manager.
	ControllerManager *Disabled `yaml:"controllerManager" deprecated:"KubeControllerManagerConfig"`
	// Scheduler is about kube-scheduler.
	Scheduler *Disabled `yaml:"scheduler" deprecated:"KubeSchedulerConfig"`
}

// Disabled turns one thing off.
type Disabled struct {
	// Disabled turns it off. Default: false.
	Disabled *bool `yaml:"disabled"`
}

// Features are properties of the system that can be turned on or off.
type Features struct {
	// DiskQuotaSupport mounts the volume EPHEMERAL with project quotas, so that Kubernetes can account for what pods
	// store there. Default: false; generated configs have true.
	DiskQuotaSupport bool `yaml:"diskQuotaSupport"`
	// NodeAddressSortAlgorithm orders the machine's addresses, of which the first is the one that the machine is known
	// by: v1 puts shorter prefixes first, v2 longer ones. Default: v1.
	NodeAddressSortAlgorithm string `yaml:"nodeAddressSortAlgorithm" enum:"v1|v2"`
	// APIDCheckExtKeyUsage has the API accept only client certificates that are made for clients. Default: false.
	APIDCheckExtKeyUsage *bool `yaml:"apidCheckExtKeyUsage"`
	// RBAC had the API check roles. It always does; the value is ignored.
	RBAC *bool `yaml:"rbac" deprecated:"nothing: roles are always checked"`
	// StableHostname derives the host name from the machine's identity instead of its address.
	StableHostname *bool `yaml:"stableHostname" deprecated:"HostnameConfig"`
	// KubernetesTalosAPIAccess lets pods use the machine API.
	KubernetesTalosAPIAccess *APIAccess `yaml:"kubernetesTalosAPIAccess" deprecated:"KubeTalosAPIAccessConfig"`
	// KubePrism is a load balancer for the Kubernetes API on every machine.
	KubePrism *KubePrism `yaml:"kubePrism" deprecated:"KubePrismConfig"`
	// HostDNS is a caching resolver on every machine.
	HostDNS *HostDNS `yaml:"hostDNS" deprecated:"ResolverConfig"`
	// ImageCache serves images from the cache that comes with the boot media.
	ImageCache *ImageCache `yaml:"imageCache" deprecated:"ImageCacheConfig"`
}

// APIAccess lets pods use the machine API.
type APIAccess struct {
	// Enabled turns it on. Default: false.
	Enabled *bool `yaml:"enabled"`
	// AllowedRoles are the roles that pods may get, such as os:reader.
	AllowedRoles []string `yaml:"allowedRoles"`
	// AllowedKubernetesNamespaces are the namespaces of the pods that may.
	AllowedKubernetesNamespaces []string `yaml:"allowedKubernetesNamespaces"`
}

// Validate implements [schema.Validator].
func (a *APIAccess) Validate(r *schema.Reporter) {
	for i, role := range a.AllowedRoles {
		if !strings.HasPrefix(role, "os:") {
			r.At("allowedRoles").Item(i).Hintf("roles are os:reader, os:operator, os:etcd:backup, os:admin",
				"expected a role such as os:reader, got %q", role)
		}
	}
}

// KubePrism is a load balancer for the Kubernetes API that listens on the machine's loopback address.
type KubePrism struct {
	// Enabled turns it on. Default: false.
	Enabled *bool `yaml:"enabled"`
	// Port is the TCP port. Default: 7445.
	Port uint16 `yaml:"port"`
}

// HostDNS is a caching resolver on the machine.
type HostDNS struct {
	// Enabled turns it on. Default: false.
	Enabled *bool `yaml:"enabled"`
	// ForwardKubeDNSToHost has the cluster's DNS ask the host's resolver for names outside of the cluster.
	// Default: false.
	ForwardKubeDNSToHost *bool `yaml:"forwardKubeDNSToHost"`
	// ResolveMemberNames has it answer for the names of the cluster's machines. Default: false.
	ResolveMemberNames *bool `yaml:"resolveMemberNames"`
}

// ImageCache serves images from the cache that comes with the boot media.
type ImageCache struct {
	// LocalEnabled turns it on. Default: false.
	LocalEnabled *bool `yaml:"localEnabled"`
}

// Logging sends the logs of the system's services elsewhere.
type Logging struct {
	// Destinations are the receivers; each gets all logs.
	//
	// Example:
	//
	//	destinations:
	//	    - endpoint: tcp://10.5.0.1:5000
	//	      format: json_lines
	//	      extraTags:
	//	          rack: b12
	Destinations []LoggingDestination `yaml:"destinations"`
}

// LoggingDestination is one receiver of logs.
type LoggingDestination struct {
	// Endpoint is the receiver's URL: tcp or udp, a host and a port.
	Endpoint scalar.StreamURL `yaml:"endpoint" required:"true"`
	// Format is how a message is written: json_lines is one JSON object a line.
	Format string `yaml:"format" required:"true" enum:"json_lines"`
	// ExtraTags are keys and values that are added to each message.
	ExtraTags map[string]string `yaml:"extraTags"`
}

// SeccompProfile is one profile that pods can name.
type SeccompProfile struct {
	// Name is the file's name, such as audit.json.
	Name string `yaml:"name" required:"true"`
	// Value is the profile.
	//
	// Example:
	//
	//	value:
	//	    defaultAction: SCMP_ACT_LOG
	Value scalar.Object `yaml:"value"`
}

// Validate implements [schema.Validator].
func (p *SeccompProfile) Validate(r *schema.Reporter) {
	if strings.ContainsAny(p.Name, "/\\") || p.Name == "." || p.Name == ".." {
		r.At("name").Errorf("expected a file name such as audit.json, got %q", p.Name)
	}
}

// Validate implements [schema.Validator].
func (m *Machine) Validate(r *schema.Reporter) {
	checkToken(r.At("token"), m.Token)
	if m.CA != nil {
		m.CA.checkAuthority(r.At("ca"))
	}
	checkAccepted(r.At("acceptedCAs"), m.AcceptedCAs)
	checkSANs(r.At("certSANs"), m.CertSANs)
	checkParameters(r.At("sysctls"), m.Sysctls, "net.ipv4.ip_forward")
	checkParameters(r.At("sysfs"), m.Sysfs, "devices.system.cpu.cpu0.cpufreq.scaling_governor")
	checkEnv(r.At("env"), m.Env)
	checkLabels(r.At("nodeLabels"), m.NodeLabels)
	checkAnnotations(r.At("nodeAnnotations"), m.NodeAnnotations)
	checkTaints(r.At("nodeTaints"), m.NodeTaints)
	unique(r.At("seccompProfiles"), "name", m.SeccompProfiles, func(p SeccompProfile) string { return p.Name })
	m.validatePods(r.At("pods"))
	unique(r.At("disks"), "device", m.Disks, func(d Disk) string { return d.Device })
	unique(r.At("files"), "path", m.Files, func(f File) string {
		if f.Op == "append" {
			return "" // several may append to one file
		}
		return f.Path
	})
}

func (m *Machine) validatePods(r *schema.Reporter) {
	for i, pod := range m.Pods {
		at := r.Item(i)
		if kind, there := pod["kind"]; there && kind != "Pod" {
			at.At("kind").Errorf("expected Pod, got %v", kind)
		}
		if name, _ := PodName(pod); name == "" {
			at.At("metadata").Hintf("give the pod a name", "metadata.name is required")
		}
	}
	unique(r, "metadata", m.Pods, func(pod scalar.Object) string {
		name, namespace := PodName(pod)
		if name == "" {
			return ""
		}
		return namespace + "/" + name
	})
}

// PodName returns the name and namespace of a Kubernetes object: empty and "default" where it has none.
func PodName(pod scalar.Object) (name, namespace string) {
	metadata, _ := pod["metadata"].(map[string]any)
	name, _ = metadata["name"].(string)
	namespace, _ = metadata["namespace"].(string)
	if namespace == "" {
		namespace = "default"
	}
	return name, namespace
}
