package secretsctrl

import (
	"context"
	"log/slog"
	"net/netip"

	"talos.internal/controller"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// CertSANController keeps one CertSAN: the node's names, the addresses that it has or had since it started, and those of Extra.
// An address that went stays, since it often comes back, and since every change costs a certificate.
type CertSANController struct {
	// ControllerName is the controller's name.
	ControllerName string
	// ID is that of the CertSAN.
	ID string
	// Addresses is the id of the NodeAddress.
	Addresses string
	// Root is what Extra reads; may be none.
	Root []controller.Input
	// Extra returns more names; ok is false while there is no root, and thus no CertSAN.
	Extra func(ctx context.Context, rt controller.Runtime) (extra secret.SANs, ok bool, err error)
}

// apiCertSANs is the controller "secrets.APICertSANsController". A bridge for pods is no reason for a new certificate.
func apiCertSANs() controller.Controller {
	return &CertSANController{
		ControllerName: "secrets.APICertSANsController", ID: secrets.CertSANAPI, Addresses: network.Filtered(network.NodeAddressAccumulative, network.FilterNoK8s),
		Root: []controller.Input{controller.Weak[secrets.OSRoot]().Named(secrets.OSRootID)},
		Extra: func(ctx context.Context, rt controller.Runtime) (secret.SANs, bool, error) {
			root, ok, err := state.Find[secrets.OSRoot](ctx, rt, secrets.OSRootID)
			return secret.SANs{IPs: root.CertSANIPs, DNS: root.CertSANDNSNames}, ok, err
		},
	}
}

// kubernetesCertSANs is the controller "secrets.KubernetesCertSANsController". Addresses of pods and services are not the API
// server's.
func kubernetesCertSANs() controller.Controller {
	return &CertSANController{
		ControllerName: "secrets.KubernetesCertSANsController", ID: secrets.CertSANKubernetes,
		Addresses: network.Filtered(network.NodeAddressAccumulative, network.FilterNoK8s),
		Root:      []controller.Input{controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID)},
		Extra: func(ctx context.Context, rt controller.Runtime) (secret.SANs, bool, error) {
			root, ok, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
			if err != nil || !ok {
				return secret.SANs{}, false, err
			}
			sans, err := secret.ParseSANs(root.CertSANs)
			if err != nil {
				return secret.SANs{}, false, err
			}
			sans.IPs = append(root.APIServerIPs, sans.IPs...)
			leaf, err := secret.KubeAPIServer(secret.KubeAPIServerNames{Domain: root.DNSDomain, Extra: sans})
			return leaf.SANs, true, err
		},
	}
}

// maintenanceCertSANs is the controller "secrets.MaintenanceCertSANsController".
func maintenanceCertSANs() controller.Controller {
	return &CertSANController{
		ControllerName: "secrets.MaintenanceCertSANsController", ID: secrets.CertSANMaintenance, Addresses: network.NodeAddressAccumulative,
		Extra: func(context.Context, controller.Runtime) (secret.SANs, bool, error) { return secret.SANs{}, true, nil },
	}
}

// Name implements [controller.Controller].
func (c *CertSANController) Name() string { return c.ControllerName }

// Inputs implements [controller.Controller].
func (c *CertSANController) Inputs() []controller.Input {
	return append([]controller.Input{
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID),
		controller.Weak[network.NodeAddress]().Named(c.Addresses),
		controller.DestroyReady[secrets.CertSAN](),
	}, c.Root...)
}

// Outputs implements [controller.Controller].
func (c *CertSANController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[secrets.CertSAN]()}
}

// Run implements [controller.Controller].
func (c *CertSANController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		extra, ok, err := c.Extra(ctx, rt)
		if err != nil {
			return err
		}
		if !ok {
			return remove[secrets.CertSAN](ctx, rt)
		}
		host, ok1, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
		if err != nil {
			return err
		}
		addrs, ok2, err := state.Find[network.NodeAddress](ctx, rt, c.Addresses)
		if err != nil || !ok1 || !ok2 {
			return err
		}
		return state.Put(ctx, rt, c.ID, certSAN(host, addrs.Addresses, extra))
	})
}

func certSAN(host network.HostnameStatus, addrs []netip.Prefix, extra secret.SANs) secrets.CertSAN {
	sans := nodeSANs(host, addrs)
	for _, ip := range extra.IPs {
		sans = withName(sans, ip.String())
	}
	for _, n := range extra.DNS {
		sans = withName(sans, n)
	}
	return secrets.CertSAN{IPs: sans.IPs, DNSNames: sans.DNS, FQDN: host.FQDN()}
}

// nodeSANs are the names and addresses that the node itself has.
func nodeSANs(host network.HostnameStatus, addrs []netip.Prefix) (sans secret.SANs) {
	for _, p := range addrs {
		sans = withName(sans, p.Addr().Unmap().WithZone("").String())
	}
	for _, n := range []string{host.Hostname, host.FQDN()} {
		sans = withName(sans, n)
	}
	return sans
}
