package manifestctrl

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"strconv"

	"go.yaml.in/yaml/v3"

	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
)

// daemonSet runs a pod on every node with Linux. A new one takes the place of the old one at once: there is one on each node.
func daemonSet(name string, labels, podAnnotations, spec m) kubeapi.Object {
	meta := m{"labels": labels}
	if len(podAnnotations) > 0 {
		meta["annotations"] = podAnnotations
	}
	spec["nodeSelector"] = m{"kubernetes.io/os": "linux"}
	spec["priorityClassName"] = "system-node-critical"
	spec["tolerations"] = everywhere()
	return labelled(object("apps/v1", "DaemonSet", system, name, m{"spec": m{
		"selector":       m{"matchLabels": labels},
		"updateStrategy": m{"type": "RollingUpdate", "rollingUpdate": m{"maxUnavailable": 1}},
		"template":       m{"metadata": meta, "spec": spec},
	}}), maps.Clone(labels))
}

// kubeProxy is kube-proxy on the network of each node. It changes the kernel's rules and settings, so it is privileged.
func kubeProxy(c kube.BootstrapManifestsConfig) []kubeapi.Object {
	const name = "kube-proxy"
	mounts := l{m{"name": "kubeconfig", "mountPath": proxyKubeconfigDir, "readOnly": true}}
	volumes := l{m{"name": "kubeconfig", "configMap": m{"name": proxyKubeconfigMap}}}
	var config []kubeapi.Object
	var annotations m
	if len(c.ProxyConfig) > 0 {
		text, _ := yaml.Marshal(c.ProxyConfig) // of what was marshalled when it was made
		config = append(config, object("v1", "ConfigMap", system, "kube-proxy-config", m{"data": m{proxyConfigFile: string(text)}}))
		annotations = m{"checksum/config": c.ProxyConfigChecksum}
		mounts = append(mounts, m{"name": "config", "mountPath": proxyConfigDir, "readOnly": true})
		volumes = append(volumes, m{"name": "config", "configMap": m{"name": "kube-proxy-config"}})
	}
	return append(config,
		object("v1", "ServiceAccount", system, name, nil),
		accountBinding("system:"+name, "system:node-proxier", name),
		daemonSet(name, m{"k8s-app": name, "tier": "node"}, annotations, m{
			"hostNetwork":        true,
			"serviceAccountName": name,
			"containers": l{m{
				"name": name, "image": c.ProxyImage,
				"command":         l{"/usr/local/bin/kube-proxy"},
				"args":            texts(c.ProxyArgs),
				"env":             l{fromField("NODE_NAME", "spec.nodeName")},
				"securityContext": m{"privileged": true},
				"resources":       needs(c.ProxyResources, m{"requests": m{"cpu": "50m", "memory": "32Mi"}}),
				"volumeMounts":    mounts,
			}},
			"volumes": volumes,
		}))
}

// flannelHealth is the port of flannel's health on the loopback of each node.
const flannelHealth = 8285

// flannel is the network of pods. The plugin is in the image of the node; its configuration, which makes kubelet report the node's
// network as ready, is put in its place before flannel starts.
func flannel(c kube.BootstrapManifestsConfig) []kubeapi.Object {
	const name, config = "flannel", "kube-flannel-cfg"
	env := l{fromField("POD_NAME", "metadata.name"), fromField("POD_NAMESPACE", "metadata.namespace"), m{"name": "EVENT_QUEUE_DEPTH", "value": "5000"}}
	if c.FlannelKubeServiceHost != "" {
		env = append(env,
			m{"name": "KUBERNETES_SERVICE_HOST", "value": c.FlannelKubeServiceHost},
			m{"name": "KUBERNETES_SERVICE_PORT", "value": c.FlannelKubeServicePort})
	}
	probe := func(path string, period int) m {
		return m{"httpGet": m{"host": loopback, "path": path, "port": flannelHealth}, "periodSeconds": period}
	}
	args := []string{"--ip-masq", "--kube-subnet-mgr", "--healthz-ip=" + loopback, "--healthz-port=" + strconv.Itoa(flannelHealth)}
	labels := m{"k8s-app": name, "tier": "node"}
	return []kubeapi.Object{
		object("v1", "ServiceAccount", system, name, nil),
		clusterRole(name,
			rule("", l{"pods"}, l{"get"}),
			rule("", l{"nodes"}, l{"get", "list", "watch"}),
			rule("", l{"nodes/status"}, l{"patch"})),
		accountBinding(name, name, name),
		labelled(object("v1", "ConfigMap", system, config, m{"data": m{
			"cni-conf.json": cniConf, "net-conf.json": netConf(c),
		}}), maps.Clone(labels)),
		daemonSet("kube-flannel", labels, nil, m{
			"hostNetwork":        true,
			"serviceAccountName": name,
			"initContainers": l{m{
				"name": "install-config", "image": c.FlannelImage,
				"command": l{"cp", "-f", "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"},
				"volumeMounts": l{
					m{"name": "cni", "mountPath": "/etc/cni/net.d"},
					m{"name": "config", "mountPath": "/etc/kube-flannel", "readOnly": true},
				},
			}},
			"containers": l{m{
				"name": "kube-flannel", "image": c.FlannelImage,
				"command":        l{"/opt/bin/flanneld"},
				"args":           texts(append(args, c.FlannelExtraArgs...)),
				"env":            env,
				"livenessProbe":  probe("/healthz", 30),
				"readinessProbe": probe("/readyz", 5),
				"resources":      needs(c.FlannelResources, m{"requests": m{"cpu": "100m", "memory": "50Mi"}}),
				"securityContext": m{
					"privileged": false, "allowPrivilegeEscalation": false,
					"capabilities": m{"add": l{"NET_ADMIN", "NET_RAW"}, "drop": l{"ALL"}},
				},
				"volumeMounts": l{
					m{"name": "run", "mountPath": "/run/flannel"},
					m{"name": "config", "mountPath": "/etc/kube-flannel", "readOnly": true},
				},
			}},
			"volumes": l{
				m{"name": "run", "hostPath": m{"path": "/run/flannel", "type": "DirectoryOrCreate"}},
				m{"name": "cni", "hostPath": m{"path": "/etc/cni/net.d", "type": "DirectoryOrCreate"}},
				m{"name": "config", "configMap": m{"name": config}},
			},
		}),
	}
}

// cniConf is what containerd reads (CNI specification, network configuration lists). With version 1.1 it asks the plugins for their
// STATUS: the node is Ready only when flanneld has its subnet, and no pod is scheduled that cannot start yet.
const cniConf = `{
  "name": "cbr0",
  "cniVersion": "1.1.0",
  "plugins": [
    {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// netConf is flannel's own configuration (its Documentation/configuration.md). The image has nft and no iptables.
func netConf(c kube.BootstrapManifestsConfig) string {
	backend := m{"Type": c.FlannelBackendType}
	if c.FlannelBackendPort != 0 && (c.FlannelBackendType == "vxlan" || c.FlannelBackendType == "udp") {
		backend["Port"] = c.FlannelBackendPort
	}
	if c.FlannelBackendMTU != 0 {
		backend["MTU"] = c.FlannelBackendMTU
	}
	maps.Copy(backend, c.FlannelBackendExtraConfig)
	conf := m{"EnableNFTables": true, "EnableIPv4": false, "Backend": backend}
	for _, cidr := range c.PodCIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Addr().Is4() {
			conf["Network"], conf["EnableIPv4"] = cidr, true
		} else {
			conf["IPv6Network"], conf["EnableIPv6"] = cidr, true
		}
	}
	text, _ := json.MarshalIndent(conf, "", "  ") // strings, numbers and what was YAML
	return string(text) + "\n"
}

// coreDNS answers for the names of services, and asks the node's resolver for others. Its two pods are on different nodes where
// there are two.
func coreDNS(c kube.BootstrapManifestsConfig) []kubeapi.Object {
	const name = "coredns"
	labels := m{"k8s-app": "kube-dns"}
	return []kubeapi.Object{
		object("v1", "ServiceAccount", system, name, nil),
		clusterRole("system:"+name,
			rule("", l{"endpoints", "services", "pods", "namespaces"}, l{"list", "watch"}),
			rule("discovery.k8s.io", l{"endpointslices"}, l{"list", "watch"})),
		accountBinding("system:"+name, "system:"+name, name),
		object("v1", "ConfigMap", system, name, m{"data": m{"Corefile": corefile(c.ClusterDomain)}}),
		labelled(object("apps/v1", "Deployment", system, name, m{"spec": m{
			"replicas": 2,
			"selector": m{"matchLabels": labels},
			"strategy": m{"type": "RollingUpdate", "rollingUpdate": m{"maxUnavailable": 1}},
			"template": m{"metadata": m{"labels": maps.Clone(labels)}, "spec": m{
				"serviceAccountName": name,
				"priorityClassName":  "system-cluster-critical",
				"nodeSelector":       m{"kubernetes.io/os": "linux"},
				"dnsPolicy":          "Default", // its own servers are those of the node
				"securityContext":    m{"seccompProfile": m{"type": "RuntimeDefault"}},
				"affinity": m{"podAntiAffinity": m{"preferredDuringSchedulingIgnoredDuringExecution": l{m{
					"weight": 100, "podAffinityTerm": m{
						"labelSelector": m{"matchLabels": maps.Clone(labels)}, "topologyKey": "kubernetes.io/hostname",
					},
				}}}},
				"tolerations": l{
					m{"key": controlPlaneKey, "operator": "Exists", "effect": "NoSchedule"},
					m{"key": "node.cloudprovider.kubernetes.io/uninitialized", "operator": "Exists", "effect": "NoSchedule"},
				},
				"containers": l{m{
					"name": name, "image": c.CoreDNSImage,
					"args": l{"-conf", "/etc/coredns/Corefile"},
					"env":  l{m{"name": "GOMEMLIMIT", "value": "161MiB"}}, // a little below its limit
					"ports": l{
						m{"name": "dns", "containerPort": 53, "protocol": "UDP"},
						m{"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
						m{"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
					},
					"livenessProbe": m{
						"httpGet": m{"path": "/health", "port": 8080}, "initialDelaySeconds": 60, "timeoutSeconds": 5,
					},
					"readinessProbe": m{"httpGet": m{"path": "/ready", "port": 8181}, "periodSeconds": 2, "timeoutSeconds": 1},
					"resources":      m{"limits": m{"memory": "170Mi"}, "requests": m{"cpu": "100m", "memory": "70Mi"}},
					"securityContext": m{
						"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
						"capabilities": m{"add": l{"NET_BIND_SERVICE"}, "drop": l{"ALL"}},
					},
					"volumeMounts": l{m{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}},
				}},
				"volumes": l{m{"name": "config", "configMap": m{
					"name": name, "items": l{m{"key": "Corefile", "path": "Corefile"}},
				}}},
			}},
		}}), maps.Clone(labels)),
	}
}

func corefile(domain string) string {
	return `.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    log . {
        class error
    }
    prometheus :9153
    kubernetes ` + cmp.Or(domain, "cluster.local") + ` in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`
}

// coreDNSService has the addresses that kubelets tell pods, of each family of services.
func coreDNSService(c kube.BootstrapManifestsConfig) kubeapi.Object {
	var ips, families l
	if c.DNSServiceIP != "" {
		ips, families = append(ips, c.DNSServiceIP), append(families, "IPv4")
	}
	if c.DNSServiceIPv6 != "" {
		ips, families = append(ips, c.DNSServiceIPv6), append(families, "IPv6")
	}
	// The order of families is that of the networks.
	if len(c.PodCIDRs) == 2 && len(ips) == 2 {
		if p, err := netip.ParsePrefix(c.PodCIDRs[0]); err == nil && p.Addr().Is6() {
			ips[0], ips[1], families[0], families[1] = ips[1], ips[0], families[1], families[0]
		}
	}
	policy := "SingleStack"
	if len(ips) == 2 {
		policy = "RequireDualStack"
	}
	spec := m{
		"selector":       m{"k8s-app": "kube-dns"},
		"ipFamilyPolicy": policy, "ipFamilies": families, "clusterIPs": ips,
		"ports": l{
			m{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
			m{"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
			m{"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
		},
	}
	if len(ips) > 0 {
		spec["clusterIP"] = ips[0]
	}
	return labelled(object("v1", "Service", system, "kube-dns", m{"spec": spec}), m{
		"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
	})
}
