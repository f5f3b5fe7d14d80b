package netctrl

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// hostnameConfig is told whether the platform names the machine. Then it needs no name of its own making, which it would
// have for a moment at boot only, until the platform's is applied.
func hostnameConfig(named bool, cmdline []network.HostnameSpec) controller.Controller {
	return effective.Pass("network.HostnameConfigController", []controller.Output{wishes[network.HostnameSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			var doc *netdoc.HostnameConfig
			if c != nil {
				doc, _ = schema.Find[*netdoc.HostnameConfig](c.Set)
			}
			identity, _, err := state.Find[cluster.Identity](ctx, rt, cluster.IdentityID)
			if err != nil {
				return err
			}
			node, _, err := state.Find[network.NodeAddress](ctx, rt, network.NodeAddressDefault)
			if err != nil {
				return err
			}
			for _, s := range append(hostnameWishes(doc, identity.NodeID, node.Addresses), cmdline...) {
				if named && s.Layer == network.LayerDefault {
					continue
				}
				if err := wish(ctx, rt, s.Layer, network.HostnameSpecID, s); err != nil {
					return err
				}
			}
			return nil
		},
		controller.Weak[cluster.Identity]().Named(cluster.IdentityID), controller.Weak[network.NodeAddress]().Named(network.NodeAddressDefault))
}

// hostnameWishes is what the config wants, and the name that the machine makes itself: from its identity if the config says
// so, as soon as there is one; from its address without a word in the config; none if that is turned off.
func hostnameWishes(doc *netdoc.HostnameConfig, nodeID string, addresses []netip.Prefix) []network.HostnameSpec {
	var out []network.HostnameSpec
	made := network.HostnameSpec{Layer: network.LayerDefault}
	switch {
	case doc != nil && doc.Auto == "off":
	case doc != nil && doc.Auto == "stable":
		if nodeID != "" {
			made.Hostname = StableHostname(nodeID)
		}
	case len(addresses) > 0:
		made.Hostname = "talos-" + strings.NewReplacer(".", "-", ":", "-").Replace(addresses[0].Addr().StringExpanded())
	}
	if made.Hostname != "" {
		out = append(out, made)
	}
	if doc != nil && doc.Hostname != "" {
		s := splitHostname(doc.Hostname)
		s.Layer = network.LayerMachineConfiguration
		out = append(out, s)
	}
	return out
}

// StableHostname is the name that a machine makes of its identity: "talos-xxx-yyy", of the digits of the identity's SHA-256
// in base 36. The first digit of such a number has hardly a choice, and is left out.
func StableHostname(nodeID string) string {
	sum := sha256.Sum256([]byte(nodeID))
	digits := fmt.Sprintf("%07s", new(big.Int).SetBytes(sum[:]).Text(36))
	return "talos-" + digits[1:4] + "-" + digits[4:7]
}

// splitHostname returns the part before the first dot and the domain behind it.
func splitHostname(name string) network.HostnameSpec {
	host, domain, _ := strings.Cut(strings.TrimSuffix(name, "."), ".")
	return network.HostnameSpec{Hostname: host, Domainname: domain}
}

// maxHostname is the longest name of a machine that Linux takes (HOST_NAME_MAX). One label of DNS is shorter.
const maxHostname = 63

func hostnameSpec(h Host) controller.Controller {
	return controller.Transform[network.HostnameSpec, network.HostnameStatus]{
		ControllerName: "network.HostnameSpecController",
		Reconcile: func(_ context.Context, _ controller.Runtime, log *slog.Logger, in *resource.Typed[network.HostnameSpec], _ *resource.Metadata, out *network.HostnameStatus) error {
			s := in.Spec()
			if s.Hostname == "" || len(s.Hostname) > maxHostname {
				return fmt.Errorf("name the machine %q (layer %s): a host name has 1 to %d bytes", s.Hostname, s.Layer, maxHostname)
			}
			want := network.HostnameStatus{Hostname: s.Hostname, Domainname: s.Domainname}
			if *out == want {
				return nil
			}
			if err := h.SetHostname(s.Hostname); err != nil {
				return fmt.Errorf("name the machine %q: %w", s.Hostname, err)
			}
			log.Info("the machine has a new name", "hostname", want.FQDN(), "layer", s.Layer.String())
			*out = want
			return nil
		},
	}
}
