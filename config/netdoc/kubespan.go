package netdoc

import (
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

const defaultKubeSpanMTU = 1420

// KubeSpanConfig joins the machines of the cluster by encrypted tunnels (WireGuard), through NATs and over the internet.
// The machines find each other by discovery, which must be on.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeSpanConfig
//	enabled: true
type KubeSpanConfig struct {
	// Enabled turns KubeSpan on. Default: false.
	Enabled bool `yaml:"enabled"`
	// AdvertiseKubernetesNetworks sends the traffic of pods through KubeSpan as well, which lets the cluster's network do
	// without a tunnel of its own. Default: false.
	AdvertiseKubernetesNetworks bool `yaml:"advertiseKubernetesNetworks"`
	// AllowDownPeerBypass sends traffic to a machine whose tunnel is down unencrypted, by the normal routes, instead of
	// dropping it. Default: false.
	AllowDownPeerBypass bool `yaml:"allowDownPeerBypass"`
	// HarvestExtraEndpoints announces the addresses at which other machines were seen, which helps those behind a NAT.
	// Default: false.
	HarvestExtraEndpoints bool `yaml:"harvestExtraEndpoints"`
	// MTU is the size in bytes of the largest packet in the tunnels, at least 1280: that of the network, less 80.
	// Default: 1420.
	MTU *uint32 `yaml:"mtu"`
	// Filters leaves out addresses and networks.
	//
	// Example:
	//
	//	filters:
	//	    endpoints:
	//	        - 0.0.0.0/0
	//	        - "!192.168.0.0/16"
	//	    excludeAdvertisedNetworks:
	//	        - 10.30.0.0/16
	Filters *KubeSpanFilters `yaml:"filters"`
}

// KubeSpanFilters leaves out addresses and networks.
type KubeSpanFilters struct {
	// Endpoints are the networks whose addresses this machine announces as endpoints of its tunnels; with a leading "!" those
	// whose addresses it does not. Left out, it announces all.
	Endpoints []scalar.Subnet `yaml:"endpoints"`
	// ExcludeAdvertisedNetworks are networks to which traffic does not go through the tunnels though they are this machine's.
	ExcludeAdvertisedNetworks []scalar.Prefix `yaml:"excludeAdvertisedNetworks"`
}

func (*KubeSpanConfig) DocumentKind() string { return "KubeSpanConfig" }

// MTUOrDefault returns the size in bytes of the largest packet in the tunnels.
func (c *KubeSpanConfig) MTUOrDefault() uint32 { return orDefault(c.MTU, defaultKubeSpanMTU) }

func (c *KubeSpanConfig) Validate(r *schema.Reporter) {
	if mtu := c.MTUOrDefault(); mtu < minMTUv6 || mtu > maxMTU {
		r.At("mtu").Errorf("expected an MTU from %d to %d, got %d", minMTUv6, maxMTU, mtu)
	}
}

func (c *KubeSpanFilters) Validate(r *schema.Reporter) {
	for i, s := range c.Endpoints {
		checkNetwork(r.At("endpoints").Item(i), s.Prefix)
	}
	for i, p := range c.ExcludeAdvertisedNetworks {
		checkNetwork(r.At("excludeAdvertisedNetworks").Item(i), p.Prefix)
	}
}

// KubeSpanEndpointsConfig announces more addresses at which this machine's tunnels can be reached, beside its own: those
// of a NAT or load balancer in front of it that passes UDP on to port 51820.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeSpanEndpointsConfig
//	extraAnnouncedEndpoints:
//	    - 192.0.2.10:51820
type KubeSpanEndpointsConfig struct {
	// ExtraAnnouncedEndpoints are the addresses with their ports.
	ExtraAnnouncedEndpoints []scalar.AddrPort `yaml:"extraAnnouncedEndpoints"`
}

func (*KubeSpanEndpointsConfig) DocumentKind() string { return "KubeSpanEndpointsConfig" }

func (c *KubeSpanEndpointsConfig) Validate(r *schema.Reporter) {
	first := firsts[scalar.AddrPort, int]{}
	for i, e := range c.ExtraAnnouncedEndpoints {
		at := r.At("extraAnnouncedEndpoints").Item(i)
		if checkUnicast(at, e.Addr()) && e.Port() == 0 {
			at.Errorf("expected a port from 1 to 65535, got 0")
		}
		if j, twice := first.seen(e, i); twice {
			at.Errorf("the endpoint %s is there twice; it is also item %d", e, j)
		}
	}
}
