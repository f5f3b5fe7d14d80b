package kubedoc

import (
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

const defaultAPIPort = 6443

// KubeAPIServerConfig configures the Kubernetes API server, which runs on each control plane node as a static pod.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAPIServerConfig
//	image: registry.k8s.io/kube-apiserver:v1.37.2
//	certExtraSANs:
//	    - k8s.example.com
//	extraArgs:
//	    feature-gates: MutatingAdmissionPolicy=true
//	resources:
//	    requests:
//	        cpu: 500m
//	        memory: 1Gi
type KubeAPIServerConfig struct {
	// Image is the container image of kube-apiserver.
	Image scalar.Image `yaml:"image" required:"true"`
	// ExtraArgs are more command-line arguments, by name without leading hyphens; a list gives one several times. Arguments
	// that the rest of the system relies on, such as etcd-servers and tls-cert-file, cannot be set; admission plugins and
	// feature gates add to the system's own.
	//
	// Example:
	//
	//	extraArgs:
	//	    v: "2"
	//	    enable-admission-plugins:
	//	        - AlwaysPullImages
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// Env are environment variables of the server, by name.
	//
	// Example:
	//
	//	env:
	//	    HTTPS_PROXY: http://10.5.0.1:3128
	Env map[string]string `yaml:"env"`
	// Resources are what the server requests from its node and its limits. Left out, it requests 200m of CPU and 512Mi
	// of memory.
	Resources *Resources `yaml:"resources"`
	// APIPort is the TCP port on which the server listens, from 1 to 65535. Left out, it is 6443.
	APIPort *uint16 `yaml:"apiPort"`
	// CertExtraSANs are more names and addresses for which the server's certificate is valid, besides those of the node,
	// the cluster's endpoint and the service kubernetes. A name may start with "*.".
	//
	// Example:
	//
	//	certExtraSANs:
	//	    - k8s.example.com
	//	    - 203.0.113.7
	CertExtraSANs []string `yaml:"certExtraSANs"`
	// StartupProbes lets the server take minutes to start before the kubelet restarts it. Left out, it is true.
	StartupProbes *bool `yaml:"startupProbes"`
}

// DocumentKind implements [schema.Document].
func (*KubeAPIServerConfig) DocumentKind() string { return "KubeAPIServerConfig" }

// APIPortOrDefault returns the port on which the server listens.
func (c *KubeAPIServerConfig) APIPortOrDefault() uint16 { return valueOr(c.APIPort, defaultAPIPort) }

// StartupProbesOrDefault reports whether the server has startup probes.
func (c *KubeAPIServerConfig) StartupProbesOrDefault() bool { return valueOr(c.StartupProbes, true) }

// Validate implements [schema.Validator].
func (c *KubeAPIServerConfig) Validate(r *schema.Reporter) {
	checkArgs("API server", c.ExtraArgs, apiServerDenied, r.At("extraArgs"))
	checkEnvironment(c.Env, r.At("env"))
	checkPort(c.APIPortOrDefault(), r.At("apiPort"))
	for i, name := range c.CertExtraSANs {
		if !isServerName(strings.TrimPrefix(name, "*.")) {
			r.At("certExtraSANs").Item(i).Errorf("expected a host name or an address such as k8s.example.com, got %q", clip(name))
		}
	}
}

// KubeControllerManagerConfig configures the Kubernetes controller manager, which runs on each control plane node as a
// static pod.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeControllerManagerConfig
//	image: registry.k8s.io/kube-controller-manager:v1.37.2
//	extraArgs:
//	    node-monitor-grace-period: 20s
type KubeControllerManagerConfig struct {
	// Enabled runs the controller manager. Left out, it is true.
	Enabled *bool `yaml:"enabled"`
	// Image is the container image of kube-controller-manager.
	Image scalar.Image `yaml:"image" required:"true"`
	// ExtraArgs are more command-line arguments, by name without leading hyphens. Arguments that the rest of the system
	// relies on, such as root-ca-file, cannot be set.
	//
	// Example:
	//
	//	extraArgs:
	//	    node-monitor-grace-period: 20s
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// Env are environment variables of the controller manager, by name.
	Env map[string]string `yaml:"env"`
	// Resources are what the controller manager requests from its node and its limits.
	Resources *Resources `yaml:"resources"`
}

// DocumentKind implements [schema.Document].
func (*KubeControllerManagerConfig) DocumentKind() string { return "KubeControllerManagerConfig" }

// EnabledOrDefault reports whether the controller manager runs.
func (c *KubeControllerManagerConfig) EnabledOrDefault() bool { return valueOr(c.Enabled, true) }

// Validate implements [schema.Validator].
func (c *KubeControllerManagerConfig) Validate(r *schema.Reporter) {
	checkArgs("controller manager", c.ExtraArgs, controllerManagerDenied, r.At("extraArgs"))
	checkEnvironment(c.Env, r.At("env"))
}

// KubeSchedulerConfig configures the Kubernetes scheduler, which runs on each control plane node as a static pod.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeSchedulerConfig
//	image: registry.k8s.io/kube-scheduler:v1.37.2
//	config:
//	    profiles:
//	        - schedulerName: default-scheduler
type KubeSchedulerConfig struct {
	// Enabled runs the scheduler. Left out, it is true.
	Enabled *bool `yaml:"enabled"`
	// Image is the container image of kube-scheduler.
	Image scalar.Image `yaml:"image" required:"true"`
	// Config is a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) that is laid over the system's own.
	//
	// Example:
	//
	//	config:
	//	    profiles:
	//	        - schedulerName: default-scheduler
	Config scalar.Object `yaml:"config"`
	// ExtraArgs are more command-line arguments, by name without leading hyphens.
	//
	// Example:
	//
	//	extraArgs:
	//	    v: "2"
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// Env are environment variables of the scheduler, by name.
	Env map[string]string `yaml:"env"`
	// Resources are what the scheduler requests from its node and its limits.
	Resources *Resources `yaml:"resources"`
}

// DocumentKind implements [schema.Document].
func (*KubeSchedulerConfig) DocumentKind() string { return "KubeSchedulerConfig" }

// EnabledOrDefault reports whether the scheduler runs.
func (c *KubeSchedulerConfig) EnabledOrDefault() bool { return valueOr(c.Enabled, true) }

var schedulerType = typeMeta{
	kind: "KubeSchedulerConfiguration", versions: []string{"kubescheduler.config.k8s.io/v1"}, optional: true,
}

// Validate implements [schema.Validator].
func (c *KubeSchedulerConfig) Validate(r *schema.Reporter) {
	schedulerType.check(c.Config, r.At("config"))
	if client := mappingAt(c.Config, "clientConnection", r.At("config")); client["kubeconfig"] != nil {
		r.At("config").At("clientConnection").At("kubeconfig").Hintf("leave it out",
			"the field kubeconfig of the scheduler's configuration cannot be set: %s", byEndpoint)
	}
	checkArgs("scheduler", c.ExtraArgs, schedulerDenied, r.At("extraArgs"))
	checkEnvironment(c.Env, r.At("env"))
}
