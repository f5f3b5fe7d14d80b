package netdoc

import (
	"net/netip"

	"talos.internal/config/schema"
)

// Check reports what is wrong between the documents of a config: links that are defined or owned twice or that stand on
// themselves, addresses that two links have, and references to what is not there. Documents with errors of their own may
// be among them.
func Check(c *schema.Check) {
	t := newTopology(c)
	t.checkNames(c)
	t.checkOwners()
	t.checkLoop()
	taken := t.checkAddresses()
	t.checkMembers(c)
	t.checkVLANs(c)
	checkShared(c, taken)
	checkVRFs(c)
	checkOnce(c, "address", (*StaticHostConfig).Addr)
	checkOnce(c, "network", (*BlackholeRouteConfig).Prefix)
	checkResolvers(c)
	checkBGP(c, t)
	checkFirewall(c)
	checkKubeSpan(c)
}

// checkShared reports shared addresses that are there twice or are also static; taken has the static ones.
func checkShared(c *schema.Check, taken map[netip.Addr]string) {
	first := firsts[netip.Addr, string]{}
	for _, e := range c.Set {
		var d *VIP
		switch v := e.Value.(type) {
		case *Layer2VIPConfig:
			d = &v.VIP
		case *HCloudVIPConfig:
			d = &v.VIP
		default:
			continue
		}
		r := c.Reporter(e).At("name")
		if title, ok := taken[d.Addr()]; ok {
			r.Hintf("a shared address must belong to no machine", "the address %s is also a static one of %s", d.Addr(), title)
		}
		if title, twice := first.seen(d.Addr(), e.Title()); twice && title != e.Title() && d.Addr().IsValid() {
			r.Errorf("the address %s is also that of %s", d.Addr(), title)
		}
	}
}

// kubeSpanTable is the routing table of KubeSpan.
const kubeSpanTable = 180

func checkVRFs(c *schema.Check) {
	first := firsts[uint8, string]{}
	span := kubeSpanEnabled(c.Set)
	schema.Each(c, func(d *VRFConfig, r *schema.Reporter) {
		id := d.Table.ID()
		if id == kubeSpanTable && span {
			r.At("table").Hintf("take another table", "the table %d is that of KubeSpan", id)
		}
		if name, twice := first.seen(id, d.Name); twice && name != d.Name {
			r.At("table").Warnf("give each a table of its own", "the table %d is also that of VRFConfig %s: they share all routes", id, name)
		}
	})
}

// checkOnce reports two documents of one kind whose names differ and mean the same, which is what their key says. Two with
// the same name are one too many by themselves.
func checkOnce[D schema.NamedDocument, K interface {
	comparable
	IsValid() bool
}](c *schema.Check, what string, key func(D) K) {
	first := firsts[K, string]{}
	schema.Each(c, func(d D, r *schema.Reporter) {
		k := key(d)
		if name, twice := first.seen(k, d.DocumentName()); twice && k.IsValid() && name != d.DocumentName() {
			r.At("name").Hintf("make one document of them", "the %s %v is also that of %s %s", what, k, d.DocumentKind(), name)
		}
	})
}

// checkResolvers reports nameservers that only the machine's own resolver can ask.
func checkResolvers(c *schema.Check) {
	for _, d := range schema.All[*ResolverConfig](c.Set) {
		if d.HostDNS != nil && d.HostDNS.Enabled {
			return
		}
	}
	schema.Each(c, func(d *ResolverConfig, r *schema.Reporter) {
		for i, n := range d.Nameservers {
			if n.Encrypted() {
				r.At("nameservers").Item(i).At("protocol").Hintf("set hostDNS.enabled: true",
					"the protocol %s needs the machine's own resolver", n.Protocol)
			}
		}
	})
}

func checkBGP(c *schema.Check, t *topology) {
	instances := map[string]bool{}
	for _, d := range schema.All[*BGPInstanceConfig](c.Set) {
		instances[d.Name] = true
	}
	speakers := firsts[string, string]{}
	schema.Each(c, func(d *BGPInstanceConfig, r *schema.Reporter) {
		if l := t.byName[d.VRF]; d.VRF != "" && (l == nil || l.kind != "VRFConfig") {
			r.At("vrf").Hintf("add a VRFConfig of that name", "there is no VRF %s", d.VRF)
		}
		where := "outside of all VRFs"
		if d.VRF != "" {
			where = "in the VRF " + d.VRF
		}
		if name, twice := speakers.seen(d.VRF, d.Name); twice && name != d.Name {
			r.At("vrf").Hintf("give the neighbours to one instance", "BGPInstanceConfig %s already listens %s", name, where)
		}
		for i, from := range d.ImportRoutes {
			if !instances[from.BGPInstance] {
				r.At("importRoutes").Item(i).At("bgpInstance").Hintf("add a BGPInstanceConfig of that name",
					"there is no instance %s", from.BGPInstance)
			}
		}
	})
}

// apiPort is the port of the machine's API.
const apiPort = 50000

// checkFirewall warns of a machine that nobody can reach any more. A config without a root document is a part of another,
// which may have the rule.
func checkFirewall(c *schema.Check) {
	if c.Role == "" {
		return
	}
	for _, d := range schema.All[*NetworkRuleConfig](c.Set) {
		if d.PortSelector.Has("tcp", apiPort) {
			return
		}
	}
	schema.Each(c, func(d *NetworkDefaultActionConfig, r *schema.Reporter) {
		if d.Blocks() {
			r.At("ingress").Warnf("add a NetworkRuleConfig for it", "nothing lets tcp port %d in: the machine's API cannot be reached", apiPort)
		}
	})
}

func kubeSpanEnabled(s schema.Set) bool {
	for _, d := range schema.All[*KubeSpanConfig](s) {
		if d.Enabled {
			return true
		}
	}
	return false
}

// checkKubeSpan reports what KubeSpan lacks, and what is there for it while it is off.
func checkKubeSpan(c *schema.Check) {
	if !kubeSpanEnabled(c.Set) {
		schema.Each(c, func(_ *KubeSpanEndpointsConfig, r *schema.Reporter) {
			r.Warnf("add a KubeSpanConfig with enabled: true", "it has no effect while KubeSpan is off")
		})
		return
	}
	if c.Role == "" {
		return // a part of a config; the rest may have the identity
	}
	for _, e := range c.Set {
		if e.Value.DocumentKind() == "DiscoveryIdentityConfig" {
			return
		}
	}
	schema.Each(c, func(d *KubeSpanConfig, r *schema.Reporter) {
		if d.Enabled {
			r.At("enabled").Hintf("add a DiscoveryIdentityConfig", "KubeSpan needs discovery, which has no identity here")
		}
	})
}
