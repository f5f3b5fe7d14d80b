// Package secretsctrl has the controllers that issue the node's certificates, and those that take from the machine config what they
// are issued from.
//
// # Model
//
// A root (secrets.OSRoot, EtcdRoot, KubernetesRoot, Kubelet) is a part of the machine config as a resource, without a decision of
// its own. A CertSAN is what a certificate has to be valid for: the node's names and addresses and those of a root. The others are
// issued from both. What the API servers' address is (kube.Endpoint) comes from here as well, as far as the config says it, because
// a worker needs it to get its first certificate.
//
// # Issuing
//
// Each time that something changes, and every ten minutes, a controller compares each certificate that it has with the one that it
// would issue now: see reasonToIssue, a pure function whose answer is also the log line. A certificate is issued anew when it is
// for other names, roles or usages, when its authority is not the one that issues now, and when about half of its life is over.
// "About" is up to a twentieth earlier, by a fraction that follows from the certificate, so that nodes which started together do
// not all ask the control plane together. One that lives as long as its authority is not renewed early, since that would gain
// nothing.
//
// Nothing is issued before the clock can be believed (clock.TimeStatus) and the network has names and addresses (network.Status); but
// for the API, which waits for the clock half a minute only.
// What is there stays meanwhile. The exception is the node without a config: it issues its API a certificate of an authority of its
// own, whatever the clock says.
//
// Control-plane nodes issue everything themselves. A worker asks trustd: package trust.
//
// # What it does not do
//
// It writes no files, and restarts nothing: who uses a certificate watches its resource. Only internal/node imports it.
package secretsctrl

import (
	"context"
	"net"

	"talos.internal/controller"
)

// Deps is what the controllers need of the outside.
type Deps struct {
	// StateDir is where the volume STATE is mounted. Required.
	StateDir string
	// Volumes says that StateDir is a volume that the controllers of disks mount.
	Volumes bool
	// SystemRoots returns the authorities that the image trusts, in PEM: the file as the image has it, not the one that is laid
	// over it. It is called at most once, and only if the config has more. Required.
	SystemRoots func() ([]byte, error)
	// Dial connects to trustd, by host:port. Nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	return []controller.Controller{
		rootOS(), rootEtcd(), rootKubernetes(), kubelet(), staticEndpoint(),
		apiCertSANs(), kubernetesCertSANs(), maintenanceCertSANs(),
		&MaintenanceRootController{}, &APIController{Dial: d.Dial}, &TrustdController{},
		&EtcdController{}, &KubernetesController{}, &KubernetesDynamicCertsController{},
		&EncryptionSaltController{Dir: d.StateDir, Volumes: d.Volumes}, &TrustedRootsController{SystemRoots: d.SystemRoots},
	}
}
