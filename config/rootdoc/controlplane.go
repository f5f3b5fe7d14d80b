package rootdoc

import (
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// APIServer configures kube-apiserver.
type APIServer struct {
	// Image is its image. Default: the one of the Kubernetes version that the system comes with.
	Image scalar.Image `yaml:"image"`
	// ExtraArgs are command-line arguments by name, without hyphens; a list gives an argument several times.
	//
	// Example:
	//
	//	extraArgs:
	//	    feature-gates: ServerSideApply=true
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// ExtraVolumes are directories of the machine that are mounted into the pod. No document has them.
	ExtraVolumes []ExtraVolume `yaml:"extraVolumes" deprecated:"nothing: the pod has what its documents configure"`
	// Env are environment variables.
	Env map[string]string `yaml:"env"`
	// CertSANs are names and addresses that its certificate is valid for, besides those that are known.
	CertSANs []string `yaml:"certSANs"`
	// DisablePodSecurityPolicy turned off what Kubernetes no longer has. The value is ignored.
	DisablePodSecurityPolicy *bool `yaml:"disablePodSecurityPolicy" deprecated:"nothing: Kubernetes no longer has the policy"`
	// AdmissionControl configures admission plugins.
	//
	// Example:
	//
	//	admissionControl:
	//	    - name: PodSecurity
	//	      configuration:
	//	          apiVersion: pod-security.admission.config.k8s.io/v1
	//	          kind: PodSecurityConfiguration
	AdmissionControl []AdmissionPlugin `yaml:"admissionControl" merge:"key=name" deprecated:"KubeAdmissionControlConfig"`
	// AuditPolicy is what is written to the audit log: an object of kind Policy. Default: the metadata of every request.
	AuditPolicy scalar.Object `yaml:"auditPolicy" merge:"replace" deprecated:"KubeAuditPolicyConfig"`
	// Resources are what the pod asks for and may have.
	Resources *Resources `yaml:"resources"`
	// AuthorizationConfig are the authorizers in the order in which they are asked. Node and RBAC come first unless
	// they are in the list.
	AuthorizationConfig []Authorizer `yaml:"authorizationConfig" merge:"key=name" deprecated:"KubeAuthorizerConfig"`
}

// ControllerManager configures kube-controller-manager.
type ControllerManager struct {
	// Image is its image. Default: the one of the Kubernetes version that the system comes with.
	Image scalar.Image `yaml:"image"`
	// ExtraArgs are command-line arguments by name, without hyphens; a list gives an argument several times.
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// ExtraVolumes are directories of the machine that are mounted into the pod. No document has them.
	ExtraVolumes []ExtraVolume `yaml:"extraVolumes" deprecated:"nothing: the pod has what its documents configure"`
	// Env are environment variables.
	Env map[string]string `yaml:"env"`
	// Resources are what the pod asks for and may have.
	Resources *Resources `yaml:"resources"`
}

// Scheduler configures kube-scheduler.
type Scheduler struct {
	// Image is its image. Default: the one of the Kubernetes version that the system comes with.
	Image scalar.Image `yaml:"image"`
	// ExtraArgs are command-line arguments by name, without hyphens; a list gives an argument several times.
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// ExtraVolumes are directories of the machine that are mounted into the pod. No document has them.
	ExtraVolumes []ExtraVolume `yaml:"extraVolumes" deprecated:"nothing: the pod has what its documents configure"`
	// Env are environment variables.
	Env map[string]string `yaml:"env"`
	// Resources are what the pod asks for and may have.
	Resources *Resources `yaml:"resources"`
	// Config is merged into its configuration (kind KubeSchedulerConfiguration).
	Config scalar.Object `yaml:"config"`
}

// Proxy configures kube-proxy.
type Proxy struct {
	// Disabled leaves it out, as when the CNI does its work. Default: false.
	Disabled *bool `yaml:"disabled"`
	// Image is its image. Default: the one of the Kubernetes version that the system comes with.
	Image scalar.Image `yaml:"image"`
	// Mode is how it directs traffic: nftables or iptables. Default: nftables.
	Mode string `yaml:"mode"`
	// ExtraArgs are command-line arguments by name, without hyphens; a list gives an argument several times.
	ExtraArgs scalar.Args `yaml:"extraArgs"`
}

// CoreDNS configures the cluster's DNS.
type CoreDNS struct {
	// Disabled leaves it out. Default: false.
	Disabled *bool `yaml:"disabled"`
	// Image is its image. Default: the one that the system comes with.
	Image scalar.Image `yaml:"image"`
}

// ExtraVolume is a directory of the machine that is mounted into a pod.
type ExtraVolume struct {
	// HostPath is the path on the machine.
	HostPath string `yaml:"hostPath" required:"true"`
	// MountPath is the path in the pod.
	MountPath string `yaml:"mountPath" required:"true"`
	// ReadOnly mounts it read-only. Default: false.
	ReadOnly *bool `yaml:"readonly"`
}

// AdmissionPlugin configures one admission plugin.
type AdmissionPlugin struct {
	// Name is the plugin's name, such as PodSecurity.
	Name string `yaml:"name" required:"true"`
	// Configuration is the plugin's own configuration.
	Configuration scalar.Object `yaml:"configuration"`
}

// Authorizer is one authorizer.
type Authorizer struct {
	// Type is Node, RBAC or Webhook.
	Type string `yaml:"type" enum:"Node|RBAC|Webhook"`
	// Name tells it from others.
	Name string `yaml:"name" required:"true"`
	// Webhook configures a webhook (authorizers[].webhook of kind AuthorizationConfiguration).
	Webhook scalar.Object `yaml:"webhook"`
}

// Resources are what a pod asks for and may have, by resource: quantities of Kubernetes such as 100m or 256Mi.
type Resources struct {
	// Requests are what the pod asks for.
	Requests map[string]string `yaml:"requests"`
	// Limits are what it may have.
	Limits map[string]string `yaml:"limits"`
}

// deniedAPIServer are the arguments that the system sets itself; an asterisk stands for any characters.
var deniedAPIServer = []string{
	"etcd-*", "client-ca-file", "requestheader-client-ca-file", "proxy-client-*", "kubelet-client-*",
	"service-account-*key-file", "tls-cert-file", "tls-private-key-file", "tls-min-version", "encryption-provider-config",
	"authentication-config", "authorization-config",
}

// Validate implements [schema.Validator].
func (a *APIServer) Validate(r *schema.Reporter) {
	checkArgs(r.At("extraArgs"), a.ExtraArgs, deniedAPIServer)
	checkEnv(r.At("env"), a.Env)
	checkSANs(r.At("certSANs"), a.CertSANs)
	unique(r.At("admissionControl"), "name", a.AdmissionControl, func(p AdmissionPlugin) string { return p.Name })
	unique(r.At("authorizationConfig"), "name", a.AuthorizationConfig, func(z Authorizer) string { return z.Name })
}

// Validate implements [schema.Validator].
func (m *ControllerManager) Validate(r *schema.Reporter) {
	checkArgs(r.At("extraArgs"), m.ExtraArgs, []string{
		"cluster-signing-*", "kubeconfig", "*-kubeconfig", "root-ca-file", "service-account-private-key-file",
	})
	checkEnv(r.At("env"), m.Env)
}

// Validate implements [schema.Validator].
func (s *Scheduler) Validate(r *schema.Reporter) {
	checkArgs(r.At("extraArgs"), s.ExtraArgs, []string{"config", "kubeconfig", "*-kubeconfig"})
	checkEnv(r.At("env"), s.Env)
}

// Validate implements [schema.Validator].
func (v *ExtraVolume) Validate(r *schema.Reporter) {
	if !strings.HasPrefix(v.HostPath, "/") {
		r.At("hostPath").Errorf("expected an absolute path, got %q", v.HostPath)
	}
	if !strings.HasPrefix(v.MountPath, "/") {
		r.At("mountPath").Errorf("expected an absolute path, got %q", v.MountPath)
	}
}

// Validate implements [schema.Validator].
func (z *Authorizer) Validate(r *schema.Reporter) {
	switch {
	case z.Type == "Webhook" && len(z.Webhook) == 0:
		r.Errorf("the key \"webhook\" is required for the type Webhook")
	case z.Type != "Webhook" && len(z.Webhook) > 0:
		r.At("webhook").Hintf("remove it, or write type: Webhook", "the authorizer %s takes no webhook", z.Type)
	}
}
