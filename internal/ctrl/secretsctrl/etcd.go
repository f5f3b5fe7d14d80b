package secretsctrl

import (
	"context"
	"log/slog"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// The common names of etcd's clients, which show in its log.
const (
	etcdAdminName     = "machined"
	etcdAPIServerName = "kube-apiserver-etcd-client"
)

// EtcdController issues the certificates of etcd: of its server, between its members, and of its clients on this node.
type EtcdController struct{}

// etcdAddresses are those that etcd may be reached by: not the addresses of pods and services.
var etcdAddresses = network.Filtered(network.NodeAddressAccumulative, network.FilterNoK8s)

// Name implements [controller.Controller].
func (*EtcdController) Name() string { return "secrets.EtcdController" }

// Inputs implements [controller.Controller].
func (*EtcdController) Inputs() []controller.Input {
	return append(gateInputs(),
		controller.Weak[secrets.EtcdRoot]().Named(secrets.EtcdRootID),
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID),
		controller.Weak[network.NodeAddress]().Named(etcdAddresses),
		controller.DestroyReady[secrets.Etcd](),
	)
}

// Outputs implements [controller.Controller].
func (*EtcdController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.Etcd]()}
}

// Run implements [controller.Controller].
func (c *EtcdController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return loop(ctx, rt, log, func(ctx context.Context) (outcome, error) {
		root, ok, err := state.Find[secrets.EtcdRoot](ctx, rt, secrets.EtcdRootID)
		if err != nil {
			return outcome{}, err
		}
		if !ok {
			return outcome{}, remove[secrets.Etcd](ctx, rt)
		}
		if waiting, err := gates(ctx, rt, true); err != nil || waiting != "" {
			return outcome{waiting: waiting}, err
		}
		host, ok1, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
		if err != nil {
			return outcome{}, err
		}
		addrs, ok2, err := state.Find[network.NodeAddress](ctx, rt, etcdAddresses)
		if err != nil {
			return outcome{}, err
		}
		if !ok1 || !ok2 {
			return outcome{waiting: "the node's name, and its addresses without those of pods"}, nil
		}
		ca, err := parseAuthority("cluster.etcd.ca", root.EtcdCA)
		if err != nil {
			return outcome{}, err
		}
		out, _, err := state.Find[secrets.Etcd](ctx, rt, secrets.EtcdID)
		if err != nil {
			return outcome{}, err
		}
		i := &issuing{log: log, now: time.Now()}
		sans := nodeSANs(host, addrs.Addresses)
		for _, each := range []struct {
			what string
			cert *secrets.CertificateAndKey
			leaf secret.Leaf
		}{
			{"etcd's server", &out.Server, secret.EtcdServer(host.Hostname, sans)},
			{"etcd's members", &out.Peer, secret.EtcdPeer(host.Hostname, sans)},
			{"this node's calls to etcd", &out.Admin, secret.EtcdClient(etcdAdminName)},
			{"the API server's calls to etcd", &out.APIServer, secret.EtcdClient(etcdAPIServerName)},
		} {
			if *each.cert, err = i.keep(each.what, *each.cert, ca, each.leaf); err != nil {
				return outcome{}, err
			}
		}
		return outcome{next: i.next}, state.Put(ctx, rt, secrets.EtcdID, out)
	})
}
