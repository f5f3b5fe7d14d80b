// Package kubeletctrl has the controllers of kubelet: what it is started with, who the node is in Kubernetes, and its service.
//
// # Model
//
// The machine config becomes kube.KubeletConfig. With the name of the node (kube.Nodename) and its addresses (kube.NodeIP) it
// becomes kube.KubeletSpec: a command line and a KubeletConfiguration. The service "kubelet" is a container with them. Its files
// are written before each run: the configuration, the cluster's authorities, and a kubeconfig with the bootstrap token, by which
// kubelet asks for a certificate. It keeps the certificate in its directory of keys, which outlives a restart of the machine, so a
// node that has joined needs the token no more: the kubeconfig is written for the certificate that is there. A certificate of
// another node's name, or of another cluster, is taken away.
//
// On the control plane the node has the cluster's authority, and kubelet begins with a certificate by it. Elsewhere kubelet is not
// started before the cluster would take the node ([admission]), unless it has pods of the user to run. A kubelet that could not join
// and now can is started again ([JoinController]), since it would take its time.
//
// kube.KubeletKubeconfig is there once kubelet has joined, kube.KubeletStatus while it runs. Who needs kubelet to go on puts a
// finalizer on kube.KubeletLifecycle.
//
// # What it does not do
//
// It runs no control plane and renders no static pods (kubectrl), and sets no labels on the Node (nodectrl).
package kubeletctrl

import (
	"context"

	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/supervise"
	"talos.internal/resource/secrets"
)

// ServiceID is the name of the service.
const ServiceID = "kubelet"

// Services is what the package needs of the supervisor.
type Services interface {
	Load(...supervise.Service) error
	Start(ids ...string) error
	Restart(ctx context.Context, id string) error
	Unload(ctx context.Context, ids ...string) error
	Status(id string) (supervise.Status, error)
}

// Deps is what the controllers need of the outside. A directory that is left empty is the one of a node. kubelet has the
// directories at the same paths.
type Deps struct {
	// Services runs kubelet. Required.
	Services Services
	// Runner runs a container in containerd's system namespace. Required.
	Runner func(container.Spec) supervise.Runner
	// Conditions are what kubelet waits for besides containerd: the gates of the clock and the network.
	Conditions []supervise.Condition
	// Container is set where the kernel and the disks are the host's: kubelet then sets no sysctls by force, and does not evict
	// pods because the host's disk is full.
	Container bool
	// Lacks reports what kubelet would fail for in a container without the rights for it, "" if nothing; nil is [Lacking].
	Lacks func() string
	// Image has kubelet's image be on the node, unpacked, while there is nothing else to do. Required.
	Image func(ctx context.Context, ref string) error
	// MayJoin asks whether the cluster would give kubelet a certificate; nil is [MayJoin].
	MayJoin func(context.Context, secrets.Kubelet) (bool, error)
	// Garbage is kubelet's GOGC: how much garbage there may be, in percent of what is in use. "" leaves it to kubelet.
	Garbage string
	// Etc is for kubelet's configuration and credentials; /etc/kubernetes.
	Etc string
	// Root is kubelet's own directory; /var/lib/kubelet.
	Root string
	// Resolved has the resolv.conf that pods get, which hostdnsctrl writes; /system/resolved.
	Resolved string
	// Healthz is asked whether kubelet is well; http://127.0.0.1:10248/healthz.
	Healthz string
}

func (d *Deps) fill() {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&d.Etc, "/etc/kubernetes")
	set(&d.Root, "/var/lib/kubelet")
	set(&d.Resolved, "/system/resolved")
	set(&d.Healthz, "http://127.0.0.1:10248/healthz")
	if d.Lacks == nil {
		d.Lacks = Lacking
	}
	if d.MayJoin == nil {
		d.MayJoin = MayJoin
	}
}

// Files of kubelet.
func (d *Deps) configFile() string      { return d.Etc + "/kubelet.yaml" }
func (d *Deps) bootstrapFile() string   { return d.Etc + "/bootstrap-kubeconfig" }
func (d *Deps) kubeconfigFile() string  { return d.Etc + "/kubeconfig-kubelet" }
func (d *Deps) caFile() string          { return d.Etc + "/pki/ca.crt" }
func (d *Deps) credentialsFile() string { return d.Etc + "/credential-provider.yaml" }
func (d *Deps) pki() string             { return d.Root + "/pki" }
func (d *Deps) clientCertFile() string  { return d.pki() + "/kubelet-client-current.pem" }
func (d *Deps) servingCertFile() string { return d.pki() + "/kubelet.crt" }
func (d *Deps) resolvConf() string      { return d.Resolved + "/resolv.conf" }

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	d.fill()
	s := &ServiceController{deps: d}
	return []controller.Controller{
		ConfigController{}, NodenameController{}, NodeIPConfigController{}, NodeIPController{}, SpecController{deps: d},
		s, StatusController{service: s}, KubeconfigController{deps: d},
		JoinController{deps: d},
	}
}

// remove takes away what the controller has.
func remove(ctx context.Context, rt controller.Runtime) error {
	rt.TrackOutputs()
	return rt.CleanupOutputs(ctx)
}
