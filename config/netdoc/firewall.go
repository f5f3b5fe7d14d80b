package netdoc

import (
	"slices"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// NetworkDefaultActionConfig says what the machine's firewall does with traffic that comes in and for which there is
// no NetworkRuleConfig. Answers to the machine's own traffic, its loopback, KubeSpan and SideroLink are always let in,
// and so is the traffic of pods and services.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: NetworkDefaultActionConfig
//	ingress: block
type NetworkDefaultActionConfig struct {
	// Ingress lets traffic in (accept) or drops it (block). Default: accept.
	Ingress string `yaml:"ingress" enum:"accept|block"`
}

func (*NetworkDefaultActionConfig) DocumentKind() string { return "NetworkDefaultActionConfig" }

// Blocks reports whether traffic without a rule is dropped.
func (c *NetworkDefaultActionConfig) Blocks() bool { return c.Ingress == "block" }

// NetworkRuleConfig lets traffic to some ports of the machine in from some networks, and drops it from all others.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: NetworkRuleConfig
//	name: talos-api
//	portSelector:
//	    ports:
//	        - 50000
//	    protocol: tcp
//	ingress:
//	    - subnet: 10.5.0.0/24
type NetworkRuleConfig struct {
	// Name is the name of the rule.
	Name string `yaml:"name" required:"true"`
	// PortSelector says which traffic the rule is about.
	//
	// Example:
	//
	//	portSelector:
	//	    ports:
	//	        - 50000-50001
	//	    protocol: tcp
	PortSelector PortSelector `yaml:"portSelector"`
	// Ingress are the networks that the traffic may come from; at least one.
	//
	// Example:
	//
	//	ingress:
	//	    - subnet: 10.5.0.0/24
	//	      except: 10.5.0.128/25
	Ingress []Ingress `yaml:"ingress" merge:"replace"`
}

// PortSelector says which traffic a rule is about.
type PortSelector struct {
	// Ports are the ports, each a number or a range; ranges do not overlap. They are needed for tcp and udp; icmp and icmpv6
	// have none.
	//
	// Example:
	//
	//	ports:
	//	    - 443
	//	    - 30000-32767
	Ports []scalar.PortRange `yaml:"ports" merge:"replace"`
	// Protocol is the protocol. It must be there.
	Protocol string `yaml:"protocol" enum:"tcp|udp|icmp|icmpv6"`
}

// Ingress is a network that traffic may come from.
type Ingress struct {
	// Subnet is the network, as a prefix in CIDR notation. It must be there; 0.0.0.0/0 and ::/0 are all.
	Subnet scalar.Prefix `yaml:"subnet"`
	// Except is a part of the network from which traffic is dropped nevertheless. Left out, there is none.
	Except scalar.Prefix `yaml:"except"`
}

func (*NetworkRuleConfig) DocumentKind() string   { return "NetworkRuleConfig" }
func (c *NetworkRuleConfig) DocumentName() string { return c.Name }

func (c *NetworkRuleConfig) Validate(r *schema.Reporter) {
	checkName(r.At("name"), c.Name)
	if len(c.Ingress) == 0 {
		r.At("ingress").Hintf("for all networks write 0.0.0.0/0 and ::/0", "expected at least one network, got none")
	}
	for i, in := range c.Ingress {
		v4 := in.Subnet.Addr().Is4()
		if p := c.PortSelector.Protocol; in.Subnet.IsValid() && (p == "icmp" && !v4 || p == "icmpv6" && v4) {
			r.At("ingress").Item(i).Warnf("icmp belongs to IPv4, icmpv6 to IPv6", "no %s packet comes from %s", p, in.Subnet)
		}
	}
}

func (c *PortSelector) Validate(r *schema.Reporter) {
	at := r.At("ports")
	switch c.Protocol {
	case "":
		r.At("protocol").Errorf("expected a protocol, got nothing")
	case "icmp", "icmpv6":
		if len(c.Ports) > 0 {
			at.Hintf("remove them", "the protocol %s has no ports", c.Protocol)
		}
	default:
		if len(c.Ports) == 0 {
			at.Hintf("for all ports write 1-65535", "expected at least one port, got none")
		}
	}
	for _, o := range overlaps(c.Ports) {
		at.Item(o.item).Errorf("the ports %s overlap with item %d (%s)", portText(c.Ports[o.item]), o.with, portText(c.Ports[o.with]))
	}
}

// overlap says that two items of a list have ports in common; with is the one that stands first.
type overlap struct{ item, with int }

// overlaps returns overlaps of ports, so that each item that has one is in one of them; they are as many as the items at
// most.
func overlaps(ports []scalar.PortRange) []overlap {
	order := make([]int, len(ports))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(ports[a].Low) - int(ports[b].Low) })
	var found []overlap
	for k := 1; k < len(order); k++ {
		far, next := order[k-1], order[k]
		if ports[next].Low <= ports[far].High {
			found = append(found, overlap{max(far, next), min(far, next)})
		}
		if ports[far].High > ports[next].High {
			order[k] = far // the one that reaches farther stays the one to compare with
		}
	}
	slices.SortFunc(found, func(a, b overlap) int { return a.item - b.item })
	return found
}

func portText(p scalar.PortRange) string { return p.EncodeNode().Value }

// Has reports whether the selector means the given port of the given protocol.
func (c *PortSelector) Has(protocol string, port uint16) bool {
	for _, p := range c.Ports {
		if c.Protocol == protocol && p.Low <= port && port <= p.High {
			return true
		}
	}
	return false
}

func (c *Ingress) Validate(r *schema.Reporter) {
	if !c.Subnet.IsValid() {
		r.At("subnet").Errorf("expected the network that traffic may come from, got nothing")
		return
	}
	checkNetwork(r.At("subnet"), c.Subnet.Prefix)
	if !c.Except.IsValid() {
		return
	}
	checkNetwork(r.At("except"), c.Except.Prefix)
	switch {
	case c.Except.Masked() == c.Subnet.Masked():
		r.At("except").Errorf("nothing is left of %s", c.Subnet)
	case c.Except.Bits() < c.Subnet.Bits() || !c.Subnet.Contains(c.Except.Addr()):
		r.At("except").Errorf("expected a part of %s, got %s", c.Subnet, c.Except)
	}
}
