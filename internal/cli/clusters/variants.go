package clusters

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
)

// variants are the flags of create that change the configs without a patch.
type variants struct {
	mirrors, nameservers []string
	unverified           []string // registries
	domain, version      string
	installer, network   string // the installer's image; the URL of a network plugin's manifests
	prism                int
	kubeSpan, discovery  bool
	unready              bool
}

// bind makes the flags.
func (v *variants) bind(fl *pflag.FlagSet) {
	fl.StringArrayVar(&v.mirrors, "registry-mirror", nil, "a mirror, as REGISTRY=URL; may be given several times")
	fl.StringSliceVar(&v.unverified, "registry-insecure-skip-verify", nil, "registries whose certificates are not checked")
	fl.StringSliceVar(&v.nameservers, "nameservers", nil, "the nameservers that machines start with (default: those of this computer)")
	fl.StringVar(&v.domain, "dns-domain", defaults.DNSDomain, "the domain of services")
	fl.StringVar(&v.version, "talos-version", generate.Newest.String(), "the version of the system that the configs are for: it decides their style")
	fl.StringVar(&v.installer, "install-image", "", "the image that installs and upgrades machines (default: that of their version)")
	fl.StringVar(&v.network, "custom-cni-url", "", "the manifests of a network plugin, in place of flannel")
	fl.IntVar(&v.prism, "kubeprism-port", defaults.KubePrismPort, "the port on each machine that leads to every API server; 0 for none")
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
	in.DNSDomain, in.KubeSpan, in.Discovery, in.InstallImage = v.domain, v.kubeSpan, v.discovery, v.installer
	return nil
}

// patches are those that the flags stand for. They come before a person's own.
func (v *variants) patches() ([]patch.Patch, error) {
	var out []patch.Patch
	var failed error
	type object = map[string]any
	add := func(flag string, value object) {
		text, err := yaml.Marshal(value)
		if err == nil {
			var p patch.Patch
			if p, err = patch.Parse(flag, text); err == nil {
				out = append(out, p)
				return
			}
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", flag, err))
	}
	if v.network != "" {
		if u, err := url.Parse(v.network); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("expected --custom-cni-url to be a URL of manifests such as https://example.org/network.yaml, got %q", v.network)
		}
		add("--custom-cni-url", object{"cluster": object{"network": object{"cni": object{"name": "custom", "urls": []string{v.network}}}}})
	}
	switch {
	case v.prism < 0 || v.prism > math.MaxUint16:
		return nil, fmt.Errorf("expected --kubeprism-port to be from 1 to %d, or 0 for none, got %d", math.MaxUint16, v.prism)
	case v.prism == 0:
		add("--kubeprism-port", object{"machine": object{"features": object{"kubePrism": object{"enabled": false}}}})
	case v.prism != defaults.KubePrismPort:
		add("--kubeprism-port", object{"machine": object{"features": object{"kubePrism": object{"enabled": true, "port": v.prism}}}})
	}
	for _, registry := range v.unverified {
		add("--registry-insecure-skip-verify", object{"machine": object{"registries": object{"config": object{registry: object{"tls": object{"insecureSkipVerify": true}}}}}})
	}
	return out, failed
}

// skips adds the checks that a person does not want to wait for.
func (v *variants) skips(already map[string]string) map[string]string {
	if !v.unready {
		return already
	}
	const why = "--skip-k8s-node-readiness-check"
	return map[string]string{vitals.NodesReady: why, vitals.DNSReady: why}
}
