package kubedoc

import (
	"net/netip"
	"strings"
	"unicode"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeClusterConfig says which Kubernetes cluster the machine belongs to and where its API is.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeClusterConfig
//	clusterName: lab
//	endpoint: https://10.5.0.2:6443
type KubeClusterConfig struct {
	// ClusterName is the cluster's name. It shows in generated kubeconfig files and has no meaning to Kubernetes.
	ClusterName string `yaml:"clusterName" required:"true"`
	// Endpoint is the URL under which every machine and user reaches the Kubernetes API: of a load balancer, a shared
	// address, a DNS name with the addresses of all control plane nodes, or of the only one. It must be https. Without a
	// port it is 443.
	//
	// Example:
	//
	//	endpoint: https://10.5.0.2:6443
	Endpoint scalar.HTTPSURL `yaml:"endpoint" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*KubeClusterConfig) DocumentKind() string { return "KubeClusterConfig" }

// Validate implements [schema.Validator].
func (c *KubeClusterConfig) Validate(r *schema.Reporter) {
	if c.ClusterName == "" || strings.ContainsFunc(c.ClusterName, func(x rune) bool {
		return unicode.IsSpace(x) || unicode.IsControl(x)
	}) {
		r.At("clusterName").Errorf("expected a name without white space such as lab, got %q", c.ClusterName)
	}
	if u := c.Endpoint.URL.URL; u != nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		r.At("endpoint").Hintf("write it as in https://10.5.0.2:6443",
			"expected a URL without user, query and fragment")
	}
}

// Defaults of the cluster's network.
const (
	defaultDNSDomain    = "cluster.local"
	defaultNodeMaskIPv4 = 24
	defaultNodeMaskIPv6 = 64
	// mostNodeBits is how many bits a node's prefix may be longer than the pods': the controller manager keeps a bitmap
	// of all nodes' prefixes.
	mostNodeBits = 16
)

// KubeNetworkConfig says which addresses pods and services get and under which domain services have names. It must be
// the same on all machines of a cluster.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeNetworkConfig
//	dnsDomain: cluster.local
//	podSubnets:
//	    - 10.244.0.0/16
//	serviceSubnets:
//	    - 10.96.0.0/12
type KubeNetworkConfig struct {
	// DNSDomain is the domain of services' DNS names. Left out, it is cluster.local.
	DNSDomain string `yaml:"dnsDomain"`
	// PodSubnets are the prefixes that pods' addresses are taken from: one of IPv4, one of IPv6, or one of each, the
	// preferred family first. They may not overlap with the service subnets or with the machines' own networks.
	//
	// Example:
	//
	//	podSubnets:
	//	    - 10.244.0.0/16
	//	    - fc00:db8:10::/56
	PodSubnets []scalar.Prefix `yaml:"podSubnets" required:"true" merge:"replace"`
	// ServiceSubnets are the prefixes that services' addresses are taken from, of the same families as the pod subnets
	// and in the same order.
	//
	// Example:
	//
	//	serviceSubnets:
	//	    - 10.96.0.0/12
	//	    - fc00:db8:20::/112
	ServiceSubnets []scalar.Prefix `yaml:"serviceSubnets" required:"true" merge:"replace"`
	// NodeCIDRMaskSizeIPv4 is the length of the prefix that each node gets from the IPv4 pod subnet: from the subnet's
	// own length, up to 16 bits longer. Left out, it is 24, which gives a node 256 addresses.
	NodeCIDRMaskSizeIPv4 *uint8 `yaml:"nodeCIDRMaskSizeIPv4"`
	// NodeCIDRMaskSizeIPv6 is the same for the IPv6 pod subnet. Left out, it is 64.
	NodeCIDRMaskSizeIPv6 *uint8 `yaml:"nodeCIDRMaskSizeIPv6"`
}

// DocumentKind implements [schema.Document].
func (*KubeNetworkConfig) DocumentKind() string { return "KubeNetworkConfig" }

// DNSDomainOrDefault returns the domain of services' names.
func (c *KubeNetworkConfig) DNSDomainOrDefault() string {
	if c.DNSDomain == "" {
		return defaultDNSDomain
	}
	return c.DNSDomain
}

// NodeMaskIPv4OrDefault returns the length of a node's IPv4 prefix.
func (c *KubeNetworkConfig) NodeMaskIPv4OrDefault() uint8 {
	return valueOr(c.NodeCIDRMaskSizeIPv4, defaultNodeMaskIPv4)
}

// NodeMaskIPv6OrDefault returns the length of a node's IPv6 prefix.
func (c *KubeNetworkConfig) NodeMaskIPv6OrDefault() uint8 {
	return valueOr(c.NodeCIDRMaskSizeIPv6, defaultNodeMaskIPv6)
}

// Validate implements [schema.Validator].
func (c *KubeNetworkConfig) Validate(r *schema.Reporter) {
	if c.DNSDomain != "" && (!isSubdomain(c.DNSDomain)) {
		r.At("dnsDomain").Errorf("expected a DNS domain of lower-case letters, digits, '-' and '.' such as cluster.local, got %q",
			c.DNSDomain)
	}
	pods := checkSubnets(c.PodSubnets, r.At("podSubnets"))
	services := checkSubnets(c.ServiceSubnets, r.At("serviceSubnets"))
	if !pods || !services {
		return
	}
	c.checkOverlap(r)
	c.checkFamilies(r)
	c.checkNodeMasks(r)
}

// checkSubnets reports lists that are empty or have a family twice, and whether the list is right.
func checkSubnets(list []scalar.Prefix, r *schema.Reporter) bool {
	if len(list) == 0 {
		r.Errorf("expected one prefix, or one of each family, got an empty list")
		return false
	}
	right := true
	first := map[bool]netip.Prefix{}
	for i, p := range list {
		is4 := p.Addr().Is4()
		if other, twice := first[is4]; twice {
			r.Item(i).Hintf("a list has at most one prefix of each family",
				"%s and %s are both %s", other, p.Prefix, family(is4))
			right = false
			continue
		}
		first[is4] = p.Prefix
		if m := p.Masked(); m != p.Prefix {
			r.Item(i).Warnf("write "+m.String(), "%s has bits beyond its prefix length", p.Prefix)
		}
	}
	return right
}

func family(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}

func (c *KubeNetworkConfig) checkOverlap(r *schema.Reporter) {
	for _, pods := range c.PodSubnets {
		for i, services := range c.ServiceSubnets {
			if pods.Overlaps(services.Prefix) {
				r.At("serviceSubnets").Item(i).Hintf("take another prefix for one of them",
					"the service subnet %s overlaps with the pod subnet %s", services.Prefix, pods.Prefix)
			}
		}
	}
}

// checkFamilies wants the same families in both lists. Each list has at most one of each.
func (c *KubeNetworkConfig) checkFamilies(r *schema.Reporter) {
	if len(c.PodSubnets) != len(c.ServiceSubnets) {
		r.At("serviceSubnets").Hintf("pods and services need the same families",
			"there are %s and %s", families("pod", c.PodSubnets), families("service", c.ServiceSubnets))
		return
	}
	same := c.PodSubnets[0].Addr().Is4() == c.ServiceSubnets[0].Addr().Is4()
	switch {
	case same:
	case len(c.PodSubnets) == 1:
		r.At("serviceSubnets").Hintf("pods and services need the same families",
			"there are %s and %s", families("pod", c.PodSubnets), families("service", c.ServiceSubnets))
	default:
		r.At("serviceSubnets").Warnf("put the preferred family first in both",
			"the families are in another order than in podSubnets")
	}
}

func families(what string, list []scalar.Prefix) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = family(p.Addr().Is4())
	}
	return what + " subnets of " + strings.Join(names, " and ")
}

func (c *KubeNetworkConfig) checkNodeMasks(r *schema.Reporter) {
	for _, p := range c.PodSubnets {
		key, given, mask := "nodeCIDRMaskSizeIPv4", c.NodeCIDRMaskSizeIPv4, int(c.NodeMaskIPv4OrDefault())
		if p.Addr().Is6() {
			key, given, mask = "nodeCIDRMaskSizeIPv6", c.NodeCIDRMaskSizeIPv6, int(c.NodeMaskIPv6OrDefault())
		}
		low, high := p.Bits(), min(p.Bits()+mostNodeBits, p.Addr().BitLen())
		if low <= mask && mask <= high {
			continue
		}
		note := ""
		if given == nil {
			note = ", which is the default"
		}
		r.At(key).Errorf("expected a length from %d to %d, so that it fits in the pod subnet %s, got %d%s",
			low, high, p.Prefix, mask, note)
	}
}
