package rootdoc

import (
	"encoding/base64"
	"net/netip"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Cluster is about the Kubernetes cluster that the machine belongs to.
type Cluster struct {
	// ID identifies the cluster to the discovery service: 32 bytes in base64.
	ID string `yaml:"id" deprecated:"DiscoveryIdentityConfig"`
	// Secret encrypts what machines tell each other by the discovery service: 32 bytes in base64.
	Secret string `yaml:"secret" secret:"true" deprecated:"DiscoveryIdentityConfig"`
	// ControlPlane says where the Kubernetes API is.
	ControlPlane *ControlPlane `yaml:"controlPlane" deprecated:"KubeClusterConfig and KubeAPIServerConfig"`
	// ClusterName is the cluster's name.
	ClusterName string `yaml:"clusterName" deprecated:"KubeClusterConfig"`
	// Network configures the networks of pods and services.
	Network *ClusterNetwork `yaml:"network" deprecated:"KubeNetworkConfig, KubeFlannelCNIConfig and KubeExternalManifestConfig"`
	// Token is the secret with which a kubelet asks for its certificate: six and sixteen lower-case letters and digits
	// with a dot between them. It is the same on all machines of a cluster.
	Token string `yaml:"token" secret:"true"`
	// AESCBCEncryptionSecret encrypts secrets in etcd with AES-CBC: 32 bytes in base64.
	AESCBCEncryptionSecret string `yaml:"aescbcEncryptionSecret" secret:"true" deprecated:"KubeEtcdEncryptionConfig"`
	// SecretboxEncryptionSecret encrypts secrets in etcd with XSalsa20 and Poly1305: 32 bytes in base64. If both are
	// there, this one encrypts.
	SecretboxEncryptionSecret string `yaml:"secretboxEncryptionSecret" secret:"true" deprecated:"KubeEtcdEncryptionConfig"`
	// CA is the authority of the Kubernetes API. Control-plane nodes have its certificate and key; workers have the
	// certificate alone.
	CA *CertAndKey `yaml:"ca" deprecated:"KubeAPIServerCAConfig"`
	// AcceptedCAs are authorities whose certificates are accepted besides those of ca, as during a rotation.
	AcceptedCAs []Cert `yaml:"acceptedCAs" deprecated:"KubeAPIServerCAConfig"`
	// AggregatorCA is the authority of the aggregation layer.
	AggregatorCA *CertAndKey `yaml:"aggregatorCA" deprecated:"KubeAggregatorCAConfig"`
	// ServiceAccount is the key that signs the tokens of service accounts.
	ServiceAccount *Key `yaml:"serviceAccount" deprecated:"KubeServiceAccountConfig"`
	// APIServer configures kube-apiserver.
	APIServer *APIServer `yaml:"apiServer" deprecated:"KubeAPIServerConfig and others"`
	// ControllerManager configures kube-controller-manager.
	ControllerManager *ControllerManager `yaml:"controllerManager" deprecated:"KubeControllerManagerConfig"`
	// Proxy configures kube-proxy.
	Proxy *Proxy `yaml:"proxy" deprecated:"KubeProxyConfig"`
	// Scheduler configures kube-scheduler.
	Scheduler *Scheduler `yaml:"scheduler" deprecated:"KubeSchedulerConfig"`
	// Discovery configures how the machines of a cluster find each other.
	Discovery *Discovery `yaml:"discovery" deprecated:"DiscoveryServiceConfig"`
	// Etcd configures etcd. Only control-plane nodes have it.
	Etcd *Etcd `yaml:"etcd"`
	// CoreDNS configures the cluster's DNS.
	CoreDNS *CoreDNS `yaml:"coreDNS" deprecated:"KubeCoreDNSConfig"`
	// ExternalCloudProvider makes room for a controller that manages the nodes of a cloud.
	ExternalCloudProvider *ExternalCloudProvider `yaml:"externalCloudProvider"`
	// ExtraManifests are URLs of manifests that are applied when the cluster is made.
	ExtraManifests []scalar.HTTPURL `yaml:"extraManifests" deprecated:"KubeExternalManifestConfig"`
	// ExtraManifestHeaders are HTTP headers with which they are asked for.
	ExtraManifestHeaders map[string]string `yaml:"extraManifestHeaders" secret:"true" deprecated:"KubeExternalManifestConfig"`
	// InlineManifests are manifests that are applied when the cluster is made.
	//
	// Example:
	//
	//	inlineManifests:
	//	    - name: namespace-ci
	//	      contents: |-
	//	          apiVersion: v1
	//	          kind: Namespace
	//	          metadata:
	//	              name: ci
	InlineManifests []InlineManifest `yaml:"inlineManifests" merge:"key=name" deprecated:"KubeInlineManifestConfig"`
	// AdminKubeconfig configures the kubeconfig that the machine API gives out.
	AdminKubeconfig *AdminKubeconfig `yaml:"adminKubeconfig"`
	// AllowSchedulingOnMasters is the old name of allowSchedulingOnControlPlanes.
	AllowSchedulingOnMasters *bool `yaml:"allowSchedulingOnMasters" deprecated:"KubeNodeConfig"`
	// AllowSchedulingOnControlPlanes lets pods run on control-plane nodes. Default: false.
	AllowSchedulingOnControlPlanes *bool `yaml:"allowSchedulingOnControlPlanes" deprecated:"KubeNodeConfig"`
}

// ControlPlane says where the Kubernetes API is.
type ControlPlane struct {
	// Endpoint is the URL of the Kubernetes API: a name, a virtual IP or a load balancer.
	Endpoint scalar.HTTPSURL `yaml:"endpoint"`
	// LocalAPIServerPort is the port on which kube-apiserver listens. Default: 6443.
	LocalAPIServerPort uint16 `yaml:"localAPIServerPort" deprecated:"KubeAPIServerConfig"`
}

// ClusterNetwork configures the networks of pods and services.
type ClusterNetwork struct {
	// CNI is what connects pods.
	CNI *CNI `yaml:"cni" deprecated:"KubeFlannelCNIConfig and KubeExternalManifestConfig"`
	// DNSDomain is the domain of the cluster's services. Default: cluster.local.
	DNSDomain string `yaml:"dnsDomain"`
	// PodSubnets are the subnets of pods, at most one of each family. Default: 10.244.0.0/16.
	PodSubnets []scalar.Prefix `yaml:"podSubnets" merge:"replace"`
	// ServiceSubnets are the subnets of services, at most one of each family. Default: 10.96.0.0/12.
	ServiceSubnets []scalar.Prefix `yaml:"serviceSubnets" merge:"replace"`
}

// CNI is what connects pods.
type CNI struct {
	// Name is flannel, which is built in; custom, which is applied from urls; or none, which leaves it to the user.
	// Default: flannel.
	Name string `yaml:"name" enum:"flannel|custom|none"`
	// URLs are the manifests of custom.
	URLs []scalar.HTTPURL `yaml:"urls" deprecated:"KubeExternalManifestConfig"`
	// Flannel configures flannel.
	Flannel *Flannel `yaml:"flannel" deprecated:"KubeFlannelCNIConfig"`
}

// Flannel configures flannel.
type Flannel struct {
	// ExtraArgs are arguments of flanneld, such as --iface-can-reach=192.168.1.1.
	ExtraArgs []string `yaml:"extraArgs"`
	// KubeNetworkPoliciesEnabled adds what enforces network policies. Default: false.
	KubeNetworkPoliciesEnabled *bool `yaml:"kubeNetworkPoliciesEnabled"`
}

// Discovery configures how the machines of a cluster find each other.
type Discovery struct {
	// Enabled turns it on. Default: false; generated configs have true.
	Enabled *bool `yaml:"enabled"`
	// Registries are the places where machines register.
	Registries *DiscoveryRegistries `yaml:"registries"`
}

// DiscoveryRegistries are the places where machines register.
type DiscoveryRegistries struct {
	// Kubernetes had machines register in annotations of their nodes. They never do; the value is ignored.
	Kubernetes *Disabled `yaml:"kubernetes" deprecated:"nothing: annotations are not used"`
	// Service is the discovery service.
	Service *DiscoveryService `yaml:"service"`
}

// DiscoveryService is the discovery service.
type DiscoveryService struct {
	// Disabled turns it off. Default: false.
	Disabled *bool `yaml:"disabled"`
	// Endpoint is its URL. Default: https://discovery.talos.dev/.
	Endpoint scalar.Endpoint `yaml:"endpoint"`
}

// Etcd configures etcd.
type Etcd struct {
	// Image is etcd's image. Default: that of the version that the system comes with.
	Image scalar.Image `yaml:"image"`
	// CA is the authority of etcd's certificates.
	CA *CertAndKey `yaml:"ca"`
	// ExtraArgs are command-line arguments by name, without hyphens; a list gives an argument several times.
	//
	// Example:
	//
	//	extraArgs:
	//	    election-timeout: "5000"
	ExtraArgs scalar.Args `yaml:"extraArgs"`
	// Subnet is the old form of advertisedSubnets: the one subnet.
	Subnet *scalar.Subnet `yaml:"subnet" deprecated:"cluster.etcd.advertisedSubnets"`
	// AdvertisedSubnets are the subnets of the addresses that other members reach this one by; those with a leading "!"
	// are not used. Default: the first address of the machine.
	//
	// Example:
	//
	//	advertisedSubnets:
	//	    - 10.0.0.0/8
	AdvertisedSubnets []scalar.Subnet `yaml:"advertisedSubnets"`
	// ListenSubnets are the subnets of the addresses that etcd listens on. Default: all addresses, or if
	// advertisedSubnets is there, those.
	ListenSubnets []scalar.Subnet `yaml:"listenSubnets"`
}

// ExternalCloudProvider makes room for a controller that manages the nodes of a cloud.
type ExternalCloudProvider struct {
	// Enabled turns it on: nodes are tainted until the controller has seen them. Default: false.
	Enabled *bool `yaml:"enabled"`
	// Manifests are URLs of the controller's manifests.
	Manifests []scalar.HTTPURL `yaml:"manifests"`
}

// InlineManifest is a manifest that is applied when the cluster is made.
type InlineManifest struct {
	// Name tells it from others.
	Name string `yaml:"name" required:"true"`
	// Contents is YAML: one Kubernetes object or several.
	Contents string `yaml:"contents"`
}

// AdminKubeconfig configures the kubeconfig that the machine API gives out.
type AdminKubeconfig struct {
	// CertLifetime is how long it is valid. Default: 8760h, a year.
	CertLifetime scalar.Duration `yaml:"certLifetime"`
}

// Validate implements [schema.Validator].
func (a *AdminKubeconfig) Validate(r *schema.Reporter) {
	if a.CertLifetime.Duration < 0 {
		r.At("certLifetime").Errorf("expected a duration of zero or more, got %s", a.CertLifetime)
	}
}

// deniedEtcd are the arguments that the system sets itself: the member's identity, its data and its TLS.
var deniedEtcd = []string{
	"name", "data-dir", "listen-peer-urls", "listen-client-urls", "cert-file", "key-file", "trusted-ca-file",
	"client-cert-auth", "peer-cert-file", "peer-key-file", "peer-trusted-ca-file", "peer-client-cert-auth",
}

// Validate implements [schema.Validator].
func (e *Etcd) Validate(r *schema.Reporter) {
	if e.CA != nil {
		e.CA.checkAuthority(r.At("ca"))
	}
	checkArgs(r.At("extraArgs"), e.ExtraArgs, deniedEtcd)
	if e.Subnet != nil && len(e.AdvertisedSubnets) > 0 {
		r.At("subnet").Hintf("keep advertisedSubnets", "subnet and advertisedSubnets are the same setting")
	}
}

// Validate implements [schema.Validator].
func (c *CNI) Validate(r *schema.Reporter) {
	switch {
	case c.Name == "custom" && len(c.URLs) == 0:
		r.Hintf("write none if you apply it yourself", "custom needs urls")
	case c.Name != "custom" && len(c.URLs) > 0:
		r.At("urls").Hintf("write name: custom", "urls are for custom")
	}
	if c.Flannel != nil && c.Name != "" && c.Name != "flannel" {
		r.At("flannel").Hintf("remove it", "the CNI is %s", c.Name)
	}
}

// Validate implements [schema.Validator].
func (n *ClusterNetwork) Validate(r *schema.Reporter) {
	if n.DNSDomain != "" && !scalar.ValidHostname(n.DNSDomain) {
		r.At("dnsDomain").Errorf("expected a domain such as cluster.local, got %q", n.DNSDomain)
	}
	checkFamilies(r.At("podSubnets"), n.PodSubnets)
	checkFamilies(r.At("serviceSubnets"), n.ServiceSubnets)
	for i, pods := range n.PodSubnets {
		for _, services := range n.ServiceSubnets {
			if pods.Overlaps(services.Prefix) {
				r.At("podSubnets").Item(i).Errorf("%s overlaps with the service subnet %s", pods, services)
			}
		}
	}
}

// checkFamilies reports a second subnet of one family.
func checkFamilies(r *schema.Reporter, subnets []scalar.Prefix) {
	seen := map[bool]netip.Prefix{}
	for i, s := range subnets {
		if first, twice := seen[s.Addr().Is4()]; twice {
			r.Item(i).Errorf("%s is a second subnet of the family of %s", s, first)
			continue
		}
		seen[s.Addr().Is4()] = s.Prefix
	}
}

// Validate implements [schema.Validator].
func (c *Cluster) Validate(r *schema.Reporter) {
	checkToken(r.At("token"), c.Token)
	if c.CA != nil {
		c.CA.checkAuthority(r.At("ca"))
	}
	if c.AggregatorCA != nil {
		c.AggregatorCA.checkAuthority(r.At("aggregatorCA"))
	}
	checkAccepted(r.At("acceptedCAs"), c.AcceptedCAs)
	for _, secret := range []struct{ key, value string }{
		{"id", c.ID}, {"secret", c.Secret},
		{"aescbcEncryptionSecret", c.AESCBCEncryptionSecret}, {"secretboxEncryptionSecret", c.SecretboxEncryptionSecret},
	} {
		if b, err := base64.StdEncoding.DecodeString(secret.value); err != nil || len(b) != 0 && len(b) != 32 {
			r.At(secret.key).Errorf("expected 32 bytes in base64")
		}
	}
	if (c.ID == "") != (c.Secret == "") {
		r.Hintf("generated configs have both", "id and secret go together")
	}
	if value(value(c.Discovery).Enabled) && c.ID == "" && c.Secret == "" {
		r.At("discovery").Warnf("write id and secret, or a DiscoveryIdentityConfig", "discovery needs the cluster's identity")
	}
	if c.AllowSchedulingOnMasters != nil && c.AllowSchedulingOnControlPlanes != nil {
		r.At("allowSchedulingOnMasters").Hintf("keep allowSchedulingOnControlPlanes",
			"allowSchedulingOnMasters and allowSchedulingOnControlPlanes are the same setting")
	}
	unique(r.At("inlineManifests"), "name", c.InlineManifests, func(m InlineManifest) string { return m.Name })
}
