package kubedoc_test

// wantKeys are the keys of each object in the published JSON schema, with "*" for those that it requires, in its order.
// Objects that it leaves open are as the contract has them.
var wantKeys = map[string]string{
	"AcceptedServiceAccounts":      "publicKeys issuers audiences",
	"Authority":                    "cert key",
	"KubeAPIServerCAConfig":        "issuingCA acceptedCAs",
	"KubeAPIServerConfig":          "image* extraArgs env resources apiPort certExtraSANs startupProbes",
	"KubeAdmissionControlConfig":   "name configuration",
	"KubeAggregatorCAConfig":       "issuingCA acceptedCAs",
	"KubeAuditPolicyConfig":        "configuration",
	"KubeAuthenticationConfig":     "configuration",
	"KubeAuthorizerConfig":         "name type webhook",
	"KubeClusterConfig":            "clusterName* endpoint*",
	"KubeControllerManagerConfig":  "enabled image* extraArgs env resources",
	"KubeCoreDNSConfig":            "enabled image",
	"KubeCredentialProviderConfig": "configuration",
	"KubeEtcdEncryptionConfig":     "config",
	"KubeExternalManifestConfig":   "name* headers url*",
	"KubeFlannelCNIConfig":         "backendType backendPort backendMTU backendExtraConfig resources extraArgs kubeNetworkPoliciesEnabled",
	"KubeInlineManifestConfig":     "name* manifest*",
	"KubeNetworkConfig":            "dnsDomain podSubnets* serviceSubnets* nodeCIDRMaskSizeIPv4 nodeCIDRMaskSizeIPv6",
	"KubeNodeConfig":               "skipNodeRegistration registerWithFQDN nodeIP labels annotations taints",
	"KubePrismConfig":              "port* tlsServerName",
	"KubeProxyConfig":              "enabled image* mode config extraArgs resources",
	"KubeSchedulerConfig":          "enabled image* config extraArgs env resources",
	"KubeServiceAccountConfig":     "issuer* accepted",
	"KubeStaticPodConfig":          "name* pod*",
	"KubeTalosAPIAccessConfig":     "allowedRoles allowedKubernetesNamespaces",
	"KubeletConfig":                "image* config extraArgs clusterDNS defaultRuntimeSeccompProfileEnabled",
	"NodeIPConfig":                 "validSubnets",
	"Resources":                    "requests limits",
	"ServiceAccountIssuer":         "privateKey* issuerURL*",
}

// required are the keys that the published schema does not require, but without which an object means nothing: the
// published system refuses such an object later.
var required = map[string]string{
	"KubeAdmissionControlConfig":   "name",
	"KubeAuditPolicyConfig":        "configuration",
	"KubeAuthenticationConfig":     "configuration",
	"KubeAuthorizerConfig":         "name type",
	"KubeCredentialProviderConfig": "configuration",
	"KubeEtcdEncryptionConfig":     "config",
}
