package secrets

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	APIID               = "api"               // API
	TrustdID            = "trustd"            // Trustd
	EtcdID              = "etcd"              // Etcd
	KubernetesID        = "k8s-certs"         // Kubernetes
	KubernetesDynamicID = "k8s-dynamic-certs" // KubernetesDynamic
	KubeletID           = "kubelet"           // Kubelet
)

// API is what the node's own API proves itself by, to callers and to other nodes.
type API struct {
	// Client: for calls to other nodes; nil on a worker
	Client                  *CertificateAndKey `yaml:"client,omitempty" proto:"2"`
	Server                  CertificateAndKey  `yaml:"server" proto:"3"`
	AcceptedCAs             []Certificate      `yaml:"acceptedCAs" proto:"4"`             // of whom a caller's certificate is believed
	SkipVerifyingClientCert bool               `yaml:"skipVerifyingClientCert" proto:"5"` // callers need no certificate
}

// ResourceDefinition implements [resource.Spec].
func (API) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ApiCertificates.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Trustd is what the service that issues certificates to joining machines proves itself by.
type Trustd struct {
	Server      CertificateAndKey `yaml:"server" proto:"2"`
	AcceptedCAs []Certificate     `yaml:"acceptedCAs" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (Trustd) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "TrustdCertificates.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Etcd are the certificates of etcd and of its clients on this node.
type Etcd struct {
	Server    CertificateAndKey `yaml:"etcd" proto:"1"`
	Peer      CertificateAndKey `yaml:"etcdPeer" proto:"2"`
	Admin     CertificateAndKey `yaml:"etcdAdmin" proto:"3"`
	APIServer CertificateAndKey `yaml:"etcdAPIServer" proto:"4"`
}

// ResourceDefinition implements [resource.Spec].
func (Etcd) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcdSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Kubernetes are the kubeconfigs of the control plane on this node.
type Kubernetes struct {
	SchedulerKubeconfig         string `yaml:"schedulerKubeconfig" proto:"4"`
	ControllerManagerKubeconfig string `yaml:"controllerManagerKubeconfig" proto:"5"`
	LocalhostAdminKubeconfig    string `yaml:"localhostAdminKubeconfig" proto:"6"` // for this node's own calls
	AdminKubeconfig             string `yaml:"adminKubeconfig" proto:"7"`          // for a person
}

// ResourceDefinition implements [resource.Spec].
func (Kubernetes) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubernetesSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// KubernetesDynamic are the certificates of the API server, which follow the names and addresses of the
// node.
type KubernetesDynamic struct {
	APIServer              CertificateAndKey `yaml:"apiServer" proto:"1"`
	APIServerKubeletClient CertificateAndKey `yaml:"apiServerKubeletClient" proto:"2"`
	FrontProxy             CertificateAndKey `yaml:"frontProxy" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (KubernetesDynamic) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubernetesDynamicCerts.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Kubelet is what kubelet joins the cluster with.
type Kubelet struct {
	Endpoint resource.URL `yaml:"endpoint" proto:"1"` // of the Kubernetes API
	// EndpointTLSServerName: name to expect in its certificate; empty takes the endpoint's
	EndpointTLSServerName string        `yaml:"endpointTLSServerName" proto:"6"`
	AcceptedCAs           []Certificate `yaml:"acceptedCAs" proto:"5"`
	BootstrapTokenID      string        `yaml:"bootstrapTokenID" proto:"3"`
	BootstrapTokenSecret  string        `yaml:"bootstrapTokenSecret" proto:"4"`
}

// ResourceDefinition implements [resource.Spec].
func (Kubelet) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubeletSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// CertSAN are the names and addresses for a certificate. Its id is [CertSANAPI], [CertSANMaintenance]
// or [CertSANKubernetes].
type CertSAN struct {
	IPs      []netip.Addr `yaml:"ips" proto:"1"`
	DNSNames []string     `yaml:"dnsNames" proto:"2"`
	FQDN     string       `yaml:"fqdn" proto:"3"` // the name of the subject; empty if the node has none
}

// ResourceDefinition implements [resource.Spec].
func (CertSAN) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "CertSANs.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Ids of [CertSAN].
const (
	CertSANAPI         = "api"
	CertSANMaintenance = "maintenance"
	CertSANKubernetes  = "k8s"
)
