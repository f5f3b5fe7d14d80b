package manifestctrl

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/defaults"
	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// fromConfig is a controller that keeps one resource of a control-plane machine, which follows from the machine config alone.
type fromConfig[Out resource.Spec] struct {
	name, id string
	// derive returns nil if the config has nothing for the resource.
	derive func(set schema.Set) (*Out, error)
}

// Name implements [controller.Controller].
func (f fromConfig[Out]) Name() string { return f.name }

// Inputs implements [controller.Controller].
func (f fromConfig[Out]) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Config]().Named(machineconfig.Active), controller.DestroyReady[Out](),
	}
}

// Outputs implements [controller.Controller].
func (f fromConfig[Out]) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[Out]()}
}

// Run implements [controller.Controller].
func (f fromConfig[Out]) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if c != nil && isControlPlane(c.Set) {
			out, err := f.derive(c.Set)
			if err != nil {
				return err
			}
			if out != nil {
				if err := state.Put(ctx, rt, f.id, *out); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

func isControlPlane(set schema.Set) bool {
	root, _, ok := rootdoc.Find(set)
	return ok && root.Role() == schema.ControlPlane
}

func bootstrapConfig() controller.Controller {
	return fromConfig[kube.BootstrapManifestsConfig]{
		name: "k8s.ControlPlaneBootstrapManifestsController", id: kube.BootstrapManifestsConfigID, derive: bootstrapOf,
	}
}

func extraConfig() controller.Controller {
	return fromConfig[kube.ExtraManifestsConfig]{
		name: "k8s.ControlPlaneExtraManifestsController", id: kube.ExtraManifestsConfigID, derive: extraOf,
	}
}

// loopback is where KubePrism listens.
const loopback = "127.0.0.1"

// bootstrapOf is what the manifests of a new cluster are made from. There are none without a cluster and its network.
func bootstrapOf(set schema.Set) (*kube.BootstrapManifestsConfig, error) {
	cluster, ok1 := schema.Find[*kubedoc.KubeClusterConfig](set)
	network, ok2 := schema.Find[*kubedoc.KubeNetworkConfig](set)
	if !ok1 || !ok2 || cluster.Endpoint.URL.URL == nil {
		return nil, nil
	}
	out := &kube.BootstrapManifestsConfig{
		Server: cluster.Endpoint.String(), ClusterDomain: network.DNSDomainOrDefault(), CNIName: "none",
	}
	for _, p := range network.PodSubnets {
		out.PodCIDRs = append(out.PodCIDRs, p.String())
	}
	for _, p := range network.ServiceSubnets {
		ip, err := dnsServiceIP(p.Prefix)
		switch {
		case err != nil:
			return nil, err
		case ip.Is4():
			out.DNSServiceIP = ip.String()
		default:
			out.DNSServiceIPv6 = ip.String()
		}
	}
	if prism, ok := schema.Find[*kubedoc.KubePrismConfig](set); ok {
		port := strconv.Itoa(int(prism.Port))
		out.Server = "https://" + loopback + ":" + port
		out.FlannelKubeServiceHost, out.FlannelKubeServicePort = loopback, port
	}
	if p, ok := schema.Find[*kubedoc.KubeProxyConfig](set); ok && p.EnabledOrDefault() {
		if err := proxyOf(out, p); err != nil {
			return nil, err
		}
	}
	if d, ok := schema.Find[*kubedoc.KubeCoreDNSConfig](set); ok && d.EnabledOrDefault() {
		out.CoreDNSEnabled = true
		out.CoreDNSImage = cmp.Or(string(d.Image), defaults.ImagesOf(defaults.Kubernetes).CoreDNS)
	}
	if f, ok := schema.Find[*kubedoc.KubeFlannelCNIConfig](set); ok {
		out.CNIName = "flannel"
		out.FlannelEnabled = true
		out.FlannelImage = defaults.ImagesOf(defaults.Kubernetes).Flannel
		out.FlannelExtraArgs = f.ExtraArgs
		out.FlannelBackendType, out.FlannelBackendPort = f.BackendTypeOrDefault(), uint32(f.BackendPortOrDefault())
		out.FlannelBackendMTU, out.FlannelBackendExtraConfig = f.BackendMTU, f.BackendExtraConfig
		out.FlannelResources = resourcesOf(f.Resources)
		out.FlannelKubeNetworkPoliciesEnabled = f.KubeNetworkPoliciesEnabled
	}
	if _, ok := schema.Find[*kubedoc.KubeTalosAPIAccessConfig](set); ok {
		out.TalosAPIServiceEnabled = true
	}
	return out, nil
}

// dnsServiceIP is the tenth address of the service network: where kubelets tell pods to ask for names.
func dnsServiceIP(p netip.Prefix) (netip.Addr, error) {
	const tenth = 10
	ip := p.Masked().Addr()
	for range tenth {
		ip = ip.Next()
	}
	if !p.Contains(ip) {
		return netip.Addr{}, fmt.Errorf("service network %s: it is too small for the cluster's DNS, which has its tenth address; make it larger", p)
	}
	return ip, nil
}

// proxyOf says how kube-proxy runs. What its configuration file can say it takes from there alone if it has one; then its command
// line has what is given besides, and its name.
func proxyOf(out *kube.BootstrapManifestsConfig, p *kubedoc.KubeProxyConfig) error {
	out.ProxyEnabled, out.ProxyImage, out.ProxyResources = true, string(p.Image), resourcesOf(p.Resources)
	cidrs := strings.Join(out.PodCIDRs, ",")
	args := map[string][]string{"hostname-override": {"$(NODE_NAME)"}}
	if len(p.Config) == 0 {
		// The kernel's limits on connections are the node's own matter.
		args["cluster-cidr"], args["proxy-mode"], args["conntrack-max-per-core"] = []string{cidrs}, []string{p.ModeOrDefault()}, []string{"0"}
		args["kubeconfig"] = []string{proxyKubeconfig}
	} else {
		config := map[string]any{
			"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
			"mode": p.ModeOrDefault(), "clusterCIDR": cidrs,
			"clientConnection": map[string]any{"kubeconfig": proxyKubeconfig},
			"conntrack":        map[string]any{"maxPerCore": 0},
		}
		overlay(config, p.Config)
		text, err := yaml.Marshal(config)
		if err != nil {
			return fmt.Errorf("configuration of kube-proxy: %w", err)
		}
		sum := sha256.Sum256(text)
		out.ProxyConfig, out.ProxyConfigChecksum = config, hex.EncodeToString(sum[:])
		args["config"] = []string{proxyConfigDir + "/" + proxyConfigFile}
	}
	for name, values := range p.ExtraArgs {
		args[name] = values
	}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		for _, v := range args[name] {
			out.ProxyArgs = append(out.ProxyArgs, "--"+name+"="+v)
		}
	}
	return nil
}

// overlay lays the mapping over into the mapping into; over is not kept.
func overlay(into, over map[string]any) {
	for k, v := range over {
		if m, ok := v.(map[string]any); ok {
			have, ok := into[k].(map[string]any)
			if !ok {
				have = map[string]any{}
				into[k] = have
			}
			overlay(have, m)
			continue
		}
		into[k] = v
	}
}

func resourcesOf(r *kubedoc.Resources) kube.Resources {
	if r == nil {
		return kube.Resources{}
	}
	texts := func(m map[string]kubedoc.Quantity) map[string]string {
		if len(m) == 0 {
			return nil
		}
		out := make(map[string]string, len(m))
		for k, v := range m {
			out[k] = string(v)
		}
		return out
	}
	return kube.Resources{Requests: texts(r.Requests), Limits: texts(r.Limits)}
}

// extraPriority puts what the config adds behind the system's own.
const extraPriority = "99"

// extraOf is what the config adds: first what is somewhere else, then what it has itself.
func extraOf(set schema.Set) (*kube.ExtraManifestsConfig, error) {
	out := &kube.ExtraManifestsConfig{}
	names := map[string]bool{}
	for _, d := range schema.All[*kubedoc.KubeExternalManifestConfig](set) {
		names[d.Name] = true
		out.ExtraManifests = append(out.ExtraManifests, kube.ExtraManifest{
			Name: d.Name, URL: d.URL.String(), Priority: extraPriority, ExtraHeaders: maps.Clone(d.Headers),
		})
	}
	for _, d := range schema.All[*kubedoc.KubeInlineManifestConfig](set) {
		name := d.Name
		if names[name] { // two kinds of documents have names of their own; manifests do not
			name += "-inline"
		}
		out.ExtraManifests = append(out.ExtraManifests, kube.ExtraManifest{Name: name, Priority: extraPriority, InlineManifest: d.Manifest})
	}
	return out, nil
}
