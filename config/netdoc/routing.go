package netdoc

import (
	"errors"
	"net/netip"
	"strconv"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// RoutingTable names a routing table: main, local, default, unspec, or a number from 1 to 255. Empty is not set. It is
// kept as it was written; compare two by ID.
type RoutingTable string

// Numbers of tables that have names (rtnetlink(7)).
const (
	tableUnspec  = 0
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// tableNames are the named tables by number.
var tableNames = map[uint8]RoutingTable{
	tableUnspec: "unspec", tableDefault: "default", tableMain: "main", tableLocal: "local",
}

// Expects implements [schema.Text].
func (RoutingTable) Expects() string {
	return "a routing table: main, local, default, unspec or a number from 1 to 255"
}

// UnmarshalText checks text.
func (t *RoutingTable) UnmarshalText(text []byte) error {
	v := RoutingTable(text)
	if _, ok := v.number(); !ok {
		return errors.New("there is no such table")
	}
	*t = v
	return nil
}

// MarshalText prints t.
func (t RoutingTable) MarshalText() ([]byte, error) { return []byte(t), nil }

// ID returns the table's number: main's, 254, if t is not set.
func (t RoutingTable) ID() uint8 {
	if n, ok := t.number(); ok {
		return n
	}
	return tableMain
}

func (t RoutingTable) number() (uint8, bool) {
	for n, name := range tableNames {
		if t == name {
			return n, true
		}
	}
	n, err := strconv.ParseUint(string(t), 10, 8)
	return uint8(n), err == nil
}

// RuleAction is what a routing rule does, as a name or as the kernel's number (FR_ACT_* in linux/fib_rules.h). It is
// kept as it was written: the published JSON Schema has a number. Empty means unicast.
type RuleAction string

var ruleActions = []struct {
	name RuleAction
	code uint8
}{
	{"unspec", 0}, {"unicast", 1}, {"blackhole", 6}, {"unreachable", 7}, {"prohibit", 8},
}

// Expects implements [schema.NodeDecoder].
func (RuleAction) Expects() string {
	return "one of unicast (1), blackhole (6), unreachable (7), prohibit (8), unspec (0)"
}

// DecodeNode implements [schema.NodeDecoder].
func (a *RuleAction) DecodeNode(n *yaml.Node, r *schema.Reporter) {
	if n.Kind == yaml.ScalarNode {
		if _, ok := RuleAction(n.Value).code(); ok {
			*a = RuleAction(n.Value)
			return
		}
	}
	r.Mismatch(n, a.Expects(), "")
}

// EncodeNode implements [schema.NodeDecoder].
func (a RuleAction) EncodeNode() *yaml.Node {
	if _, err := strconv.ParseUint(string(a), 10, 8); err == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: string(a)}
	}
	return schema.StringNode(string(a))
}

// Code returns the kernel's number of the action: 1, to look in the rule's table, if a is not set or unspec.
func (a RuleAction) Code() uint8 {
	if code, ok := a.code(); ok && code != 0 {
		return code
	}
	return 1
}

func (a RuleAction) code() (uint8, bool) {
	for _, known := range ruleActions {
		if a == known.name || string(a) == strconv.Itoa(int(known.code)) {
			return known.code, true
		}
	}
	return 0, false
}

// BlackholeRouteConfig drops all packets to a network for which there is no better route, silently. It is used with
// BGP to announce a network as a whole without a loop for the parts that do not exist.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: BlackholeRouteConfig
//	name: 10.20.0.0/16
type BlackholeRouteConfig struct {
	// Name is the network as a prefix in CIDR notation.
	Name string `yaml:"name" required:"true"`
	// Metric orders this and other routes to the same network: the lowest is used. Left out, it is 1024.
	Metric Metric `yaml:"metric"`
}

func (*BlackholeRouteConfig) DocumentKind() string   { return "BlackholeRouteConfig" }
func (c *BlackholeRouteConfig) DocumentName() string { return c.Name }

// Prefix returns the network without bits beyond its length; the zero prefix if the name is none.
func (c *BlackholeRouteConfig) Prefix() netip.Prefix {
	var p scalar.Prefix
	if p.UnmarshalText([]byte(c.Name)) != nil {
		return netip.Prefix{}
	}
	return p.Masked()
}

func (c *BlackholeRouteConfig) Validate(r *schema.Reporter) {
	var p scalar.Prefix
	if err := p.UnmarshalText([]byte(c.Name)); err != nil {
		r.At("name").Errorf("expected %s, got %q: %v", p.Expects(), c.Name, err)
		return
	}
	checkNetwork(r.At("name"), p.Prefix)
}

const (
	lowestRule  = 1
	highestRule = 32765 // 32766 and 32767 are the kernel's own, for main and default
)

// RoutingRuleConfig says for which packets which routing table is used. Rules are tried in the order of their
// priorities, the lowest first; a packet must meet all conditions of a rule that are set.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: RoutingRuleConfig
//	name: 1000
//	src: 10.5.0.0/24
//	table: 100
type RoutingRuleConfig struct {
	// Name is the rule's priority, a number from 1 to 32765. 32500 and 32501 are reserved for KubeSpan.
	Name string `yaml:"name" required:"true"`
	// Src is the network that the packet's sender must be in. Left out, any.
	Src scalar.Prefix `yaml:"src"`
	// Dst is the network that the packet's destination must be in. Left out, any.
	Dst scalar.Prefix `yaml:"dst"`
	// Table is the routing table to look in: main, local, default, or a number from 1 to 255. It may be unspec if the
	// action is not unicast.
	Table RoutingTable `yaml:"table" required:"true"`
	// Action is what happens to the packet: unicast looks in the table; blackhole drops it; unreachable and prohibit
	// answer with an error. The kernel's numbers 1, 6, 7 and 8 stand for the same. Left out, it is unicast.
	//
	// Example:
	//
	//	action: blackhole
	Action RuleAction `yaml:"action"`
	// IIFName is the link by which the packet must have come. Left out, any.
	IIFName string `yaml:"iifName"`
	// OIFName is the link to which the packet's socket must be bound. Left out, any.
	OIFName string `yaml:"oifName"`
	// FWMark is the firewall mark that the packet must have. Left out and without fwMask, any.
	FWMark uint32 `yaml:"fwMark"`
	// FWMask says which bits of the packet's mark are compared. Left out, all.
	FWMask uint32 `yaml:"fwMask"`
}

func (*RoutingRuleConfig) DocumentKind() string   { return "RoutingRuleConfig" }
func (c *RoutingRuleConfig) DocumentName() string { return c.Name }

// Priority returns the rule's priority; 0 if the name is none.
func (c *RoutingRuleConfig) Priority() uint32 {
	n, err := strconv.Atoi(c.Name)
	if err != nil || n < lowestRule || n > highestRule || strconv.Itoa(n) != c.Name {
		return 0
	}
	return uint32(n)
}

func (c *RoutingRuleConfig) Validate(r *schema.Reporter) {
	switch c.Priority() {
	case 0:
		r.At("name").Errorf("expected a priority from %d to %d, got %q", lowestRule, highestRule, c.Name)
	case 32500, 32501:
		r.At("name").Hintf("take another priority", "the priority %s is reserved for KubeSpan", c.Name)
	}
	checkNetwork(r.At("src"), c.Src.Prefix)
	checkNetwork(r.At("dst"), c.Dst.Prefix)
	if c.Src.IsValid() && c.Dst.IsValid() && !sameFamily(c.Src.Addr(), c.Dst.Addr()) {
		r.At("dst").Errorf("expected a network of the family of src, got %s for %s", c.Dst, c.Src)
	}
	if c.Action.Code() == 1 && c.Table.ID() == tableUnspec {
		r.At("table").Errorf("expected the table that the rule looks in, got unspec")
	}
	if c.IIFName != "" {
		checkLink(r.At("iifName"), c.IIFName)
	}
	if c.OIFName != "" {
		checkLink(r.At("oifName"), c.OIFName)
	}
	if c.FWMask != 0 && c.FWMark&^c.FWMask != 0 {
		r.At("fwMark").Hintf("set the missing bits in fwMask",
			"the rule never applies: the mark %#x has bits that the mask %#x does not compare", c.FWMark, c.FWMask)
	}
}
