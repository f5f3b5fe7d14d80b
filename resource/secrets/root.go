package secrets

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	OSRootID          = "os"          // OSRoot
	EtcdRootID        = "etcd"        // EtcdRoot
	KubernetesRootID  = "k8s"         // KubernetesRoot
	MaintenanceRootID = "maintenance" // MaintenanceRoot
	EncryptionSaltID  = "salt"        // EncryptionSalt
)

// OSRoot is what the certificates of the node's own API are made from.
type OSRoot struct {
	// IssuingCA: nil on a worker, which asks the control plane for its certificate
	IssuingCA       *CertificateAndKey `yaml:"issuingCA,omitempty" proto:"1"`
	AcceptedCAs     []Certificate      `yaml:"acceptedCAs" proto:"5"`     // of whom a certificate is believed
	CertSANIPs      []netip.Addr       `yaml:"certSANIPs" proto:"2"`      // further addresses in the API's certificate
	CertSANDNSNames []string           `yaml:"certSANDNSNames" proto:"3"` // further names in it
	// Token: by which a machine asks the control plane for a certificate
	Token string `yaml:"token" proto:"4"`
}

// ResourceDefinition implements [resource.Spec].
func (OSRoot) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "OSRootSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// EtcdRoot is what the certificates of etcd are made from.
type EtcdRoot struct {
	EtcdCA CertificateAndKey `yaml:"etcdCA" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (EtcdRoot) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EtcdRootSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// KubernetesRoot is what the certificates, tokens and kubeconfigs of the Kubernetes control plane are
// made from.
type KubernetesRoot struct {
	Name          string       `yaml:"name" proto:"1"`           // of the cluster
	Endpoint      resource.URL `yaml:"endpoint" proto:"2"`       // of the cluster
	LocalEndpoint resource.URL `yaml:"local_endpoint" proto:"3"` // of the API server on this node
	// CertSANs: further names and addresses in the API server's certificate
	CertSANs              []string          `yaml:"certSANs" proto:"4"`
	APIServerIPs          []netip.Addr      `yaml:"apiServerIPs" proto:"14"` // its addresses in the service network
	DNSDomain             string            `yaml:"dnsDomain" proto:"6"`
	IssuingCA             CertificateAndKey `yaml:"issuingCA" proto:"7"`
	AcceptedCAs           []Certificate     `yaml:"acceptedCAs" proto:"15"`
	AggregatorCA          CertificateAndKey `yaml:"aggregatorCA" proto:"9"`
	AcceptedAggregatorCAs []Certificate     `yaml:"acceptedAggregatorCAs" proto:"17"`
	ServiceAccount        Key               `yaml:"serviceAccount" proto:"8"` // key that signs tokens of service accounts
	// ServiceAccountAcceptedKeys: further keys whose tokens are believed
	ServiceAccountAcceptedKeys []Key    `yaml:"serviceAccountAcceptedKeys" proto:"18"`
	IssuerURL                  string   `yaml:"issuerURL" proto:"19"` // of the tokens
	AcceptedIssuers            []string `yaml:"acceptedIssuers" proto:"20"`
	APIAudiences               []string `yaml:"apiAudiences" proto:"21"`
	AESCBCEncryptionSecret     string   `yaml:"aesCBCEncryptionSecret" proto:"10"` // base64; empty if not used
	BootstrapTokenID           string   `yaml:"bootstrapTokenID" proto:"11"`
	BootstrapTokenSecret       string   `yaml:"bootstrapTokenSecret" proto:"12"`
	SecretboxEncryptionSecret  string   `yaml:"secretboxEncryptionSecret" proto:"13"` // base64; empty if not used
	// EtcdEncryptionConfig: replaces what follows from the two secrets
	EtcdEncryptionConfig map[string]any `yaml:"etcdEncryptionConfig" proto:"16"`
}

// ResourceDefinition implements [resource.Spec].
func (KubernetesRoot) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KubernetesRootSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// MaintenanceRoot is an authority that the node made for itself, as long as it has no config.
type MaintenanceRoot struct {
	CA CertificateAndKey `yaml:"ca" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (MaintenanceRoot) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MaintenanceRootSecrets.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// EncryptionSalt goes into the keys of encrypted disks. It is random and kept with the node's state.
type EncryptionSalt struct {
	DiskSalt resource.Base64 `yaml:"diskSalt" proto:"1"` // 32 bytes
}

// ResourceDefinition implements [resource.Spec].
func (EncryptionSalt) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EncryptionSalts.secrets.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}
