package netdoc

import (
	"net/netip"

	"talos.internal/config/schema"
)

// Layer2VIPConfig is an address that one machine of the control plane holds at a time and that another takes over when
// that one is lost. It is meant for the Kubernetes API. The machines elect the holder through etcd, so that the address
// is there only once etcd runs; do not use it for the Talos API. The holder announces it by ARP or neighbour
// advertisement: all machines must be in one layer-2 network.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: Layer2VIPConfig
//	name: 10.5.0.100
//	link: enp1s2
type Layer2VIPConfig struct {
	VIP `yaml:",inline"`
}

// VIP is what shared addresses have in common.
type VIP struct {
	// Name is the shared address, without a prefix length.
	Name string `yaml:"name" required:"true"`
	// Link is the link, by name or alias, that gets the address. It must be there.
	Link string `yaml:"link"`
}

func (*Layer2VIPConfig) DocumentKind() string { return "Layer2VIPConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *VIP) DocumentName() string { return c.Name }

// Addr returns the shared address; the zero address if the name is none.
func (c *VIP) Addr() netip.Addr { return nameAddr(c.Name) }

func (c *VIP) Validate(r *schema.Reporter) {
	if a, ok := parseAddrName(r.At("name"), c.Name); ok && a.IsLoopback() {
		r.At("name").Errorf("expected an address that other machines can reach, got %s", a)
	}
	checkLink(r.At("link"), c.Link)
}

// HCloudVIPConfig is an address that one machine of the control plane holds at a time, in the Hetzner Cloud: like
// Layer2VIPConfig, but the holder has the address assigned to it by the cloud's API: an alias
// address of a network or a floating address.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: HCloudVIPConfig
//	name: 10.5.0.100
//	link: eth1
//	apiToken: "0123456789abcdef"
type HCloudVIPConfig struct {
	VIP `yaml:",inline"`
	// APIToken is a token for the cloud's API with the right to write. It must be there.
	APIToken string `yaml:"apiToken" secret:"true"`
}

func (*HCloudVIPConfig) DocumentKind() string { return "HCloudVIPConfig" }

func (c *HCloudVIPConfig) Validate(r *schema.Reporter) {
	c.VIP.Validate(r)
	if c.APIToken == "" {
		r.At("apiToken").Hintf("make one in the cloud's console, with the right to read and write",
			"expected a token for the cloud's API, got nothing")
	}
}

func nameAddr(name string) netip.Addr {
	a, err := netip.ParseAddr(name)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
