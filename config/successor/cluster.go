package successor

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config/defaults"
	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// controlPlaneRole is the label, and the key of the taint, of control-plane nodes.
const controlPlaneRole = "node-role.kubernetes.io/control-plane"

// needed reports whether a document of the given kind is to be made: a field says it, or the old style implies it.
func (v *converter) needed(kind string) bool { return v.says(kind) || v.old }

// kubernetes converts what every machine has of Kubernetes.
func (v *converter) kubernetes() {
	c := v.cluster
	if v.says("KubeClusterConfig") {
		name := c.ClusterName
		if name == "" {
			name = defaultClusterName
		}
		v.add(&kubedoc.KubeClusterConfig{ClusterName: name, Endpoint: value(c.ControlPlane).Endpoint})
	}
	if v.needed("KubeNodeConfig") {
		v.node()
	}
	if v.needed("KubeletConfig") {
		k := value(v.machine.Kubelet)
		v.add(&kubedoc.KubeletConfig{
			Image: image(k.Image, images.Kubelet), Config: k.ExtraConfig, ExtraArgs: k.ExtraArgs, ClusterDNS: k.ClusterDNS,
			DefaultRuntimeSeccompProfileEnabled: isTrue(k.DefaultRuntimeSeccompProfileEnabled),
		})
	}
	if p := value(v.machine.Kubelet).CredentialProviderConfig; len(p) > 0 {
		v.add(&kubedoc.KubeCredentialProviderConfig{Configuration: p})
	}
	if v.needed("KubeNetworkConfig") {
		n := value(c.Network)
		d := &kubedoc.KubeNetworkConfig{DNSDomain: n.DNSDomain, PodSubnets: n.PodSubnets, ServiceSubnets: n.ServiceSubnets}
		if d.DNSDomain == "" {
			d.DNSDomain = defaults.DNSDomain
		}
		if len(d.PodSubnets) == 0 {
			d.PodSubnets = prefixes(defaults.PodSubnet4)
		}
		if len(d.ServiceSubnets) == 0 {
			d.ServiceSubnets = prefixes(defaults.ServiceSubnet4)
		}
		v.add(d)
	}
	if v.says("KubeAPIServerCAConfig") {
		v.authority()
	}
	if p := v.features.KubePrism; p != nil && isTrue(p.Enabled) {
		port := p.Port
		if port == 0 {
			port = defaults.KubePrismPort
		}
		v.add(&kubedoc.KubePrismConfig{Port: port})
	}
	v.pods()
}

// defaultClusterName is the name of a cluster whose config does not name it, as those of old workers do not.
const defaultClusterName = "kubernetes"

// images are those of a config that names none.
var images = defaults.ImagesOf(defaults.Kubernetes)

func image(given scalar.Image, otherwise string) scalar.Image {
	if given != "" {
		return given
	}
	return scalar.Image(otherwise)
}

func prefixes(text string) []scalar.Prefix {
	var p scalar.Prefix
	_ = p.UnmarshalText([]byte(text)) // a constant
	return []scalar.Prefix{p}
}

// node converts the settings of the Kubernetes node. A control-plane node of the old style has its label and, unless pods
// may run there, its taint without saying so.
func (v *converter) node() {
	k := value(v.machine.Kubelet)
	d := &kubedoc.KubeNodeConfig{
		SkipNodeRegistration: isTrue(k.SkipNodeRegistration), RegisterWithFQDN: isTrue(k.RegisterWithFQDN),
		Labels: v.machine.NodeLabels, Annotations: v.machine.NodeAnnotations, Taints: v.machine.NodeTaints,
	}
	if k.NodeIP != nil {
		d.NodeIP = &kubedoc.NodeIPConfig{ValidSubnets: k.NodeIP.ValidSubnets}
	}
	if v.controlPlane {
		d.Labels = with(d.Labels, controlPlaneRole, "")
		if !isTrue(either(v.cluster.AllowSchedulingOnControlPlanes, v.cluster.AllowSchedulingOnMasters)) {
			d.Taints = with(d.Taints, controlPlaneRole, string(kubedoc.NoSchedule))
		}
	}
	v.add(d)
}

// with returns a copy of m that has key, with value unless it is there already.
func with(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	maps.Copy(out, m)
	return out
}

// authority converts the authority of the Kubernetes API: with its key it issues certificates, without it is accepted.
func (v *converter) authority() {
	d := &kubedoc.KubeAPIServerCAConfig{}
	switch ca := value(v.cluster.CA); {
	case ca.Key != "":
		d.IssuingCA = issuing(ca)
	case ca.Cert != "":
		d.AcceptedCAs = append(d.AcceptedCAs, scalar.CertPEM(ca.Cert))
	}
	for _, ca := range v.cluster.AcceptedCAs {
		d.AcceptedCAs = append(d.AcceptedCAs, scalar.CertPEM(ca.Cert))
	}
	v.add(d)
}

func issuing(p rootdoc.CertAndKey) *kubedoc.Authority {
	return &kubedoc.Authority{Cert: scalar.CertPEM(p.Cert), Key: scalar.KeyPEM(p.Key)}
}

// pods converts static pods. A document is named as its pod, with the namespace where two pods have one name.
func (v *converter) pods() {
	taken := map[string]bool{}
	for i, pod := range v.machine.Pods {
		name, namespace := rootdoc.PodName(pod)
		if name == "" {
			continue
		}
		if taken[name] {
			name = namespace + "." + name
		}
		taken[name] = true
		v.named(&kubedoc.KubeStaticPodConfig{Name: name, Pod: pod}, schema.Index("machine.pods", i))
	}
}

// components converts the components of the control plane.
func (v *converter) components() {
	c := v.cluster
	if ca := value(c.AggregatorCA); ca.Cert != "" {
		v.add(&kubedoc.KubeAggregatorCAConfig{IssuingCA: issuing(ca)})
	}
	if key := value(c.ServiceAccount).Key; key != "" {
		v.add(&kubedoc.KubeServiceAccountConfig{Issuer: &kubedoc.ServiceAccountIssuer{
			PrivateKey: scalar.KeyPEM(key), IssuerURL: scalar.HTTPURL{URL: value(c.ControlPlane).Endpoint.URL},
		}})
	}
	v.apiServer()
	if v.needed("KubeControllerManagerConfig") {
		m := value(c.ControllerManager)
		v.add(&kubedoc.KubeControllerManagerConfig{
			Enabled: enabled(value(value(v.machine.ControlPlane).ControllerManager).Disabled),
			Image:   image(m.Image, images.ControllerManager), ExtraArgs: m.ExtraArgs, Env: m.Env, Resources: resources(m.Resources),
		})
	}
	if v.needed("KubeSchedulerConfig") {
		s := value(c.Scheduler)
		v.add(&kubedoc.KubeSchedulerConfig{
			Enabled: enabled(value(value(v.machine.ControlPlane).Scheduler).Disabled),
			Image:   image(s.Image, images.Scheduler), Config: s.Config, ExtraArgs: s.ExtraArgs, Env: s.Env,
			Resources: resources(s.Resources),
		})
	}
	if v.needed("KubeProxyConfig") {
		p := value(c.Proxy)
		v.add(&kubedoc.KubeProxyConfig{
			Enabled: enabled(p.Disabled), Image: image(p.Image, images.Proxy), Mode: p.Mode, ExtraArgs: p.ExtraArgs,
		})
	}
	v.flannel()
	if v.needed("KubeCoreDNSConfig") {
		d := value(c.CoreDNS)
		v.add(&kubedoc.KubeCoreDNSConfig{Enabled: enabled(d.Disabled), Image: d.Image})
	}
}

// enabled turns an old "disabled" round; it is not set where that is not.
func enabled(disabled *bool) *bool {
	if disabled == nil {
		return nil
	}
	return new(!*disabled)
}

func resources(s *rootdoc.Resources) *kubedoc.Resources {
	if s == nil {
		return nil
	}
	quantities := func(m map[string]string) map[string]kubedoc.Quantity {
		if m == nil {
			return nil
		}
		out := make(map[string]kubedoc.Quantity, len(m))
		for k, q := range m {
			out[k] = kubedoc.Quantity(q)
		}
		return out
	}
	return &kubedoc.Resources{Requests: quantities(s.Requests), Limits: quantities(s.Limits)}
}

// flannel converts the built-in CNI: there is a document if flannel is named, or if the old style names none.
func (v *converter) flannel() {
	n := value(value(v.cluster.Network).CNI)
	if n.Name != "" && n.Name != "flannel" || !v.needed("KubeFlannelCNIConfig") {
		return
	}
	v.add(&kubedoc.KubeFlannelCNIConfig{
		BackendType: defaults.FlannelBackend, BackendPort: new(uint16(defaults.FlannelPort)),
		ExtraArgs:                  value(n.Flannel).ExtraArgs,
		KubeNetworkPoliciesEnabled: isTrue(value(n.Flannel).KubeNetworkPoliciesEnabled),
	})
}

// apiServer converts kube-apiserver and its parts.
func (v *converter) apiServer() {
	a := value(v.cluster.APIServer)
	if v.needed("KubeAPIServerConfig") {
		v.add(&kubedoc.KubeAPIServerConfig{
			Image: image(a.Image, images.APIServer), ExtraArgs: a.ExtraArgs, Env: a.Env, Resources: resources(a.Resources),
			APIPort: nonZero(value(v.cluster.ControlPlane).LocalAPIServerPort), CertExtraSANs: a.CertSANs,
		})
	}
	for i, p := range a.AdmissionControl {
		v.named(&kubedoc.KubeAdmissionControlConfig{Name: p.Name, Configuration: p.Configuration},
			schema.Index("cluster.apiServer.admissionControl", i))
	}
	switch {
	case len(a.AuditPolicy) > 0:
		v.add(&kubedoc.KubeAuditPolicyConfig{Configuration: a.AuditPolicy})
	case v.old:
		v.add(&kubedoc.KubeAuditPolicyConfig{Configuration: scalar.Object{
			"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": []any{map[string]any{"level": "Metadata"}},
		}})
	}
	// The flags below configure the same thing as a file does, and the API server takes only one of both.
	if v.old && !hasArg(a.ExtraArgs, "anonymous-auth", "oidc-") {
		v.add(&kubedoc.KubeAuthenticationConfig{Configuration: scalar.Object{"anonymous": map[string]any{
			"enabled": true,
			"conditions": []any{
				map[string]any{"path": "/livez"}, map[string]any{"path": "/readyz"}, map[string]any{"path": "/healthz"},
			},
		}}})
	}
	v.authorizers(a)
	v.encryption()
}

// hasArg reports whether args has an argument that starts with one of names.
func hasArg(args scalar.Args, names ...string) bool {
	for arg := range args {
		if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(arg, name) }) {
			return true
		}
	}
	return false
}

// authorizers converts the authorizers. In the old style Node and RBAC come first unless the list has them.
func (v *converter) authorizers(a rootdoc.APIServer) {
	if v.old && !hasArg(a.ExtraArgs, "authorization-mode", "authorization-webhook-") {
		for _, kind := range []string{"Node", "RBAC"} {
			if !slices.ContainsFunc(a.AuthorizationConfig, func(z rootdoc.Authorizer) bool { return z.Type == kind }) {
				v.append(Converted{
					Doc:  &kubedoc.KubeAuthorizerConfig{Name: strings.ToLower(kind), Type: kind},
					Path: oldStyle, Implied: true,
				})
			}
		}
	}
	for i, z := range a.AuthorizationConfig {
		v.named(&kubedoc.KubeAuthorizerConfig{Name: z.Name, Type: z.Type, Webhook: z.Webhook},
			schema.Index("cluster.apiServer.authorizationConfig", i))
	}
}

// encryption converts the secrets that encrypt secrets in etcd, under the names of keys that data was encrypted with. What
// an older config wrote in clear must stay readable: identity is the last provider.
func (v *converter) encryption() {
	var providers []any
	provider := func(kind, name, secret string) {
		if secret != "" {
			providers = append(providers, map[string]any{
				kind: map[string]any{"keys": []any{map[string]any{"name": name, "secret": secret}}},
			})
		}
	}
	provider("secretbox", "key2", v.cluster.SecretboxEncryptionSecret)
	provider("aescbc", "key1", v.cluster.AESCBCEncryptionSecret)
	if len(providers) == 0 {
		return
	}
	providers = append(providers, map[string]any{"identity": map[string]any{}})
	v.add(&kubedoc.KubeEtcdEncryptionConfig{Config: scalar.Object{
		"resources": []any{map[string]any{"resources": []any{"secrets"}, "providers": providers}},
	}})
}

// access converts the access of pods to the machine API.
func (v *converter) access() {
	if a := v.features.KubernetesTalosAPIAccess; a != nil && isTrue(a.Enabled) {
		v.add(&kubedoc.KubeTalosAPIAccessConfig{
			AllowedRoles: a.AllowedRoles, AllowedKubernetesNamespaces: a.AllowedKubernetesNamespaces,
		})
	}
}

// manifests converts manifests: those of a custom CNI, those with URLs, and those in the config.
func (v *converter) manifests() {
	names := map[string]bool{}
	if cni := value(value(v.cluster.Network).CNI); cni.Name == "custom" {
		for i, u := range cni.URLs {
			v.named(&kubedoc.KubeExternalManifestConfig{Name: manifestName(u, names), URL: u},
				schema.Index("cluster.network.cni.urls", i))
		}
	}
	for i, u := range v.cluster.ExtraManifests {
		v.named(&kubedoc.KubeExternalManifestConfig{
			Name: manifestName(u, names), URL: u, Headers: v.cluster.ExtraManifestHeaders,
		}, schema.Index("cluster.extraManifests", i))
	}
	for i, m := range v.cluster.InlineManifests {
		if strings.TrimSpace(m.Contents) != "" {
			v.named(&kubedoc.KubeInlineManifestConfig{Name: m.Name, Manifest: m.Contents},
				schema.Index("cluster.inlineManifests", i))
		}
	}
}

// manifestName returns a name for the manifest at u that names does not have, and adds it: the host and path, with
// hyphens for what a name cannot have.
func manifestName(u scalar.HTTPURL, names map[string]bool) string {
	text := ""
	if u.URL.URL != nil {
		text = u.Host + u.Path
	}
	base := strings.Trim(strings.Map(func(c rune) rune {
		if c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '-'
	}, text), "-")
	name := base
	for n := 2; names[name] || name == ""; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	names[name] = true
	return name
}
