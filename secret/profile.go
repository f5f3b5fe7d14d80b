package secret

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// NodeTTL is how long the certificates of the machine API live on a node; they are renewed at half-life.
	NodeTTL = 24 * time.Hour

	// ClientTTL is how long an administrator's certificate lives, unless he asks otherwise.
	ClientTTL = 365 * 24 * time.Hour

	// KubernetesTTL is how long the certificates of etcd and Kubernetes live; renewed at half-life.
	KubernetesTTL = 365 * 24 * time.Hour
)

// groupMasters is the group that Kubernetes authorises for everything, before RBAC is asked.
const groupMasters = "system:masters"

// loopback is what a server of the control plane is called from its own node.
var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// onNode adds the local names, first, to what others call a server.
func (s SANs) onNode() SANs {
	return SANs{
		IPs: slices.Concat(loopback, s.IPs),
		DNS: slices.Concat([]string{"localhost"}, s.DNS),
	}
}

// NodeServer is the server certificate of apid or trustd on a node; from [OS].
// No local names: those who call from the node itself do it by socket.
func NodeServer(hostname string, sans SANs) Leaf {
	return Leaf{CommonName: hostname, SANs: sans, Usage: Server, TTL: NodeTTL, Key: Ed25519}
}

// NodeImpersonator is the client certificate with which a control-plane node forwards the calls of others
// to another node; from [OS].
func NodeImpersonator(hostname string) Leaf {
	return Leaf{
		CommonName:   hostname,
		Organization: []string{RoleImpersonator},
		Usage:        Client, TTL: NodeTTL, Key: Ed25519,
	}
}

// OSClient is the client certificate of a talosconfig; from [OS]. A ttl of zero means ClientTTL.
//
// Without roles Issue refuses it, since such a certificate would say nothing.
func OSClient(roles []string, ttl time.Duration) Leaf {
	if ttl == 0 {
		ttl = ClientTTL
	}

	return Leaf{Organization: slices.Clone(roles), Usage: Client, TTL: ttl, Key: Ed25519}
}

// EtcdServer is the certificate that etcd shows to its clients; from [Etcd]. It is a client's as well:
// etcd's gRPC gateway dials its own server with it.
func EtcdServer(hostname string, sans SANs) Leaf {
	return Leaf{CommonName: hostname, SANs: sans.onNode(), Usage: Server | Client, TTL: KubernetesTTL, Key: ECDSAP256}
}

// EtcdPeer is the certificate between members of etcd, who both dial and listen; from [Etcd].
func EtcdPeer(hostname string, sans SANs) Leaf {
	return Leaf{CommonName: hostname, SANs: sans, Usage: Server | Client, TTL: KubernetesTTL, Key: ECDSAP256}
}

// EtcdClient is a client certificate for etcd; from [Etcd]. The name shows in etcd's log:
// "kube-apiserver-etcd-client" for the API server, for the node itself what the caller chooses.
func EtcdClient(name string) Leaf {
	return Leaf{CommonName: name, Usage: Client, TTL: KubernetesTTL, Key: ECDSAP256}
}

// KubeAPIServerNames is what clients call the API server.
type KubeAPIServerNames struct {
	// Domain of the cluster's DNS, such as cluster.local.
	Domain string
	// ServiceSubnets: the first address of each is that of the service "kubernetes".
	ServiceSubnets []netip.Prefix
	// Extra: the cluster's endpoint, the node's addresses and names, certExtraSANs.
	Extra SANs
}

// KubeAPIServer is the serving certificate of kube-apiserver; from [Kubernetes]. It carries the names of
// the service "kubernetes" in the namespace "default", local ones and the extra ones.
func KubeAPIServer(names KubeAPIServerNames) (Leaf, error) {
	var sans SANs

	for _, subnet := range names.ServiceSubnets {
		ip, err := FirstServiceIP(subnet)
		if err != nil {
			return Leaf{}, fmt.Errorf("names of kube-apiserver: %w", err)
		}

		sans.IPs = append(sans.IPs, ip)
	}

	if names.Domain == "" {
		return Leaf{}, errors.New("names of kube-apiserver: no DNS domain of the cluster")
	}

	service := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + names.Domain}
	sans.DNS = append(service, names.Extra.DNS...)
	sans.IPs = append(sans.IPs, names.Extra.IPs...)

	return Leaf{
		CommonName: "kube-apiserver",
		SANs:       sans.onNode(),
		Usage:      Server, TTL: KubernetesTTL, Key: ECDSAP256,
	}, nil
}

// FirstServiceIP is the first usable address of a service subnet, which Kubernetes gives to the service
// "kubernetes": 10.96.0.1 of 10.96.0.0/12.
func FirstServiceIP(subnet netip.Prefix) (netip.Addr, error) {
	if !subnet.IsValid() || subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return netip.Addr{}, fmt.Errorf("service subnet %s has no room for services", subnet)
	}

	return subnet.Masked().Addr().Next(), nil
}

// KubeletClient is how kube-apiserver speaks to kubelets; from [Kubernetes]. It is of the group that may do
// everything, because the narrower role system:kubelet-api-admin would need a binding that does not exist
// before the API server serves.
func KubeletClient() Leaf {
	return kubeClient("kube-apiserver-kubelet-client", groupMasters)
}

// KubeletNode is how the kubelet of a node speaks to the API server, whose rights follow from its name and group (Kubernetes, "Node
// authorization"); from [Kubernetes].
func KubeletNode(nodename string) Leaf { return kubeClient("system:node:"+nodename, "system:nodes") }

// FrontProxyClient is how kube-apiserver speaks to aggregated API servers; from [FrontProxy].
func FrontProxyClient() Leaf { return kubeClient("front-proxy-client") }

// KubeControllerManager is the client certificate of kube-controller-manager, whose rights follow from
// its name; from [Kubernetes].
func KubeControllerManager() Leaf { return kubeClient("system:kube-controller-manager") }

// KubeScheduler is the client certificate of kube-scheduler, whose rights follow from its name; from
// [Kubernetes].
func KubeScheduler() Leaf { return kubeClient("system:kube-scheduler") }

// KubeAdmin is the client certificate of an administrator's kubeconfig; from [Kubernetes]. It may do
// everything, and cannot be revoked before it expires. A ttl of zero means ClientTTL.
func KubeAdmin(ttl time.Duration) Leaf {
	leaf := kubeClient("admin", groupMasters)

	leaf.TTL = ttl
	if ttl == 0 {
		leaf.TTL = ClientTTL
	}

	return leaf
}

func kubeClient(name string, groups ...string) Leaf {
	return Leaf{CommonName: name, Organization: groups, Usage: Client, TTL: KubernetesTTL, Key: ECDSAP256}
}
