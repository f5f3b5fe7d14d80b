package clusters

import (
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
)

// variants are the flags of create that change the configs without a patch.
type variants struct {
	mirrors, nameservers []string
	domain, version      string
	kubeSpan, discovery  bool
	unready              bool
}

// bind makes the flags.
func (v *variants) bind(fl *pflag.FlagSet) {
	fl.StringArrayVar(&v.mirrors, "registry-mirror", nil, "a mirror, as REGISTRY=URL; may be given several times")
	fl.StringSliceVar(&v.nameservers, "nameservers", nil, "the nameservers that machines start with (default: those of this computer)")
	fl.StringVar(&v.domain, "dns-domain", defaults.DNSDomain, "the domain of services")
	fl.StringVar(&v.version, "talos-version", generate.Newest.String(), "the version of the system that the configs are for: it decides their style")
	fl.BoolVar(&v.kubeSpan, "with-kubespan", false, "encrypt the traffic between machines")
	fl.BoolVar(&v.discovery, "with-cluster-discovery", true, "let machines find each other")
	fl.BoolVar(&v.unready, "skip-k8s-node-readiness-check", false, "do not wait for Nodes to be ready, as without a network plugin")
}

// request puts them into a request.
func (v *variants) request(r *provision.ClusterRequest) error {
	for _, text := range v.nameservers {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("expected --nameservers to be addresses, got %q", text)
		}
		r.Network.Nameservers = append(r.Network.Nameservers, a)
	}
	return nil
}

// input puts them into what configs are made from.
func (v *variants) input(in *generate.Input) error {
	var err error
	if in.Mirrors, err = generate.ParseMirrors(v.mirrors); err != nil {
		return fmt.Errorf("--registry-mirror: %w", err)
	}
	if in.Contract, err = generate.ParseContract(v.version); err != nil {
		return fmt.Errorf("--talos-version: %w", err)
	}
	in.DNSDomain, in.KubeSpan, in.Discovery = v.domain, v.kubeSpan, v.discovery
	return nil
}

// skips adds the checks that a person does not want to wait for.
func (v *variants) skips(already map[string]string) map[string]string {
	if !v.unready {
		return already
	}
	const why = "--skip-k8s-node-readiness-check"
	return map[string]string{vitals.NodesReady: why, vitals.DNSReady: why}
}
