// Package secrets has the node's keys, certificates and tokens, and what certificates are made from.
// Every type is sensitive.
//
// A root has what is issued from, from the machine config; the others have what was issued. PEM is kept
// as bytes: the package parses nothing.
//
// The package only declares. Everyone above resource may import it.
package secrets

import "talos.internal/resource"

// Namespace is the namespace of the resources of this package.
const Namespace = "secrets"

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[OSRoot](),
		resource.TypeOf[EtcdRoot](),
		resource.TypeOf[KubernetesRoot](),
		resource.TypeOf[MaintenanceRoot](),
		resource.TypeOf[EncryptionSalt](),
		resource.TypeOf[API](),
		resource.TypeOf[Trustd](),
		resource.TypeOf[Etcd](),
		resource.TypeOf[Kubernetes](),
		resource.TypeOf[KubernetesDynamic](),
		resource.TypeOf[Kubelet](),
		resource.TypeOf[CertSAN](),
	}
}
