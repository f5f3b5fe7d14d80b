package manifestctrl

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// ManifestController makes the manifests that every cluster has.
type ManifestController struct{}

// Name implements [controller.Controller].
func (ManifestController) Name() string { return "k8s.ManifestController" }

// Inputs implements [controller.Controller].
func (ManifestController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.BootstrapManifestsConfig]().Named(kube.BootstrapManifestsConfigID),
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.DestroyReady[kube.Manifest](),
	}
}

// Outputs implements [controller.Controller].
func (ManifestController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[kube.Manifest]()}
}

// Run implements [controller.Controller].
func (ManifestController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, err := state.Lookup[kube.BootstrapManifestsConfig](ctx, rt, kube.BootstrapManifestsConfigID)
		if err != nil {
			return err
		}
		root, err := state.Lookup[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if config != nil && root != nil {
			if config.FlannelKubeNetworkPoliciesEnabled && config.FlannelKubeNetworkPoliciesImage == "" {
				log.Warn("this version has no image of kube-network-policies: NetworkPolicy objects are not enforced",
					"instead", "deploy it with a KubeExternalManifestConfig")
			}
			manifests := render(*config, *root)
			for _, id := range slices.Sorted(maps.Keys(manifests)) {
				if err := state.Put(ctx, rt, id, manifestOf(manifests[id])); err != nil {
					return err
				}
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// Names that more than one manifest uses.
const (
	system          = "kube-system"
	rbac            = "rbac.authorization.k8s.io"
	nodesGroup      = "system:nodes"
	bootstrapGroup  = "system:bootstrappers:nodes"
	controlPlaneKey = "node-role.kubernetes.io/control-plane"

	proxyKubeconfigMap = "kubeconfig-in-cluster"
	proxyKubeconfigDir = "/etc/kubernetes"
	proxyKubeconfig    = proxyKubeconfigDir + "/kubeconfig"
	proxyConfigDir     = "/etc/kube-proxy"
	proxyConfigFile    = "config.yaml"
)

type (
	m = map[string]any
	l = []any
)

// render returns the objects of each manifest, by its id.
func render(c kube.BootstrapManifestsConfig, root secrets.KubernetesRoot) map[string][]kubeapi.Object {
	out := map[string][]kubeapi.Object{
		"00-kubelet-bootstrapping-token": {bootstrapToken(root.BootstrapTokenID, root.BootstrapTokenSecret)},
		"01-csr-node-bootstrap": {
			groupBinding("system-bootstrap-node-bootstrapper", "system:node-bootstrapper", bootstrapGroup, nodesGroup),
		},
		"01-csr-approver-role-binding": {groupBinding("system-bootstrap-approve-node-client-csr",
			"system:certificates.k8s.io:certificatesigningrequests:nodeclient", bootstrapGroup)},
		"01-csr-renewal-role-binding": {groupBinding("system-bootstrap-node-renewal",
			"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", nodesGroup)},
		"11-talos-node-rbac-template": nodeRBAC(),
		"11-kube-config-in-cluster":   {inClusterKubeconfig(c.Server)},
	}
	if c.FlannelEnabled {
		out["05-flannel"] = flannel(c)
	}
	if c.ProxyEnabled {
		out["10-kube-proxy"] = kubeProxy(c)
	}
	if c.TalosAPIServiceEnabled {
		out["12-talos-api-service"] = []kubeapi.Object{machineAPI()}
		out["13-talos-service-account-crd"] = []kubeapi.Object{serviceAccounts()}
	}
	if c.CoreDNSEnabled {
		out["11-core-dns"] = coreDNS(c)
		out["11-core-dns-svc"] = []kubeapi.Object{coreDNSService(c)}
	}
	return out
}

// object returns an object with its identity and the parts of more.
func object(apiVersion, kind, namespace, name string, more m) kubeapi.Object {
	meta := m{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	o := kubeapi.Object{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
	maps.Copy(o, more)
	return o
}

// labelled adds labels to an object and returns it.
func labelled(o kubeapi.Object, labels m) kubeapi.Object {
	o.Map("metadata")["labels"] = labels
	return o
}

// bootstrapToken is the token with which kubelets ask for their first certificate.
func bootstrapToken(id, secret string) kubeapi.Object {
	data := m{}
	for k, v := range map[string]string{
		"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "auth-extra-groups": bootstrapGroup,
	} {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	return object("v1", "Secret", system, "bootstrap-token-"+id, m{"type": "bootstrap.kubernetes.io/token", "data": data})
}

// groupBinding gives groups a role of the whole cluster.
func groupBinding(name, role string, groups ...string) kubeapi.Object {
	var subjects l
	for _, g := range groups {
		subjects = append(subjects, m{"kind": "Group", "name": g, "apiGroup": rbac})
	}
	return binding(name, role, subjects)
}

// accountBinding gives a service account of kube-system a role of the whole cluster.
func accountBinding(name, role, account string) kubeapi.Object {
	return binding(name, role, l{m{"kind": "ServiceAccount", "name": account, "namespace": system}})
}

func binding(name, role string, subjects l) kubeapi.Object {
	return object(rbac+"/v1", "ClusterRoleBinding", "", name, m{
		"roleRef": m{"apiGroup": rbac, "kind": "ClusterRole", "name": role}, "subjects": subjects,
	})
}

// clusterRole allows verbs on resources of groups.
func clusterRole(name string, rules ...any) kubeapi.Object {
	return object(rbac+"/v1", "ClusterRole", "", name, m{"rules": rules})
}

func rule(group string, resources, verbs l) m {
	return m{"apiGroups": l{group}, "resources": resources, "verbs": verbs}
}

// nodeRBAC lets the system on each node see the nodes and where the API servers are; node authorisation allows a kubelet less. A node
// that leaves for good deletes its own Node: the admission of NodeRestriction forbids to change another's.
func nodeRBAC() []kubeapi.Object {
	const name = "system:talos-nodes"
	return []kubeapi.Object{
		groupBinding(name, name, nodesGroup),
		clusterRole(name,
			rule("", l{"nodes"}, l{"get", "list", "watch", "delete"}),
			rule("discovery.k8s.io", l{"endpointslices"}, l{"get", "list", "watch"})),
	}
}

// machineAPI is the service by which pods call the machine API. It selects no pods: accessctrl says where the machines are.
func machineAPI() kubeapi.Object {
	return object("v1", "Service", "default", "talos", m{"spec": m{
		"ports": l{m{"name": "apid", "port": 50000, "protocol": "TCP", "targetPort": 50000}},
	}})
}

// serviceAccounts defines the objects by which pods ask for credentials of the machine API.
func serviceAccounts() kubeapi.Object {
	const group, plural = "talos.dev", "serviceaccounts"
	return object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", plural+"."+group, m{"spec": m{
		"group": group, "scope": "Namespaced",
		"names": m{
			"kind": "ServiceAccount", "listKind": "ServiceAccountList", "plural": plural, "singular": "serviceaccount", "shortNames": l{"tsa"},
		},
		"versions": l{m{
			"name": "v1alpha1", "served": true, "storage": true,
			"subresources": m{"status": m{}},
			"schema": m{"openAPIV3Schema": m{
				"type": "object",
				"properties": m{
					"spec": m{"type": "object", "properties": m{
						"roles": m{"type": "array", "items": m{"type": "string"}},
					}},
					"status": m{"type": "object", "properties": m{"failureReason": m{"type": "string"}}},
				},
			}},
		}},
	}})
}

// inClusterKubeconfig is for pods of the host's network, which cannot use the service of the API before there are services.
func inClusterKubeconfig(server string) kubeapi.Object {
	return object("v1", "ConfigMap", system, proxyKubeconfigMap, m{"data": m{"kubeconfig": `apiVersion: v1
kind: Config
clusters:
  - name: local
    cluster:
      server: ` + server + `
      certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
users:
  - name: service-account
    user:
      tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
contexts:
  - name: service-account@local
    context:
      cluster: local
      user: service-account
current-context: service-account@local
`}})
}

// needs returns the resources of a container: what is set, or else fallback.
func needs(r kube.Resources, fallback m) m {
	if len(r.Requests)+len(r.Limits) == 0 {
		return fallback
	}
	out := m{}
	for key, values := range map[string]map[string]string{"requests": r.Requests, "limits": r.Limits} {
		if len(values) == 0 {
			continue
		}
		list := m{}
		for k, v := range values {
			list[k] = v
		}
		out[key] = list
	}
	return out
}

func texts(list []string) l {
	out := make(l, 0, len(list))
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// fromField is a variable with what the Pod says about itself.
func fromField(name, path string) m {
	return m{"name": name, "valueFrom": m{"fieldRef": m{"fieldPath": path}}}
}

// everywhere are the tolerations of what every node needs, whatever its taints.
func everywhere() l {
	return l{m{"operator": "Exists", "effect": "NoSchedule"}, m{"operator": "Exists", "effect": "NoExecute"}}
}
