package kubedoc

import (
	"slices"
	"time"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeletConfig configures the kubelet, the agent that runs pods on the machine.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeletConfig
//	image: registry.example.com/kubelet:v1.37.2
//	config:
//	    maxPods: 200
//	extraArgs:
//	    v: "2"
//	defaultRuntimeSeccompProfileEnabled: true
type KubeletConfig struct {
	// Image is the container image of the kubelet. Its tag is the node's version of Kubernetes.
	Image scalar.Image `yaml:"image" required:"true"`
	// Config is a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that is laid over the system's own. Fields that the
	// rest of the system relies on, such as authentication and cgroupRoot, cannot be set.
	//
	// Example:
	//
	//	config:
	//	    maxPods: 200
	//	    evictionHard:
	//	        memory.available: 200Mi
	Config scalar.Object `yaml:"config"`
	// ExtraArgs are more command-line arguments of the kubelet, by name without leading hyphens. What Config can express
	// belongs there.
	//
	// Example:
	//
	//	extraArgs:
	//	    v: "2"
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// ClusterDNS are the addresses of the DNS servers that pods use. Left out, it is the tenth address of each service
	// subnet, where the cluster's CoreDNS is.
	//
	// Example:
	//
	//	clusterDNS:
	//	    - 10.96.0.10
	//	    - 169.254.2.53
	ClusterDNS []scalar.Addr `yaml:"clusterDNS"`
	// DefaultRuntimeSeccompProfileEnabled runs containers under the runtime's default seccomp profile if their pod does
	// not name one. Left out, such containers run without a profile.
	DefaultRuntimeSeccompProfileEnabled bool `yaml:"defaultRuntimeSeccompProfileEnabled"`
}

// DocumentKind implements [schema.Document].
func (*KubeletConfig) DocumentKind() string { return "KubeletConfig" }

var kubeletType = typeMeta{kind: "KubeletConfiguration", versions: []string{"kubelet.config.k8s.io/v1beta1"}, optional: true}

// kubeletOwned are the fields of a KubeletConfiguration on which the system relies.
var kubeletOwned = []ownedField{
	{"authentication", "callers are known by the cluster's authority and by token review", "leave it out"},
	{"authorization", "the API server decides who may call the kubelet", "leave it out"},
	{"rotateCertificates", "the system renews the client certificate", "leave it out; serverTLSBootstrap is allowed"},
	{"port", "other nodes reach the kubelet on port 10250", "leave it out"},
	{"cgroupRoot", "the system lays out the cgroups", "leave it out"},
	{"kubeletCgroups", "the system lays out the cgroups", "leave it out"},
	{"systemCgroups", "the system lays out the cgroups", "leave it out"},
	{"containerRuntimeEndpoint", "the kubelet uses this system's container runtime", "leave it out"},
	{"staticPodPath", "static pods come from the machine's config", "add a KubeStaticPodConfig document"},
	{"staticPodURL", "static pods come from the machine's config", "add a KubeStaticPodConfig document"},
	{"staticPodURLHeader", "static pods come from the machine's config", "add a KubeStaticPodConfig document"},
	{"clusterDNS", "it has a key of its own", "set clusterDNS of KubeletConfig"},
	{"clusterDomain", "it has a key of its own", "set dnsDomain of KubeNetworkConfig"},
	{"resolvConf", "the system writes the file for pods", "set nameservers of ResolverConfig"},
}

// Validate implements [schema.Validator].
func (c *KubeletConfig) Validate(r *schema.Reporter) {
	kubeletType.check(c.Config, r.At("config"))
	checkOwned("kubelet's configuration", c.Config, kubeletOwned, r.At("config"))
	checkArgs("kubelet", c.ExtraArgs, kubeletDenied, r.At("extraArgs"))
	for i, a := range c.ClusterDNS {
		switch {
		case a.IsUnspecified() || a.IsMulticast():
			r.At("clusterDNS").Item(i).Errorf("expected the address of a DNS server such as 10.96.0.10, got %s", a.Addr)
		case slices.Index(c.ClusterDNS, a) < i:
			r.At("clusterDNS").Item(i).Errorf("the address %s is there twice", a.Addr)
		}
	}
}

// KubeCredentialProviderConfig lets the kubelet get credentials for image registries from plugins on the machine, such
// as those of cloud providers.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeCredentialProviderConfig
//	configuration:
//	    apiVersion: kubelet.config.k8s.io/v1
//	    kind: CredentialProviderConfig
//	    providers:
//	        - name: ecr-credential-provider
//	          apiVersion: credentialprovider.kubelet.k8s.io/v1
//	          defaultCacheDuration: 12h
//	          matchImages:
//	              - "*.dkr.ecr.*.amazonaws.com"
type KubeCredentialProviderConfig struct {
	// Configuration is a CredentialProviderConfig (kubelet.config.k8s.io/v1). The plugins that it names come with system
	// extensions. A patch replaces it as a whole.
	//
	// Example:
	//
	//	configuration:
	//	    apiVersion: kubelet.config.k8s.io/v1
	//	    kind: CredentialProviderConfig
	//	    providers:
	//	        - name: ecr-credential-provider
	//	          apiVersion: credentialprovider.kubelet.k8s.io/v1
	//	          defaultCacheDuration: 12h
	//	          matchImages:
	//	              - "*.dkr.ecr.*.amazonaws.com"
	Configuration scalar.Object `yaml:"configuration" required:"true" merge:"replace"`
}

// DocumentKind implements [schema.Document].
func (*KubeCredentialProviderConfig) DocumentKind() string { return "KubeCredentialProviderConfig" }

var (
	credentialProviderType = typeMeta{
		kind:     "CredentialProviderConfig",
		versions: []string{"kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"},
	}
	credentialProviderAPIs = []string{
		"credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1",
		"credentialprovider.kubelet.k8s.io/v1alpha1",
	}
)

// Validate implements [schema.Validator].
func (c *KubeCredentialProviderConfig) Validate(r *schema.Reporter) {
	r = r.At("configuration")
	credentialProviderType.check(c.Configuration, r)
	names := map[string]bool{}
	for i, p := range itemsAt(c.Configuration, "providers", "at least one provider", r) {
		at := r.At("providers").Item(i)
		m, ok := p.(map[string]any)
		if !ok {
			at.Errorf("expected a mapping with the keys name, apiVersion, defaultCacheDuration, matchImages, got %s", show(p))
			continue
		}
		checkProvider(m, at)
		if name, _ := m["name"].(string); names[name] {
			at.At("name").Errorf("the provider %q is there twice", name)
		} else {
			names[name] = true
		}
	}
}

// checkProvider checks one provider as the kubelet does when it starts.
func checkProvider(m map[string]any, r *schema.Reporter) {
	name, _ := m["name"].(string)
	if name == "" || name == "." || name == ".." || slices.ContainsFunc([]byte(name), func(c byte) bool { return c == '/' || c <= ' ' }) {
		r.At("name").Errorf("expected the file name of a plugin such as ecr-credential-provider, got %s", show(m["name"]))
	}
	if api, _ := m["apiVersion"].(string); !slices.Contains(credentialProviderAPIs, api) {
		r.At("apiVersion").Errorf("expected %s, got %s", credentialProviderAPIs[0], show(m["apiVersion"]))
	}
	duration, _ := m["defaultCacheDuration"].(string)
	if d, err := time.ParseDuration(duration); err != nil || d < 0 {
		r.At("defaultCacheDuration").Errorf("expected %s, got %s", scalar.Duration{}.Expects(), show(m["defaultCacheDuration"]))
	}
	itemsAt(m, "matchImages", "at least one image pattern such as *.dkr.ecr.*.amazonaws.com", r)
}
