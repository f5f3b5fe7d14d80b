package clusters

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config"
	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/config/kubedoc"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
	"talos.internal/secret"
)

// wish is what a person asks for.
type wish struct {
	name                  string
	controlPlane, workers int
	cidr                  string
	mtu                   int
	// cpus and memory by type of node.
	cpus, memory map[string]string
	image        string
}

// most is how many nodes may be asked for at once: enough for any laboratory, and a slip of a finger is none.
const most = 100

// request returns the cluster to be made, without configs.
func (w wish) request() (provision.ClusterRequest, error) {
	r := provision.ClusterRequest{Name: w.name, Image: w.image, Network: provision.NetworkRequest{MTU: w.mtu}}
	if err := provision.CheckName(w.name); err != nil {
		return r, fmt.Errorf("--name: %w", err)
	}
	if w.controlPlane < 1 || w.controlPlane > most {
		return r, fmt.Errorf("expected --controlplanes to be from 1 to %d, got %d", most, w.controlPlane)
	}
	if w.workers < 0 || w.workers > most {
		return r, fmt.Errorf("expected --workers to be from 0 to %d, got %d", most, w.workers)
	}
	cidr, err := netip.ParsePrefix(w.cidr)
	if err != nil {
		return r, fmt.Errorf("expected --cidr to be a network such as 10.5.0.0/24, got %q", w.cidr)
	}
	r.Network.CIDR = cidr.Masked()
	for _, group := range []struct {
		kind string
		n    int
	}{{provision.ControlPlane, w.controlPlane}, {provision.Worker, w.workers}} {
		for i := range group.n {
			n, err := w.node(provision.NodeName(w.name, group.kind, i+1), group.kind, r.Network.Address(len(r.Nodes)))
			if err != nil {
				return r, err
			}
			if !n.Address.IsValid() {
				return r, fmt.Errorf("the network %s of --cidr has no room for %d nodes", r.Network.CIDR, w.controlPlane+w.workers)
			}
			r.Nodes = append(r.Nodes, n)
		}
	}
	r.KubernetesEndpoint = fmt.Sprintf("https://%s:%d", r.Nodes[0].Address, defaults.APIServerPort)
	return r, nil
}

// node returns a node to be made, without its config.
func (w wish) node(name, kind string, address netip.Addr) (provision.NodeRequest, error) {
	n := provision.NodeRequest{Name: name, Type: kind, Address: address}
	var err error
	if n.CPUs, err = strconv.ParseFloat(w.cpus[kind], 64); err != nil || n.CPUs < 0 || math.IsNaN(n.CPUs) || n.CPUs > 4096 {
		return n, fmt.Errorf("expected --cpus to be a number such as 2 or 1.5, got %q", w.cpus[kind])
	}
	if n.Memory, err = parseSize(w.memory[kind]); err != nil {
		return n, fmt.Errorf("--memory: %w", err)
	}
	return n, nil
}

// parseSize reads a size in bytes: a number of MiB, or a number with a unit, such as 2GiB or 1.5GB. 0 is no limit.
func parseSize(text string) (int64, error) {
	number, unit := text, int64(1<<20)
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"GB", 1e9}, {"MB", 1e6}} {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSpace(n), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v*float64(unit) > 1<<50 {
		return 0, fmt.Errorf("expected a size such as 2GiB or 2048 (MiB), got %q", text)
	}
	return int64(v * float64(unit)), nil
}

// patches are patches by the configs that they are for.
type patches struct{ all, controlPlane, workers []patch.Patch }

// configs are the configs of a cluster's nodes.
type configs struct {
	// of has the config of each type of node.
	of       map[string][]byte
	warnings []string
	// noNetwork says that the config has no network plugin for pods.
	noNetwork bool
}

// makeConfigs makes the configs of nodes that run in a mode.
func makeConfigs(in generate.Input, p patches, schedulable bool, mode schema.Mode) (configs, error) {
	out := configs{of: map[string][]byte{}}
	for _, t := range []struct {
		kind string
		role schema.Role
		own  []patch.Patch
	}{{provision.ControlPlane, schema.ControlPlane, p.controlPlane}, {provision.Worker, schema.Worker, p.workers}} {
		c, err := in.Config(t.role)
		if err != nil {
			return out, err
		}
		if t.role == schema.ControlPlane && schedulable {
			if c, err = withoutTaint(c); err != nil {
				return out, err
			}
		}
		if c, err = c.Patch(slices.Concat(p.all, t.own)...); err != nil {
			return out, fmt.Errorf("config of the nodes of type %s: %w", t.kind, err)
		}
		report := c.Check(mode)
		if err := report.Err(); err != nil {
			return out, fmt.Errorf("config of the nodes of type %s: %w", t.kind, err)
		}
		for _, w := range report.Of(schema.Warning) {
			out.warnings = append(out.warnings, fmt.Sprintf("%s: %s", t.kind, w))
		}
		if t.role == schema.ControlPlane {
			out.noNetwork = lacksNetwork(c)
		}
		if out.of[t.kind], err = c.Bytes(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// withoutTaint lets the control plane take all pods: there is nobody else.
func withoutTaint(c *config.Config) (*config.Config, error) {
	var docs []schema.Document
	for _, e := range c.Documents() {
		d := e.Value
		if node, ok := d.(*kubedoc.KubeNodeConfig); ok {
			open := *node
			open.Taints = nil
			d = &open
		}
		docs = append(docs, d)
	}
	return config.New(docs...)
}

// lacksNetwork reports whether nothing in a config brings a network for pods.
func lacksNetwork(c *config.Config) bool {
	set := c.Effective()
	_, flannel := schema.Find[*kubedoc.KubeFlannelCNIConfig](set)
	return !flannel && len(schema.All[*kubedoc.KubeInlineManifestConfig](set)) == 0 && len(schema.All[*kubedoc.KubeExternalManifestConfig](set)) == 0
}

// skips are the checks that cannot pass without a network for pods.
func (c configs) skips() map[string]string {
	if !c.noNetwork {
		return nil
	}
	const why = "the config has no network plugin; nodes become ready when you install one"
	return map[string]string{vitals.NodesReady: why, vitals.DNSReady: why}
}

// input is what the configs are made from.
func input(r provision.ClusterRequest, secrets *secret.Bundle, kubernetes string, sans []string) (generate.Input, error) {
	in := generate.Input{
		ClusterName: r.Name, Secrets: secrets, Discovery: true,
		Kubernetes: strings.TrimPrefix(cmp.Or(kubernetes, defaults.Kubernetes), "v"),
	}
	if err := defaults.CheckKubernetes(in.Kubernetes); err != nil {
		return in, fmt.Errorf("--kubernetes-version: %w", err)
	}
	if err := in.Endpoint.UnmarshalText([]byte(r.KubernetesEndpoint)); err != nil {
		return in, err
	}
	for _, n := range r.Nodes {
		if a := n.Address.String(); n.Type == provision.ControlPlane && a != in.Endpoint.Hostname() {
			in.ExtraSANs = append(in.ExtraSANs, a)
		}
	}
	in.ExtraSANs = append(append(in.ExtraSANs, "127.0.0.1"), sans...)
	return in, nil
}

// vitalNodes are the nodes as the checks know them.
func vitalNodes(nodes []provision.Node) []vitals.Node {
	var out []vitals.Node
	for _, n := range nodes {
		if !n.Address.IsValid() {
			continue // a container that a person has made and stopped: nobody knows where it was
		}
		out = append(out, vitals.Node{
			Target: n.Address.String(), Name: n.Name, Addresses: []netip.Addr{n.Address}, ControlPlane: n.Type == provision.ControlPlane,
		})
	}
	return out
}
