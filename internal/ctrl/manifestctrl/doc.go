// Package manifestctrl has the controllers of what a cluster begins with: the objects that let nodes join, the CNI, kube-proxy,
// CoreDNS, and what the machine config adds.
//
// From the config follow BootstrapManifestsConfig and ExtraManifestsConfig, from these Manifest resources, and these are applied to
// the API server of this node by one control-plane node at a time, under a lock in etcd: namespaces first, then
// CustomResourceDefinitions, which must be established, then the rest. What the cluster has already is left as it is: an upgrade of
// Kubernetes brings newer manifests, a boot does not. An object that is refused is tried again, less and less often, and stands with
// the server's words in a runtime.Diagnostic until it is taken.
//
// Only a control-plane machine has these resources. Whoever composes a node imports this package, and nobody else.
package manifestctrl

import (
	"context"
	"net"
	"net/http"
	"time"

	"talos.internal/controller"
)

// LockName is the lock under which manifests are applied.
const LockName = "talos:v1:manifestApplyMutex"

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Lock keeps the other control-plane nodes from applying at the same time. Required.
	Lock Locker
	// Dial makes the connections to the API server; nil means the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// HTTP fetches manifests; nil means a client with the system's authorities and proxies.
	HTTP *http.Client
}

// Locker is a lock that all control-plane nodes share.
type Locker interface {
	// Lock waits until it has the lock or ctx ends. unlock gives it back, and may be called after ctx has ended.
	Lock(ctx context.Context, name string) (unlock func(), err error)
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.HTTP == nil {
		d.HTTP = &http.Client{Timeout: fetchLimit, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: time.Second,
		}}
	}
	return []controller.Controller{
		bootstrapConfig(), extraConfig(), ManifestController{},
		&ExtraManifestController{HTTP: d.HTTP}, &ApplyController{Lock: d.Lock, Dial: d.Dial},
	}
}
