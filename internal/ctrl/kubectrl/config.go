package kubectrl

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/internal/effective"
	"talos.internal/resource/arguments"
	"talos.internal/resource/kube"
)

// What a component requests if the config does not say. For the API server that is published.
var (
	apiServerRequests         = map[string]string{"cpu": "200m", "memory": "512Mi"}
	controllerManagerRequests = map[string]string{"cpu": "50m", "memory": "256Mi"}
	schedulerRequests         = map[string]string{"cpu": "10m", "memory": "64Mi"}
)

// etcdURL is etcd on this node. It always listens on loopback, and its certificate is valid for it.
const etcdURL = "https://127.0.0.1:2379"

// nodeIP is replaced by kubelet by the node's address, that of the variable which each pod has.
const nodeIP = "$(NODE_IP)"

// admissionControl takes the plugins from the documents. Pod security is configured even if no document does so: the baseline is
// enforced, what is not restricted is warned about and audited, and kube-system is exempt.
func admissionControl(c *effective.Config) *kube.AdmissionControlConfig {
	out := &kube.AdmissionControlConfig{}
	for _, d := range schema.All[*kubedoc.KubeAdmissionControlConfig](c.Set) {
		out.Plugins = append(out.Plugins, kube.AdmissionPlugin{Name: d.Name, Configuration: d.Configuration})
	}
	if !slices.ContainsFunc(out.Plugins, func(p kube.AdmissionPlugin) bool { return p.Name == "PodSecurity" }) {
		out.Plugins = append(out.Plugins, kube.AdmissionPlugin{Name: "PodSecurity", Configuration: podSecurity()})
	}
	return out
}

func podSecurity() map[string]any {
	return map[string]any{
		"apiVersion": "pod-security.admission.config.k8s.io/v1",
		"kind":       "PodSecurityConfiguration",
		"defaults": map[string]any{
			"enforce": "baseline", "enforce-version": "latest",
			"audit": "restricted", "audit-version": "latest",
			"warn": "restricted", "warn-version": "latest",
		},
		"exemptions": map[string]any{
			"usernames": []any{}, "runtimeClasses": []any{}, "namespaces": []any{"kube-system"},
		},
	}
}

// auditPolicy is the document's, or logs who did what for every request, without contents.
func auditPolicy(c *effective.Config) *kube.AuditPolicyConfig {
	if d, ok := schema.Find[*kubedoc.KubeAuditPolicyConfig](c.Set); ok {
		return &kube.AuditPolicyConfig{Policy: d.Configuration}
	}
	return &kube.AuditPolicyConfig{Policy: map[string]any{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": []any{map[string]any{"level": "Metadata"}},
	}}
}

// authentication is the document's. What it does not say about callers without credentials is that they may see whether the API
// server is well, as kubelet does, and nothing else.
func authentication(c *effective.Config) *kube.AuthenticationConfig {
	out := map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": []any{}}
	server, ok := schema.Find[*kubedoc.KubeAPIServerConfig](c.Set)
	if ok && minor(string(server.Image)) < 34 {
		out["apiVersion"] = "apiserver.config.k8s.io/v1beta1" // v1 is of 1.34
	}
	if d, ok := schema.Find[*kubedoc.KubeAuthenticationConfig](c.Set); ok {
		maps.Copy(out, d.Configuration)
	}
	if out["anonymous"] == nil {
		var paths []any
		for _, p := range []string{"/livez", "/readyz", "/healthz"} {
			paths = append(paths, map[string]any{"path": p})
		}
		out["anonymous"] = map[string]any{"enabled": true, "conditions": paths}
	}
	return &kube.AuthenticationConfig{Config: out}
}

// minor returns the minor version of Kubernetes of an image, by its tag. One that does not say is taken for a new one.
func minor(image string) int {
	const unknown = 1 << 10
	_, tag, ok := strings.Cut(path.Base(strings.SplitN(image, "@", 2)[0]), ":")
	parts := strings.Split(strings.TrimPrefix(tag, "v"), ".")
	if !ok || len(parts) < 2 || parts[0] != "1" {
		return unknown
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return unknown
	}
	return n
}

// authorization takes the authorizers from the documents. Without any they are those that Kubernetes needs.
func authorization(c *effective.Config) *kube.AuthorizationConfig {
	out := &kube.AuthorizationConfig{}
	if server, ok := schema.Find[*kubedoc.KubeAPIServerConfig](c.Set); ok {
		out.Image = string(server.Image)
	}
	for _, d := range schema.All[*kubedoc.KubeAuthorizerConfig](c.Set) {
		out.Authorizers = append(out.Authorizers, kube.Authorizer{Type: d.Type, Name: d.Name, Webhook: d.Webhook})
	}
	for _, needed := range []kube.Authorizer{{Type: "RBAC", Name: "rbac"}, {Type: "Node", Name: "node"}} {
		if !slices.ContainsFunc(out.Authorizers, func(a kube.Authorizer) bool { return a.Type == needed.Type }) {
			out.Authorizers = slices.Insert(out.Authorizers, 0, needed)
		}
	}
	return out
}

// apiServer is nil without a document: then there is no API server on this node.
func apiServer(c *effective.Config) *kube.APIServerConfig {
	d, ok := schema.Find[*kubedoc.KubeAPIServerConfig](c.Set)
	if !ok {
		return nil
	}
	out := &kube.APIServerConfig{
		Image: string(d.Image), CloudProvider: cloudProvider(c), EtcdServers: []string{etcdURL},
		LocalPort: int64(d.APIPortOrDefault()), ExtraArgs: argumentsOf(d.ExtraArgs), EnvironmentVariables: d.Env,
		AdvertisedAddress: nodeIP, Resources: resourcesOf(d.Resources, apiServerRequests), StartupProbesEnabled: d.StartupProbesOrDefault(),
		UseAuthenticationConfig: true,
	}
	if cluster, ok := schema.Find[*kubedoc.KubeClusterConfig](c.Set); ok {
		out.ControlPlaneEndpoint = cluster.Endpoint.String()
	}
	if net, ok := schema.Find[*kubedoc.KubeNetworkConfig](c.Set); ok {
		out.ServiceCIDRs = prefixes(net.ServiceSubnets)
	}
	// The API server refuses these arguments beside the file, and a config that has them says more than our default.
	if _, ok := schema.Find[*kubedoc.KubeAuthenticationConfig](c.Set); !ok {
		for name := range d.ExtraArgs {
			flag := flagName(name)
			if flag == "anonymous-auth" || strings.HasPrefix(flag, "oidc-") {
				out.UseAuthenticationConfig = false
			}
		}
	}
	if root, _, ok := rootdoc.Find(c.Set); ok && root.Cluster != nil && root.Cluster.APIServer != nil {
		out.ExtraVolumes = volumesOf(root.Cluster.APIServer.ExtraVolumes)
	}
	return out
}

func controllerManager(c *effective.Config) *kube.ControllerManagerConfig {
	d, ok := schema.Find[*kubedoc.KubeControllerManagerConfig](c.Set)
	if !ok {
		return nil
	}
	out := &kube.ControllerManagerConfig{
		Enabled: d.EnabledOrDefault(), Image: string(d.Image), CloudProvider: cloudProvider(c), ExtraArgs: argumentsOf(d.ExtraArgs),
		EnvironmentVariables: d.Env, Resources: resourcesOf(d.Resources, controllerManagerRequests),
	}
	if net, ok := schema.Find[*kubedoc.KubeNetworkConfig](c.Set); ok {
		out.PodCIDRs, out.ServiceCIDRs = prefixes(net.PodSubnets), prefixes(net.ServiceSubnets)
		for _, p := range net.PodSubnets {
			if p.Addr().Is4() {
				out.NodeCIDRMaskSizeIPv4 = int64(net.NodeMaskIPv4OrDefault())
			} else {
				out.NodeCIDRMaskSizeIPv6 = int64(net.NodeMaskIPv6OrDefault())
			}
		}
	}
	if root, _, ok := rootdoc.Find(c.Set); ok && root.Cluster != nil && root.Cluster.ControllerManager != nil {
		out.ExtraVolumes = volumesOf(root.Cluster.ControllerManager.ExtraVolumes)
	}
	return out
}

func scheduler(c *effective.Config) *kube.SchedulerConfig {
	d, ok := schema.Find[*kubedoc.KubeSchedulerConfig](c.Set)
	if !ok {
		return nil
	}
	out := &kube.SchedulerConfig{
		Enabled: d.EnabledOrDefault(), Image: string(d.Image), ExtraArgs: argumentsOf(d.ExtraArgs), Config: d.Config,
		EnvironmentVariables: d.Env, Resources: resourcesOf(d.Resources, schedulerRequests),
	}
	if root, _, ok := rootdoc.Find(c.Set); ok && root.Cluster != nil && root.Cluster.Scheduler != nil {
		out.ExtraVolumes = volumesOf(root.Cluster.Scheduler.ExtraVolumes)
	}
	return out
}

func cloudProvider(c *effective.Config) string {
	root, _, ok := rootdoc.Find(c.Set)
	if ok && root.Cluster != nil && root.Cluster.ExternalCloudProvider != nil {
		if on := root.Cluster.ExternalCloudProvider.Enabled; on != nil && *on {
			return "external"
		}
	}
	return ""
}

func argumentsOf(args scalar.Args) map[string]arguments.Values {
	out := map[string]arguments.Values{}
	for name, v := range args {
		out[name] = arguments.Of(v...)
	}
	return out
}

func prefixes(list []scalar.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Prefix.String())
	}
	return out
}

// resourcesOf is what a document says, with the default requests if it says nothing of them.
func resourcesOf(r *kubedoc.Resources, requests map[string]string) kube.Resources {
	out := kube.Resources{Requests: requests, Limits: map[string]string{}}
	if r == nil {
		return out
	}
	if len(r.Requests) > 0 {
		out.Requests = map[string]string{}
	}
	for k, q := range r.Requests {
		out.Requests[k] = string(q)
	}
	for k, q := range r.Limits {
		out.Limits[k] = string(q)
	}
	return out
}

func volumesOf(list []rootdoc.ExtraVolume) []kube.ExtraVolume {
	var out []kube.ExtraVolume
	for i, v := range list {
		out = append(out, kube.ExtraVolume{
			Name: "extra-" + strconv.Itoa(i), HostPath: v.HostPath, MountPath: v.MountPath, ReadOnly: v.ReadOnly != nil && *v.ReadOnly,
		})
	}
	return out
}
