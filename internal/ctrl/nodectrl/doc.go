// Package nodectrl has the controllers of the Node object of this machine: what it should have by the config, what it has, and where
// the cluster's own API says that API servers are.
//
// Labels, annotations and taints of the config are put on the Node, and so noted there in annotations that one which leaves the
// config leaves the Node, too. What somebody else put there with another value is left alone. A control-plane machine does it as an
// administrator; a worker as its own kubelet, which may neither change taints nor set labels that others trust.
//
// A machine that goes down is cordoned, and comes back as it was before.
//
// Whoever composes a node imports this package, and nobody else.
package nodectrl

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"talos.internal/controller"
)

// KubeletKubeconfig is where kubelet keeps its kubeconfig, which it writes when it has joined.
const KubeletKubeconfig = "/etc/kubernetes/kubeconfig-kubelet"

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Root is before every file; empty is the real root.
	Root string
	// Kubeconfig is the file of kubelet's kubeconfig; empty means KubeletKubeconfig.
	Kubeconfig string
	// Dial makes the connections to the API server; nil means the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// read returns kubelet's kubeconfig.
func (d Deps) read() ([]byte, error) { return os.ReadFile(filepath.Join(d.Root, d.Kubeconfig)) }

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.Kubeconfig == "" {
		d.Kubeconfig = KubeletKubeconfig
	}
	return []controller.Controller{
		labelSpecs(), annotationSpecs(), taintSpecs(), CordonedSpecController{},
		&StatusController{Deps: d}, &EndpointController{Deps: d}, &ApplyController{Deps: d},
	}
}
