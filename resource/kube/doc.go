// Package kube has Kubernetes on this node: the config of its components, the static pods and manifests
// made from it, kubelet, the Node object, and who may call the node's API from pods.
//
// What the control plane is made from is in [ControlPlaneNamespace], which is empty on a worker.
// Objects of Kubernetes are kept as they are in YAML, so that the package needs none of its libraries.
//
// The package only declares. Everyone above resource may import it.
package kube

import "talos.internal/resource"

// Namespaces of the resources of this package.
const (
	Namespace             = "k8s"
	ControlPlaneNamespace = "controlplane" // the control plane's
	ConfigNamespace       = "config"
)

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[APIServerConfig](),
		resource.TypeOf[ControllerManagerConfig](),
		resource.TypeOf[SchedulerConfig](),
		resource.TypeOf[AdmissionControlConfig](),
		resource.TypeOf[AuditPolicyConfig](),
		resource.TypeOf[AuthenticationConfig](),
		resource.TypeOf[AuthorizationConfig](),
		resource.TypeOf[EtcdEncryptionConfig](),
		resource.TypeOf[ConfigStatus](),
		resource.TypeOf[SecretsStatus](),
		resource.TypeOf[Endpoint](),
		resource.TypeOf[StaticPod](),
		resource.TypeOf[StaticPodStatus](),
		resource.TypeOf[StaticPodServerStatus](),
		resource.TypeOf[Manifest](),
		resource.TypeOf[ManifestStatus](),
		resource.TypeOf[ExtraManifestsConfig](),
		resource.TypeOf[BootstrapManifestsConfig](),
		resource.TypeOf[KubeletConfig](),
		resource.TypeOf[KubeletSpec](),
		resource.TypeOf[KubeletKubeconfig](),
		resource.TypeOf[KubeletStatus](),
		resource.TypeOf[KubeletLifecycle](),
		resource.TypeOf[Nodename](),
		resource.TypeOf[NodeIP](),
		resource.TypeOf[NodeIPConfig](),
		resource.TypeOf[NodeStatus](),
		resource.TypeOf[NodeLabelSpec](),
		resource.TypeOf[NodeAnnotationSpec](),
		resource.TypeOf[NodeTaintSpec](),
		resource.TypeOf[NodeCordonedSpec](),
		resource.TypeOf[KubePrismConfig](),
		resource.TypeOf[KubePrismEndpoints](),
		resource.TypeOf[KubePrismStatus](),
		resource.TypeOf[AccessConfig](),
	}
}
