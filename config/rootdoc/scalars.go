package rootdoc

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// InterfaceAddr is an address of a link. Written without a prefix length, the prefix is all of the address.
type InterfaceAddr struct{ netip.Prefix }

// Expects implements [schema.Text].
func (InterfaceAddr) Expects() string { return "an address with its prefix length such as 10.5.0.2/24" }

// UnmarshalText parses text.
func (a *InterfaceAddr) UnmarshalText(text []byte) error {
	if !strings.Contains(string(text), "/") {
		var addr scalar.Addr
		if err := addr.UnmarshalText(text); err != nil {
			return err
		}
		a.Prefix = netip.PrefixFrom(addr.Addr, addr.BitLen())
		return nil
	}
	var p scalar.Prefix
	if err := p.UnmarshalText(text); err != nil {
		return err
	}
	a.Prefix = p.Prefix
	return nil
}

// MarshalText prints a with its prefix length.
func (a InterfaceAddr) MarshalText() ([]byte, error) { return a.Prefix.MarshalText() }

// SizeCondition is a condition on a size: the size itself, or <, <=, ==, >=, > and one.
type SizeCondition struct {
	// Op is the operator of CEL; empty if the condition is not set.
	Op string
	// Size is what is compared with.
	Size scalar.Size
}

// Expects implements [schema.Text].
func (SizeCondition) Expects() string { return "a size or a comparison such as 4GB or '>= 100GB'" }

// UnmarshalText parses text.
func (c *SizeCondition) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number := strings.TrimLeft(t, "<>=!")
	op := t[:len(t)-len(number)]
	switch op {
	case "", "=":
		op = "=="
	case "==", "<", "<=", ">", ">=":
	default:
		return errors.New("the operators are <, <=, ==, >= and >")
	}
	var size scalar.Size
	if err := size.UnmarshalText([]byte(strings.TrimSpace(number))); err != nil {
		return err
	}
	c.Op, c.Size = op, size
	return nil
}

// MarshalText prints c.
func (c SizeCondition) MarshalText() ([]byte, error) {
	switch c.Op {
	case "":
		return nil, nil
	case "==":
		return []byte(c.Size.String()), nil
	default:
		return []byte(c.Op + " " + c.Size.String()), nil
	}
}

// FileMode is the mode of a file, written in octal digits. Zero means that it is not set.
type FileMode struct{ Mode uint32 }

// Expects implements [schema.NodeDecoder].
func (FileMode) Expects() string { return "a mode in octal digits such as 0o644" }

// DecodeNode implements [schema.NodeDecoder]. A number without a leading zero is taken as it stands, in decimal: that is
// what YAML says, and what the published system does; of most such numbers it warns.
func (m *FileMode) DecodeNode(n *yaml.Node, r *schema.Reporter) {
	v, err := strconv.ParseUint(n.Value, 0, 32)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
		r.Mismatch(n, m.Expects(), "")
		return
	}
	octal := strings.HasPrefix(n.Value, "0") || strings.Trim(n.Value, "01234567") != ""
	if !octal && len(n.Value) >= 3 && v <= 0o7777 {
		r.Warnf("write 0o"+n.Value+" for octal", "%s is decimal: the mode %#o", n.Value, v)
	}
	m.Mode = uint32(v)
}

// EncodeNode implements [schema.NodeDecoder].
func (m FileMode) EncodeNode() *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: "0o" + strconv.FormatUint(uint64(m.Mode), 8)}
}
