// Package kubedoc has the configuration documents about Kubernetes: the cluster as a node sees it, the kubelet, the
// control plane with its authorities, and the manifests that a cluster starts with.
//
// Each document kind is a struct whose comments are its documentation. [Kinds] lists them; [Check] has the rules that
// span several documents. What Kubernetes itself defines, such as a KubeletConfiguration, is kept as a free-form
// mapping: only what this system must own, or what would stop a component from starting, is checked here.
//
// The package is pure, reads no clock, and is imported by the config facade and by consumers of documents; it imports
// no other document package.
package kubedoc

import "talos.internal/config/schema"

// subject is the section of the reference that has these kinds.
const subject = "k8s"

// Kinds returns the kinds of this package.
func Kinds() []schema.Kind {
	return []schema.Kind{
		everywhere(func() schema.Document { return new(KubeClusterConfig) }),
		everywhere(func() schema.Document { return new(KubeNetworkConfig) }),
		everywhere(func() schema.Document { return new(KubeNodeConfig) }),
		everywhere(func() schema.Document { return new(KubeletConfig) }),
		everywhere(func() schema.Document { return new(KubeCredentialProviderConfig) }),
		everywhere(func() schema.Document { return new(KubePrismConfig) }),
		everywhere(func() schema.Document { return new(KubeAPIServerCAConfig) }),
		controlPlane(func() schema.Document { return new(KubeAggregatorCAConfig) }),
		controlPlane(func() schema.Document { return new(KubeServiceAccountConfig) }),
		controlPlane(func() schema.Document { return new(KubeAPIServerConfig) }),
		controlPlane(func() schema.Document { return new(KubeControllerManagerConfig) }),
		controlPlane(func() schema.Document { return new(KubeSchedulerConfig) }),
		controlPlane(func() schema.Document { return new(KubeAdmissionControlConfig) }),
		controlPlane(func() schema.Document { return new(KubeAuditPolicyConfig) }),
		controlPlane(func() schema.Document { return new(KubeAuthenticationConfig) }),
		controlPlane(func() schema.Document { return new(KubeAuthorizerConfig) }),
		controlPlane(func() schema.Document { return new(KubeEtcdEncryptionConfig) }),
		controlPlane(func() schema.Document { return new(KubeProxyConfig) }),
		controlPlane(func() schema.Document { return new(KubeFlannelCNIConfig) }),
		controlPlane(func() schema.Document { return new(KubeCoreDNSConfig) }),
		controlPlane(func() schema.Document { return new(KubeExternalManifestConfig) }),
		controlPlane(func() schema.Document { return new(KubeInlineManifestConfig) }),
		everywhere(func() schema.Document { return new(KubeStaticPodConfig) }),
		controlPlane(func() schema.Document { return new(KubeTalosAPIAccessConfig) }),
	}
}

func everywhere(create func() schema.Document) schema.Kind {
	return schema.Kind{Name: create().DocumentKind(), Subject: subject, New: create}
}

func controlPlane(create func() schema.Document) schema.Kind {
	k := everywhere(create)
	k.ControlPlaneOnly = true
	return k
}

// valueOr returns *p, or otherwise if p is nil.
func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
