package scalar

import (
	"strconv"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
)

// Object is a free-form mapping whose meaning another program defines, such as a Kubernetes object. Its values are nil,
// bool, int64, uint64, float64, string, []any and map[string]any.
type Object map[string]any

// Objects is a list of free-form mappings.
type Objects []Object

// Args are command-line arguments by name, without the leading hyphens. Most have one value; a flag that may be given
// several times has a list.
type Args map[string]ArgValues

// ArgValues are the values of one argument, in order; written as a string or as a list of strings.
type ArgValues []string

// Expects implements [schema.NodeDecoder].
func (ArgValues) Expects() string { return "a string or a list of strings" }

// DecodeNode implements [schema.NodeDecoder].
func (a *ArgValues) DecodeNode(n *yaml.Node, r *schema.Reporter) {
	switch n.Kind {
	case yaml.ScalarNode:
		*a = ArgValues{n.Value}
	case yaml.SequenceNode:
		out := make(ArgValues, 0, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				r.Item(i).Mismatch(item, "a string", "")
				continue
			}
			out = append(out, item.Value)
		}
		*a = out
	default:
		r.Mismatch(n, a.Expects(), "")
	}
}

// EncodeNode implements [schema.NodeDecoder].
func (a ArgValues) EncodeNode() *yaml.Node {
	if len(a) == 1 {
		return schema.StringNode(a[0])
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, v := range a {
		n.Content = append(n.Content, schema.StringNode(v))
	}
	return n
}

// PortRange is a port or an inclusive range of ports, written as a number or as "LOW-HIGH".
type PortRange struct{ Low, High uint16 }

// Expects implements [schema.NodeDecoder].
func (PortRange) Expects() string { return "a port or a range such as 443 or 30000-32767" }

// DecodeNode implements [schema.NodeDecoder].
func (p *PortRange) DecodeNode(n *yaml.Node, r *schema.Reporter) {
	if n.Kind == yaml.ScalarNode {
		if v, ok := parsePorts(n.Value); ok {
			*p = v
			return
		}
	}
	r.Mismatch(n, p.Expects(), "")
}

func parsePorts(s string) (PortRange, bool) {
	low, high, isRange := cutRange(s)
	l, err := strconv.ParseUint(low, 10, 16)
	if err != nil || l == 0 {
		return PortRange{}, false
	}
	if !isRange {
		return PortRange{uint16(l), uint16(l)}, true
	}
	h, err := strconv.ParseUint(high, 10, 16)
	if err != nil || h < l {
		return PortRange{}, false
	}
	return PortRange{uint16(l), uint16(h)}, true
}

func cutRange(s string) (low, high string, isRange bool) {
	for i := range len(s) {
		if s[i] == '-' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// EncodeNode implements [schema.NodeDecoder].
func (p PortRange) EncodeNode() *yaml.Node {
	low := strconv.FormatUint(uint64(p.Low), 10)
	if p.Low == p.High {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: low}
	}
	return schema.StringNode(low + "-" + strconv.FormatUint(uint64(p.High), 10))
}
